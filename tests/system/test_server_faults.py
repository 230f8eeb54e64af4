"""A server process among faults that are nobody's on the line: of its terminal, its limits, its date."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from in_process import CONFIG
from ports import free_port, free_ports

from asterisk_ai.simulator.agi_client import run_agi


class Process:
    """``asterisk-ai serve`` with a standard error and limits of the test's choice."""

    def __init__(
        self, folder: Path, text: str = CONFIG, *, stderr: int | IO[bytes], prefix: tuple[str, ...] = ()
    ) -> None:
        self.http = free_port()
        self.file = folder / "asterisk_ai.yaml"
        self.file.write_text(text.replace("http: {port: 0}", f"http: {{port: {self.http}}}"), "utf-8")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "asterisk_ai", "serve", "--config", str(self.file)],
            stderr=stderr,
        )

    def get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except OSError:
            return {}

    def until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "not in time"
            assert self.process.poll() is None
            time.sleep(0.02)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(25)


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end to write to of a pipe that is full and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_standard_error_that_nobody_reads_keeps_no_server_from_ending(
    tmp_path: Path, full_pipe: int, workers: int
) -> None:
    text = CONFIG.replace("max_calls: 20", f"max_calls: 20, workers: {workers}, worker_ports: {free_ports(6)}")
    text = text.replace("fastagi: {port: 0}", f"fastagi: {{port: {free_port()}}}")
    server = Process(tmp_path, text, stderr=full_pipe)
    try:
        server.until(lambda: server.get("/ready").get("ready"))
        assert server.end() == 0
    finally:
        server.process.kill()


def test_a_configuration_that_is_wrong_ends_also_with_a_standard_error_that_nobody_reads(
    tmp_path: Path, full_pipe: int
) -> None:
    text = CONFIG.replace("DelaySpeechToText", "NoSuch")
    server = Process(tmp_path, text, stderr=full_pipe)
    try:
        assert server.process.wait(25) == 1
    finally:
        server.process.kill()


def test_too_few_open_files_are_told_at_the_start_and_refuse_callers_with_a_word(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        server = Process(tmp_path, stderr=log, prefix=("prlimit", "--nofile=130:130"))
    held: list[socket.socket] = []
    try:
        server.until(lambda: server.get("/ready").get("ready"))
        text = (tmp_path / "log").read_text()
        assert re.search(r"max_calls 20 may need \d+ open files, and this process may have 130: raise LimitN", text)
        found = re.search(r"FastAGI \S+:(\d+)", text)
        assert found
        port = int(found[1])
        while server.get("/ready").get("ready"):
            held.append(socket.create_connection(("127.0.0.1", port)))
            time.sleep(0.05)
        health = server.get("/health")
        assert (health["status"], server.get("/ready")["reason"]) == ("unhealthy", "full")
        assert re.search(r"\d+ of 130 files that this process may open are open: raise", health["problems"][0])
        answer = asyncio.run(run_agi("127.0.0.1", port, "call/start", timeout=5))
        assert answer.variables == {"AI_STATUS": "FULL"}
        told = "files that this process may open"  # once that they are few, once with the refusal; a thread writes it
        server.until(lambda: (tmp_path / "log").read_text().count(told) >= 2)
        while held:
            held.pop().close()
        server.until(lambda: server.get("/ready").get("ready"))
        assert server.end() == 0
        assert (tmp_path / "log").read_text().count(told) == 2
    finally:
        for one in held:
            one.close()
        server.process.kill()
