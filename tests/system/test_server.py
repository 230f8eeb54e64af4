"""The whole server as a process of its own: callers, signals, strangers, and what is left afterwards."""

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
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sound import tone

from asterisk_ai.audio.levels import dbov
from asterisk_ai.protocol import audiosocket
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.agi_client import AgiOutcome, run_agi
from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate

ROOT = Path(__file__).parents[2]
HOURS, SALES, BYE, ACCOUNT, RAISE, NOISE, QUEUE, BROKEN, PLAY = 400, 500, 600, 700, 800, 900, 1000, 1100, 1200
LONG = "This greeting is long enough to be interrupted by a caller who knows what to ask for and has no time at all."
CONFIG = f"""
default_agent: reception
pipelines:
  offline: {{stt: "engines:ToneSpeechToText", llm: rules, tts: espeak}}
  rude: {{stt: "engines:RudeSpeechToText", llm: rules, tts: espeak}}
  ruder: {{stt: "engines:ToneSpeechToText", llm: "engines:RudeLanguageModel", tts: espeak}}
  rudest: {{stt: "engines:HastySpeechToText", llm: "engines:RudestLanguageModel", tts: espeak}}
audiosocket: {{port: 0, handshake_seconds: 1, idle_seconds: 5}}
fastagi: {{port: 0, header_seconds: 1}}
http: {{port: 0}}
server: {{max_calls: 60, drain_seconds: 20, max_lateness_ms: 0}}  # other work on the machine is not what is tested
store: {{path: sessions.db}}
vad: {{engine: energy}}  # callers whistle
providers:
  espeak: {{words_per_minute: 300}}
  engines:ToneSpeechToText:
    words: {{"{HOURS}": opening hours, "{SALES}": sales, "{BYE}": bye, "{ACCOUNT}": account, "{RAISE}": RAISE,
            "{NOISE}": "", "{QUEUE}": operator, "{BROKEN}": UNAVAILABLE, "{PLAY}": directions}}
agents:
  reception: &reception
    greeting: "Hi."
    closing: "Bye."
    turn: &turn
      {{endpoint_ms: 200, barge_in_ms: 120, no_input_seconds: 20, digit_timeout_ms: 600, trouble_prompt: "Oh."}}
    rules: &rules
      slots:
        account: {{digits: 4, ask: "Number?", again: "Four digits?"}}
      intents:
        hours: {{say: opening hours, answer: "Nine to five."}}
        sales: {{say: sales, answer: "One moment. I am connecting you to our sales department. Please wait.",
                do: {{transfer: "200@from-internal"}}}}
        operator: {{say: operator, answer: "Yes.", do: {{queue: reception}}}}
        bye: {{say: bye, do: hangup}}
        directions: {{say: directions, answer: "Listen.", do: {{play: custom/directions}}}}
        account: {{say: account, ask: [account], answer: "Account {{account:digits}}."}}
      dtmf: {{"1": hours, "3": account}}
      unknown: {{say: ["What?"], offer: "Shall I?", handoff: operator}}
  talkative: {{greeting: "{LONG}", closing: "Bye.", turn: *turn, rules: *rules}}
  rude: {{pipeline: rude, greeting: "Hi.", turn: *turn, rules: *rules}}
  ruder: {{pipeline: ruder, greeting: "Hi.", turn: *turn}}
  rudest: {{pipeline: rudest, greeting: "Hi.", turn: *turn}}
"""


def says(hertz: int, **how: Any) -> Line:
    return Line(f"{hertz} Hz", pcm=tone(hertz), **how)


def dials(digits: str) -> Line:
    return Line(digits, digits=digits)


class Served:
    """``asterisk-ai serve`` on free ports."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.folder = folder
        self.file = folder / "asterisk_ai.yaml"
        self.log_file = folder / "server.log"
        self.file.write_text(config, "utf-8")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.log_file.unlink(missing_ok=True)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                serve_command(self.file), stdout=log, stderr=log, env=environment(), cwd=self.folder
            )
        end = time.monotonic() + 20
        while not (found := re.search(r"is ready: AudioSocket \S+:(\d+), FastAGI \S+:(\d+), HTTP \S+:(\d+)", self.log)):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.02)
        self.audio, self.fastagi, self.http = map(int, found.groups())

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 15.0) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/health")[1])
        return found

    def descriptors(self) -> list[str]:
        """What every open file is, numbers aside."""
        found = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(re.sub(r"\d+", "", os.readlink(entry)))
        return sorted(found)

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def record(self, call_id: str) -> CallSession:
        """A call's record, as soon as it has ended."""
        reader = SqliteReader(self.folder / "sessions.db")
        try:
            end = time.monotonic() + 6
            while time.monotonic() < end:
                found = reader.find(call_id)
                if found is not None and found.ended:
                    return found
                time.sleep(0.02)
        finally:
            reader.close()
        raise AssertionError(f"the call has no end: {found}")

    # ---- callers ---------------------------------------------------------------------

    async def call(self, *lines: Line, agent: str = "", linger: float = 0.6, **more: Any) -> Result:
        async with asyncio.timeout(30):
            caller = Caller(lines, linger=linger, patience=8)
            return await simulate(caller, host="127.0.0.1", fastagi_port=self.fastagi, agent=agent, **more)

    async def ask(self, script: str, *arguments: str) -> AgiOutcome:
        return await run_agi("127.0.0.1", self.fastagi, script, arguments=arguments, timeout=10)

    async def register(self, query: str = "") -> str:
        return (await self.ask("call/start" + query)).variables["AI_CALL_ID"]

    async def idle(self) -> None:
        """No call is left, within the five seconds that are promised."""
        await until(lambda: self.health()["active_calls"] == 0, 5)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'fakes'}", "PYTHONUNBUFFERED": "1"}


def serve_command(file: Path) -> list[str]:
    return [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)]


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the tests that leave it as they found it."""
    served = Served(tmp_path_factory.mktemp("shared"))
    yield served
    served.close()
    assert "Traceback" not in served.log
    calls = [line for line in served.log.splitlines() if " asterisk_ai.call." in line]
    unnamed = [line for line in calls if not re.search(r" asterisk_ai\.call\.[\w.]+ \[", line)]
    assert unnamed == [], "every line names its call"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Servers for this test alone."""
    started: list[Served] = []

    def start(config: str = CONFIG) -> Served:
        started.append(Served(tmp_path, config))
        return started[-1]

    yield start
    for served in started:
        served.close()


# ---- conversations ----------------------------------------------------------------------------------


def test_conversations_of_every_kind(shared: Served) -> None:
    # As long as its words would take at least: what is shorter is taken for noise.
    interrupting = Line("opening hours", pcm=(2 * tone(HOURS))[: round(0.5 * 16000)], barge_in=0.4)

    async def work() -> None:
        talk, transfer, queue, bye, digits, menu, unknown, barge, play = await asyncio.gather(
            shared.call(says(HOURS), number="5550101"),
            shared.call(says(HOURS), says(SALES)),
            shared.call(says(QUEUE)),
            shared.call(says(BYE)),
            shared.call(says(ACCOUNT), dials("1234")),
            shared.call(dials("1")),
            shared.call(says(NOISE)),
            shared.call(interrupting, agent="talkative"),
            shared.call(says(PLAY), says(HOURS)),
        )
        everybody = [talk, transfer, queue, bye, digits, menu, unknown, barge, play]
        assert [result.status for result in everybody] == ["OK"] * 9
        for result in everybody:
            assert all(response.seconds is not None for response in result.responses), result.responses
        assert talk.next == "caller hung up"
        assert transfer.next == "transfer"
        wanted = {"AI_CONTEXT": "from-internal", "AI_EXTEN": "200"}
        assert {name: transfer.variables[name] for name in wanted} == wanted
        assert (queue.next, queue.variables["AI_QUEUE"]) == ("queue", "reception")
        assert bye.next == "hangup"
        outcomes = [shared.record(result.call_id).outcome for result in everybody]
        assert outcomes == ["hangup", "transfer", "queue", "agent_hangup"] + ["hangup"] * 5

        record = shared.record(talk.call_id)
        turns = [(turn.role, turn.text) for turn in record.history]
        assert turns == [("agent", "Hi."), ("caller", "opening hours"), ("agent", "Nine to five.")]
        assert (record.caller["number"], record.agent) == ("5550101", "reception")
        assert {"endpoint", "words", "first_audio"} <= set(record.history[2].timings)
        assert shared.record(bye.call_id).history[-1].text == "Bye."
        turn = shared.record(digits.call_id).history[-2]
        assert (turn.text, turn.dialled) == ("1234", True)
        assert shared.record(digits.call_id).history[-1].text.startswith("Account 1")
        assert shared.record(menu.call_id).history[-1].text == "Nine to five."
        assert [turn.understood for turn in shared.record(unknown.call_id).history if turn.role == "caller"] == [False]
        assert play.variables["AI_FILE"] == "custom/directions"
        turns = [turn.text for turn in shared.record(play.call_id).history]
        assert turns == ["Hi.", "directions", "Listen.", "opening hours", "Nine to five."], "nobody is sorry"
        greeting = shared.record(barge.call_id).history[0]
        assert greeting.interrupted
        assert LONG.startswith(greeting.text)
        assert 0 < len(greeting.text) < len(LONG) / 2
        assert shared.health()["conversation"]["barge_in_total"] >= 1
        assert " asterisk_ai.call." in shared.log
        await shared.idle()

    asyncio.run(work())


def test_hanging_up_during_the_last_words_is_no_transfer(shared: Served) -> None:
    async def work() -> None:
        caller = Caller([says(SALES)], linger=5, patience=8)
        ids: list[str] = []
        call = asyncio.create_task(
            simulate(caller, host="127.0.0.1", fastagi_port=shared.fastagi, on_registered=ids.append)
        )
        await until(lambda: bool(caller.result.responses and caller.result.responses[0].seconds), 10)
        await asyncio.sleep(0.5)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await shared.ask("call/end", ids[0])
        record = shared.record(ids[0])
        assert record.outcome == "hangup"
        assert record.history[-1].interrupted
        assert 0 < len(record.history[-1].text) < 60
        await shared.idle()

    asyncio.run(work())


def test_hanging_up_at_any_moment_leaves_nothing(shared: Served) -> None:
    async def one(seconds: float) -> None:
        caller = Caller([says(HOURS), says(SALES)], linger=5)
        call = asyncio.create_task(simulate(caller, host="127.0.0.1", fastagi_port=shared.fastagi))
        # Not before the audio is connected: for a caller who is gone by then the server waits for fifteen seconds.
        await until(lambda: bool(caller.result.caller), 20)
        await asyncio.sleep(seconds)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    async def work() -> None:
        await asyncio.gather(*(one(0.15 * number) for number in range(20)))
        await shared.idle()  # nobody said call/end

    asyncio.run(work())


def test_fifty_calls_at_once_leave_nothing(shared: Served) -> None:
    async def work() -> None:
        await shared.call(says(HOURS))
        await shared.idle()
        await asyncio.sleep(0.2)
        files, threads = shared.descriptors(), shared.threads()
        results = await asyncio.gather(*(shared.call(says(HOURS), linger=1.0) for _ in range(50)))
        assert [result.status for result in results] == ["OK"] * 50
        assert all(result.responses[0].seconds is not None for result in results)
        await shared.idle()
        assert {shared.record(result.call_id).outcome for result in results} == {"hangup"}
        await until(lambda: shared.descriptors() == files, 5)
        assert shared.threads() <= threads + 4, "no thread for each call"
        health = shared.health()
        assert (health["talking"], health["status"]) == (0, "healthy")
        metrics = shared.get("/metrics")[1]
        states = re.findall(r'^ai_agent_conversation_state\{state="\w+"\} (\S+)$', metrics, re.MULTILINE)
        assert states
        assert {float(value) for value in states} == {0.0}

    asyncio.run(work())


# ---- who is not taken -------------------------------------------------------------------------------


def test_unknown_agents_and_calls(shared: Served) -> None:
    async def work() -> None:
        assert (await shared.call(agent="nobody")).status == "UNKNOWN_AGENT"
        assert (await shared.ask("call/start?rate=11025")).variables["AI_STATUS"] == "ERROR"
        assert (await shared.ask("call/start?rate=" + "9" * 5000)).variables["AI_STATUS"] == "ERROR"
        for call_id in (str(uuid.uuid4()), "", "nonsense"):
            assert (await shared.ask("call/next", call_id)).variables["AI_NEXT"] == "fallback"
            assert (await shared.ask("call/end", call_id)).status == "SUCCESS"
        assert await heard(shared, str(uuid.uuid4()), 5) is False, "nobody registered it"
        assert shared.health()["refused_connections"]["UNKNOWN"] >= 1
        await shared.idle()

    asyncio.run(work())


async def heard(served: Served, call_id: str, seconds: float) -> bool:
    """Connect as AudioSocket() does, and tell whether somebody speaks. Says silence all the while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.audio)
    writer.write(audiosocket.uuid_message(uuid.UUID(call_id)))
    try:
        async with asyncio.timeout(seconds):
            while True:
                head = await reader.readexactly(3)
                pcm = await reader.readexactly(int.from_bytes(head[1:], "big"))
                if dbov(pcm) > -40:
                    return True
                writer.write(audiosocket.audio_message(8000, bytes(320)))
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return False
    finally:
        writer.close()


def test_a_full_server_and_a_bare_audiosocket(own: Callable[..., Served]) -> None:
    config = CONFIG.replace("max_calls: 60", "max_calls: 1").replace(
        "handshake_seconds: 1,", "handshake_seconds: 1, require_registration: false,"
    )
    served = own(config)

    async def work() -> None:
        bare = str(uuid.uuid4())
        assert await heard(served, bare, 10), "the default agent greets"
        assert (await asyncio.to_thread(served.record, bare)).outcome == "hangup"
        await served.idle()
        running = asyncio.create_task(served.call(says(HOURS), linger=2.0))
        await until(lambda: served.health()["talking"] == 1)
        assert (await served.call()).status == "FULL"
        assert served.get("/ready")[0] == 503
        assert await heard(served, str(uuid.uuid4()), 5) is False
        assert (await running).status == "OK"
        await served.idle()
        assert served.get("/ready")[0] == 200

    asyncio.run(work())


# ---- what may go wrong ------------------------------------------------------------------------------


def test_an_engine_that_fails_harms_its_own_caller_only(own: Callable[..., Served]) -> None:
    served = own()

    async def work() -> None:
        raised, broken, other, rude, ruder, rudest = await asyncio.gather(
            served.call(says(RAISE), says(RAISE), linger=5),
            served.call(says(BROKEN), says(BROKEN), linger=5),
            served.call(says(HOURS), says(HOURS), linger=1),
            served.call(says(HOURS), says(HOURS), agent="rude", linger=5),
            served.call(says(HOURS), dials("1"), agent="ruder", linger=5),
            served.call(says(HOURS), agent="rudest", linger=5),
        )
        assert raised.next == "fallback"
        assert rude.next == "fallback"
        assert ruder.next == "fallback"
        assert rudest.next == "fallback"
        assert served.record(ruder.call_id).memory == {}, "what is no JSON is not kept"
        assert broken.next == "fallback"
        assert other.next == "caller hung up"
        assert all(response.seconds is not None for response in other.responses)
        assert [served.record(result.call_id).outcome for result in (raised, broken)] == ["fallback"] * 2
        assert [turn.text for turn in served.record(broken.call_id).history] == ["Hi.", "Oh."]
        await served.idle()

    asyncio.run(work())
    assert served.log.count("Traceback") >= 1
    assert "somebody's engine" in served.log
    assert "somebody's feed" in served.log
    assert "somebody's digits" in served.log
    assert "somebody's judgement" in served.log
    assert "cannot be stored" in served.log


def test_strangers_on_every_port_do_not_harm_a_call(shared: Served) -> None:
    attacks = [
        b"",
        b"\0" * 70_000,
        b"\xff" * 70_000,
        os.urandom(20_000),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 20_000,
        audiosocket.uuid_message(uuid.uuid4()) * 100,
        b"agi_network: yes\nagi_network_script: call/start\n",
        b"agi_network: yes\n" * 5000,
        b"agi_network_script: call/next\nagi_arg_1: ../../etc/passwd\n\n200 result=0\n" + b"HANGUP\n" * 1000,
        b"agi_network_script: call/start?agent=%00%0a\n\n511 dead\n",
    ]

    def attack(port: int, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=4) as sock, contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass

    async def work() -> None:
        call = asyncio.create_task(shared.call(says(HOURS), says(HOURS), linger=1))
        await until(lambda: shared.health()["talking"] == 1)
        ports = (shared.audio, shared.fastagi, shared.http)
        await asyncio.gather(*(asyncio.to_thread(attack, port, data) for port in ports for data in attacks))
        result = await call
        assert result.status == "OK"
        assert all(response.seconds is not None for response in result.responses)
        end = time.monotonic() + 25  # what was registered over there never comes
        while shared.health()["active_calls"]:
            assert time.monotonic() < end
            await asyncio.sleep(0.2)

    asyncio.run(work())


# ---- signals ---------------------------------------------------------------------------------------------


def test_a_killed_server_comes_back_and_the_call_goes_on(own: Callable[..., Served]) -> None:
    served = own()

    async def work() -> None:
        start = await served.ask("call/start")
        call_id = start.variables["AI_CALL_ID"]
        first = Caller([says(ACCOUNT)], linger=30)
        talking = asyncio.create_task(first.talk("127.0.0.1", served.audio, call_id))
        await until(lambda: bool(first.result.responses and first.result.responses[0].seconds))
        await asyncio.sleep(1.5)  # the question has been asked
        served.signal(signal.SIGKILL)
        await talking
        assert not first.hung_up
        served.wait()
        assert (await served.ask("call/next", call_id)).status == "FAILURE"
        await asyncio.to_thread(served.start)
        assert served.health()["active_calls"] == 1
        again = await served.ask("call/next", call_id)
        assert again.variables["AI_NEXT"] == "talk"
        second = Caller([dials("4711")], linger=0.6)
        await second.talk("127.0.0.1", served.audio, call_id)
        assert second.result.responses[0].seconds is not None
        await served.ask("call/end", call_id)
        record = served.record(call_id)
        texts = [turn.text for turn in record.history]
        assert texts[:3] == ["Hi.", "account", "Number?"]
        assert texts[3].startswith("Sorry, I lost you for a second.")
        assert texts[4] == "4711"
        assert texts[5].startswith("Account 4"), "the question was not forgotten"
        assert (record.connects, record.outcome) == (2, "hangup")
        await served.idle()

    asyncio.run(work())


def test_stopping_lets_the_running_call_finish(own: Callable[..., Served]) -> None:
    served = own()

    async def work() -> None:
        running = asyncio.create_task(served.call(says(HOURS), says(QUEUE), linger=5))
        await until(lambda: served.health()["talking"] == 1)
        served.signal(signal.SIGTERM)
        await until(lambda: served.health()["status"] == "draining")
        assert (await served.call()).status == "DRAINING"
        assert served.get("/ready")[0] == 503
        result = await running
        assert (result.next, result.variables["AI_QUEUE"]) == ("queue", "reception"), "asked for after the audio ended"
        assert await asyncio.to_thread(served.wait) == 0

    asyncio.run(work())
    assert "Traceback" not in served.log


def test_stopping_twice_does_not_wait(own: Callable[..., Served]) -> None:
    served = own()

    async def work() -> None:
        running = asyncio.create_task(served.call(says(HOURS), linger=30))
        await until(lambda: served.health()["talking"] == 1)
        served.signal(signal.SIGINT)
        await until(lambda: served.health()["status"] == "draining")
        served.signal(signal.SIGINT)
        assert await asyncio.to_thread(served.wait, 5) == 0
        assert (await running).next == "server lost"

    asyncio.run(work())
    assert "Traceback" not in served.log


def test_an_idle_server_stops_at_once(own: Callable[..., Served]) -> None:
    served = own()
    began = time.monotonic()
    served.signal(signal.SIGINT)
    assert served.wait(5) == 0
    assert time.monotonic() - began < 3
    assert "Traceback" not in served.log


def test_reloading_while_a_call_runs(own: Callable[..., Served]) -> None:
    served = own()

    def reload(config: str, said: str) -> None:
        count = served.log.count(said)
        served.file.write_text(config, "utf-8")
        served.signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while served.log.count(said) == count:
            assert time.monotonic() < end, served.log
            time.sleep(0.02)

    async def work() -> None:
        running = asyncio.create_task(served.call(says(HOURS), says(HOURS), says(HOURS), linger=1))
        await until(lambda: served.health()["talking"] == 1)
        bad = [
            CONFIG + "nonsense: true\n",
            CONFIG.replace("llm: rules", "llm: no_such_engine"),
            CONFIG.replace("ToneSpeechToText", "ImpossibleSpeechToText"),
            CONFIG.replace("say: opening hours", "say: ("),
            ": [",
        ]
        for config in bad:
            await asyncio.to_thread(reload, config, "reload refused")
        assert served.health()["status"] == "healthy"
        assert (await served.call(says(HOURS), linger=0.4)).responses[0].seconds is not None
        good = CONFIG.replace("Nine to five.", "Never.").replace('greeting: "Hi."', 'greeting: "Hello."')
        await asyncio.to_thread(reload, good, "is in use")
        new = await served.call(says(HOURS), linger=0.4)
        old = await running
        assert [turn.text for turn in served.record(new.call_id).history] == ["Hello.", "opening hours", "Never."]
        assert [turn.text for turn in served.record(old.call_id).history][-1] == "Nine to five."
        unstartable = good.replace("ToneSpeechToText", "UnstartableSpeechToText")
        await asyncio.to_thread(reload, unstartable, "reload refused")
        assert "somebody's mistake" in served.log
        assert served.get("/health")[0] == 200
        await served.idle()

    asyncio.run(work())
    served.signal(signal.SIGTERM)
    assert served.wait() == 0


# ---- at the start ---------------------------------------------------------------------------------------------


def failing(folder: Path, config: str | bytes, *, engines_fault: bool = False) -> str:
    """What a server that cannot start says; it must be told in words, with exit status 1."""
    file = folder / "asterisk_ai.yaml"
    file.write_bytes(config.encode() if isinstance(config, str) else config)
    done = subprocess.run(
        serve_command(file), capture_output=True, text=True, env=environment(), cwd=folder, timeout=30, check=False
    )
    assert done.returncode == 1, done.stderr
    assert ("Traceback" in done.stderr) == engines_fault, done.stderr
    return done.stderr


@pytest.mark.parametrize("listener", ["audiosocket", "fastagi", "http"])
def test_a_port_that_is_taken(tmp_path: Path, listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = re.sub(rf"^{listener}: {{{{?port: 0", f"{listener}: {{port: {port}", CONFIG, flags=re.MULTILINE)
        said = failing(tmp_path, config)
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"asterisk-ai: [Errno 98] {listener}: cannot listen on 127.0.0.1:{port}"), said
    assert f"{listener}.port" in last


def test_configurations_that_cannot_be_used(tmp_path: Path) -> None:
    line = CONFIG.splitlines().index("store: {path: sessions.db}") + 1
    said = failing(tmp_path, CONFIG.replace("store: {path: sessions.db}", "store: {path: sessions.db, backend: paper}"))
    assert f"asterisk_ai.yaml:{line}: store.backend" in said
    assert "asterisk_ai.yaml:" in failing(tmp_path, CONFIG + "\nagents: [\n")
    assert "no_such_engine" in failing(tmp_path, CONFIG.replace("tts: espeak", "tts: no_such_engine"))
    assert "cannot be made" in failing(
        tmp_path, CONFIG.replace("ToneSpeechToText", "ImpossibleSpeechToText"), engines_fault=True
    )


def test_a_damaged_store(tmp_path: Path) -> None:
    (tmp_path / "sessions.db").write_bytes(b"no database at all " * 1000)
    assert "move it away" in failing(tmp_path, CONFIG)


# ---- HTTP ------------------------------------------------------------------------------------------------------


def test_what_is_shown(shared: Served) -> None:
    code, body = shared.get("/health")
    health = json.loads(body)
    assert code == 200
    assert health["status"] == "healthy"
    assert set(health["conversation"]) == {"gating_active", "capture_disabled", "barge_in_total"}
    assert health["active_pipeline"] == "offline"
    assert health["uptime_seconds"] > 0
    assert all(set(state) == {"ready", "reason"} for state in health["providers"].values())
    assert {name.split("/")[0] for name in health["providers"]} == {"stt", "llm", "tts"}
    assert shared.get("/ready")[0] == 200
    assert shared.get("/live")[0] == 200
    assert shared.get("/nothing")[0] == 404
    metrics = shared.get("/metrics")[1]
    for name in ("tts_gating_active", "audio_capture_enabled", "conversation_state", "active_calls"):
        assert f"\nai_agent_{name}" in metrics
    for name in ("barge_in_events_total", "turn_response_seconds_bucket", "fastagi_requests_total"):
        assert f"# TYPE ai_agent_{name.removesuffix('_bucket').removesuffix('_total')}" in metrics
