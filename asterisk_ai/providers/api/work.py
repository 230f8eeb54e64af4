"""What engines and tools have done for a call, told to who wants to know (traces) when each piece of it is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """One piece: an utterance understood, an answer written or spoken, a tool called.

    :param kind: ``stt``, ``llm``, ``tts``, ``turn``, ``realtime`` or ``tool``.
    :param name: the engine's or the tool's, as it is configured.
    :param ended_at: Unix time.
    :param problem: why it failed; empty where it did not.
    """

    kind: str
    name: str
    ended_at: float
    seconds: float
    problem: str = ""


Watcher = Callable[[Work], None]
_watcher: ContextVar[Watcher | None] = ContextVar("asterisk_ai_work_watcher", default=None)


@contextlib.contextmanager
def watching(watcher: Watcher | None) -> Iterator[None]:
    """What is done inside, and in tasks begun inside, is told to ``watcher``."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def worked(kind: str, name: str, seconds: float, problem: str = "") -> None:
    """A piece of work is over. Costs nothing where nobody watches."""
    if (watcher := _watcher.get()) is not None:
        watcher(Work(kind, name, time.time(), seconds, problem))
