"""Streams of chat completions as servers send them; made anew after their documents and issues."""

from __future__ import annotations

import json
from typing import Any


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice], **more}, ensure_ascii=False)


def call(arguments: Any, name: str = "", id_: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"tool_calls": [{"type": "function", "function": function, **({"id": id_} if id_ else {}), **more}]}


def stream(*data: str, end: str = "\n\n", done: bool = True) -> bytes:
    return "".join(f"data: {one}{end}" for one in [*data, *(["[DONE]"] if done else [])]).encode()


TWO = [("transfer", {"to": "sales"}), ("hangup", {})]
# fmt: off
STREAMS: dict[str, tuple[bytes, str, list[tuple[str, Any]]]] = {
    "OpenAI": (
        stream(chunk({"role": "assistant", "content": ""}), chunk({"content": "Grüß "}), chunk({"content": "Gott."}),
               chunk(reason="stop"), json.dumps({"choices": [], "usage": {"total_tokens": 9}})),
        "Grüß Gott.", [],
    ),
    "Azure: a first event about filters": (
        stream(json.dumps({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}), chunk({"content": "Hi."}),
               chunk(reason="stop")),
        "Hi.", [],
    ),
    "Ollama, llama.cpp: nothing after the reason": (
        stream(chunk({"content": "Hi."}), chunk(reason="stop"), done=False), "Hi.", [],
    ),
    "no blank line at the end": (
        stream(chunk({"content": "Hi."}), chunk(reason="stop"), done=False).rstrip(), "Hi.", [],
    ),
    "proxies: comments, carriage returns, blank data, other fields": (
        b"\xef\xbb\xbf: OPENROUTER PROCESSING\r\n\r\ndata:\r\n\r\nevent: message\r\nid: 7\r\nretry: 10\r\n"
        + stream(chunk({"content": "Hi."}), chunk(reason="stop"), end="\r\n\r\n"),
        "Hi.", [],
    ),
    "an event over several data lines, line separators in its text": (
        b"data: " + chunk({"content": "a\u2028b\x85c"}).replace(', "finish', ',\ndata: "finish').encode() + b"\n\n"
        + stream(chunk(reason="stop")),
        "a\u2028b\x85c", [],
    ),
    "DeepSeek, vLLM, OpenRouter: reasoning beside the text": (
        stream(chunk({"reasoning_content": "They greet."}), chunk({"reasoning": "So do I."}), chunk({"content": "Hi."}),
               chunk({"content": None}), chunk(reason="stop")),
        "Hi.", [],
    ),
    "Mistral: content in parts": (
        stream(chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}),
               chunk({"content": [{"type": "text", "text": "Hi."}]}), chunk(reason="stop")),
        "Hi.", [],
    ),
    "OpenAI: calls in pieces": (
        stream(chunk(call("", "transfer", "c1", index=0)), chunk(call('{"to": ', index=0)),
               chunk(call("", "hangup", "c2", index=1)), chunk(call('"sales"}', index=0)), chunk(call("{}", index=1)),
               chunk(reason="tool_calls")),
        "", TWO,
    ),
    "Ollama: every call at index 0, whole": (
        stream(chunk(call('{"to": "sales"}', "transfer", "c1", index=0)), chunk(call("{}", "hangup", "c2", index=0)),
               chunk(reason="tool_calls")),
        "", TWO,
    ),
    "older Ollama: no index": (
        stream(chunk(call('{"to": "sales"}', "transfer", "c1")), chunk(call("{}", "hangup", "c2")),
               chunk(reason="stop")),
        "", TWO,
    ),
    "neither index nor id": (
        stream(chunk(call('{"to": ', "transfer")), chunk(call('"sales"}')), chunk(call("{}", "hangup")),
               chunk(reason="stop")),
        "", TWO,
    ),
    "LiteLLM: arguments as an object": (
        stream(chunk(call({"to": "sales"}, "transfer", "c1", index=0)), chunk(call({}, "hangup", "c2", index=1)),
               chunk(reason="tool_calls")),
        "", TWO,
    ),
    "the id comes again with each piece": (
        stream(chunk(call("", "transfer", "c1", index=0)), chunk(call('{"to": ', id_="c1", index=0)),
               chunk(call('"sales"}', id_="c1", index=0)), chunk(call("{}", "hangup", "c2", index=1)),
               chunk(reason="tool_calls")),
        "", TWO,
    ),
    "both calls in one event": (
        stream(chunk({"tool_calls": [*call('{"to": "sales"}', "transfer", "c1", index=0)["tool_calls"],
                                     *call("{}", "hangup", "c2", index=1)["tool_calls"]]}), chunk(reason="tool_calls")),
        "", TWO,
    ),
    "the older function_call": (
        stream(chunk({"function_call": {"name": "transfer", "arguments": ""}}),
               chunk({"function_call": {"arguments": '{"to": "sales"}'}}), chunk(reason="function_call")),
        "", TWO[:1],
    ),
    "a message and no delta": (
        stream(json.dumps({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]})), "Hi.", [],
    ),
}
# fmt: on
