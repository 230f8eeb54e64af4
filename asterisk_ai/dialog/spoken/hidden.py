"""What of a model's text is not for the caller: its reasoning, and calls of tools that came as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from asterisk_ai.dialog.spoken.tool_text import ToolText, tool_calls

MAX_TOOL_LETTERS = 20_000
"""What is longer in a tool's marks is dropped: nobody waits for its end."""
_REASONING = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "analysis", "scratchpad")


class Forget(Enum):
    """Whatever came before and was not spoken yet was reasoning."""

    ALL = auto()


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an opening mark begins; nothing ``closes`` what goes on to the end."""

    closes: tuple[str, ...] = ()
    tool: bool = False
    fence: bool = False
    json: bool = False


def _tool(*closes: str) -> _Kind:
    return _Kind(closes, tool=True)


# Marks are compared in lower case.
_OPENERS: Mapping[str, _Kind] = MappingProxyType(
    {f"<{name}>": _Kind((f"</{name}>",)) for name in _REASONING}
    | {
        "<seed:think>": _Kind(("</seed:think>",)),
        "[think]": _Kind(("[/think]",)),
        "◁think▷": _Kind(("◁/think▷",)),
        "<|start_thinking|>": _Kind(("<|end_thinking|>",)),
        "<|begin_of_thought|>": _Kind(("<|end_of_thought|>",)),
        "<unused94>": _Kind(("<unused95>",)),
        "<|channel>thought": _Kind(("<channel|>",)),
        "<|channel|>analysis": _Kind(("<|end|>", "<|start|>", "<|channel|>final")),
        "<|channel|>commentary": _tool("<|call|>", "<|end|>", "<|channel|>final"),
        "<tool_call>": _tool("</tool_call>"),
        "<tool_calls>": _tool("</tool_calls>"),
        "<function_call>": _tool("</function_call>"),
        "<function_calls>": _tool("</function_calls>"),
        "<functioncall>": _tool("</functioncall>", "<|endoftext|>"),
        "<function=": _tool("</function>"),
        "<invoke ": _tool("</invoke>"),
        "<start_function_call>": _tool("<end_function_call>"),
        "<|tool_call>": _tool("<tool_call|>"),
        "<|tool_call|>": _tool(),
        "[tool_calls]": _tool(),
        "[tool_request]": _tool("[end_tool_request]"),
        "<|python_tag|>": _tool("<|eom_id|>", "<|eot_id|>"),
        "<|start_action|>": _tool("<|end_action|>"),
        "<|tool_calls_section_begin|>": _tool("<|tool_calls_section_end|>"),
        "<｜tool▁calls▁begin｜>": _tool("<｜tool▁calls▁end｜>"),
        "```": _Kind(("```",), fence=True),
    }
)
# Where the server has put the opening mark into the prompt, only the closing one comes.
_LONE = ("</think>", "</thinking>", "</thought>", "</reasoning>", "</seed:think>", "[/think]", "<|end_thinking|>")
_IGNORED = ("<|channel|>final<|message|>", "<|start|>assistant", "<|im_start|>assistant")
MARKS = (*_OPENERS, *_LONE, *_IGNORED)  # none is inside another, so that the first that is whole is the right one
_LOWER = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}  # which keeps every letter's place
_ANY = re.compile("|".join(map(re.escape, sorted(MARKS, key=len, reverse=True))))
_LONGEST = max(map(len, MARKS))
_PROSE = frozenset({"", "text", "txt", "plaintext", "markdown", "md", "html"})
_BARE_JSON = re.compile(r"\s*(\{|\[\s*\{)")
_MAY_BE_JSON = re.compile(r"\s*(\[\s*)?")

Part = str | ToolText | Forget


class Visible:
    """Takes the text as it comes, in any pieces; gives what is to be seen of it, and the tools that it calls.

    :param thinking: the model's template opens its reasoning itself, so that only its end is marked.
    """

    def __init__(self, *, thinking: bool = False) -> None:
        self._held = ""
        self._inside: _Kind | None = _Kind(("</think>",)) if thinking else None
        self._body = ""
        self._begun = False

    def push(self, text: str) -> list[Part]:
        self._held += text
        return self._parts(last=False)

    def flush(self) -> list[Part]:
        """The text is over."""
        parts = self._parts(last=True)
        if self._inside is not None:
            parts += self._closed(self._inside)
        self._inside, self._begun = None, False
        return parts

    def _parts(self, *, last: bool) -> list[Part]:
        parts: list[Part] = []
        while self._held and (more := self._step(last)) is not None:
            parts += more
        return parts

    def _step(self, last: bool) -> list[Part] | None:
        """What is decided next; None where that needs more text."""
        if self._inside is not None:
            return self._within(self._inside, last)
        if not self._begun and not last and _MAY_BE_JSON.fullmatch(self._held):
            return None
        if not self._begun and _BARE_JSON.match(self._held):
            self._inside, self._begun = _Kind(json=True, tool=True), True
            return []
        lower = self._held.translate(_LOWER)
        mark = _ANY.search(lower)
        safe = len(self._held) if last else len(self._held) - _partial(lower, MARKS)
        if mark is None:
            return self._shown(safe) or None
        if mark.start():
            return self._shown(mark.start())
        self._held = self._held[mark.end() :]
        self._inside, self._body = _OPENERS.get(mark[0]), mark[0] if mark[0][-1] in "= " else ""
        if mark[0] in _LONE and self._inside is None:
            return [Forget.ALL]
        return []

    def _shown(self, length: int) -> list[Part]:
        text, self._held = self._held[:length], self._held[length:]
        self._begun = self._begun or bool(text.strip())
        return [text] if text else []

    def _within(self, kind: _Kind, last: bool) -> list[Part] | None:
        lower = self._held.translate(_LOWER)
        at = min((found for close in kind.closes if (found := lower.find(close)) >= 0), default=-1)
        if at < 0:
            keep = 0 if last else _partial(lower, kind.closes)
            if keep == len(self._held):
                return None
            at = len(self._held) - keep
            self._take(kind, at)
            self._held = self._held[at:]
            return []
        close = next(close for close in kind.closes if lower.startswith(close, at))
        self._take(kind, at)
        # What opens the answer itself is read again as a mark of its own.
        again = close if close in ("<|start|>", "<|channel|>final") else ""
        self._held = self._held[at + len(close) - len(again) :]
        self._inside = None
        return self._closed(kind)

    def _take(self, kind: _Kind, length: int) -> None:
        if (kind.tool or kind.fence) and len(self._body) < MAX_TOOL_LETTERS:
            self._body += self._held[:length]

    def _closed(self, kind: _Kind) -> list[Part]:
        body, self._body = self._body[:MAX_TOOL_LETTERS], ""
        if kind.fence:
            return _fenced(body)
        return list(tool_calls(body, sure=not kind.json)) if kind.tool else []


def _fenced(body: str) -> list[Part]:
    """A fenced block: a tool's call, prose that somebody put into a fence, or code, which nobody wants to hear."""
    language, line, rest = body.partition("\n")
    language = language.strip().lower()
    inner = rest if line and re.fullmatch(r"[\w+-]*", language) else body
    if calls := tool_calls(inner, sure=language in ("tool_call", "tool_code", "tool_calls")):
        return list(calls)
    prose = (language if inner is rest else "") in _PROSE and not _BARE_JSON.match(inner)
    return [f"\n{inner}\n"] if prose else []


def _partial(text: str, marks: tuple[str, ...]) -> int:
    """How many letters at the end of ``text`` may be the beginning of a mark."""
    tail = text[-_LONGEST:]
    for size in range(len(tail), 0, -1):
        if any(len(mark) > size and mark.startswith(tail[-size:]) for mark in marks):
            return size
    return 0
