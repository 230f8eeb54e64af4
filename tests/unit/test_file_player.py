"""Replies as files: what is kept and for how long, and where they go on after a key."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.transport.file_player import FilePlayer
from asterisk_ai.transport.spool import Spool

SECOND = bytes(range(1, 201)) * 80
"""16,000 bytes: a second of 8 kHz."""


class Handler:
    rate = 8000

    def __init__(self, on_digit: Callable[[str], None]) -> None:
        self.on_digit = on_digit


def test_what_is_written_is_what_asterisk_plays(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    path = spool.reply("call-1", 8000)
    spool.write(path, SECOND, 8000)
    assert path.name == "call-1.wav"
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (8000, 1, "PCM_16", 8000)
    assert soundfile.read(path, dtype="int16")[0].tobytes() == SECOND
    assert path.stat().st_mode & 0o044 == 0o044, "Asterisk may run as another user"
    assert spool.reply("call-1", 16_000).name == "call-1.wav16", "which is what Asterisk calls them"


def test_a_prompt_is_kept_until_it_is_old(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_age=100)
    assert spool.find("key", 8000) is None
    spool.keep("key", SECOND, 8000)
    assert spool.find("key", 8000) == SECOND
    assert spool.find("key", 16_000) is None, "another rate's"
    then = time.time() - 101
    os.utime(tmp_path / "prompts/key.wav", (then, then))
    spool.make_room()
    assert spool.find("key", 8000) is None


def test_the_oldest_prompts_make_room_and_replies_do_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=3 * 16_044)
    for number, age in enumerate((20, 30)):
        spool.keep(f"prompt{number}", SECOND, 8000)
        os.utime(tmp_path / f"prompts/prompt{number}.wav", (time.time() - age,) * 2)
    spool.write(spool.reply("a", 8000), SECOND, 8000)
    spool.write(spool.reply("b", 8000), SECOND, 8000)
    assert spool.find("prompt1", 8000) is None, "the oldest"
    assert spool.find("prompt0", 8000) is not None
    spool.write(spool.reply("c", 8000), SECOND, 8000)
    with pytest.raises(ProviderUnavailable, match="is full"):
        spool.write(spool.reply("d", 8000), SECOND, 8000)
    assert sorted(path.name for path in tmp_path.glob("*.wav")) == ["a.wav", "b.wav", "c.wav"]


def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProviderUnavailable, match="file"):
        Spool(tmp_path / "file").write(tmp_path / "file/a.wav", SECOND, 8000)


@pytest.mark.parametrize("stops", [True, False])
def test_a_key_stops_what_may_be_interrupted_and_nothing_else(tmp_path: Path, stops: bool) -> None:
    """A greeting that callers have to hear goes on where Asterisk stopped it for the key."""
    played: list[int] = []
    dialled: list[str] = []

    async def main() -> None:
        player = FilePlayer(Spool(tmp_path), "call", whole=True)

        def digit(key: str) -> None:
            dialled.append(key)
            assert player.played == 2000, "where Asterisk says that it was stopped"
            if stops:
                player.clear()

        async def play(path: str, offset: int, begun: Callable[[], None]) -> tuple[int, str] | None:
            begun()
            played.append(offset)
            assert Path(f"{path}.wav").exists()
            return (2000, "5") if not offset else None

        player.serve(Handler(digit), player)  # type: ignore[arg-type]
        playing = asyncio.create_task(player.play(play, player.something))
        await player.send(SECOND)
        await player.end_piece()
        await asyncio.sleep(0)
        assert not played, "the reply is not whole"
        async with asyncio.timeout(20):
            await player.drained()
        assert player.played == (2000 if stops else 8000)
        player.close()
        await playing

    asyncio.run(main())
    assert dialled == ["5"]
    assert played == ([0] if stops else [0, 2000])
    assert not list(tmp_path.glob("*.wav"))
