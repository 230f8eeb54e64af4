"""What waits for a service that lags: in its order, to its end, and counted where it is dropped."""

from __future__ import annotations

import asyncio

from asterisk_ai.providers.net.backlog import Backlog, LaggingRecogniser
from asterisk_ai.providers.vendors.deepgram import DeepgramSpeechToText
from asterisk_ai.providers.vendors.openai import OpenAITranscription
from asterisk_ai.providers.vendors.wyoming.stt import WyomingSpeechToText

RATE = 8000


async def all_of(backlog: Backlog, seconds: float = 0.25) -> list[bytes]:
    return [pcm async for pcm in backlog.pieces(seconds)]


def test_audio_comes_in_order_and_in_pieces_to_its_end() -> None:
    async def main() -> None:
        backlog, pcm = Backlog(10.0, RATE), bytes(range(256)) * 100
        taking = asyncio.ensure_future(all_of(backlog))
        for start in range(0, len(pcm), 320):
            backlog.push(pcm[start : start + 320])
            await asyncio.sleep(0)
        backlog.end()
        backlog.push(b"late")
        pieces = await taking
        assert b"".join(pieces) == pcm
        assert max(map(len, pieces)) <= 4000
        assert backlog.dropped_bytes == 0

    asyncio.run(main())


def test_the_oldest_is_dropped_and_counted() -> None:
    async def main() -> None:
        backlog = Backlog(1.0, RATE)
        for number in range(150):
            backlog.push(bytes([number]) * 320)
        backlog.end()
        pcm = b"".join(await all_of(backlog))
        assert (pcm[0], len(pcm), backlog.dropped_bytes) == (100, 16_000, 100 * 320)

    asyncio.run(main())


def test_the_end_without_audio_is_told_as_well() -> None:
    async def main() -> bool:
        backlog = Backlog(1.0, RATE)
        backlog.push(b"")
        backlog.end()
        return await backlog.some() or bool(await all_of(backlog))

    assert asyncio.run(main()) is False


def test_recognisers_elsewhere_count_what_they_drop() -> None:
    engines = (DeepgramSpeechToText({}), OpenAITranscription({}), WyomingSpeechToText({}))

    async def main() -> None:
        for engine in engines:
            assert isinstance(engine, LaggingRecogniser)
            backlog = Backlog(1.0, RATE)
            backlog.push(bytes(20_000))
            engine.done(backlog)
            assert engine.counters() == {"dropped_bytes": 4000}

    asyncio.run(main())
