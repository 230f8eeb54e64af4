"""What a speech or language engine must offer, and nothing more.

All audio here is signed 16-bit little-endian mono PCM in ``bytes``. Opening a
stream is an async context manager: leaving it, by whatever way, aborts the
work and frees what it held. Every method may raise
:class:`~asterisk_ai.errors.ProviderUnavailable` (worth a retry or a fallback)
or :class:`~asterisk_ai.errors.ProviderRejected` (not worth one).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from asterisk_ai.providers.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether an engine can serve a call now; ``reason`` says in plain words why not."""

    ready: bool
    reason: str = ""


_PUBLIC_RULE = re.compile(r"\bpublic\s*<([\w.]+)>\s*=")


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller may say next, for recognisers that can use it.

    ``grammar`` is a whole JSGF grammar with one public rule, or empty where
    the language model takes free speech. Equal hints have equal grammars, so
    recognisers cache compiled ones by that text.
    """

    grammar: str = ""
    language: str = "en-US"

    def widened(self, phrases: Sequence[str]) -> Hints:
        """The same grammar with some more sentences; hints without a grammar are wide enough."""
        found = _PUBLIC_RULE.search(self.grammar)
        if found is None or not phrases:
            return self
        own = f"{self.grammar[: found.start()]}<{found[1]}> ={self.grammar[found.end() :]}"
        wide = f"public <{found[1]}_or_more> = <{found[1]}> | {' | '.join(phrases)};"
        return Hints(f"{own.rstrip()}\n{wide}\n", self.language)


@dataclass(frozen=True, slots=True)
class Word:
    """One word; ``start`` and ``end`` are seconds from the utterance's beginning."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one utterance.

    ``accepted`` is False where the recogniser takes the speech to be outside
    of the grammar; ``text`` is then its best guess and must not be acted on.
    ``confidence`` is 0 to 1. ``words`` have their times where the recogniser
    tells them; empty where it does not.
    """

    text: str
    accepted: bool = True
    confidence: float = 1.0
    words: tuple[Word, ...] = ()


class SpeechToTextStream(Protocol):
    """One utterance on its way into a recogniser."""

    def feed(self, pcm: bytes) -> None:
        """Hand over audio at the stream's rate. Never blocks, never raises; a full queue drops the oldest."""

    async def finish(self) -> Transcript:
        """No more audio: wait for the words. Called at most once."""


def ignore(words: Transcript) -> None:
    """For callers of :meth:`SpeechToText.open` that want the final words only."""


class SpeechToText(Protocol):
    """A recogniser, shared by all calls."""

    @property
    def sample_rates(self) -> Sequence[int]:
        """Rates in Hz that :meth:`open` takes, best first."""

    def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AbstractAsyncContextManager[SpeechToTextStream]:
        """Open a stream for one utterance.

        ``partial`` is called on the loop whenever the recogniser has a stable view of what was said so far, at
        the latest in each pause of the caller; an engine that has none until the end never calls it.
        """

    async def start(self) -> None:
        """Load models, start workers; returns when ready."""

    async def stop(self) -> None:
        """Free everything; open streams fail with ProviderUnavailable."""

    def readiness(self) -> Readiness: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation as it was heard: role is ``caller`` or ``agent``."""

    role: str
    text: str


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
    :param certain: to be awaited before anything is done that cannot be undone, such as an HTTP request that
        changes something: the answer may be made ahead, while the caller might still go on speaking, and then it
        is given up. Parts that are yielded wait by themselves.
    :param ledger: what must not be done twice in the call, whoever answers.
    :param more_time: to be told how many seconds the next part may take longer, because somebody else's service is
        asked meanwhile: that is not held against the engine.
    """

    text: str
    understood: bool = True
    dialled: bool = False
    history: Sequence[Message] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    caller: Mapping[str, str] = field(default_factory=dict)
    certain: Callable[[], Awaitable[object]] = field(default=_at_once, compare=False, repr=False)
    ledger: Ledger = field(default_factory=Ledger, compare=False, repr=False)
    more_time: Callable[[float], None] = field(default=_no_limit, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Say:
    """Text to be spoken, in order. ``interruptible`` False for legal notices."""

    text: str
    interruptible: bool = True


@dataclass(frozen=True, slots=True)
class Do:
    """An action for the dialplan, carried out after all that is said before it.

    ``kind`` is hangup, transfer, queue, voicemail, play or fallback; ``arguments``
    holds ``context``/``exten``/``priority``, ``queue``, ``mailbox`` or ``file``.
    """

    kind: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remember:
    """Replaces the model's memory on the session. JSON values only."""

    memory: Mapping[str, Any]


ReplyPart = Say | Do | Remember


class LanguageModel(Protocol):
    """Decides what the agent says and does. One instance an agent, shared by its calls."""

    @property
    def uses_tools(self) -> bool:
        """Whether it offers the agent's ``tools`` to its model. Where not, ``asterisk-ai check`` tells who has some."""

    def reply(self, request: TurnRequest) -> AbstractAsyncContextManager[AsyncIterator[ReplyPart]]:
        """Open the answer to one turn; parts come in the order they are to be carried out."""

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        """What the caller may say next, given the memory. Pure and cheap (called each turn)."""

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        """How many dialled digits make an answer now; 0 where it is open (ended by # or a pause)."""

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        """Whether ``text`` is a whole answer that need not go on. Pure and cheap: called at each pause."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness: ...


class MarkedPcm(bytes):
    """Audio that ends where a word of the text does: ``words`` of them, parted by white space, are spoken with it.

    For synthesisers that know the times of their words; others yield plain ``bytes``. What a caller who
    interrupts has heard is then told by these times, not by the words' length.
    """

    words: int

    def __new__(cls, pcm: bytes, words: int) -> MarkedPcm:
        piece = super().__new__(cls, pcm)
        piece.words = words
        return piece


class TurnEnd(Protocol):
    """Tells by the sound of a turn whether it is over, shared by all calls."""

    async def likelihood(self, pcm: bytes, rate: int) -> float:
        """Probability, 0 to 1, that a caller who pauses after ``pcm`` has finished; its last 8 s count."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness: ...


class TextToSpeech(Protocol):
    """A synthesiser, shared by all calls."""

    @property
    def sample_rate(self) -> int:
        """The rate in Hz of what :meth:`open` yields; the caller resamples."""

    def open(
        self, text: str, *, voice: str = "", speed: float = 1.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Speak ``text``: PCM in pieces as they are made, :class:`MarkedPcm` where words end if their times are known.

        Empty text yields nothing.
        """

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness: ...


# ---- speech to speech -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RealtimeRequest:
    """What a conversation by speech to speech begins with.

    :param rate: of the audio both ways, in Hz; one of the engine's ``sample_rates``.
    :param greeting: to be said first, word for word; empty where the caller is to speak first.
    :param history: what was said before as it was heard, oldest first: another server or engine had the call.
    :param memory: what was remembered with :class:`Remember`.
    :param caller: as in :class:`TurnRequest`; ``ledger`` as well.
    """

    rate: int
    greeting: str = ""
    history: Sequence[Message] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    caller: Mapping[str, str] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger, compare=False, repr=False)


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
    part: Do | Remember


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

    def events(self) -> AsyncIterator[RealtimeEvent]:
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


class RealtimeAgent(Protocol):
    """Speech to speech: hears, decides and speaks. One instance an agent, shared by its calls.

    Made as ``Class(settings, agent)``, as a :class:`LanguageModel` is: ``prompt``, ``language``, ``voice`` and
    ``tools`` are the agent's.
    """

    @property
    def sample_rates(self) -> Sequence[int]:
        """Rates in Hz that :meth:`open` takes, best first; the same both ways."""

    def open(self, request: RealtimeRequest) -> AbstractAsyncContextManager[RealtimeSession]:
        """Connect and set the session up; entered when the service has agreed to it.

        Raises ProviderRejected for a rate that is not offered, a key that is refused (401, 403) or a session that is;
        ProviderUnavailable for 429, 5xx, no network.
        """

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness: ...
