"""What the three chains have in common: the engines in line, their limits, and telling what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable, QuotaExceeded, RateLimited
from asterisk_ai.providers.api import Engine, Readiness, Usage
from asterisk_ai.providers.api.work import worked
from asterisk_ai.providers.boundary import EngineFault, engine_boundary
from asterisk_ai.providers.chain.circuit import Breaker
from asterisk_ai.providers.chain.meter import Meter, Purse

logger = logging.getLogger(__name__)
E = TypeVar("E", bound=Engine)
Item = TypeVar("Item")

CLOSE_SECONDS = 1.0
"""How long an engine may take to let go of a stream that it failed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that an engine may keep the caller waiting: to open, for the words or the first part, between parts."""

    seconds: float = 4.0


class TroubleKind(StrEnum):
    """How an engine failed."""

    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    """It was asked too often."""
    QUOTA = "quota"
    """What was paid for is used up."""
    TIMEOUT = "timeout"
    ERROR = "error"
    """It raised what it should not."""
    UNREADY = "unready"
    """It was not even tried, as it had said before that it cannot work, or is left alone for its failures."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An engine failed a call. ``next`` is the engine that takes over, empty where there is none."""

    stage: str
    engine: str
    next: str
    kind: TroubleKind
    reason: str
    seconds: float
    """How long the caller has been kept waiting by it."""

    def __str__(self) -> str:
        then = f"{self.next} takes over" if self.next else "no engine is left"
        if self.kind is TroubleKind.UNREADY:
            return f"{self.stage}/{self.engine} was passed over ({self.reason}); {then}"
        return f"{self.stage}/{self.engine} failed after {self.seconds:.2f} s ({self.reason}); {then}"


Listener = Callable[[Trouble], None]

_listener: ContextVar[Listener | None] = ContextVar("asterisk_ai_trouble_listener", default=None)
_purse: ContextVar[Purse | None] = ContextVar("asterisk_ai_purse", default=None)


@contextlib.contextmanager
def listening(listener: Listener, purse: Purse | None = None) -> Iterator[None]:
    """Troubles of what is done inside, and in tasks begun inside, are told to ``listener``; its costs to ``purse``."""
    token, other = _listener.set(listener), _purse.set(purse)
    try:
        yield
    finally:
        _purse.reset(other)
        _listener.reset(token)


@dataclass(slots=True)
class Member(Generic[E]):
    """One engine in the line. The breaker is shared by all chains that use the engine."""

    name: str
    engine: E
    breaker: Breaker = field(default_factory=Breaker)
    state: Callable[[], Readiness] | None = None
    """The engine's readiness where its maker knows more of it than itself."""
    meter: Meter = field(default_factory=Meter)
    """Shared as the breaker is."""

    def usable(self) -> bool:
        """Works, is not being left alone for its failures, and has not cost enough."""
        return self.breaker.allows() and self.ready() and not self.enough()

    def enough(self) -> str:
        """Why it is asked last now, as it has cost enough; empty where it has not."""
        purse = _purse.get()
        return self.meter.problem(purse.cost_of(self.name) if purse is not None else 0.0)

    def ready(self) -> bool:
        """Works as far as it knows itself."""
        return self._state().ready

    def _state(self) -> Readiness:
        return self.state() if self.state else self.engine.readiness()

    def readiness(self) -> Readiness:
        state = self._state()
        problem = self.breaker.problem()
        return Readiness(False, problem) if state.ready and problem else state


_KINDS = (
    (EngineFault, TroubleKind.ERROR),
    (ProviderRejected, TroubleKind.REJECTED),
    (RateLimited, TroubleKind.RATE_LIMITED),
    (QuotaExceeded, TroubleKind.QUOTA),
)


class Attempt(Generic[E]):
    """One engine's try at one piece of work: ``limit`` bounds each wait, ``failure`` tells how it went wrong.

    Anything an engine raises counts as its failure: the engine may be anybody's, and a call must not end because
    of it.
    """

    def __init__(self, member: Member[E], seconds: float) -> None:
        self.member = member
        self.failure: ProviderError | None = None
        self.kind = TroubleKind.UNAVAILABLE
        self.served = False
        """Something of use came; the caller may leave any time from then on."""
        self._seconds = seconds
        self._began = time.monotonic()
        self._limit: asyncio.Timeout | None = None

    @property
    def reason(self) -> str:
        """The failure without the name of whom it befell."""
        return str(self.failure).removeprefix(f"{self.failure.provider}: ") if self.failure else ""

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncIterator[asyncio.Timeout]:
        """Bound what is awaited inside, and keep as ``failure`` what it raises. Never put a ``yield`` inside.

        What it yields puts the bound off.
        """
        name = self.member.name
        try:
            async with asyncio.timeout(self._seconds) as self._limit:
                with engine_boundary(name, (TimeoutError,)):
                    yield self._limit
        except ProviderError as error:
            logger.debug("%s failed", name, exc_info=True)
            self.failed(error)
        except TimeoutError:
            self.failure, self.kind = (
                ProviderUnavailable(name, f"no answer within {self._seconds:g} s"),
                TroubleKind.TIMEOUT,
            )
        finally:
            self._limit = None  # it knows the task, which knows us, too

    def more_time(self, seconds: float) -> None:
        """What is awaited now may take so much longer."""
        due = self._limit.when() if self._limit is not None else None
        if self._limit is not None and due is not None and not self._limit.expired():
            self._limit.reschedule(due + seconds)

    def failed(self, error: ProviderError) -> None:
        """Keep why the engine cannot go on."""
        # Its frames, and those of what it came from, know us: together they would outlive the call.
        error.__cause__ = error.__context__ = None
        self.failure = error.with_traceback(None)
        self.kind = next((kind for of, kind in _KINDS if isinstance(error, of)), TroubleKind.UNAVAILABLE)

    async def close(self, stack: contextlib.AsyncExitStack) -> None:
        """Let go of the engine's stream; what goes wrong with that is logged, the work itself is done or has failed."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                with engine_boundary(self.member.name, (TimeoutError,)):
                    await stack.aclose()
        except (ProviderError, TimeoutError) as error:
            logger.debug("%s: leaving its stream: %r", self.member.name, error)


class Chain(Generic[E]):
    """Engines of one stage in their order."""

    stage = ""

    def __init__(self, members: Sequence[Member[E]], limits: Limits, listener: Listener | None = None) -> None:
        """:param listener: is told of every trouble, for the metrics."""
        self.members = tuple(members)
        self.limits = limits
        self._metrics = listener

    async def start(self) -> None:
        """The engines are started by whoever shares them out."""

    async def stop(self) -> None:
        """As :meth:`start`."""

    def readiness(self) -> Readiness:
        """Ready while one of them is; else the reasons of all."""
        states = [(member.name, member.readiness()) for member in self.members]
        if any(state.ready for _, state in states):
            return Readiness(True)
        return Readiness(False, "; ".join(f"{name}: {state.reason}" for name, state in states))

    def first(self) -> Member[E]:
        """The engine that would serve now."""
        return next((member for member in self.members if member.usable()), self.members[0])

    def attempts(self) -> Iterator[Attempt[E]]:
        """The engines to try; ``failure`` and ``served`` of each tell how it went before the next is asked for.

        Raises ProviderUnavailable where none is usable, and once all have failed one that tells of the last failure,
        named after the engine as it is configured (ProviderRejected where that was one).
        """
        line = [member for member in self.members if member.usable()]
        # An engine that failed for others may serve this caller; where it is the last one, trying costs nothing.
        last_resort = not line
        line = line or [member for member in self.members if member.ready()]
        if not line:
            reason = self.readiness().reason or "all its engines are being tried by other calls"
            names = "+".join(member.name for member in self.members)
            self._report(Trouble(self.stage, names, "", TroubleKind.UNAVAILABLE, reason, 0.0), failed=False)
            raise ProviderUnavailable(self.stage, reason)
        self._pass_over(line[0])
        last: Attempt[E] | None = None
        for number, member in enumerate(line):
            if number and not last_resort and not member.usable():
                continue
            member.breaker.begin()
            attempt = Attempt(member, self.limits.seconds)
            try:
                yield attempt
            finally:
                worked(self.stage, member.name, attempt.elapsed, attempt.kind if attempt.failure else "")
                if attempt.failure is None:
                    member.breaker.succeeded() if attempt.served else member.breaker.left()
            if attempt.failure is not None:
                last = attempt
                later = [item.name for item in line[number + 1 :] if item.usable()]
                self._tell(attempt, later[0] if later else "")
        if last is not None:
            # Not the failure itself: its attempt keeps it, and maybe the engine, whom the frames that it passes know.
            raise (ProviderRejected if last.kind is TroubleKind.REJECTED else ProviderUnavailable)(
                last.member.name, last.reason
            )

    def spend(self, attempt: Attempt[E], usage: Usage) -> None:
        """The engine has done so much: it is told to its meter, and to the call that it was done for."""
        if not usage:
            return
        cost = attempt.member.meter.add(usage)
        if (purse := _purse.get()) is not None:
            purse.spent(self.stage, attempt.member.name, usage, cost)

    def _pass_over(self, first: Member[E]) -> None:
        """Tell the call, and nobody else, which better engines were not tried: they have failed before."""
        listener = _listener.get()
        for member in self.members:
            if member is first or listener is None:
                return
            reason = member.readiness().reason or member.enough() or "another call is trying it"
            listener(Trouble(self.stage, member.name, first.name, TroubleKind.UNREADY, reason, 0.0))

    def _tell(self, attempt: Attempt[E], following: str) -> None:
        name, reason = attempt.member.name, attempt.reason
        counts = attempt.member.breaker.failed(reason, attempt.failure.incident if attempt.failure else None)
        trouble = Trouble(self.stage, name, following, attempt.kind, reason, round(attempt.elapsed, 3))
        self._report(trouble, failed=counts)

    def _report(self, trouble: Trouble, *, failed: bool) -> None:
        """:param failed: an engine has, which counts beside being told to the call."""
        logger.warning("%s", trouble)
        for listener in (self._metrics if failed else None, _listener.get()):
            if listener is not None:
                listener(trouble)


async def next_item(items: AsyncIterator[Item] | None) -> Item | None:
    """The next one, None at the end, or where there is nothing because it could not be opened."""
    return None if items is None else await anext(items, None)
