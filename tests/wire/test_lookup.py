"""What the administrator's own system knows about a caller is there before the first word, or is not waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import yaml
from http_server import Answer, FakeHttp, Request
from whole_calls import call, records, serving, turns

ANSWERS = {
    "known": b'{"customer": "Anna", "open_orders": 3, "vip": true, "secret": "x", "list": [1]}',
    "strange": b'{"customer": "sound:beep \\u001b[2J\\n Eve"}',
    "no-json": b"<html>",
    "no-object": b"[1]",
    "long": b'"' + b"x" * 100_000 + b'"',
}


class Crm(FakeHttp):
    """Answers by the last part of the path."""

    def __init__(self) -> None:
        super().__init__(60)
        self.asked: list[str] = []

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        self.asked.append(request.target)
        kind = request.target.rpartition("/")[2]
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "close":
            return False
        status = {"unknown": 404, "broken": 500}.get(kind, 200)
        body = ANSWERS.get(kind, b"{}")
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        writer.write(head + body)
        await writer.drain()
        return True


STAGES = {"stt": "SpeechToText", "llm": "LanguageModel", "tts": "TextToSpeech"}
KINDS = (*ANSWERS, "unknown", "broken", "close", "hang", "nobody-listens")


def configuration(folder: Path, port: int) -> str:
    lookup = {"timeout_seconds": 3, "variables": ["customer", "open_orders", "vip", "list"]}
    greeting = "Hello, {known.customer}. You have {known.open_orders} open orders."
    ports = {**dict.fromkeys(KINDS, port), "nobody-listens": 1}
    urls = {kind: f"http://127.0.0.1:{ports[kind]}/{{caller.number}}/{kind}" for kind in KINDS}
    agents = {kind: {"greeting": greeting, "lookup": {**lookup, "url": url}} for kind, url in urls.items()}
    engines = "asterisk_ai.providers.engines.delay:Delay"
    return yaml.safe_dump(
        {
            "default_agent": "known", "agents": agents,
            "pipelines": {"offline": {stage: f"{engines}{name}" for stage, name in STAGES.items()}},
            "providers": {f"{engines}TextToSpeech": {"seconds": 0, "speaking": 0.2}},
            "audiosocket": {"port": 0}, "fastagi": {"port": 0}, "http": None, "vad": {"engine": "energy"},
            "server": {"max_lateness_ms": 0}, "store": {"path": str(folder / "sessions.db")},
        }
    )  # fmt: skip


def test_what_is_known_is_there_before_the_first_word_and_nothing_else_is_waited_for(tmp_path: Path) -> None:
    async def work() -> dict[str, float]:
        crm = Crm()
        async with crm.running(), serving(configuration(tmp_path, crm.port)) as server:
            await asyncio.gather(*(call(server, kind, linger=0.2) for kind in KINDS))
            assert len({target.split("/")[1] for target in crm.asked}) == 1
            assert crm.asked[0].split("/")[1].isdigit(), "the caller's number"
            return {
                result: server.metrics.registry.get_sample_value("ai_agent_lookups_total", {"result": result}) or 0
                for result in ("found", "nothing", "failed")
            }

    counted = asyncio.run(work())
    kept = records(tmp_path)
    greetings = {kind: turns(kept[kind])[0][1] for kind in KINDS}
    assert greetings.pop("known") == "Hello, Anna. You have 3 open orders."
    assert greetings.pop("strange") == "Hello, sound beep 2J Eve. You have open orders."
    assert set(greetings.values()) == {"Hello. You have open orders."}
    assert counted == {"found": 2, "nothing": 1, "failed": 7}
    assert {key: value for key, value in kept["known"].caller.items() if key.startswith("known.")} == {
        "known.customer": "Anna", "known.open_orders": "3", "known.vip": "yes",
    }  # fmt: skip
