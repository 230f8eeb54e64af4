"""One transport's calls: made, listened to, and judged by what everybody kept of them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.dialplan_log import Executed
from asterisk_ai.simulator.local_server import LocalServer
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.simulator.regression import script
from asterisk_ai.simulator.regression.transports import Transport
from asterisk_ai.simulator.telephone import NOISE_MS, Hangup, Telephone
from asterisk_ai.simulator.waiting import until

ENDED_SECONDS = 5.0
"""The promise: no active call so long after the hang-up."""
LANDED_SECONDS = 20.0
AT_ONCE = 8
"""Fewer than calls that one worker takes on any machine: how many it can bear is what the benchmark tells."""
_FAILURES = re.compile(r"^.* (?:ERROR|CRITICAL) .*$|^Traceback .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``evidence`` is what was found."""

    ok: bool
    text: str
    evidence: str = ""


@dataclass(slots=True)
class Verdict:
    """What came of one transport."""

    transport: Transport
    skipped: str = ""
    """Why it was not tried; empty where it was."""
    checks: list[Check] = field(default_factory=list)
    answered_after: list[float] = field(default_factory=list)
    """Voice to voice: seconds from the caller's last sound to the agent's first, as the caller hears it."""
    recordings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.skipped and bool(self.checks) and all(check.ok for check in self.checks)


class Trial:
    """All transports' calls to one server through one Asterisk.

    :param prompts: recordings of the script's prompts.
    :param folder: where recordings are kept.
    :param calls: further calls over each transport, :data:`AT_ONCE` at a time, to see what so many leave behind.
    """

    def __init__(
        self,
        asterisk: PrivateAsterisk,
        server: LocalServer,
        prompts: Mapping[str, script.Recording],
        folder: Path,
        *,
        calls: int = 0,
    ) -> None:
        self._asterisk, self._server, self._prompts, self._folder = asterisk, server, prompts, folder
        self._calls = calls

    def run(self, transport: Transport, tell: Callable[[str], None] = lambda text: None) -> Verdict:
        """The conversation, then a call that the caller ends; never raises for what a call does."""
        verdict, began = Verdict(transport), time.monotonic()
        for what, call in (
            ("the conversation", self._conversation),
            ("the caller hangs up in the middle of a reply", self._hung_up),
            *([(f"{self._calls} calls", self._many)] if self._calls else []),
        ):
            tell(what)
            try:
                verdict.checks += call(verdict)
            except (AssertionError, Hangup, OSError, TimeoutError) as error:
                verdict.checks.append(Check(False, what, f"{type(error).__name__}: {error}"[:2000]))
        verdict.seconds = time.monotonic() - began
        return verdict

    # ---- calls ------------------------------------------------------------------

    @contextlib.contextmanager
    def _call(self, transport: Transport, *, record: bool = True) -> Iterator[Telephone]:
        variables = {"AI_AGENT": script.AGENT, **transport.variables}
        with self._asterisk.call(transport.entry, record=record, variables=variables, seconds=30) as caller:
            yield caller

    def _conversation(self, verdict: Verdict) -> list[Check]:
        transport, log_at = verdict.transport, len(self._log())
        with self._call(transport) as caller:
            caller.hear()
            for line in script.LINES:
                verdict.answered_after += self._say(caller, line)
            with contextlib.suppress(TimeoutError):
                until(caller.landed, LANDED_SECONDS, "the transfer")
        ended = time.monotonic()
        checks = [self._no_calls(ended)]
        session = self._last()
        landed = caller.landed()
        checks += [
            Check(landed == [script.EXTENSION], f"the caller is transferred to {script.EXTENSION}", ", ".join(landed)),
            _same_words(session),
            _step_check(transport, caller.steps()),
            *_log_checks(transport, self._log()[log_at:], session.call_id if session is not None else ""),
            *self._nothing_left(log_at),
        ]
        self._keep(verdict, caller)
        return checks

    def _say(self, caller: Telephone, line: script.Line) -> list[float]:
        """One turn of the caller's, and the answer to it; of a spoken one the time from voice to voice."""
        if not line.prompt:
            caller.dial(line.words)
            caller.hear()
            return []
        recording = self._prompts[line.prompt]
        caller.say(recording.name)
        said = time.monotonic() - recording.tail
        caller.noise()
        answered = time.monotonic() - NOISE_MS / 1000
        if line is not script.TRANSFER:
            caller.listen()
        return [answered - said]

    def _hung_up(self, verdict: Verdict) -> list[Check]:
        log_at = len(self._log())
        with self._call(verdict.transport) as caller:
            caller.hear()
            caller.say(self._prompts[script.LONG.prompt].name)
            caller.noise()
            caller.wait(0.5)
        ended = time.monotonic()
        gone = self._no_calls(ended)
        return [
            Check(gone.ok, "after a hang-up in the middle of a reply: " + gone.text, gone.evidence),
            *self._nothing_left(log_at),
        ]

    def _many(self, verdict: Verdict) -> list[Check]:
        log_at = len(self._log())

        def answered(number: int) -> bool:
            """One call whose caller hangs up behind the greeting, or while it is spoken."""
            with self._call(verdict.transport, record=False) as caller:
                caller.noise(LANDED_SECONDS)
                if number % 2:
                    caller.listen()
            return True

        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            found = sum(threads.map(_without_failing(answered), range(self._calls)))
        took, gone = time.monotonic() - began, self._no_calls(time.monotonic())
        return [
            Check(found == self._calls, f"{self._calls} calls hear the agent", f"{found} in {took:.0f} s"),
            Check(gone.ok, f"after {self._calls} calls: {gone.text}", gone.evidence),
            *self._nothing_left(log_at),
        ]

    # ---- what is looked at ----------------------------------------------------------

    def _no_calls(self, ended: float) -> Check:
        text = f"/health has 0 active calls within {ENDED_SECONDS:g} s of the hang-up"
        limit = max(0.0, ended + ENDED_SECONDS - time.monotonic())
        try:
            until(lambda: self._health().get("active_calls") == 0, limit, text)
        except TimeoutError:
            return Check(False, text, f"there are {self._health().get('active_calls')}")
        return Check(True, text, f"{time.monotonic() - ended:.1f} s")

    def _nothing_left(self, log_at: int) -> list[Check]:
        """Of a call that is over: in Asterisk, on the disk, and in the log."""
        with contextlib.suppress(TimeoutError):
            until(lambda: not self._asterisk.channels() and not self._asterisk.bridges(), ENDED_SECONDS, "gone")
        left = [*self._asterisk.channels(), *self._asterisk.bridges()]
        spool = self._server.config.spool_path()
        files = [path.name for path in spool.glob("*.*")] if spool.is_dir() else []  # kept prompts lie in a folder
        failures = _FAILURES.findall(self._log()[log_at:])
        return [
            Check(not left, "Asterisk has no channel and no bridge left", ", ".join(left)),
            Check(not files, "no reply is left as a file", ", ".join(files)),
            Check(not failures, "the server's log tells of no failure", "\n".join(failures[:5])),
        ]

    def _health(self) -> dict[str, object]:
        http = self._server.config.http
        if http is None:
            return {}
        try:
            with urllib.request.urlopen(f"http://{http.host}:{http.port}/health", timeout=ENDED_SECONDS) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return {}

    def _log(self) -> str:
        return self._server.log.read_text("utf-8", "replace")

    def _last(self) -> CallSession | None:
        reader = SqliteReader(self._server.config.store_path())
        try:
            return next(iter(reader.search(CallFilter(limit=1))), None)
        finally:
            reader.close()

    def _keep(self, verdict: Verdict, caller: Telephone) -> None:
        """The recordings."""
        for side in ("caller", "agent"):
            kept = f"{verdict.transport.name}-{side}.wav"
            shutil.copy(caller.recording(side), self._folder / kept)
            verdict.recordings.append(kept)


def _without_failing(call: Callable[[int], bool]) -> Callable[[int], bool]:
    def tried(number: int) -> bool:
        try:
            return call(number)
        except (AssertionError, Hangup, OSError, TimeoutError):
            return False

    return tried


def _same_words(session: CallSession | None) -> Check:
    text = "caller and agent said what the script says, and nothing else"
    if session is None:
        return Check(False, text, "the store has no record of the call")
    turns = [(turn.role, script.plain(turn.text)) for turn in session.history]
    return Check(turns == script.expected(), text, " | ".join(f"{role}: {words}" for role, words in turns))


def _step_check(transport: Transport, steps: list[Executed]) -> Check:
    taken = [f"{step.application}({step.data})" for step in steps]
    found = [step for step in taken if step.startswith(transport.step)]
    return Check(bool(found), "the dialplan goes this way", found[0] if found else f"no step {transport.step}...")


def _log_checks(transport: Transport, log: str, call_id: str) -> Iterator[Check]:
    """Each line is the call's own: what another call left in the log counts for nothing."""
    own = [line for line in log.splitlines() if call_id and f"[{call_id}]" in line]
    for what, pattern in transport.lines().items():
        found = [line for line in own if re.search(pattern, line)]
        yield Check(bool(found), f"log: {what}", found[0] if found else f"no line with {pattern!r}")
