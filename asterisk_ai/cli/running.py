"""The server that runs with a configuration: asking how it is, and making it read its configuration again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from asterisk_ai.config import Config, host_port, reachable
from asterisk_ai.errors import AsteriskAIError

UNIT = "asterisk-ai.service"
POLL_SECONDS = 0.1


class ReloadFailed(AsteriskAIError):
    """The running server could not be made to read its configuration, or did not take it."""


def health(config: Config, timeout: float = 2.0) -> dict[str, Any] | None:
    """The running server's /health; None where there is none, or ``http`` is switched off."""
    if config.http is None or not config.http.port:
        return None
    where = host_port(reachable(config.http.host), config.http.port)
    try:
        with urllib.request.urlopen(f"http://{where}/health", timeout=timeout) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return None
    try:
        found = json.loads(body)
    except ValueError:
        return None  # something else's port
    return found if isinstance(found, dict) and "active_calls" in found else None


def uses(state: dict[str, Any], file: Path) -> bool:
    """Whether the server runs with that file."""
    return bool(state.get("config")) and Path(str(state["config"])).resolve() == file.resolve()


def reload(config: Config, state: dict[str, Any], *, force: bool = False, seconds: float = 60.0) -> dict[str, Any]:
    """Make the server read its configuration and wait until it has; returns its /health then.

    :param state: its /health before.
    :param force: it is to take engines that are not ready.
    :raises ReloadFailed: it says why not, or says nothing for ``seconds``.
    """
    before = int(state.get("reloads", 0))
    send(int(state.get("pid", 0)), signal.SIGUSR1 if force else signal.SIGHUP)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        now = health(config)
        if now is None or int(now.get("reloads", 0)) == before:
            continue
        if now.get("reload_problem"):
            raise ReloadFailed(str(now["reload_problem"]))
        return now
    raise ReloadFailed(f"the server has not read its configuration within {seconds:g} s")


def send(pid: int, number: signal.Signals) -> None:
    """By its process number, or by systemd where we may not."""
    try:
        if pid <= 1:
            raise PermissionError("the server does not tell its process number")
        os.kill(pid, number)
    except ProcessLookupError:
        raise ReloadFailed(f"there is no process {pid}: does the server run on another machine?") from None
    except PermissionError as error:
        command = ["systemctl", "kill", f"--signal={number.name}", "--kill-whom=main", UNIT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        except (OSError, subprocess.TimeoutExpired) as failure:
            raise ReloadFailed(f"we may not signal the server (process {pid}; {error}): {failure}") from error
        if done.returncode:
            raise ReloadFailed(
                f"we may not signal the server (process {pid}): run this as its user, or as root"
            ) from error
