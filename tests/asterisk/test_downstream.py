"""How replies reach a caller on the real Asterisk: streamed, as files, and from one to the other in mid-reply."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from rig import SOUNDS, Asterisk, Caller, speech, until
from served import Served

WEASELS = "tt-weasels"
SAVED = "vm-msgsaved"
HELLO = "hello-world"
LONG = "Hello and welcome. You have reached our company, and I can tell you all about it, today and every other day."


def desk(prompts: dict[str, str], **more: Any) -> dict[str, Any]:
    def say(prompt: str) -> list[str]:
        return [" ".join(re.sub(r"[^a-z' ]", " ", prompts[prompt].lower()).split())]

    return {
        "greeting": "Hello, how can I help you?",
        "closing": "Goodbye.",
        "turn": {"no_input_seconds": 30},
        "rules": {
            "intents": {
                "tell": {"say": say(WEASELS), "answer": "That is a pity, indeed."},
                "goodbye": {"say": say(SAVED), "do": "hangup"},
            }
        },
        **more,
    }


@contextlib.contextmanager
def pair(folder: Path, agent: dict[str, Any], **audiosocket: Any) -> Iterator[tuple[Asterisk, Served]]:
    """A server and its Asterisk."""
    settings: dict[str, Any] = {"playback": {"sounds": str(SOUNDS)}}
    if audiosocket:
        settings["audiosocket"] = audiosocket
    with Served(folder, {"desk": agent}, settings) as served, Asterisk(server=served.address) as asterisk:
        yield asterisk, served


def did(caller: Caller, application: str) -> list[str]:
    return [step.data for step in caller.steps() if step.application == application]


def talk(caller: Caller) -> None:
    """A question, and good bye."""
    caller.hear(quiet_ms=1800)  # a recording may end with silence, and the text goes on
    caller.say(WEASELS)
    caller.hear()
    caller.say(SAVED)
    until(lambda: did(caller, "Hangup"), 25, "the agent's hang-up")


def well(served: Served) -> None:
    served.no_calls()
    assert "Traceback" not in served.log()
    assert not list((served.folder / "spool").glob("*.wav")), "nothing is left in the spool"


@pytest.mark.slow
def test_the_flag_is_turned_off_and_on_without_a_restart(tmp_path: Path, prompts: dict[str, str]) -> None:
    agent = desk(prompts, greeting=f"sound:{HELLO} How can I help you?")
    with pair(tmp_path, agent) as (asterisk, served):
        assert "agent desk: streaming is ready (downstream_mode stream)" in served.log()
        with asterisk.call() as caller:
            talk(caller)
        well(served)
        assert "replies: stream" in served.log()
        assert not did(caller, "ControlPlayback")
        streamed = len(speech(caller.heard()))

        served.file.write_text(served.file.read_text().replace("greeting:", "downstream_mode: file\n    greeting:"))
        assert served.process is not None
        served.process.send_signal(signal.SIGHUP)
        until(lambda: "agent desk: replies as files are ready" in served.log(), 20, "the reload")
        with asterisk.call() as caller:
            talk(caller)
        well(served)
        assert "replies: file" in served.log()
        played = [step.data for step in caller.steps() if "ControlPlayback" in step.data]
        assert len(played) == 3, "greeting, answer, closing: each as a whole"
        assert len(speech(caller.heard())) >= min(3, streamed)
        assert "the agent was interrupted" not in served.log()
        assert served.log().count(f"transcript='sound:{HELLO} How can I help you?'") == 2, "Asterisk's own sound"
        assert not caller.landed(), "nobody was sent to the fallback"


def test_a_key_cuts_a_reply_short_and_is_heard(tmp_path: Path, prompts: dict[str, str]) -> None:
    with pair(tmp_path, desk(prompts, greeting=LONG, downstream_mode="file")) as (asterisk, served):
        with asterisk.call() as caller:
            caller.exec("WaitForNoise", "120,1,25")
            caller.wait(1)
            caller.dial("5")
            until(lambda: "the agent was interrupted: digit" in served.log(), 10, "the key")
            assert "USERSTOPPED-" in str(did(caller, "Set"))
            caller.hear()  # that this was not understood
            caller.say(SAVED)
            until(lambda: did(caller, "Hangup"), 25, "the agent's hang-up")
        well(served)


class Cutting:
    """Between Asterisk and the server: breaks the first connection when so much of the agent's audio has passed."""

    def __init__(self, to: int, after: int) -> None:
        self.to, self.after = to, after
        self.broken = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self.join, args=(near,), daemon=True).start()

    def join(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self.to)) as far:
            heard = threading.Thread(target=self.pass_on, args=(near, far, 0), daemon=True)
            heard.start()
            self.pass_on(far, near, self.after)
            heard.join()

    def pass_on(self, source: socket.socket, sink: socket.socket, limit: int) -> None:
        spoken = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                spoken += len(data) if any(data[3:]) else 0
                if limit and spoken > limit and not self.broken.is_set():
                    self.broken.set()
                    break
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_a_stream_that_breaks_in_mid_reply_goes_on_as_a_file(tmp_path: Path, prompts: dict[str, str]) -> None:
    port = free_port()
    cutting = Cutting(port, after=323 * 50 * 2)  # 2 s into the greeting
    agent = desk(prompts, greeting=LONG, downstream_mode="auto")
    with pair(tmp_path, agent, port=port, advertise=f"127.0.0.1:{cutting.port}") as (asterisk, served):
        with asterisk.call() as caller:
            talk(caller)
        well(served)
        broken = caller.heard()
        assert cutting.broken.is_set()
        assert "replies: auto" in served.log()
        assert "streaming failed (transport)" in served.log()
        assert 'ai_agent_streaming_fallbacks_total{reason="transport"} 1.0' in served.get("/metrics")[1]
        assert not caller.landed(), "nobody was sent to the fallback"
        assert LONG in served.log(), "all of it counts as heard"
        # The next call's stream does not break: what is heard of the greeting lasts as long.
        with asterisk.call() as caller:
            talk(caller)
        well(served)
        whole = caller.heard()
    first, second = ([end - begin for begin, end in speech(track, gap=0.3)] for track in (broken, whole))
    assert sum(first) == pytest.approx(sum(second), abs=0.8)
    cutting.listener.close()


@pytest.mark.parametrize("way", ["AI_WEBSOCKET", "AI_STASIS", "AI_WIDEBAND"])
def test_files_whatever_the_audio_comes_by(tmp_path: Path, prompts: dict[str, str], way: str) -> None:
    agi_port, port = free_port(), free_port()
    globals_ = {way: "yes" if way == "AI_WIDEBAND" else "asterisk-ai", "AI_DOWNSTREAM": "file"}
    with Asterisk(
        server=f"127.0.0.1:{agi_port}", globals_=globals_, websocket_port=port, ari_password="not-a-secret"
    ) as asterisk:
        settings: dict[str, Any] = {
            "fastagi": {"port": agi_port},
            "websocket": {"port": port, "asterisk": f"ws://127.0.0.1:{asterisk.http_port}/media"},
            "ari": {"url": asterisk.ari_url, "password": "not-a-secret"},
        }
        with Served(tmp_path, {"desk": desk(prompts)}, settings) as served:
            until(lambda: served.health()["ari"] == "connected", 20, "connected to ARI")
            with asterisk.call() as caller:
                talk(caller)
            well(served)
            assert "replies: file" in served.log()
            assert len([step for step in caller.steps() if "ControlPlayback" in step.data]) == 3
            assert not caller.landed()
            until(lambda: not asterisk.channels(), 20, "no channel in Asterisk")
