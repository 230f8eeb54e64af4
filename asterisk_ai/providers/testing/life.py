"""What holds for every kind of engine: its life from making to end, and its ways to be left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from asterisk_ai.errors import AsteriskAIError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Readiness

LAG_SECONDS = 0.1
"""How long an engine may hold up the event loop: other calls' audio waits meanwhile."""
ABORT_SECONDS = 1.0
"""How soon leaving a stream must be done: the caller interrupts, and something else is to be said."""
PATIENCE_SECONDS = 30.0
"""No answer may take longer than this in the test."""
_ATTEMPTS = 3  # on a machine with other work a pause of the loop can be the machine's


class NotConforming(AssertionError):
    """The engine breaks promises of :mod:`asterisk_ai.providers.api`; ``problems`` names each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


Check = Callable[[Any], Awaitable[None]]
Make = Callable[[], Any]


class Trial(ABC):
    """What is tried with engines of every kind; each kind adds its own."""

    def __init__(self, rate: int = 0) -> None:
        """:param rate: of the audio that it is tried with, where it takes some."""
        self.rate = rate

    @abstractmethod
    def checks(self) -> dict[str, Check]:
        """Its checks by what they try."""

    @abstractmethod
    async def use(self, engine: Any) -> None:
        """Have the engine do its work once, and judge that."""

    async def cancelled(self, engine: Any) -> None:
        for after in (0.0, 0.005, 0.05):
            await cancelled_soon(self.use(engine), after)
        await self.use(engine)

    async def together(self, engine: Any) -> None:
        await asyncio.gather(*(self.use(engine) for _ in range(3)))

    async def rates(self, engine: Any) -> None:
        rates = list(engine.sample_rates)
        expect(rates and all(isinstance(rate, int) and rate > 0 for rate in rates), f"sample_rates are {rates}")
        expect(self.rate in rates, f"the test's rate of {self.rate} Hz is not among sample_rates, {rates}")

    async def feed_much(self, stream: Any) -> None:
        """However much: feed() neither waits nor raises."""
        began = time.monotonic()
        for _ in range(100):
            stream.feed(bytes(self.rate // 50 * 2))
        took = time.monotonic() - began
        expect(took < LAG_SECONDS, f"feeding 100 frames took {took:.2f} s")
        stream.feed(b"")


def run(make: Make, trial: Trial, broken: Make | None) -> None:
    problems: list[str] = []
    asyncio.run(_life(make, trial.checks(), trial.use, problems))
    if broken is not None:
        asyncio.run(_broken(broken, trial.use, problems))
    if problems:
        raise NotConforming(problems)


async def _life(make: Make, checks: Mapping[str, Check], use: Check, problems: list[str]) -> None:
    """One engine from its making to its end, and the checks between."""
    began = time.monotonic()
    engine = make()
    if time.monotonic() - began > 1.0:
        problems.append("the constructor: takes more than a second; load in start()")
    with _reporting("readiness before start", problems) as told:
        _readiness(engine)
    if not told:
        return
    tasks = asyncio.all_tasks()
    with _reporting("start", problems) as started:
        await asyncio.wait_for(engine.start(), PATIENCE_SECONDS)
        expect(_readiness(engine).ready, f"not ready after start: {engine.readiness().reason}")
    if not started:
        return
    for name, check in checks.items():
        with _reporting(name, problems):
            await without_blocking(lambda check=check: check(engine))  # type: ignore[misc]
    with _reporting("stop", problems):
        await asyncio.wait_for(engine.stop(), PATIENCE_SECONDS)
        await asyncio.wait_for(engine.stop(), PATIENCE_SECONDS)  # a second time is harmless
        with contextlib.suppress(ProviderUnavailable):  # an engine that holds nothing may go on
            await asyncio.wait_for(use(engine), PATIENCE_SECONDS)
        left = asyncio.all_tasks() - tasks
        expect(not left, f"tasks are left behind: {sorted(task.get_name() for task in left)}")


async def _broken(make: Make, use: Check, problems: list[str]) -> None:
    """An engine that cannot work says so by start() or in use, in the two errors, and by readiness."""
    engine = make()
    told = False
    with _reporting("a broken engine", problems):
        try:
            await asyncio.wait_for(engine.start(), PATIENCE_SECONDS)
        except AsteriskAIError:
            told = True
            state = _readiness(engine)
            expect(not state.ready and bool(state.reason), "start() failed, but readiness() does not say why")
        try:
            await asyncio.wait_for(use(engine), PATIENCE_SECONDS)
        except ProviderError:
            told = True
        expect(told, "neither start() nor its use raised ProviderUnavailable or ProviderRejected")
        await asyncio.wait_for(engine.stop(), PATIENCE_SECONDS)


@contextlib.contextmanager
def _reporting(name: str, problems: list[str]) -> Iterator[list[None]]:
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


def expect(holds: object, problem: str) -> None:
    if not holds:
        raise AssertionError(problem)


def _readiness(engine: Any) -> Readiness:
    state = engine.readiness()
    expect(isinstance(state, Readiness), "readiness() must give a Readiness")
    expect(state.ready or state.reason, "readiness() must give a reason where it is not ready")
    return state  # type: ignore[no-any-return]


async def without_blocking(work: Callable[[], Awaitable[None]]) -> None:
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
        await asyncio.wait([watching])
    return worst


async def cancelled_soon(work: Awaitable[Any], after: float = 0.02) -> None:
    """Cancel ``work`` in the middle: it must end soon, by being cancelled (or by having been done already)."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(after)
    task.cancel()
    began = time.monotonic()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    took = time.monotonic() - began
    expect(took < ABORT_SECONDS, f"being cancelled took {took:.1f} s")


async def body_error(context: contextlib.AbstractAsyncContextManager[Any]) -> None:
    """What is raised inside of a stream's context comes out of it as it is."""
    try:
        async with context:
            raise LookupError("ours")
    except LookupError:
        return
    raise AssertionError("an exception inside of the context must come out of it")


async def refused(context: contextlib.AbstractAsyncContextManager[Any], use: Check | None = None) -> None:
    """Opening the stream, or what is done with it, raises ProviderRejected."""
    try:
        async with context as stream:
            if use is not None:
                await use(stream)
    except ProviderRejected:
        return
    raise AssertionError("must raise ProviderRejected")


async def left_soon(context: contextlib.AbstractAsyncContextManager[Any]) -> None:
    async with context:
        began = time.monotonic()
    took = time.monotonic() - began
    expect(took < ABORT_SECONDS, f"leaving the stream took {took:.1f} s")


async def stopping_under(engine: Any, context: Any, wait: Callable[[Any], Awaitable[object]]) -> None:
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
    expect(_readiness(engine).ready, "not ready after stop() and start()")
