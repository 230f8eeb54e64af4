"""A call's sound both ways: the agent's own voice taken out of what is heard, and recordings of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from asterisk_ai.call.own_voice import OwnVoice
from asterisk_ai.recording.recordings import Recordings
from asterisk_ai.recording.writer import CallRecording
from asterisk_ai.session.model import CallSession, Recorded
from asterisk_ai.session.store import SessionStore
from asterisk_ai.transport.media import MediaConnection

logger = logging.getLogger(__name__)

SECRET_SECONDS = 0.5
"""So long after a secret entry nobody hears the caller: the last key's tone may still be on its way."""


class Sound:
    """Of one connection of a call. Nothing is heard or recorded before :meth:`begin`.

    :param cancels_echo: see :class:`~asterisk_ai.call.own_voice.OwnVoice`.
    """

    def __init__(
        self,
        session: CallSession,
        store: SessionStore,
        connection: MediaConnection,
        clock: Callable[[], float],
        *,
        cancels_echo: bool,
    ) -> None:
        self._session, self._store, self._connection, self._clock = session, store, connection, clock
        self._cancels_echo = cancels_echo
        self._own_voice: OwnVoice | None = None  # of the line, whose rate is not known yet
        self._recordings: Recordings | None = None
        self._recording: CallRecording | None = None
        self._decline_key = ""
        self._secret_until = 0.0

    def record(self, recordings: Recordings, decline: str = "") -> None:
        """Have this connection recorded from its beginning on, unless the caller has declined.

        :param decline: the key by which callers do so; empty where they cannot.
        """
        if self._session.recorded is not Recorded.DECLINED:
            self._recordings, self._decline_key = recordings, decline

    def begin(self, rate: int) -> None:
        """The connection's audio begins."""
        if self._recordings is not None:
            self._session.recorded = Recorded.YES
            self._recording = self._recordings.begin(self._session.call_id, rate, offset=self._session.seconds)
        self._own_voice = OwnVoice(rate, self._clock, cancels=self._cancels_echo)
        self._connection.tap = self._played

    def heard(self, pcm: bytes, now: float) -> tuple[bytes, float]:
        """A frame came from the caller: what there is to hear in it, and its level in dBov."""
        if self._own_voice is None:
            raise RuntimeError("the call has no audio")
        if self._recording is not None:
            self._recording.heard(bytes(len(pcm)) if now < self._secret_until else pcm)
        return self._own_voice.without(pcm, now)

    def _played(self, pcm: bytes) -> None:
        if self._own_voice is not None:
            self._own_voice.played(pcm)
        if self._recording is not None:
            self._recording.played(pcm)

    def declined(self, digit: str) -> bool:
        """Whether it is the key by which the caller declines to be recorded; then there is no recording any more."""
        if self._recordings is None or self._recording is None or digit != self._decline_key:
            return False
        self._end_recording()
        self._recordings.end(self._session.call_id, keep=False)
        self._session.recorded = Recorded.DECLINED
        self._store.save(self._session)
        logger.info("the caller declined to be recorded")
        return True

    def keep_secret(self, secret: bool) -> None:
        """From now on nobody may hear the caller, until told otherwise; then for as long as a tone may take."""
        if secret:
            self._secret_until = math.inf
        elif self._secret_until == math.inf:
            self._secret_until = self._clock() + SECRET_SECONDS

    @property
    def secret(self) -> bool:
        """Nobody may hear the caller now."""
        return self._clock() < self._secret_until

    def close(self) -> None:
        self._connection.tap = None
        self._end_recording()

    def _end_recording(self) -> None:
        if self._recording is not None:
            self._recording.close()
            self._recording = None
