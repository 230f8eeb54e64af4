"""Reading the configuration again while calls go on: whatever the file holds, no call feels it."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from in_process import CONFIG, DELAY, serving, started

from asterisk_ai import config
from asterisk_ai.config.apart import load_apart
from asterisk_ai.errors import ConfigError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.providers.engines.delay import DelaySpeechToText
from asterisk_ai.server.server import Server


class Leaving(DelaySpeechToText):
    """An engine whose maker ends the process."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        sys.exit(3)


LAUGHS = "a: &a {}\n" + "".join(
    f"{below}: &{below} {{<<: [{', '.join([f'*{above}'] * 10)}]}}\n"
    for above, below in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "a merge of itself": ("a: &a\n  <<: *a\n", ":1: a: too large or nested too deeply"),
    "billions of merges": (LAUGHS, "too large or nested too deeply"),
    "nested without end": ("a:\n  b: " + "[" * 100_000, ":2: not valid YAML: nested more than 64 deep"),
    "a hundred thousand keys": ("".join(f"k{n}: 1\n" for n in range(90_000)), "more keys and values"),
    "thousands of mistakes": ("".join(f"k{n}: 1\n" for n in range(9_000)), "8,950 mistakes more"),
    "too large": ("#" * (2 << 20), "larger than 1 MiB"),
    "an engine that leaves": (CONFIG.replace(f'"{DELAY}SpeechToText"', '"test_reload:Leaving"'), "SystemExit: 3"),
    "no file": ("", "no configuration"),
}


async def listening(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    call = await started(server, "milliwatt")
    host, _, port = call["AI_AUDIOSOCKET"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(audiosocket.uuid_message(uuid.UUID(call["AI_CALL_ID"])))
    await reader.readexactly(323)
    return reader, writer


def test_no_file_harms_a_call(tmp_path: Path) -> None:
    async def body() -> None:
        file = tmp_path / "a.yaml"
        async with serving(CONFIG, file) as server:
            reader, writer = await listening(server)
            for text, told in HOSTILE.values():
                file.write_text(text, "utf-8")
                assert not await server.reload()
                assert told in server.in_use.problem
                assert list(server.in_use.agent_set.agents) == ["a"]
                assert server.status.health()[1]["reload_problem"] == server.in_use.problem
                await reader.readexactly(323)
                assert server.store.talking == 1
            file.write_text(CONFIG.replace("{a: {}}", "{a: {}, b: {}}\ndefault_agent: b"), "utf-8")
            assert await server.reload(), server.in_use.problem
            assert server.registry.admit("") == "b"
            writer.close()

    asyncio.run(body())


def test_a_file_is_read_outside_of_the_loop_and_within_a_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")

    async def body() -> None:
        with pytest.raises(ConfigError, match=r"x.yaml: is not read within 0.2 s"):
            await load_apart("x.yaml", seconds=0.2, command=("cat", str(tmp_path / "never")))
        with pytest.raises(ConfigError, match=r"x.yaml: cannot be read \(status 1\): no memory"):
            await load_apart("x.yaml", command=("sh", "-c", "echo no memory >&2; exit 1"))

    asyncio.run(body())


def test_what_the_other_process_reads_is_what_we_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hunter2")
    file = tmp_path / "a.yaml"
    file.write_text(CONFIG + "providers: {x: {api_key: '${A_KEY}'}}\n", "utf-8")
    apart = asyncio.run(load_apart(str(file)))
    assert apart == config.load(str(file))
    assert apart.lines
    assert "hunter" not in repr(apart)
    file.write_text(CONFIG + "nonsense: 1\nmore: 1\n", "utf-8")
    with pytest.raises(config.ConfigErrors) as here:
        config.load(str(file))
    with pytest.raises(config.ConfigErrors) as there:
        asyncio.run(load_apart(str(file)))
    assert str(here.value) == str(there.value)
    assert [problem.line for problem in there.value.problems] == [problem.line for problem in here.value.problems]


def test_a_storm_of_reloads_is_one_or_two(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(CONFIG, tmp_path / "a.yaml") as server:
            for _ in range(1000):
                server.ask_reload()
            while not server.in_use.reloads:
                await asyncio.sleep(0.01)
            server.ask_reload()
            while server.in_use.reloads < 2:
                await asyncio.sleep(0.01)
            assert server.in_use.reloads == 2

    asyncio.run(body())
