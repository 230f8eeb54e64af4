"""Agents for those who look for a media fault or measure: no engines, nothing is recognised or said.

``echo`` sends the caller's audio back as it comes, ``milliwatt`` plays a 1 kHz
tone without end. They are chosen like any agent: ``call/start?agent=echo``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import numpy as np

from asterisk_ai.audio.formats import PTIME_MS
from asterisk_ai.config.schema import DIAGNOSTIC_AGENTS
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.transport.audiosocket.direct import EchoConnection, ToneConnection
from asterisk_ai.transport.audiosocket.handshake import Connect

logger = logging.getLogger(__name__)

TONE_HZ = 1000
TONE_DBOV = -10.0
"""Level of the tone, RMS; ITU-T's digital milliwatt is at -3 dBov, which is unpleasant to listen to."""


class DiagnosticCall:
    """A ``MediaHandler`` that does nothing, for the length of a call."""

    def __init__(self, session: CallSession) -> None:
        self.session = session
        self.rate = session.rate
        self.close_reason = ""
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Returns when the connection is gone."""
        with call_scope(self.session.call_id):
            await self._closed.wait()
            logger.info("diagnostic call cleaned up: %s", self.close_reason)

    def on_begin(self, rate: int) -> None:
        self.rate = rate

    def on_audio(self, pcm: bytes) -> None: ...

    def on_digit(self, digit: str) -> None: ...

    def on_closed(self, reason: str) -> None:
        self.close_reason = reason
        self._closed.set()


class EchoCall(DiagnosticCall):
    """Hears itself: its connection does it all."""

    def __init__(self, session: CallSession, connect: Connect) -> None:
        super().__init__(session)
        connect(EchoConnection)


class MilliwattCall(DiagnosticCall):
    """Hears a tone."""

    def __init__(self, session: CallSession, connect: Connect) -> None:
        super().__init__(session)
        self._connection = connect(ToneConnection)

    def on_begin(self, rate: int) -> None:
        super().on_begin(rate)
        self._connection.repeat(tone_frame(rate))


def tone_frame(rate: int) -> bytes:
    """20 ms of the tone: a whole number of its periods, so that frames join without a click."""
    samples = np.arange(rate * PTIME_MS // 1000)
    amplitude = 32768 * 10 ** (TONE_DBOV / 20) * np.sqrt(2)
    tone = np.round(amplitude * np.sin(2 * np.pi * TONE_HZ * samples / rate)).astype("<i2")
    return bytes(tone.tobytes())


AGENTS: dict[str, Callable[[CallSession, Connect], DiagnosticCall]] = dict(
    zip(DIAGNOSTIC_AGENTS, (EchoCall, MilliwattCall), strict=True)
)
"""By the name that the dialplan asks for; a configured agent of the same name goes first."""
