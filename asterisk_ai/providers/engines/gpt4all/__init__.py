"""A language model on this machine with gpt4all, in a worker process that loads the model once for all calls."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.dialog.caller import instructions
from asterisk_ai.dialog.spoken import ReplyText
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Hints, LanguageModel, ReplyPart, Say, TurnRequest
from asterisk_ai.providers.workers import PooledEngine, WorkerPool, producing

NAME = "gpt4all"
ENGINE = "asterisk_ai.providers.engines.gpt4all.engine:Gpt4AllEngine"
SECONDS = 60.0
MAX_HISTORY = 20
MAX_REQUESTS = 8
"""Answers that are made or wait, one after the other: a caller who is the ninth would wait for half a minute."""
MAX_TURN = 1000
"""Characters of one turn that the model is shown: two minutes of speech."""
CHATML = {
    "system": "<|im_start|>system\n{}<|im_end|>\n",
    "user": "<|im_start|>user\n{}<|im_end|>\n",
    "assistant": "<|im_start|>assistant\n{}<|im_end|>\n",
    "answer": "<|im_start|>assistant\n",
}
FAMILIES: Mapping[str, Mapping[str, str]] = {
    "phi-3": {
        "system": "<|system|>\n{}<|end|>\n",
        "user": "<|user|>\n{}<|end|>\n",
        "assistant": "<|assistant|>\n{}<|end|>\n",
        "answer": "<|assistant|>\n",
    },
    "llama-3": {
        "system": "<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
        "user": "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "assistant": "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
        "answer": "<|start_header_id|>assistant<|end_header_id|>\n\n",
    },
}
"""Templates by a part of the file's name. Source: the models' cards (microsoft/Phi-3-mini-4k-instruct, meta-llama)."""
_RULES = "You are on the telephone. Answer in one or two short sentences, without lists or markup."


@dataclass(frozen=True, slots=True)
class Template:
    """How the model is shown a conversation; what is left out is its family's by the file's name, else ChatML."""

    system: str = ""
    user: str = ""
    assistant: str = ""
    answer: str = ""
    """What an answer begins with."""

    def __post_init__(self) -> None:
        for text in (self.system, self.user, self.assistant):
            if text and "{}" not in text:
                raise ValueError("system, user and assistant hold {} where the text belongs")


@dataclass(frozen=True, slots=True)
class Gpt4AllSettings:
    """``providers.gpt4all``."""

    model: str = field(
        default="", metadata={"needed": "name a model: a .gguf file, or one of `asterisk-ai models list`"}
    )
    """A .gguf file, or a model's name that `asterisk-ai models fetch` got."""
    context: Annotated[int, Range(64, 1_000_000)] = 2048
    """Tokens."""
    threads: Annotated[int, Range(0, 256)] = 0
    """0: the library's choice."""
    max_tokens: Annotated[int, Range(1, 4096)] = 120
    """Of an answer."""
    temperature: Annotated[float, Range(0, 10)] = 0.3
    template: Template = field(default_factory=Template)
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""


class Gpt4All(PooledEngine, LanguageModel):
    """The ``gpt4all`` engine of one agent; agents with equal settings share the process with the model.

    Satisfies :class:`~asterisk_ai.providers.api.LanguageModel`. It has no tools: what it may do, rules do better.
    """

    streams = "sentences as they are written"

    uses_tools = False

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any], pool: WorkerPool | None = None) -> None:
        own = read_settings(Gpt4AllSettings, settings, f"providers.{NAME}")
        given = {key: text for key, text in dataclasses.asdict(own.template).items() if text}
        self._template = {**_family(own.model), **given}
        marks = [text.partition("{}")[2].strip() for key, text in self._template.items() if key != "answer"]
        self._stop = list(own.stop) + sorted({mark for mark in marks if mark} | {"<|im_start|>"})
        self._limits = {"max_tokens": own.max_tokens, "temperature": own.temperature}
        self._context = own.context
        self._prompt = "\n".join(part for part in (str(agent.get("prompt") or ""), _RULES) if part)
        self._hints = Hints(language=str(agent.get("language") or "en-US"))
        self._shared = pool is not None
        super().__init__(pool or self.resource(settings))

    @staticmethod
    def resource(settings: Mapping[str, Any]) -> WorkerPool:
        """The process with the model, to be shared by the engines of all agents; its owner stops it."""
        own = read_settings(Gpt4AllSettings, settings, f"providers.{NAME}")
        setup = {"model": own.model, "context": own.context, "threads": own.threads}
        return WorkerPool(NAME, ENGINE, setup, start_seconds=180.0, max_requests=MAX_REQUESTS)

    async def stop(self) -> None:
        if not self._shared:
            await super().stop()

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        return self._hints

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        """The answer in pieces to speak. Leaving ends the generation at its next token."""
        options = {"prompt": self._written(request), "stop": self._stop, **self._limits}
        async with producing(self._pool, NAME, options, SECONDS) as messages:
            yield self._parts(messages)

    def _written(self, request: TurnRequest) -> str:
        """The conversation in the model's own form; the oldest turns go where the context is short."""
        fill, prompt = self._template, instructions(self._prompt, request.caller, request.actions)
        asked = f"(dialled {request.text})" if request.dialled else request.text if request.understood else "(unclear)"
        turns = [(turn.role, turn.text) for turn in request.history[-MAX_HISTORY:]] + [("caller", asked or "(unclear)")]
        room = 3 * (self._context - int(self._limits["max_tokens"]))  # characters: a token is three or more
        while len(turns) > 1 and sum(len(text) + 40 for _, text in turns) + len(prompt) > room:
            turns.pop(0)
        written = fill["system"].replace("{}", prompt)
        for role, text in turns:
            plain = text.replace("<|", "< |")[:MAX_TURN]  # a caller's words must not end their turn
            written += fill["assistant" if role == "agent" else "user"].replace("{}", plain)
        return str(written + fill["answer"])

    async def _parts(self, messages: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[ReplyPart]:
        text, said = ReplyText(self._hints.language), False
        async for message in messages:
            for piece in filter(_is_said, text.push(message["text"])):
                said = True
                yield Say(str(piece))
        for piece in filter(_is_said, text.flush()):
            said = True
            yield Say(str(piece))
        if not said:
            raise ProviderUnavailable(NAME, "gave no answer")


def _is_said(part: object) -> bool:
    """There are no tools here: a call of one is nothing."""
    return isinstance(part, str)


def _family(model: str) -> Mapping[str, str]:
    name = Path(model).name.lower()
    return next((template for part, template in FAMILIES.items() if part in name), CHATML)
