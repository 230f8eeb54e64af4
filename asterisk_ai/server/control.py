"""Live calls, for other programs: who talks with whom now, and ending, transferring or handing over a call.

Asked over HTTP, in threads of their own, by who has the token; the media loop does what was asked for.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future

from asterisk_ai.config import Config
from asterisk_ai.config.private import control_token
from asterisk_ai.dialog.dialplan import HANG_UP, ActionKind, DialplanAction
from asterisk_ai.errors import CallRefused, LocalProtocolError, Refusal
from asterisk_ai.server.calls import Calls
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore

logger = logging.getLogger(__name__)

ACT_SECONDS = 1.5


class LiveCalls:
    """What :class:`~asterisk_ai.telemetry.http.HttpServer` serves below ``/calls``."""

    def __init__(self, config: Callable[[], Config], store: SessionStore, calls: Calls) -> None:
        self._config = config
        self._store = store
        self._calls = calls
        self._loop = asyncio.get_running_loop()

    @property
    def token(self) -> str:
        return control_token(self._config())

    def stream(self) -> Generator[bytes]:
        """Lines of JSON, see :meth:`asterisk_ai.session.feed.LiveFeed.listen`; an empty one says that we are there."""
        for told in self._store.feed.listen(self._live):
            yield b"\n" if told is None else json.dumps(told, default=str).encode() + b"\n"

    def _live(self) -> list[tuple[CallSession, str]]:
        return [(session, self._calls.phase(session.call_id)) for session in self._store.live]

    def act(self, call_id: str, what: str, fields: Mapping[str, str]) -> tuple[int, str]:
        """Do it to a call; an HTTP status, and why not in words where it could not be done."""
        done: Future[None] = Future()

        def work() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    self._act(call_id, what, fields)
                except (CallRefused, LocalProtocolError) as error:
                    done.set_exception(error)
                else:
                    done.set_result(None)

        try:
            self._loop.call_soon_threadsafe(work)
            done.result(ACT_SECONDS)
        except CallRefused as refused:
            return 404 if refused.reason is Refusal.UNKNOWN else 409, str(refused)
        except LocalProtocolError as error:
            return 400, str(error)
        except (TimeoutError, RuntimeError):
            done.cancel()
            return 503, "the server is busy, or about to stop"
        return 200, ""

    def _act(self, call_id: str, what: str, fields: Mapping[str, str]) -> None:
        """On the media loop. Raises CallRefused and LocalProtocolError."""
        session = self._store.get(call_id)
        if session is None:
            raise CallRefused(Refusal.UNKNOWN, "the call has ended")
        match what:
            case "hangup":
                action = HANG_UP
            case "transfer":
                action = DialplanAction(ActionKind.TRANSFER, fields)
                action.variables()  # what the dialplan would not take
            case "agent":
                self._calls.hand_over(session, fields.get("agent", ""))
                return
            case _:
                raise CallRefused(Refusal.UNKNOWN, f"nobody knows how to {what[:20]}")
        self._calls.leave(session, action)
        logger.info("asked from outside: %s", action.kind, extra={"call_id": call_id})
