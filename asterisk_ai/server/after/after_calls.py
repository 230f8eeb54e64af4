"""Who is told of which calls, as the configuration in use has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence

from asterisk_ai.config import Config, proxies
from asterisk_ai.server.after.courier import STOP_SECONDS, Courier, Send
from asterisk_ai.server.after.mail import Mail
from asterisk_ai.server.after.summaries import Summaries
from asterisk_ai.server.after.traces import Traces
from asterisk_ai.server.after.webhooks import AT_ONCE, Webhook
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.server.worker import WorkerPlace
from asterisk_ai.session.backends.deliveries import Delivery, delivery
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import ENDED, STARTED
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.metrics import Metrics

MAIL = "mail/"
"""Begins the name of a message's target; no webhook is called so."""
SUMMARY_WAIT_SECONDS = 40.0
"""A server that was killed while a call was summed up: after so long it is told of without."""


class AfterCalls:
    """A courier for each target. Nothing runs, and nothing is loaded, where there is none."""

    def __init__(self, config: Config, metrics: Metrics, place: WorkerPlace) -> None:
        self._config = config
        self._metrics = metrics
        self._place = place
        self._couriers: list[Courier] = []
        self._summaries: Summaries | None = None
        self.traces = Traces(config)

    def attach(self, in_use: ConfigInUse, store: SessionStore, group: asyncio.TaskGroup) -> None:
        """Have calls summed up, of these agents and in this group. To be called before the first one ends."""
        self._summaries = Summaries(in_use, store, group)

    def ended(self, session: CallSession) -> None:
        """Called on the loop, once for each call."""
        if self._summaries is not None:
            self._summaries.begin(session)
        self.traces.ended(session)

    def no_more_calls(self) -> None:
        """The server ends: nobody is waited for."""
        if self._summaries is not None:
            self._summaries.close()

    def wanted(self, session: CallSession) -> Sequence[Delivery]:
        """Who is to be told of a call as it is now. Called on the loop, at each turn's boundary."""
        found: list[tuple[str, str]] = []
        for name, webhook in self._config.webhooks.items():
            if _any_or(webhook.agents, session.agent):
                found += [(name, event) for event in webhook.events if event == STARTED or session.ended]
        if session.ended and self._config.mail is not None:
            for name, message in self._config.mail.messages.items():
                if _any_or(message.agents, session.agent) and _any_or(message.outcomes, session.outcome):
                    found.append((_mail(name), ENDED))
        if not found:
            return ()
        awaited = session.ended and self._summaries is not None and self._summaries.expected(session)
        wait = SUMMARY_WAIT_SECONDS if awaited else 0.0
        return [delivery(session, name, event, seconds=wait if event == ENDED else 0.0) for name, event in found]

    def entered(self) -> None:
        """Something is to be delivered."""
        for courier in self._couriers:
            courier.wake()

    def start(self) -> None:
        """Begin to deliver, and to trace."""
        self._begin_to_deliver()
        self.traces.start()

    def _begin_to_deliver(self, after: Sequence[Courier] = ()) -> None:
        """Once these have ended."""
        path = self._config.store_path()
        self._couriers = [
            Courier(path, name, send, self._metrics, self._place, part=part, parts=parts)
            for name, send in targets(self._config)
            for parts in (1 if name.startswith(MAIL) else AT_ONCE,)
            for part in range(parts)
        ]
        for courier in self._couriers:
            courier.start(after)

    def change(self, config: Config) -> None:
        """Another configuration is in use."""
        same = (config.webhooks, config.mail) == (self._config.webhooks, self._config.mail)
        self._config = config
        if same:
            return
        before = self._couriers
        for courier in before:
            courier.stop()
        self._begin_to_deliver(after=before)

    def stop(self) -> None:
        """Deliver what can be delivered quickly."""
        until = time.monotonic() + STOP_SECONDS
        for courier in self._couriers:
            courier.stop()
        for courier in self._couriers:
            courier.join(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """The end of the process: deliver and send what can be quickly. It waits for that."""
        self.stop()
        self.traces.close()


def targets(config: Config) -> Iterator[tuple[str, Send]]:
    """Who is told of calls: the names that their deliveries have, and what delivers."""
    environment = proxies()
    for name, webhook in config.webhooks.items():
        yield name, Webhook(webhook, environment).send
    if config.mail is not None:
        for name, message in config.mail.messages.items():
            yield _mail(name), Mail(config.mail, message).send


def _any_or(names: Collection[str], name: str) -> bool:
    return not names or name in names


def _mail(name: str) -> str:
    return MAIL + name
