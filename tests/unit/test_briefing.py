"""What a colleague hears of a call: that nothing of it is left, whenever the call ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from asterisk_ai.call.briefing import RATE, Briefing
from asterisk_ai.transport.spool import Spool


class HeldSpool(Spool):
    """Writes once it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun, self.let = threading.Event(), threading.Event()

    def write(self, path: Path, pcm: bytes, rate: int) -> None:
        self.begun.set()
        assert self.let.wait(20)
        super().write(path, pcm, rate)


def test_a_piece_that_is_being_written_as_nobody_hears_it_any_more_is_not_left(tmp_path: Path) -> None:
    spool = HeldSpool(tmp_path)

    class Spoken(Briefing):
        @staticmethod
        async def _spoken(agent: object, text: str) -> bytes:
            return bytes(RATE)

    async def main() -> None:
        briefing = Spoken(["Somebody calls."], object(), spool, "call")  # type: ignore[arg-type]
        briefing.begin(asyncio.create_task)
        await asyncio.to_thread(spool.begun.wait, 20)
        briefing.close()
        spool.let.set()

    asyncio.run(main())  # which waits for its threads
    assert list(tmp_path.iterdir()) == []
