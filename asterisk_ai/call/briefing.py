"""What a colleague hears of a call before taking it: made while the telephone rings, as files that Asterisk plays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from asterisk_ai.agents.agent import Agent
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.dialog.spoken import pieces
from asterisk_ai.errors import ProviderError
from asterisk_ai.transport.spool import Spool

logger = logging.getLogger(__name__)

RATE = 8000
WITHOUT_VOICE = "beep"
"""Of Asterisk's own sounds: what is played for a piece that could not be made. The keys mean the same."""


class Briefing:
    """Of one call: its pieces are made one after the other, from :meth:`begin` on, until :meth:`close`.

    :param agent: whose voice says it; None where there is none.
    :param name: begins the files' names.
    """

    def __init__(self, texts: Sequence[str], agent: Agent | None, spool: Spool, name: str) -> None:
        self._texts, self._agent, self._spool = tuple(texts), agent, spool
        self._paths = [spool.reply(f"{name}-briefing-{number}", RATE) for number in range(len(texts))]
        self._made = [asyncio.Event() for _ in texts]
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._texts)

    def begin(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._task = spawn(self._make())

    async def _make(self) -> None:
        for number, text in enumerate(self._texts):
            try:
                pcm = await self._spoken(self._agent, text) if self._agent is not None else b""
                if pcm:
                    await asyncio.to_thread(self._write, self._paths[number], pcm)
            except ProviderError as error:
                logger.warning("a piece of the briefing could not be made, it is a tone: %s", error)
            finally:
                self._made[number].set()

    def _write(self, path: Path, pcm: bytes) -> None:
        """In a thread, which goes on where the task that waits for it is cancelled."""
        self._spool.write(path, pcm, RATE)
        if self._closed:
            path.unlink(missing_ok=True)

    @staticmethod
    async def _spoken(agent: Agent, text: str) -> bytes:
        made = bytearray()
        for piece in pieces(text, agent.config.language):
            async with agent.tts.open(piece.spoken, voice=agent.config.voice, speed=1.0) as audio:
                async for pcm in audio:
                    made += pcm
        resampler = Resampler(agent.tts.sample_rate, RATE)
        return resampler.push(bytes(made[: len(made) // 2 * 2])) + resampler.flush()

    def is_made(self, number: int) -> bool:
        """Whether a piece is there, or will not come any more."""
        return self._made[number].is_set()

    async def file(self, number: int) -> str:
        """A piece that is there, without its extension, for Asterisk to play."""
        path = self._paths[number]
        return str(path.with_suffix("")) if await asyncio.to_thread(path.exists) else WITHOUT_VOICE

    def close(self) -> None:
        """Nobody hears it any more: nothing is left in the spool."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for path in self._paths:
            path.unlink(missing_ok=True)
