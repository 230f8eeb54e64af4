"""Transfers of every kind, made by simulated people at both ends of a real Asterisk, and whether each ended right."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.config import load
from asterisk_ai.simulator.installation import Installation
from asterisk_ai.simulator.local_server import local_server, wait_ready
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.simulator.telephone import Hangup, Telephone

AT_ONCE = 8
SECONDS = 60.0
"""For what is to happen at once: a busy machine is to have its transfers tried, too."""
RING_SECONDS = 5
KEYS = {name: str(key) for key, name in enumerate(
    ("taken", "blind", "hunt", "declined", "busy", "unanswered", "left", "gone", "unreachable", "star")
)} | {"killed": "*"}  # fmt: skip
"""Each kind of transfer, and the key by which a caller asks for it."""
CONNECTED = ("taken", "blind", "hunt")
_TO = {
    "hunt": ["busy@people", "none@people", "taken@people"],
    "unreachable": ["none@people"],
    "killed": ["gone@people"],
}
# Whoever presses a key and sees that nothing happens presses it again.
DIALPLAN = """
[people]
exten => _[a-z].,1,NoOp(for ${CALLERID(num)})
 same => n,Goto(people-${EXTEN},s,1)
exten => none,1,Congestion()
[people-taken]
exten => s,1,Answer()
 same => n,Wait(1)
 same => n,SendDTMF(1)
 same => n,Wait(8)
 same => n,SendDTMF(1)
 same => n,Wait(60)
[people-blind]
exten => s,1,Answer()
 same => n,Wait(60)
[people-declined]
exten => s,1,Answer()
 same => n,Wait(1)
 same => n(again),SendDTMF(2)
 same => n,NoOp(done)
 same => n,Wait(8)
 same => n,Goto(again)
[people-busy]
exten => s,1,NoOp(done)
 same => n,Busy(5)
[people-unanswered]
exten => s,1,Ringing()
 same => n,Wait(60)
[people-star]
exten => s,1,Ringing()
 same => n,Wait(60)
[people-left]
exten => s,1,Answer()
 same => n,Wait(2)
 same => n,NoOp(done)
 same => n,Hangup()
[people-gone]
exten => s,1,Answer()
 same => n,Wait(120)
"""
_LOGGER = "[general]\ndateformat=%F %T.%3q\n[logfiles]\nfull => notice,warning,error,verbose(4),dtmf\n"
_STEP = re.compile(r'^\[(?P<at>[^\]]+)\].*Executing \[.*?\] (?P<step>\w+)\("(?P<channel>[^"]*)", "(?P<data>.*)"\)')


@dataclass(frozen=True, slots=True)
class Transfer:
    """How one ended: ``problem`` is empty where it was right.

    ``seconds``: from the end of the other side (or of the ringing) until the caller's audio was back with the agent; of
    a caller who hung up until nobody was left.
    """

    kind: str
    problem: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    at: float
    channel: str
    text: str


def transfers(
    installation: Installation, number: int, folder: Path, tell: Callable[[str], None] = lambda text: None
) -> list[Transfer]:
    """Make so many, all kinds in turn, :data:`AT_ONCE` at a time; the server is killed for those that want it last.

    :param folder: for the configuration and the logs; it exists.
    :raises AsteriskAIError: Asterisk or the server does not start.
    """
    file = folder / "asterisk_ai.yaml"
    file.write_text(yaml.safe_dump(_config(), sort_keys=False), "utf-8")
    kinds = [list(KEYS)[at % len(KEYS)] for at in range(number)]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(local_server(load(str(file))))
        asterisk = PrivateAsterisk(
            installation, f"127.0.0.1:{server.config.fastagi.port}", dialplan=DIALPLAN, files={"logger.conf": _LOGGER},
            globals_={"AI_PATIENCE": "120"},
        )  # fmt: skip
        stack.enter_context(asterisk)
        stack.callback(_copy, asterisk.folder / "log/full", folder / "asterisk.log")
        stack.callback(_copy, server.log, folder / "server-first.log")
        trial = _Trial(asterisk)
        alive = [kind for kind in kinds if kind != "killed"]
        tell(f"{len(alive)} transfers, {AT_ONCE} at a time")
        found = trial.run(alive)
        killed = kinds.count("killed")
        for at in range(0, killed, AT_ONCE):
            tell(f"the server is killed in {min(AT_ONCE, killed - at)} briefings")
            http = server.config.http
            restarted = _Restarted(server.pid, server.config.source, http.port if http else 0, folder / "server.log")
            stack.callback(restarted.stop)
            found += trial.run(["killed"] * min(AT_ONCE, killed - at), restarted)
            server = type(server)(server.config, restarted.pid, server.log)
        found += trial.nothing_left()
    return found


def _copy(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.copy(source, target)


def _config() -> dict[str, Any]:
    offer = {"otherwise": "message", "offer": "Shall I take a message?"}
    targets: dict[str, Any] = {
        kind: {"to": _TO.get(kind, [f"{kind}@people"]), "seconds": RING_SECONDS, **offer} for kind in KEYS
    }
    targets["blind"]["attended"] = False
    targets["star"]["seconds"] = 60
    intents: dict[str, Any] = {kind: {"answer": "One moment.", "do": {"connect": kind}} for kind in KEYS}
    intents["message"] = {"say": ["leave a message"], "do": {"transfer": "603@landed"}}
    return {
        "default_agent": "transfers",
        "server": {"max_lateness_ms": 0},
        "pipeline": "light",
        "pipelines": {"light": {"stt": "pocketsphinx", "llm": "rules", "tts": "espeak", "stt_seconds": 30}},
        "agents": {
            "transfers": {
                "greeting": "Hello.",
                "turn": {"no_input_seconds": 120},
                "transfers": targets,
                "rules": {"intents": intents, "dtmf": {key: kind for kind, key in KEYS.items()}},
            }
        },
    }


class _Restarted:
    """A server that is killed once, when all calls that wait for it are in the briefing, and started again."""

    def __init__(self, pid: int, config: str, http_port: int, log: Path) -> None:
        self._victim, self._config, self._http_port, self._log = pid, config, http_port, log
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_at = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else self._victim

    def kill(self) -> None:
        os.kill(self._victim, signal.SIGKILL)
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "asterisk_ai", "serve", "--config", self._config]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_ready(self._http_port, self._process, self._log)
        self.ready_at = time.time()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class _Trial:
    def __init__(self, asterisk: PrivateAsterisk) -> None:
        self._asterisk = asterisk
        self._log = asterisk.folder / "log/full"
        self._calls = 0

    def run(self, kinds: Sequence[str], restarted: _Restarted | None = None) -> list[Transfer]:
        """One transfer of each kind. With a server to be killed: when all of them are in the briefing."""
        first, self._calls = self._calls, self._calls + len(kinds)
        numbers = [f"555{first + at:05}" for at in range(len(kinds))]
        with ThreadPoolExecutor(AT_ONCE + 1) as threads:
            since = self._log.stat().st_size if self._log.exists() else 0
            found = [threads.submit(self._tried, *one, restarted) for one in zip(kinds, numbers, strict=True)]
            if restarted is not None:
                with contextlib.suppress(TimeoutError):
                    _until(lambda: all(self._briefed(one, since) for one in numbers), SECONDS, "all are told")
                restarted.kill()
            return [one.result() for one in found]

    def _tried(self, kind: str, number: str, restarted: _Restarted | None) -> Transfer:
        try:
            return Transfer(kind, seconds=self._one(kind, number, restarted))
        except (AssertionError, Hangup, OSError, TimeoutError, StopIteration) as error:
            return Transfer(kind, f"{number}: {type(error).__name__}: {error}"[:500])

    def _one(self, kind: str, number: str, restarted: _Restarted | None) -> float | None:
        since = self._log.stat().st_size if self._log.exists() else 0
        with self._asterisk.call(record=False, caller_id=f'"Ann" <{number}>', seconds=SECONDS) as caller:
            caller.hear()
            caller.dial(KEYS[kind])
            if kind in CONNECTED:
                self._connected(caller, number, since)
                return None
            if kind == "gone":
                _until(lambda: self._briefed(number, since), SECONDS, "the briefing")
            elif kind == "star":
                _until(lambda: self._person(number, since), SECONDS, "ringing")
                caller.dial("*")
            if kind != "gone":
                back = self._back(caller, number, since, restarted)
                caller.hear()
                caller.dial("1")  # yes, to the offer
                _until(caller.landed, SECONDS, "the message")
                _check(caller.landed() == ["603"], f"came to {caller.landed()}")
                return back
            ended = time.monotonic()
        person = self._person(number, since)
        _until(lambda: person not in self._asterisk.channels(), SECONDS, "the colleague's end")
        return time.monotonic() - ended

    def _connected(self, caller: Telephone, number: str, since: int) -> None:
        """The right two, and only they, with the caller's own number."""
        _until(lambda: self._partners(caller.near), SECONDS, "the two connected")
        partners, person = self._partners(caller.near), self._person(number, since)
        right = [one.removesuffix(";1") for one in partners] == [person.removesuffix(";2")]
        _check(right, f"talks with {partners} instead of {person}")
        caller.wait(1)
        _check(self._partners(caller.near) == partners, "the two did not stay connected")

    def _back(self, caller: Telephone, number: str, since: int, restarted: _Restarted | None) -> float:
        """Seconds until the caller's audio was back."""

        def audio() -> list[_Step]:
            return [step for step in self._steps(since, caller.near) if step.text.startswith("TryExec(AudioSocket")]

        _until(lambda: len(audio()) > 1, SECONDS + RING_SECONDS, "the caller back with the agent")
        back, steps = audio()[-1].at, list(self._steps(since))
        if restarted is not None:
            _until(lambda: restarted.ready_at > 0, SECONDS, "the server back")
            return max(0.0, back - restarted.ready_at)
        person = self._person(number, since)
        done = [step.at for step in steps if step.channel == person and step.text == "NoOp(done)"]
        own = [step for step in steps if step.channel == caller.near and step.at <= back]
        rung = [step.at for step in own if re.match(r"Set\(AI_DIALLED=.+\)", step.text)]
        return back - (done or rung)[-1]

    # ---- what Asterisk tells -------------------------------------------------------------

    def _steps(self, since: int, channel: str = "") -> Iterator[_Step]:
        """The dialplan's from an offset of the log on."""
        with self._log.open("rb") as log:
            log.seek(since)
            for line in log.read().decode("utf-8", "replace").splitlines():
                if "Executing [" in line and channel in line and (found := _STEP.match(line)):
                    at = datetime.strptime(found["at"], "%Y-%m-%d %H:%M:%S.%f").timestamp()
                    if found["channel"].startswith(channel):
                        yield _Step(at, found["channel"], f"{found['step']}({found['data']})")

    def _person(self, number: str, since: int) -> str:
        """The channel of whoever was rung last for a caller; empty before."""
        found = [step.channel for step in self._steps(since) if step.text == f"NoOp(for {number})"]
        return found[-1] if found else ""

    def _briefed(self, number: str, since: int) -> bool:
        """Whether whoever was rung hears what the call is about."""
        person = self._person(number, since)
        near = person.removesuffix("2") + "1"
        return bool(person) and any(step.text.startswith("Read(") for step in self._steps(since, near))

    def _partners(self, channel: str) -> list[str]:
        shown = [line.split("!") for line in self._asterisk.rx("core show channels concise").splitlines()]
        bridge = {line[0]: line[-2] for line in shown if len(line) > 2}
        return [name for name, of in bridge.items() if of and of == bridge.get(channel) and name != channel]

    def nothing_left(self) -> list[Transfer]:
        """One more finding, where a channel or a bridge is left behind."""
        with contextlib.suppress(TimeoutError):
            _until(lambda: not self._asterisk.channels() and not self._asterisk.bridges(), SECONDS, "gone")
        left = [*self._asterisk.channels(), *self._asterisk.bridges()]
        return [Transfer("left behind", ", ".join(left))] if left else []


def _until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """As :func:`~asterisk_ai.simulator.waiting.until`, and seldom: what is asked is a whole log, or a program."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.3)


def _check(right: bool, otherwise: str) -> None:
    if not right:
        raise AssertionError(otherwise)


def table(found: Sequence[Transfer]) -> str:
    """The report, in Markdown."""
    lines = ["| transfer | right | median | p99 | worst |", "| --- | --- | --- | --- | --- |"]
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        took = sorted(one.seconds for one in own if one.seconds is not None)
        right = f"{sum(not one.problem for one in own)} of {len(own)}"
        spread = [took[len(took) // 2], took[int(len(took) * 0.99)], took[-1]] if took else []
        cells = [f"{one:.2f} s" for one in spread] or ["-"] * 3
        lines.append(f"| {' | '.join((kind, right, *cells))} |")
    lines += ["", "Seconds: from the other side's end until the caller is back with the agent; of callers who hang up, "
              "until nobody is left; of a killed server, from when it is ready again."]  # fmt: skip
    return "\n".join([*lines, *(f"- **{one.kind}**: {one.problem}" for one in found if one.problem)]) + "\n"
