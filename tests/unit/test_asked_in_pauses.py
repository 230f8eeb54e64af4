"""A recogniser of whole utterances is asked in the caller's pauses, and for nothing that is not all they said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sound import tone

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Transcript
from asterisk_ai.providers.net.pauses import MAX_SECONDS, MOST_TIMES, AskedInPauses

FRAME = 320
SPEECH, SILENCE = tone(400, 0.4), bytes(2 * 8000 * 2 // 10)


class Service:
    """Writes down how many seconds it was sent; answers when it is let to."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.given_up = 0
        self.may = asyncio.Event()
        self.fails = False

    async def __call__(self, pcm: bytes) -> Transcript:
        self.asked.append(round(len(pcm) / 16_000, 2))
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.fails:
            raise ProviderUnavailable("service", "out of order")
        return Transcript(f"words of {self.asked[-1]} s")


def with_utterance(
    body: Callable[[AskedInPauses, Service, list[str]], Awaitable[None]], *, ahead: bool = True
) -> Service:
    async def main() -> Service:
        service, told = Service(), list[str]()
        utterance = AskedInPauses(service, 8000, lambda words: told.append(words.text), ahead=ahead)
        try:
            await body(utterance, service, told)
        finally:
            await utterance.close()
        return service

    return asyncio.run(main())


async def say(utterance: AskedInPauses, *parts: bytes) -> None:
    pcm = b"".join(parts)
    for at in range(0, len(pcm), FRAME):
        utterance.feed(pcm[at : at + FRAME])
    await asyncio.sleep(0)


def test_the_words_are_there_before_the_turn_ends() -> None:
    async def body(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        await say(utterance, SPEECH, SILENCE)
        service.may.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told == ["words of 0.52 s"]
        await say(utterance, SILENCE)
        assert (await utterance.finish()).text == "words of 0.52 s"

    assert with_utterance(body).asked == [0.52], "asked once"


def test_who_goes_on_is_asked_for_again_and_a_click_is_no_going_on() -> None:
    async def body(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        await say(utterance, SPEECH, SILENCE, SPEECH[:FRAME], SILENCE)
        assert (service.asked, service.given_up) == ([0.52], 0)
        await say(utterance, SPEECH, SILENCE)
        assert service.given_up == 1
        service.may.set()
        assert (await utterance.finish()).text.startswith("words of 1.")
        assert len(told) == 1

    assert len(with_utterance(body).asked) == 2


def test_who_pauses_at_every_word_costs_no_request_each() -> None:
    async def body(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        service.may.set()
        for _ in range(8):
            await say(utterance, SPEECH, SILENCE)
        await utterance.finish()

    assert len(with_utterance(body).asked) == MOST_TIMES + 1, "the last one is asked for the end"


def test_where_that_is_switched_off_the_end_alone_is_asked_for() -> None:
    async def body(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        service.may.set()
        await say(utterance, SPEECH, SILENCE)
        assert service.asked == []
        assert (await utterance.finish()).text == "words of 0.6 s"
        assert told == []

    with_utterance(body, ahead=False)


def test_a_service_that_fails_in_the_pause_has_failed_and_nobody_is_left_waiting() -> None:
    async def fails(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        service.fails = True
        service.may.set()
        await say(utterance, SPEECH, SILENCE)
        with pytest.raises(ProviderUnavailable):
            await utterance.finish()

    async def left(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        await say(utterance, SPEECH, SILENCE)

    with_utterance(fails)
    assert with_utterance(left).given_up == 1


def test_what_is_too_short_is_no_word_and_what_is_too_long_loses_its_beginning() -> None:
    async def body(utterance: AskedInPauses, service: Service, told: list[str]) -> None:
        assert not (await utterance.finish()).accepted
        service.may.set()
        utterance.feed(bytes(16_000 * (MAX_SECONDS + 1)))
        await utterance.finish()

    assert with_utterance(body).asked == [MAX_SECONDS]
