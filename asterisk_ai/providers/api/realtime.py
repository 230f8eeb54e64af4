"""Speech to speech: a service that hears, decides and speaks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from asterisk_ai.dialog.dialplan import ACTIONS, ActionKind, DialplanAction
from asterisk_ai.providers.api.common import Engine, Message
from asterisk_ai.providers.api.llm import AskDigits, Remember
from asterisk_ai.providers.api.usage import Spend, unmetered
from asterisk_ai.providers.ledger import Ledger


@dataclass(frozen=True, slots=True)
class RealtimeRequest:
    """What a conversation by speech to speech begins with.

    :param rate: of the audio both ways, in Hz; one of the engine's ``sample_rates``.
    :param greeting: to be said first, word for word; empty where the caller is to speak first.
    :param history: what was said before as it was heard, oldest first: another server or engine had the call.
    :param memory: what was remembered with :class:`Remember`.
    :param caller: as in :class:`TurnRequest`; ``actions``, ``ledger`` and ``spent`` as well.
    """

    rate: int
    greeting: str = ""
    history: Sequence[Message] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    caller: Mapping[str, str] = field(default_factory=dict)
    actions: Collection[ActionKind] = frozenset(ACTIONS)
    ledger: Ledger = field(default_factory=Ledger, compare=False, repr=False)
    spent: Spend = field(default=unmetered, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AgentAudio:
    """Speech of the agent, whole samples at the session's rate, as fast as it is made.

    ``item`` names the message that it belongs to; one response may have several, one after the other.
    """

    item: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class AgentText:
    """The next words of what the agent says in ``item``, blanks and all: they are joined as they come."""

    item: str
    text: str


@dataclass(frozen=True, slots=True)
class CallerText:
    """The caller's words, whole. They may come long after the answer has begun, or not at all.

    ``item`` is that of the :class:`SpeechStarted` they belong to, empty for the oldest that has no words yet.
    """

    text: str
    item: str = ""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The service hears the caller speak. Where the agent speaks too, this is a barge-in."""

    item: str = ""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The service takes the caller to be done; an answer is on its way."""

    item: str = ""


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    """The service has begun to make an answer."""


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """All of the answer has come; it may have many seconds to be played yet.

    ``problem`` says why there is less of it than there should be, empty where all is well. An answer that the
    caller interrupted is well.
    """

    problem: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants something done: checked against its schema and allowed for the agent, and told once.

    The call answers with :meth:`RealtimeSession.tool_done`, unless the action ends the session.
    """

    call: str
    part: DialplanAction | AskDigits | Remember


@dataclass(frozen=True, slots=True)
class ServiceProblem:
    """The service reports an error, and the session goes on. For the call's record."""

    text: str


RealtimeEvent = (
    AgentAudio
    | AgentText
    | CallerText
    | SpeechStarted
    | SpeechStopped
    | ResponseStarted
    | ResponseDone
    | ToolCall
    | ServiceProblem
)


class RealtimeSession(Protocol):
    """One caller's conversation with the service.

    All methods but :meth:`events` return at once and never raise: what they ask for is sent in their order, and what
    goes wrong comes out of :meth:`events`. The service decides by itself when the caller is done, and answers.
    """

    def events(self) -> AsyncGenerator[RealtimeEvent, None]:
        """What happens, until the session is left. Called once; ends only by raising.

        Raises ProviderUnavailable or ProviderRejected where the session is over: closed, broken, or not alive any
        more. An engine finds out by itself within some 4 s that its service has gone silent, whether or not
        something is awaited of it.
        """

    def feed(self, pcm: bytes) -> None:
        """The caller's audio, normally 20 ms of it, all the time (silence too). A full queue drops the oldest."""

    def interrupt(self, item: str, played_ms: int) -> None:
        """The caller has interrupted: of ``item`` so many ms were heard, of later items nothing.

        The service stops making the answer, and what was not heard leaves its history. ``item`` is empty where no
        audio had come. :class:`AgentAudio` of the items concerned that comes all the same is to be ignored by the
        engine, not by the caller of this. A :class:`ResponseDone` follows where none had come.
        """

    def say(self, text: str) -> None:
        """Have the agent say ``text``, word for word as far as the service can. A response follows."""

    def tell(self, text: str) -> None:
        """The caller did something else than speak, e.g. "(dialled on the keys: 42)". The agent answers it."""

    def tool_done(self, call: str, result: str, *, answer: bool) -> None:
        """What came of a :class:`ToolCall`, in words for the model; with ``answer`` it goes on speaking."""


class RealtimeAgent(Engine, Protocol):
    """Speech to speech: hears, decides and speaks. One instance an agent, shared by its calls.

    Made as ``Class(settings, agent)``, as a :class:`LanguageModel` is: ``prompt``, ``language``, ``voice`` and
    ``tools`` are the agent's.
    """

    @property
    @abstractmethod
    def sample_rates(self) -> Sequence[int]:
        """Rates in Hz that :meth:`open` takes, best first; the same both ways."""

    @abstractmethod
    def open(self, request: RealtimeRequest) -> AbstractAsyncContextManager[RealtimeSession]:
        """Connect and set the session up; entered when the service has agreed to it.

        Raises ProviderRejected for a rate that is not offered, a key that is refused (401, 403) or a session that is;
        ProviderUnavailable for 429, 5xx, no network.
        """
