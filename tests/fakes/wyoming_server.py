"""A Wyoming server made with the protocol's own library: a recogniser and a voice, with faults on demand.

The model's or voice's name is the fault: slow, silent, hang (a beginning, then nothing), close (in the middle), error,
odd (what is no event), empty, rate (speech at 44100 Hz), stereo (speech that is not mono). Any other works well;
``faults`` holds one for all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from ports import free_port
from wyoming.asr import Transcribe
from wyoming.asr import Transcript as Words
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.server import AsyncEventHandler, AsyncTcpServer
from wyoming.tts import Synthesize

SLOW_SECONDS = 0.2
_ABOUT: dict[str, Any] = {"attribution": Attribution("", ""), "installed": True, "description": None, "version": None}


def info(names: Sequence[str] = ()) -> Info:
    """What it tells of itself: a model and a voice, and those of ``names``."""
    models = [AsrModel(name=name, languages=["en", "de"], **_ABOUT) for name in ("tiny", *names)]
    voices = [TtsVoice(name=name, languages=["en_US"], **_ABOUT) for name in ("ann", *names)]
    return Info(
        asr=[AsrProgram(name="ears", models=models, **_ABOUT)],
        tts=[TtsProgram(name="mouth", voices=voices, **_ABOUT)],
    )


@contextlib.asynccontextmanager
async def serving(faults: list[str], names: Sequence[str] = ()) -> AsyncIterator[int]:
    """A server that runs; its port. ``names`` are models and voices that it says to have."""
    port = free_port()
    server = AsyncTcpServer("127.0.0.1", port)
    await server.start(partial(Handler, faults, info(names)))
    try:
        yield port
    finally:
        await server.stop()


class Handler(AsyncEventHandler):
    """One connection."""

    def __init__(self, faults: list[str], told: Info, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.told = told
        self.faults, self.heard, self.name = faults, 0, ""

    async def handle_event(self, event: Event) -> bool:
        if Describe.is_type(event.type):
            await self.write_event(self.told.event())
        elif Transcribe.is_type(event.type):
            self.name = Transcribe.from_event(event).name or ""
        elif AudioChunk.is_type(event.type):
            self.heard += len(AudioChunk.from_event(event).audio)
        elif AudioStop.is_type(event.type):
            return await self._answer(None)
        elif Synthesize.is_type(event.type):
            wanted = Synthesize.from_event(event)
            self.name = (wanted.voice.name if wanted.voice else "") or ""
            return await self._answer(wanted.text)
        return True

    async def _answer(self, text: str | None) -> bool:
        """Words for what was heard, or speech of ``text``."""
        fault = self.faults[0] if self.faults else self.name
        if fault == "error":
            await self.write_event(Error("no such model").event())
        elif fault == "close" and text is None:
            return False
        elif fault == "odd":
            self.writer.write(b"this is no event\n")
            await self.writer.drain()
        elif fault == "silent" or (fault == "hang" and text is None):
            await asyncio.sleep(3600)
        else:
            await asyncio.sleep(SLOW_SECONDS if fault == "slow" else 0)
            if text is not None:
                return await self._speak(text, fault)
            await self.write_event(Words("opening hours" if self.heard and fault != "empty" else "").event())
        return True

    async def _speak(self, text: str, fault: str) -> bool:
        rate = 44_100 if fault == "rate" else 16_000
        word = (np.sin(2 * np.pi * 800 * np.arange(rate // 4) / rate) * 8000).astype("<i2").tobytes()
        await self.write_event(AudioStart(rate, 2, 1).event())
        for number, _ in enumerate([] if fault == "empty" else text.split()):
            if number == 1 and fault == "hang":
                await asyncio.sleep(3600)
            if number == 1 and fault == "close":
                return False
            await self.write_event(AudioChunk(rate, 2, 2 if fault == "stereo" else 1, word).event())
        await self.write_event(AudioStop().event())
        return True
