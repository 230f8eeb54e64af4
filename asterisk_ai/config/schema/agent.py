"""One agent: what it says first and last, how it takes turns, what it can answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from asterisk_ai.config.schema.lookup import LookupConfig
from asterisk_ai.config.schema.transfer import TransferConfig
from asterisk_ai.config.schema.types import Names, Pattern, Range
from asterisk_ai.dialog.caller import refers, spoken
from asterisk_ai.dialog.params import TurnParams, in_language
from asterisk_ai.dialog.transfer import regret

DIAGNOSTIC_AGENTS = ("echo", "milliwatt")
"""Agents that are there without being configured, see :mod:`asterisk_ai.call.diagnostic`."""
ChannelVariable = Annotated[str, Pattern(r"[A-Za-z_]\w*(\([\w,:.-]*\))?")]
DOWNSTREAM_MODES = ("stream", "file", "auto")


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent: what it says first and last, how it takes turns, what it can answer."""

    name: str = field(default="", metadata={"key": False})
    pipeline: str = ""
    """The pipeline that serves it; empty for the one of all agents."""
    language: str = "en-US"
    """The language that it speaks and understands, as in ``en-US``."""
    greeting: str = ""
    """What it says first, with ``{caller.name}``, ``{caller.number}`` and ``{caller.dialled}`` filled in, as in
    all that it says itself; empty: it waits for the caller. ``sound:NAME`` in it, and in the others, plays a sound
    file of Asterisk's."""
    greeting_interruptible: bool = True
    """False for what callers have to hear."""
    closing: str = ""
    """What it says before it hangs up."""
    machine_message: str = ""
    """What it says to an answering machine, where we called and ``--machine message`` was given."""
    lookup: LookupConfig | None = None
    record: bool = False
    """True records its calls, see ``recordings``."""
    record_announcement: str = ""
    """Said before the greeting where calls are recorded, as in "This call is recorded. Press 9 if you mind."."""
    record_decline: str = ""
    """A key by which a caller declines: what was recorded is removed, and nothing more of the call is."""
    summary_by: str = ""
    """A language model, by a name as in a pipeline's ``llm``, that sums a call up when it has ended, for those who are
    told of it; empty: it is told from the record, by intents and slots."""
    voice: str = ""
    """The engine's voice; empty for the engine's own choice."""
    downstream_mode: Literal["stream", "file", "auto"] = "stream"
    """How replies reach the caller. ``stream``: as they are made. ``file``: each is made whole and played by Asterisk,
    and can be cut off by a key but not by speech. ``auto``: as stream, and as file for the rest of a call whose stream
    fails."""
    ambience: str = ""
    """A sound that is heard softly behind all that it says and does not say, over and over; empty: none."""
    ambience_dbov: Annotated[float, Range(-70, -20)] = -45.0
    """How loud that is; speech is at about -20."""
    turn: TurnParams = field(default_factory=TurnParams)
    """Who speaks when."""
    variables: Mapping[str, ChannelVariable] = field(default_factory=dict)
    """What the dialplan tells it of a call: a name, and the channel variable or function that is asked for it, such as
    ``customer: CUSTOMER_ID`` or ``ticket: "PJSIP_HEADER(read,X-Ticket)"``. ``{known.customer}`` in texts; language
    models are told it as data."""
    transfers: Mapping[str, TransferConfig] = field(default_factory=dict)
    """Whom it can have rung, by the names that rules (``do: {connect: NAME}``) and tools (``connect``) use."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What the ``rules`` language model understands and does."""
    knowledge: Names = field(default_factory=Names)
    """Files (.txt, .md, .csv) and folders from which questions are answered."""
    prompt: str = ""
    """What other language models are told they are. A caller's number is filled in; a name is told to them as data."""
    tools: Mapping[str, Any] = field(default_factory=dict)
    """What other language models may do."""

    def __post_init__(self) -> None:
        """What it says of itself is in its language, where the configuration has no words of its own."""
        object.__setattr__(self, "turn", in_language(self.turn, self.language))

    def said(self) -> Iterator[tuple[str, str]]:
        """What it says itself: each text, after the key that it stands under."""
        yield "greeting", self.greeting
        yield "record_announcement", self.record_announcement
        yield "closing", self.closing
        yield "machine_message", self.machine_message
        for item in dataclasses.fields(self.turn):
            value = getattr(self.turn, item.name)
            for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                yield f"turn.{item.name}", text

    @property
    def known(self) -> tuple[str, ...]:
        """The names of what may be known about its callers beside what the telephone network tells."""
        return (*self.variables, *(self.lookup.variables if self.lookup else ()))

    @property
    def first_words(self) -> str:
        """Its greeting, after the word about recording."""
        return " ".join(text for text in (self.record_announcement * self.record, self.greeting) if text)

    def back_from(self, came_back: Mapping[str, str]) -> str:
        """What a caller is told who is back from one of the ``transfers``, and offered instead; empty for others."""
        target = self.transfers.get(came_back.get("to", ""))
        if target is None:
            return ""
        return f"{regret(came_back.get('why', ''), target.label, self.language)} {target.offer}".strip()

    def for_caller(self, caller: Mapping[str, str]) -> AgentConfig:
        """With what is known about the caller filled in where it is to be said; engines fill the prompt in."""
        if not any(refers(text) for _, text in self.said()):
            return self
        turn: dict[str, Any] = {}
        for item in dataclasses.fields(self.turn):
            value = getattr(self.turn, item.name)
            if isinstance(value, str):
                turn[item.name] = spoken(value, caller)
            elif isinstance(value, tuple):
                turn[item.name] = tuple(spoken(text, caller) for text in value)
        return dataclasses.replace(
            self,
            greeting=spoken(self.greeting, caller),
            record_announcement=spoken(self.record_announcement, caller),
            closing=spoken(self.closing, caller),
            machine_message=spoken(self.machine_message, caller),
            turn=dataclasses.replace(self.turn, **turn),
        )

    def as_mapping(self) -> dict[str, Any]:
        """Its fields by name, as the constructor of a language model takes them."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
