"""Agents for those who look for a media fault or measure: no engines, nothing is recognised or said.

``echo`` sends the caller's audio back as it comes, ``milliwatt`` plays a 1 kHz
tone without end. They are chosen like any agent: ``call/start?agent=echo``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import numpy as np

from asterisk_ai.audio.formats import PTIME_MS
from asterisk_ai.config.schema import DIAGNOSTIC_AGENTS
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.transport.audiosocket.direct import EchoConnection, ToneConnection
from asterisk_ai.transport.audiosocket.handshake import Connect
from asterisk_ai.transport.media import MediaConnection

logger = logging.getLogger(__name__)

TONE_HZ = 1000
MOST_WAITING = 10
"""Frames that an echo keeps while its connection takes none; the oldest go. More would be heard as a delay."""
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
            await self._play()
            await self._closed.wait()
            logger.info("diagnostic call cleaned up: %s", self.close_reason)

    async def _play(self) -> None:
        """What has to wait for the connection, if anything."""

    def on_begin(self, rate: int) -> None:
        self.rate = rate

    def on_audio(self, pcm: bytes) -> None: ...

    def on_digit(self, digit: str) -> None: ...

    def on_closed(self, reason: str) -> None:
        self.close_reason = reason
        self._closed.set()


class EchoCall(DiagnosticCall):
    """Hears itself over AudioSocket: its connection does it all, at the least cost."""

    def __init__(self, session: CallSession, connect: Connect) -> None:
        super().__init__(session)
        connect(EchoConnection)


class MilliwattCall(DiagnosticCall):
    """Hears a tone over AudioSocket."""

    def __init__(self, session: CallSession, connect: Connect) -> None:
        super().__init__(session)
        self._connection = connect(ToneConnection)

    def on_begin(self, rate: int) -> None:
        super().on_begin(rate)
        self._connection.repeat(tone_frame(rate))


class EchoOfFrames(DiagnosticCall):
    """Hears itself, over a connection of any kind."""

    def __init__(self, session: CallSession, connection: MediaConnection) -> None:
        super().__init__(session)
        self._connection = connection
        self._heard: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._woken = asyncio.Event()

    def on_audio(self, pcm: bytes) -> None:
        self._heard.append(pcm)
        self._woken.set()

    def on_closed(self, reason: str) -> None:
        super().on_closed(reason)
        self._woken.set()

    async def _play(self) -> None:
        while not self._closed.is_set():
            await self._woken.wait()
            self._woken.clear()
            while self._heard:
                await self._connection.send(self._heard.popleft())


class Tone(DiagnosticCall):
    """Hears a tone, over a connection of any kind."""

    def __init__(self, session: CallSession, connection: MediaConnection) -> None:
        super().__init__(session)
        self._connection = connection
        self._begun = asyncio.Event()

    def on_begin(self, rate: int) -> None:
        super().on_begin(rate)
        self._begun.set()

    def on_closed(self, reason: str) -> None:
        super().on_closed(reason)
        self._begun.set()

    async def _play(self) -> None:
        await self._begun.wait()
        second = b"" if self._closed.is_set() else tone_frame(self.rate) * (1000 // PTIME_MS)
        while not self._closed.is_set():
            await self._connection.send(second)


def tone_frame(rate: int) -> bytes:
    """20 ms of the tone: a whole number of its periods, so that frames join without a click."""
    samples = np.arange(rate * PTIME_MS // 1000)
    amplitude = 32768 * 10 ** (TONE_DBOV / 20) * np.sqrt(2)
    tone = np.round(amplitude * np.sin(2 * np.pi * TONE_HZ * samples / rate)).astype("<i2")
    return bytes(tone.tobytes())


AGENTS: dict[str, Callable[[CallSession, Connect], DiagnosticCall]] = dict(
    zip(DIAGNOSTIC_AGENTS, (EchoCall, MilliwattCall), strict=True)
)
"""Over AudioSocket, by the name that the dialplan asks for; a configured agent of the same name goes first."""
OVER_ANY: dict[str, Callable[[CallSession, MediaConnection], DiagnosticCall]] = dict(
    zip(DIAGNOSTIC_AGENTS, (EchoOfFrames, Tone), strict=True)
)
"""The same over a connection of any kind."""
