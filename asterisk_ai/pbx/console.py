"""Asterisk's console (``asterisk -rx``), asked what it runs with."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from asterisk_ai.errors import AsteriskAIError

_SECONDS = 10.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_RUNNING = re.compile(r"^(\w+)\.so .*(?<!Not )Running", re.MULTILINE)
_APPLICATION = re.compile(r"^\s*(\w+): ", re.MULTILINE)
_GLOBAL = re.compile(r"^   (\w+)=(.*)$", re.MULTILINE)
_STEP = re.compile(r"^ .*?\b([0-9]+)\. (.*?) +\[[^\]\s]+\]$", re.MULTILINE)


class ConsoleError(AsteriskAIError):
    """There is no Asterisk that answers. The message says why."""


class Console:
    """One Asterisk's console.

    :param command: the words that run it, to which ``-rx COMMAND`` is added.
    """

    def __init__(self, command: Sequence[str] = ("asterisk",)) -> None:
        self._command = tuple(command)

    def ask(self, command: str) -> str:
        """What it answers, also where that is a refusal.

        :raises ConsoleError: where there is none, or it does not answer in time.
        """
        try:
            done = subprocess.run(
                [*self._command, "-rx", command],
                capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except FileNotFoundError:
            raise ConsoleError("there is no Asterisk on this machine") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConsoleError(f"its console does not answer ({error})") from None
        output = _COLOURS.sub("", done.stdout + done.stderr)
        if "Unable to connect" in output or (done.returncode and not output.strip()):
            raise ConsoleError((output.strip().splitlines() or ["its console does not answer"])[-1])
        return output

    def version(self) -> str:
        """Such as ``Asterisk 22.10.1``."""
        found = re.search(r"^Asterisk \S+", self.ask("core show version"), re.MULTILINE)  # a warning may come first
        return found[0] if found else "Asterisk"

    def modules(self) -> set[str]:
        """The modules that run, without ``.so``."""
        return set(_RUNNING.findall(self.ask("module show")))

    def applications(self) -> set[str]:
        """The dialplan's applications that are there, in small letters."""
        return {name.lower() for name in _APPLICATION.findall(self.ask("core show applications"))}

    def variables(self) -> dict[str, str]:
        """The dialplan's global variables."""
        return dict(_GLOBAL.findall(self.ask("dialplan show globals")))

    def steps(self, context: str) -> list[str] | None:
        """What the dialplan does in a context, ``App(data)`` after ``App(data)``; None where it is not loaded."""
        shown = self.ask(f"dialplan show {context}")
        return [text for _, text in _STEP.findall(shown)] if f"Context '{context}'" in shown else None

    def has_extension(self, exten: str, context: str) -> bool:
        """Whether a call could go to it."""
        shown = self.ask(f"dialplan show {exten}@{context}")
        return "Context '" in shown and "0 extensions" not in shown

    def has_queue(self, name: str) -> bool:
        """Whether app_queue, or FreePBX, knows it."""
        shown = self.ask(f"queue show {name}")
        known = shown.strip() and "No such" not in shown
        return bool(known) or self.has_extension(name, "ext-queues")

    def has_mailbox(self, mailbox: str, context: str) -> bool:
        """Whether voicemail, or FreePBX, knows it."""
        shown = self.ask(f"voicemail show users for {context}")
        known = re.search(rf"^{re.escape(context)} +{re.escape(mailbox)} ", shown, re.MULTILINE)
        return known is not None or self.has_extension(f"vmu{mailbox}", "ext-local")
