"""The real server, ``python -m asterisk_ai serve``, as a child that a test may kill and start again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ports import free_port
from rig import die_with_parent, until

LIGHT = {"stt": "pocketsphinx", "llm": "rules", "tts": "espeak", "stt_seconds": 30}
"""Engines that start at once and leave the processors to the others; more natural ones have tests of their own."""
TESTS = Path(__file__).resolve().parents[1]


class Served:
    """A server of its own: own ports, own store, own log.

    :param folder: for configuration, store and log.
    :param agents: the ``agents`` of asterisk_ai.yaml; the first one is the default.
    :param settings: further top-level keys, which replace the ones made here.
    """

    def __init__(self, folder: Path, agents: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.agi_port, self.audio_port, self.http_port = free_port(), free_port(), free_port()
        self.file = folder / "asterisk_ai.yaml"
        self.file.write_text(
            yaml.safe_dump(
                {
                    "default_agent": next(iter(agents)),
                    "fastagi": {"port": self.agi_port},
                    "audiosocket": {"port": self.audio_port},
                    "http": {"port": self.http_port},
                    "store": {"backend": "sqlite", "path": str(folder / "sessions.db")},
                    # Other work on the machine is not what is tested: it has no call refused and no words given up.
                    "server": {"max_lateness_ms": 0},
                    "pipelines": {"offline": LIGHT},
                    "log": {"level": "info", "transcripts": True},
                    "agents": dict(agents),
                    **(settings or {}),
                },
                sort_keys=False,
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port for AI_SERVER."""
        return f"127.0.0.1:{self.agi_port}"

    def start(self, *, wait: bool = True) -> Served:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(self.file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(TESTS / "fakes")},  # so that a test's own engines can be named
                start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls one C function
            )  # fmt: skip
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 40) -> None:
        def ready() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            return self.get("/ready")[0] == 200

        until(ready, seconds, "the server ready")

    def kill(self) -> None:
        """SIGKILL, to the server and its worker processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def stop(self, seconds: float = 40) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(seconds)
        self.kill()
        return status

    def __enter__(self) -> Served:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()
        if kind is not None:
            print(f"the server's log ends:\n{self.log()[-6000:]}")

    def get(self, path: str) -> tuple[int, str]:
        """HTTP status and body; status 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/health")[1] or "{}"))

    def no_calls(self, seconds: float = 5) -> None:
        """The promise: no active call within 5 s of the last hang-up."""
        until(lambda: self.health().get("active_calls") == 0, seconds, f"zero active calls; health is {self.health()}")

    def descriptors(self) -> int:
        """How many files and sockets the server has open."""
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "server.log").read_text(errors="replace")
        return ""
