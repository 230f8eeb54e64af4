"""The conformance test for engines: what every call relies on, tried on yours.

Use it in a test of your own, with any test runner::

    from asterisk_ai.providers import testing

    def test_my_engine():
        testing.check_text_to_speech(lambda: MyVoice({"key": "..."}))

Each function makes the engine, runs it through a call's ways (good ones, and
being left, cancelled, stopped and asked for nonsense) and raises
:class:`NotConforming` with a line for everything that is wrong. It takes
some seconds. The engine runs on an asyncio loop of its own.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from asterisk_ai.errors import AsteriskAIError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.base import (
    Do,
    Hints,
    LanguageModel,
    Message,
    Readiness,
    Remember,
    Say,
    SpeechToText,
    TextToSpeech,
    Transcript,
    TurnRequest,
)

LAG_SECONDS = 0.1
"""How long an engine may hold up the event loop: other calls' audio waits meanwhile."""
ABORT_SECONDS = 1.0
"""How soon leaving a stream must be done: the caller interrupts, and something else is to be said."""
PATIENCE_SECONDS = 30.0
"""No answer may take longer than this in the test."""
ACTIONS = ("hangup", "transfer", "queue", "voicemail", "play", "fallback")
_ATTEMPTS = 3  # on a machine with other work a pause of the loop can be the machine's


class NotConforming(AssertionError):
    """The engine breaks promises of :mod:`asterisk_ai.providers.base`; ``problems`` names each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


Check = Callable[[Any], Awaitable[None]]
Make = Callable[[], Any]


def check_speech_to_text(
    make: Callable[[], SpeechToText],
    *,
    speech: bytes = b"",
    rate: int = 8000,
    hints: Hints | None = None,
    text: str | None = None,
    broken: Callable[[], SpeechToText] | None = None,
) -> None:
    """Try a recogniser.

    :param make: makes one, not started. Called several times.
    :param speech: an utterance at ``rate``, one second of silence where empty.
    :param text: the words of it, where they are to be compared.
    :param broken: makes one that cannot work (no network, a wrong key, a missing model).
    :raises NotConforming: with everything that is wrong.
    """
    trial = _SpeechToText(speech or bytes(2 * rate), rate, hints or Hints(), text)
    _run(make, trial.checks(), broken, trial.use)


def check_language_model(
    make: Callable[[], LanguageModel],
    *,
    requests: Sequence[TurnRequest] = (),
    broken: Callable[[], LanguageModel] | None = None,
) -> None:
    """Try a language model. ``requests``: turns it should answer, beside those that are always tried."""
    trial = _LanguageModel(requests)
    _run(make, trial.checks(), broken, trial.use)


def check_text_to_speech(
    make: Callable[[], TextToSpeech],
    *,
    text: str = "Hello. We are open from nine to five.",
    broken: Callable[[], TextToSpeech] | None = None,
) -> None:
    """Try a synthesiser. ``text`` is spoken; make it two seconds of speech or more."""
    trial = _TextToSpeech(text)
    _run(make, trial.checks(), broken, trial.use)


# ---- what holds for every kind ------------------------------------------------


def _run(make: Make, checks: Mapping[str, Check], broken: Make | None, use: Check) -> None:
    problems: list[str] = []
    asyncio.run(_life(make, checks, use, problems))
    if broken is not None:
        asyncio.run(_broken(broken, use, problems))
    if problems:
        raise NotConforming(problems)


async def _life(make: Make, checks: Mapping[str, Check], use: Check, problems: list[str]) -> None:
    """One engine from its making to its end, and the checks between."""
    began = time.monotonic()
    engine = make()
    if time.monotonic() - began > 1.0:
        problems.append("the constructor: takes more than a second; load in start()")
    if not _attempt(lambda: _readiness(engine), "readiness before start", problems):
        return
    tasks = asyncio.all_tasks()
    async with _reporting("start", problems) as started:
        await asyncio.wait_for(engine.start(), PATIENCE_SECONDS)
        _expect(_readiness(engine).ready, f"not ready after start: {engine.readiness().reason}")
    if not started:
        return
    for name, check in checks.items():
        async with _reporting(name, problems):
            await _without_blocking(lambda check=check: check(engine))  # type: ignore[misc]
    async with _reporting("stop", problems):
        await asyncio.wait_for(engine.stop(), PATIENCE_SECONDS)
        await asyncio.wait_for(engine.stop(), PATIENCE_SECONDS)  # a second time is harmless
        with contextlib.suppress(ProviderUnavailable):  # an engine that holds nothing may go on
            await asyncio.wait_for(use(engine), PATIENCE_SECONDS)
        left = asyncio.all_tasks() - tasks
        _expect(not left, f"tasks are left behind: {sorted(task.get_name() for task in left)}")


async def _broken(make: Make, use: Check, problems: list[str]) -> None:
    """An engine that cannot work says so by start() or in use, in the two errors, and by readiness."""
    engine = make()
    told = False
    async with _reporting("a broken engine", problems):
        try:
            await asyncio.wait_for(engine.start(), PATIENCE_SECONDS)
        except AsteriskAIError:
            told = True
            state = _readiness(engine)
            _expect(not state.ready and bool(state.reason), "start() failed, but readiness() does not say why")
        try:
            await asyncio.wait_for(use(engine), PATIENCE_SECONDS)
        except ProviderError:
            told = True
        _expect(told, "neither start() nor its use raised ProviderUnavailable or ProviderRejected")
        await asyncio.wait_for(engine.stop(), PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def _reporting(name: str, problems: list[str]) -> AsyncIterator[list[None]]:
    """Keep what goes wrong inside as a line of ``problems``; the list that it yields is filled where all went well."""
    well: list[None] = []
    try:
        yield well
        well.append(None)
    except TimeoutError:
        problems.append(f"{name}: took more than {PATIENCE_SECONDS:g} s")
    except AssertionError as error:
        problems.append(f"{name}: {error}")
    except ProviderError as error:
        problems.append(f"{name}: failed: {error}")
    except Exception as error:  # noqa: BLE001 - an engine may raise anything, and it is reported
        problems.append(f"{name}: raised {error!r}; only ProviderUnavailable and ProviderRejected may come out")


def _attempt(work: Callable[[], object], name: str, problems: list[str]) -> bool:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - as above
        problems.append(f"{name}: {error}")
        return False
    return True


def _expect(holds: object, problem: str) -> None:
    if not holds:
        raise AssertionError(problem)


def _readiness(engine: Any) -> Readiness:
    state = engine.readiness()
    _expect(isinstance(state, Readiness), "readiness() must give a Readiness")
    _expect(state.ready or state.reason, "readiness() must give a reason where it is not ready")
    return state  # type: ignore[no-any-return]


async def _without_blocking(work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work`` and see to it that the loop goes round meanwhile."""
    worst = 0.0
    for _ in range(_ATTEMPTS):
        worst = await _lag_during(work)
        if worst <= LAG_SECONDS:
            return
    raise AssertionError(f"held up the event loop for {worst:.2f} s: that work belongs into a thread or a process")


async def _lag_during(work: Callable[[], Awaitable[None]]) -> float:
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            worst = max(worst, time.monotonic() - before - 0.005)

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    try:
        await asyncio.wait_for(work(), PATIENCE_SECONDS)
        await asyncio.sleep(0.006)
    finally:
        watching.cancel()
    return worst


async def _cancelled_soon(work: Awaitable[Any], after: float = 0.02) -> None:
    """Cancel ``work`` in the middle: it must end soon, by being cancelled (or by having been done already)."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(after)
    task.cancel()
    began = time.monotonic()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    took = time.monotonic() - began
    _expect(took < ABORT_SECONDS, f"being cancelled took {took:.1f} s")


async def _body_error(context: contextlib.AbstractAsyncContextManager[Any]) -> None:
    """What is raised inside of a stream's context comes out of it as it is."""
    try:
        async with context:
            raise LookupError("ours")
    except LookupError:
        return
    raise AssertionError("an exception inside of the context must come out of it")


async def _left_soon(context: contextlib.AbstractAsyncContextManager[Any]) -> None:
    async with context:
        began = time.monotonic()
    took = time.monotonic() - began
    _expect(took < ABORT_SECONDS, f"leaving the stream took {took:.1f} s")


# ---- the three kinds ------------------------------------------------------------


class _SpeechToText:
    def __init__(self, speech: bytes, rate: int, hints: Hints, text: str | None) -> None:
        self.speech, self.rate, self.hints, self.text = speech, rate, hints, text

    def checks(self) -> dict[str, Check]:
        return {
            "sample_rates": self.rates,
            "an utterance": self.use,
            "an utterance without audio": self.empty,
            "feeding": self.feeding,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three utterances at once": self.together,
            "a rate that is not offered": self.wrong_rate,
            "stopping with a stream open": self.stopping,
        }

    def open(self, engine: Any) -> Any:
        return engine.open(rate=self.rate, hints=self.hints, partial=self.judge)

    async def rates(self, engine: Any) -> None:
        rates = list(engine.sample_rates)
        _expect(rates and all(isinstance(rate, int) and rate > 0 for rate in rates), f"sample_rates are {rates}")
        _expect(self.rate in rates, f"the test's rate of {self.rate} Hz is not among sample_rates, {rates}")

    async def use(self, engine: Any) -> None:
        async with self.open(engine) as stream:
            self.feed(stream)
            words = await stream.finish()
        self.judge(words)
        if self.text is not None:
            _expect(_plain(words.text) == _plain(self.text), f"understood {words.text!r}, not {self.text!r}")

    def feed(self, stream: Any) -> None:
        size = self.rate // 50 * 2
        for start in range(0, len(self.speech), size):
            stream.feed(self.speech[start : start + size])

    @staticmethod
    def judge(words: object) -> None:
        _expect(isinstance(words, Transcript), f"finish() must give a Transcript, gave {words!r}")
        assert isinstance(words, Transcript)  # noqa: S101 - for the type checker
        _expect((type(words.text), type(words.accepted)) == (str, bool), f"wrong types in {words!r}")
        _expect(0.0 <= words.confidence <= 1.0, f"confidence is {words.confidence}, not 0 to 1")

    async def empty(self, engine: Any) -> None:
        async with self.open(engine) as stream:
            words = await stream.finish()
        self.judge(words)
        _expect(not words.accepted or not words.text, f"understood {words.text!r} without any audio")

    async def feeding(self, engine: Any) -> None:
        """However much, and whenever: feed() neither waits nor raises."""
        async with self.open(engine) as stream:
            began = time.monotonic()
            for _ in range(100):
                stream.feed(bytes(self.rate // 50 * 2))
            took = time.monotonic() - began
            _expect(took < LAG_SECONDS, f"feeding 100 frames took {took:.2f} s")
            stream.feed(b"")
            stream.feed(bytes(10 * self.rate))
        stream.feed(bytes(320))  # one more frame was on its way

    async def leaving(self, engine: Any) -> None:
        await _left_soon(self.open(engine))
        await _body_error(self.open(engine))
        await self.use(engine)

    async def cancelled(self, engine: Any) -> None:
        for after in (0.0, 0.005, 0.05):
            await _cancelled_soon(self.use(engine), after)
        await self.use(engine)

    async def together(self, engine: Any) -> None:
        await asyncio.gather(*(self.use(engine) for _ in range(3)))

    async def wrong_rate(self, engine: Any) -> None:
        try:
            async with engine.open(rate=12_345, hints=self.hints) as stream:
                await stream.finish()
        except ProviderRejected:
            return
        raise AssertionError("must raise ProviderRejected")

    async def stopping(self, engine: Any) -> None:
        await _stopping(engine, self.open(engine), lambda stream: stream.finish())


class _LanguageModel:
    def __init__(self, requests: Sequence[TurnRequest]) -> None:
        history = [Message("agent", "Hello."), Message("caller", "what time is it")]
        self.requests = [
            *requests,
            TurnRequest("what are your opening hours", history=history, caller={"number": "200", "name": "Ann"}),
            TurnRequest("", understood=False),
            TurnRequest("12#", dialled=True),
            TurnRequest("x" * 5000),
            TurnRequest("hello", memory={"of": ["another", {"version": 1}]}),
        ]

    def checks(self) -> dict[str, Check]:
        return {
            "answering": self.answering,
            "hints and digits": self.hints,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three turns at once": self.together,
        }

    async def use(self, engine: Any) -> None:
        await self.answer(engine, self.requests[0])

    async def answer(self, engine: Any, request: TurnRequest) -> None:
        parts = []
        async with engine.reply(request) as reply:
            async for part in reply:
                self.judge(part)
                parts.append(part)
        actions = [part for part in parts if isinstance(part, Do)]
        _expect(len(actions) <= 1, f"more than one action in a reply: {actions}")
        _expect(any(isinstance(part, (Say, Do)) for part in parts), f"neither words nor an action for {request.text!r}")

    @staticmethod
    def judge(part: object) -> None:
        match part:
            case Say(text=text):
                _expect(text.strip(), "an empty Say")
            case Do(kind=kind, arguments=arguments):
                _expect(kind in ACTIONS, f"there is no action {kind!r}; known: {', '.join(ACTIONS)}")
                _expect(all(isinstance(value, str) for value in arguments.values()), f"arguments are texts: {part!r}")
            case Remember(memory=memory):
                json.dumps(dict(memory))
            case _:
                raise AssertionError(f"a reply is made of Say, Do and Remember, not of {part!r}")

    async def answering(self, engine: Any) -> None:
        for request in self.requests:
            await self.answer(engine, request)

    async def hints(self, engine: Any) -> None:
        for memory in ({}, {"of": ["another", {"version": 1}]}):
            began = time.monotonic()
            for _ in range(10):
                found, digits = engine.hints(memory), engine.digits_wanted(memory)
                complete = engine.complete("hello", memory)
            took = (time.monotonic() - began) / 10
            _expect(isinstance(found, Hints) and found == engine.hints(memory), "hints() must give equal Hints")
            _expect(type(digits) is int and digits >= 0, f"digits_wanted() gave {digits!r}")
            complete = engine.complete("hello", memory)
            _expect(type(complete) is bool, f"complete() gave {complete!r}")
            _expect(type(complete) is bool, f"complete() gave {complete!r}")
            _expect(took < 0.01, f"hints() took {took * 1000:.0f} ms: it is called in every turn")

    async def leaving(self, engine: Any) -> None:
        await _left_soon(engine.reply(self.requests[0]))
        await _body_error(engine.reply(self.requests[0]))
        async with engine.reply(self.requests[0]) as reply:
            async for _ in reply:
                break
        await self.use(engine)

    async def cancelled(self, engine: Any) -> None:
        for after in (0.0, 0.005, 0.05):
            await _cancelled_soon(self.use(engine), after)
        await self.use(engine)

    async def together(self, engine: Any) -> None:
        await asyncio.gather(*(self.answer(engine, request) for request in self.requests[:3]))


class _TextToSpeech:
    def __init__(self, text: str) -> None:
        self.text = text

    def checks(self) -> dict[str, Check]:
        return {
            "sample_rate": self.rate,
            "speaking": self.speaking,
            "nothing to say": self.nothing,
            "odd texts": self.odd,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three texts at once": self.together,
            "a voice that does not exist": self.wrong_voice,
            "stopping with a stream open": self.stopping,
        }

    async def rate(self, engine: Any) -> None:
        rate = engine.sample_rate
        _expect(isinstance(rate, int) and 8000 <= rate <= 192_000, f"sample_rate is {rate!r}")

    async def use(self, engine: Any) -> None:
        await self.speak(engine, self.text)

    async def speak(self, engine: Any, text: str, **options: Any) -> bytes:
        audio = bytearray()
        async with engine.open(text, **options) as pieces:
            async for pcm in pieces:
                _expect(isinstance(pcm, bytes), f"audio must be bytes, not {type(pcm).__name__}")
                _expect(len(pcm) % 2 == 0, "a piece holds half a sample")
                _expect(len(pcm) <= 4 * engine.sample_rate, "a piece of more than two seconds")
                audio += pcm
        return bytes(audio)

    async def speaking(self, engine: Any) -> None:
        pcm = await self.speak(engine, self.text)
        seconds = len(pcm) / 2 / engine.sample_rate
        _expect(seconds > 0.2, f"{seconds:.2f} s of audio for {self.text!r}")
        _expect(seconds < len(self.text) * 1.0 + 5, f"{seconds:.0f} s of audio for {self.text!r}")
        _expect(max(map(abs, array.array("h", pcm))) > 200, "nothing but silence")

    async def nothing(self, engine: Any) -> None:
        for text in ("", "  \n"):
            _expect(not await self.speak(engine, text), f"audio for {text!r}")

    async def odd(self, engine: Any) -> None:
        for text in ("7", "...", "a\x00b\x07", "[[x]] <speak> & 100 %", "Grüße, 世界 🙂", "no end"):
            with contextlib.suppress(ProviderRejected):
                await self.speak(engine, text)

    async def leaving(self, engine: Any) -> None:
        await _left_soon(engine.open(self.text * 20))
        await _body_error(engine.open(self.text))
        async with engine.open(self.text * 20) as pieces:
            async for _ in pieces:
                break
        began = time.monotonic()
        async with engine.open(self.text) as pieces:
            async for _ in pieces:
                break
        took = time.monotonic() - began
        _expect(took < 5.0, f"after a text that was given up the next one's first sound took {took:.1f} s")

    async def cancelled(self, engine: Any) -> None:
        for after in (0.0, 0.005, 0.05):
            await _cancelled_soon(self.use(engine), after)
        await self.use(engine)

    async def together(self, engine: Any) -> None:
        await asyncio.gather(*(self.use(engine) for _ in range(3)))

    async def wrong_voice(self, engine: Any) -> None:
        with contextlib.suppress(ProviderRejected):  # or it has one voice only, and speaks with that
            await self.speak(engine, "Hello.", voice="no such voice")

    async def stopping(self, engine: Any) -> None:
        async def first(pieces: Any) -> None:
            async for _ in pieces:
                pass

        await _stopping(engine, engine.open(self.text * 20), first)


async def _stopping(engine: Any, context: Any, wait: Callable[[Any], Awaitable[object]]) -> None:
    """stop() under an open stream: it ends with ProviderUnavailable, or well; then start() again."""
    try:
        async with context as stream:
            waiting = asyncio.ensure_future(wait(stream))
            await asyncio.sleep(0.01)
            await engine.stop()
            with contextlib.suppress(ProviderUnavailable):
                await asyncio.wait_for(waiting, 2.0)
    except TimeoutError:
        raise AssertionError("stop() leaves who waits for an open stream waiting") from None
    await engine.start()
    _expect(_readiness(engine).ready, "not ready after stop() and start()")


def _plain(text: str) -> str:
    return " ".join("".join(char if char.isalnum() or char == "'" else " " for char in text.lower()).split())
