"""The language model: what the caller did, and the parts of the answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.dialog.dialplan import ACTIONS, ActionKind, DialplanAction
from asterisk_ai.providers.api.common import Engine, Message
from asterisk_ai.providers.api.stt import Hints
from asterisk_ai.providers.api.usage import Spend, unmetered
from asterisk_ai.providers.ledger import Ledger


async def _at_once() -> None: ...


def _no_limit(seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What the caller did, for the language model to answer.

    :param text: the words, digits as dialled ("1234") where ``dialled``; empty where nothing was understood.
    :param understood: False where the recogniser refused the speech or found no words in it.
    :param history: earlier turns as heard, oldest first.
    :param memory: what the model remembered with :class:`Remember`; empty on the first turn.
    :param caller: ``number``, ``name``, ``channel``, ``dialled`` as the dialplan told them.
    :param actions: what can be done for this call; nothing else may be promised to its caller.
    :param confidence: how sure the recogniser is of the words, 0 to 1.
    :param certain: to be awaited before anything is done that cannot be undone, such as an HTTP request that
        changes something: the answer may be made ahead, while the caller might still go on speaking, and then it
        is given up. Parts that are yielded wait by themselves.
    :param ledger: what must not be done twice in the call, whoever answers.
    :param more_time: to be told how many seconds the next part may take longer, because somebody else's service is
        asked meanwhile: that is not held against the engine.
    :param said: of the answer, what the caller heard from another engine before that one failed: go on behind it.
    :param spent: to be told what the answer took, where the engine knows.
    """

    text: str
    understood: bool = True
    dialled: bool = False
    history: Sequence[Message] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    caller: Mapping[str, str] = field(default_factory=dict)
    actions: Collection[ActionKind] = frozenset(ACTIONS)
    confidence: float = 1.0
    said: Sequence[str] = ()
    certain: Callable[[], Awaitable[object]] = field(default=_at_once, compare=False, repr=False)
    ledger: Ledger = field(default_factory=Ledger, compare=False, repr=False)
    more_time: Callable[[float], None] = field(default=_no_limit, compare=False, repr=False)
    spent: Spend = field(default=unmetered, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Say:
    """Text to be spoken, in order. ``interruptible`` False for legal notices; ``speed`` 1 is the voice's own.

    ``source`` tells for the record where it stands, such as a file and a heading. ``script``: it is the
    administrator's own text, and may name sounds (``sound:NAME``).
    """

    text: str
    interruptible: bool = True
    speed: float = 1.0
    source: str = ""
    script: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """The caller wants a moment ("hold on"): nothing is asked for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AskDigits:
    """The caller is asked to dial so many digits; it holds until the caller's next turn."""

    count: int


@dataclass(frozen=True, slots=True)
class Remember:
    """Replaces the model's memory on the session. JSON values only."""

    memory: Mapping[str, Any]


ReplyPart = Say | Wait | AskDigits | DialplanAction | Remember
"""A :class:`DialplanAction` is carried out after all that is said before it, and is the last part."""


class LanguageModel(Engine, Protocol):
    """Decides what the agent says and does. One instance an agent, shared by its calls."""

    @property
    def uses_tools(self) -> bool:
        """Whether it offers the agent's ``tools`` to its model. Where not, ``asterisk-ai check`` tells who has some."""
        return False

    @abstractmethod
    def reply(self, request: TurnRequest) -> AbstractAsyncContextManager[AsyncIterator[ReplyPart]]:
        """Open the answer to one turn; parts come in the order they are to be carried out."""

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        """What the caller may say next, given the memory: anything. Pure and cheap (called each turn)."""
        return Hints()

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        """How many dialled digits make an answer now; 0 where it is open (ended by # or a pause)."""
        return 0

    def likeliest(self, readings: Sequence[tuple[str, float]], memory: Mapping[str, Any]) -> str:
        """Which of several readings of one utterance was meant, the likeliest by its sound first, each with its log
        likelihood. Pure and cheap: called at each pause."""
        return readings[0][0]

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool | None:
        """Whether ``text`` is a whole answer that need not go on; None where that cannot be told before it is asked.

        Pure and cheap: called at each pause.
        """
        return None


@runtime_checkable
class Collecting(Protocol):
    """A language model that knows more of what is dialled than how many digits it is."""

    def entry(self, memory: Mapping[str, Any]) -> Entry:
        """What is waited for on the keys now. Pure and cheap."""


@runtime_checkable
class Offering(Protocol):
    """A language model that is told of an offer which was made for it, as a question that yes or no answers."""

    def offered(self, memory: Mapping[str, Any], wish: str) -> Mapping[str, Any]:
        """The memory, once the caller has been offered ``wish``, such as an intent's name."""
