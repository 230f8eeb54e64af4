"""A call's state as it is stored: small, serialisable, and forgiving about other versions."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeVar

from asterisk_ai.dialog.dialplan import ACTIONS, FALL_BACK, ActionKind, DialplanAction
from asterisk_ai.dialog.secret import without_secrets
from asterisk_ai.errors import StoreError

logger = logging.getLogger(__name__)

_NOT_STORED = frozenset(("extra", "history"))  # as they are, that is


class Outcome(StrEnum):
    """How a call has ended."""

    NONE = ""
    """It has not."""
    HANGUP = "hangup"
    """The caller hung up."""
    AGENT_HANGUP = "agent_hangup"
    TRANSFER = "transfer"
    QUEUE = "queue"
    VOICEMAIL = "voicemail"
    FALLBACK = "fallback"
    LOST = "lost"
    """Nobody came back for it."""
    REFUSED = "refused"
    OTHER = "other"
    """A word of another version."""


END_BY: Mapping[ActionKind, Outcome] = {
    ActionKind.HANGUP: Outcome.AGENT_HANGUP,
    ActionKind.TRANSFER: Outcome.TRANSFER,
    ActionKind.QUEUE: Outcome.QUEUE,
    ActionKind.VOICEMAIL: Outcome.VOICEMAIL,
    ActionKind.FALLBACK: Outcome.FALLBACK,
}
"""What the dialplan does that ends a call. After all else it comes back."""


class Away(StrEnum):
    """Where a call is while it has no audio."""

    NONE = ""
    TALK = "talk"
    """The dialplan was told to bring its audio."""
    PLAY = "play"
    """The dialplan plays a file to the caller."""
    PLAYED = "played"
    """It has, and was told to bring the audio again."""
    CONNECT = "connect"
    """The dialplan rings somebody for the caller, who comes back where nobody takes the call."""
    RESTART = "restart"
    """Its server was lost."""


STEPS = {
    "endpoint": "end of turn",
    "words": "words known",
    "first_token": "first word",
    "first_audio": "first sound made",
    "first_frame": "first sound sent",
}
"""What an answer's time is made of, in this order; each is counted from the caller's last sound."""


class Recorded(StrEnum):
    """Whether there is a recording of a call."""

    NO = ""
    YES = "yes"
    DECLINED = "declined"


@dataclass(slots=True)
class TurnRecord:
    """One turn as it was heard.

    ``at`` is Unix time of its beginning. ``interrupted``: the caller cut it
    off, ``text`` is what was heard of it. ``timings`` (agent turns) are seconds
    from the caller's last sound to ``endpoint``, ``words``, ``first_audio``, ``first_frame``.
    ``source``: where what the agent said stands, if it is from the company's texts.
    """

    role: str
    text: str
    at: float
    interrupted: bool = False
    understood: bool = True
    dialled: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    source: str = ""


@dataclass(slots=True)
class CallSession:
    """One call. Written at turn boundaries, never per frame. All times are Unix times."""

    call_id: str
    agent: str
    rate: int = 8000
    caller: dict[str, str] = field(default_factory=dict)
    """``number``, ``name``, ``channel``, ``uniqueid``, ``dialled``, ``context`` as the dialplan told them."""
    epoch: int = 0
    """How often it went from one server to another that was not told: who has the highest has the call."""
    worker: int = 0
    """Which of the server's worker processes has it."""
    registered: bool = True
    """Announced by the dialplan (``call/start``); False for a bare AudioSocket connection."""
    started_at: float = field(default_factory=time.time)
    connected_at: float = 0.0
    """When audio last began; 0 before the first time."""
    detached_at: float = 0.0
    """When audio last ended; 0 while it flows or has never flowed."""
    seconds: float = 0.0
    """How long the call had lasted when it was last written, by a clock that nobody sets."""
    ended_at: float = 0.0
    outcome: Outcome = Outcome.NONE
    connects: int = 0
    """How often audio was connected: more than 1 where a server was lost or the dialplan took the call in between."""
    history: list[TurnRecord] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    """The language model's own."""
    done: dict[str, str] = field(default_factory=dict)
    """Requests of the language model's tools that must not be sent twice, and what came of them."""
    pending: DialplanAction | None = None
    """What waits for the dialplan to ask for it."""
    tried: int = 0
    """How many destinations of the transfer that is pending have been rung."""
    came_back: dict[str, str] = field(default_factory=dict)
    """From a transfer that did not succeed: ``to`` and ``why`` (a word of ``dialog.transfer``), until it is told."""
    away: Away = Away.NONE
    cut: bool = False
    """Somebody would be, or has been, cut off by the loss of its audio or of its server: only silence is not cut."""
    unheard: str = ""
    """What the agent says, or was saying when its audio ended: from the first piece on that has not been heard."""
    then: DialplanAction | None = None
    """What is to follow when that is said."""
    digits_wanted: int = 0
    """How many dialled digits the agent has asked for; 0 where their number is open."""
    downstream: str = ""
    """How replies reach the caller: ``stream``, ``file`` or ``auto``; empty: as the agent's configuration says."""
    recorded: Recorded = Recorded.NO
    handed_over: bool = False
    """Another agent has the call, and has not spoken yet."""
    gating: list[str] = field(default_factory=list)
    """Tokens that keep the caller's audio from being captured."""
    troubles: list[dict[str, Any]] = field(default_factory=list)
    """For people: engines that failed this call, ``at``, ``text`` and the fields of a fallback chain's Trouble."""
    usage: dict[str, dict[str, float]] = field(default_factory=dict)
    """What engines took, by ``stage/engine``: ``input_tokens``, ``characters``, ``seconds`` ...; and ``cost``."""
    summary: str = ""
    """What the call was about, by a language model; empty where none was asked, or while it is being asked."""
    service_failed: bool = False
    """A service of speech to speech had the call, and failed."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer version, kept for it."""

    @property
    def ended(self) -> bool:
        return self.ended_at > 0

    @property
    def actions(self) -> frozenset[ActionKind]:
        """Kinds of what the dialplan can be told to do with it: one that announced nothing asks for nothing."""
        return frozenset(ACTIONS) if self.registered else frozenset((ActionKind.HANGUP,))

    @property
    def resumed(self) -> bool:
        """Whether the caller has been talked with before: by a lost server, or by another kind of conversation."""
        return not self.handed_over and (self.connects > 1 or any(record.role == "agent" for record in self.history))

    def heard_all(self) -> None:
        """What the agent was saying is over: nothing of it is left to be said."""
        self.unheard, self.then = "", None

    @property
    def was_played_to(self) -> bool:
        """Whether the caller comes from a sound file that the dialplan has played: nothing was cut off."""
        return self.away in (Away.PLAY, Away.PLAYED)

    @property
    def lasted(self) -> float:
        """Seconds from the registration to the end, or to the last time it was written."""
        return self.seconds or max(0.0, self.ended_at - self.started_at)  # records of earlier versions have no seconds

    def to_json(self) -> str:
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_STORED}
        for name in _ACTIONS:
            # What is secret is not kept: where the server is lost meanwhile, it is asked for again.
            record[name] = record[name].as_record() if record[name] and not record[name].secret else None
        record["history"] = [{f.name: getattr(turn, f.name) for f in fields(turn)} for turn in self.history]
        try:
            return _dump({**self.extra, **record, "memory": without_secrets(self.memory)})
        except (TypeError, ValueError, RecursionError) as error:
            # An engine of somebody else's may remember anything; the rest of the record must not be lost for it.
            logger.error("what the language model remembers cannot be stored: %s", error)
            return _dump({**record, "memory": {}})

    @classmethod
    def from_json(cls, text: str) -> CallSession:
        """Read what :meth:`to_json` wrote, of this version or another. Raises StoreError."""
        try:
            record = json.loads(text)
            known = {f.name for f in fields(cls)} - _NOT_STORED | {"history"}
            extra = {name: record.pop(name) for name in list(record) if name not in known}
            if extra:
                logger.info("call record has unknown fields, kept: %s", ", ".join(sorted(extra)))
            for name, kind in _KINDS.items():
                if not isinstance(record.get(name, kind()), kind):
                    raise TypeError(f"{name} is no {kind.__name__}")
            turn_fields = {f.name for f in fields(TurnRecord)}
            record["history"] = [
                TurnRecord(**{name: value for name, value in turn.items() if name in turn_fields})
                for turn in record.get("history", ())
            ]
            for name in _ACTIONS:
                record[name] = _action(record.get(name))
            record["away"] = _word(Away, record.get("away", ""), Away.NONE)
            record["outcome"] = _word(Outcome, record.get("outcome", ""), Outcome.OTHER)
            record["recorded"] = _word(Recorded, record.get("recorded", ""), Recorded.NO)
            _upgrade(record)
            for name in _TIMES:
                record[name] = float(record.get(name, 0.0))
            return cls(**record, extra=extra)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StoreError(f"a call record cannot be read: {error}") from error


_ACTIONS = ("pending", "then")
_TIMES = ("started_at", "connected_at", "detached_at", "seconds", "ended_at")
_KINDS: dict[str, type[Any]] = {
    "call_id": str,
    "agent": str,
    "outcome": str,
    "away": str,
    "downstream": str,
    "unheard": str,
    "recorded": str,
    "summary": str,
    "rate": int,
    "digits_wanted": int,
    "troubles": list,
    "usage": dict,
    "connects": int,
    "epoch": int,
    "tried": int,
    "came_back": dict,
    "caller": dict,
    "memory": dict,
    "done": dict,
    "history": list,
    "gating": list,
}


def _action(record: Mapping[str, Any] | None) -> DialplanAction | None:
    """Where another version wanted something done that this one does not know, people have to help."""
    if record is None:
        return None
    try:
        return DialplanAction.from_record(record)
    except ValueError as error:
        logger.error("what the dialplan is to do cannot be read: %s", error)
        return FALL_BACK


W = TypeVar("W", bound=StrEnum)


def _word(kind: type[W], word: str, unknown: W) -> W:
    if word not in tuple(kind):
        logger.error("a call record has %r as its %s", word, kind.__name__.lower())
        return unknown
    return kind(word)


def _upgrade(record: dict[str, Any]) -> None:
    """Records of servers that kept this in the model's memory, and in what is for people."""
    if "digits_wanted" not in record:
        digits = record.get("memory", {}).get("digits")
        record["digits_wanted"] = digits if type(digits) is int else 0
    if "service_failed" not in record:
        kinds = [item.get("kind") for item in record.get("troubles", ()) if item.get("stage") == "realtime"]
        record["service_failed"] = any(kind != "unready" for kind in kinds)


def _dump(record: dict[str, Any]) -> str:
    # ASCII: what an engine wrote may hold half a surrogate pair, which no database takes.
    return json.dumps(record, default=str, separators=(",", ":"))


def new_call_id() -> str:
    """A call's UUID, as AudioSocket carries it."""
    return str(uuid.uuid4())
