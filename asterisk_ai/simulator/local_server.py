"""A server of one's own for the length of a command: ``asterisk-ai call --serve`` and ``bench --serve``."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asterisk_ai.config import Config, load
from asterisk_ai.config.loader import rewritten
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.ports import free_port

START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server: the configuration that it serves, its process, and its log for as long as it runs."""

    config: Config
    pid: int
    log: Path


@contextlib.contextmanager
def local_server(
    config: Config, changes: Mapping[str, Mapping[str, Any]] | None = None, *, prefix: Sequence[str] = ()
) -> Iterator[LocalServer]:
    """Run the configuration on free loopback ports in a process of its own; its records end with it.

    :param changes: further keys to change, by section.
    :param prefix: a program that starts the server, such as ``taskset -c 0``.
    :raises AsteriskAIError: where it does not start; with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="asterisk-ai-") as folder:
        file = Path(folder) / "asterisk_ai.yaml"
        log = Path(folder) / "server.log"
        port = free_port()
        local = {"host": "127.0.0.1"}
        own: dict[str, dict[str, Any]] = {
            "audiosocket": {**local, "port": free_port(), "advertise": ""},
            "fastagi": {**local, "port": free_port()},
            "http": {**local, "port": port},
            "store": {"backend": "sqlite", "path": str(Path(folder) / "sessions.db")},
        }
        for section, keys in (changes or {}).items():
            own[section] = {**own.get(section, {}), **keys}
        file.write_text(rewritten(config, own), "utf-8")
        served = load(str(file))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)],
                stdout=output,
                stderr=output,
            )
        try:
            with _interrupted_by_sigterm():
                wait_ready(port, process, log)
                yield LocalServer(served, process.pid, log)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM is KeyboardInterrupt: ended by default, this process would leave its server behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    raise AsteriskAIError("the server did not start:\n  " + "\n  ".join(lines[-10:]))
