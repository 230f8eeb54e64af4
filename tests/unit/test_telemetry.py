"""Metrics, the HTTP port on real sockets, logs, and what systemd is told."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h11
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asterisk_ai.telemetry import http as http_module
from asterisk_ai.telemetry import log_queue, logs
from asterisk_ai.telemetry.http import HttpServer, _is_here, _knows
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.telemetry.sd_notify import Notifier


class Probes:
    """What the server says of itself; tests change it."""

    def __init__(self) -> None:
        self.well = self.open = True

    def health(self) -> tuple[bool, dict[str, Any]]:
        return self.well, {"status": "ok" if self.well else "failing", "active_calls": 0}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        return self.open, {"ready": self.open}


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def server(probes: Probes) -> Iterator[HttpServer]:
    with HttpServer("127.0.0.1", 0, health=probes.health, ready=probes.ready, metrics=Metrics()) as running:
        yield running


def get(server: HttpServer, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path)
    response = connection.getresponse()
    answer = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return answer


def raw(server: HttpServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
        peer.sendall(request)
        received = b""
        while chunk := peer.recv(65536):
            received += chunk
    return received


def test_metrics_have_the_names_that_dashboards_use() -> None:
    metrics = Metrics()
    metrics.active_calls.inc()
    metrics.barge_in.labels("stopped").inc()
    metrics.turn_response.observe(0.4)
    metrics.conversation_state.labels("listening").set(1)
    metrics.refused.labels("unregistered").inc()
    metrics.frames_dropped.labels("in").inc()
    metrics.fastagi_requests.labels("start", "ok").inc()
    metrics.calls.labels("hangup").inc()
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    samples = {sample.name: sample.value for family in families.values() for sample in family.samples}
    for name in (
        "ai_agent_active_calls",
        "ai_agent_barge_in_events_total",
        "ai_agent_turn_response_seconds_sum",
        "ai_agent_tts_gating_active",
        "ai_agent_audio_capture_enabled",
        "ai_agent_conversation_state",
        "ai_agent_audiosocket_refused_total",
        "ai_agent_frames_late_total",
        "ai_agent_frames_dropped_total",
        "ai_agent_fastagi_requests_total",
        "ai_agent_calls_total",
    ):
        assert name in samples
    assert all(name.startswith("ai_agent_") for name in families)
    states = {sample.labels["state"]: sample.value for sample in families["ai_agent_conversation_state"].samples}
    assert states["listening"] == 1
    assert states["speaking"] == 0


def test_the_four_paths(server: HttpServer) -> None:
    status, body, headers = get(server, "/health?verbose=1")
    assert (status, json.loads(body)) == (200, {"status": "ok", "active_calls": 0})
    assert headers["Content-Type"] == "application/json"
    assert get(server, "/live")[0] == 200
    assert json.loads(get(server, "/ready")[1]) == {"ready": True}
    status, body, headers = get(server, "/metrics")
    assert b"ai_agent_active_calls 0.0" in body
    assert headers["Content-Type"].startswith("text/plain")
    assert get(server, "/other")[0] == 404


def test_not_well_is_not_200_but_still_told(server: HttpServer, probes: Probes) -> None:
    probes.well = probes.open = False
    assert get(server, "/health")[0] == 503
    assert json.loads(get(server, "/health")[1])["status"] == "failing"
    assert get(server, "/ready")[0] == 503
    assert get(server, "/live")[0] == 200


def test_head_has_the_length_and_no_body(server: HttpServer) -> None:
    status, body, headers = get(server, "/health", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(get(server, "/health")[1])
    status, _, headers = get(server, "/health", "POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b" \r\n\r\n", b"400"),
        (b"\r\n\r\nGET /live HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /live HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /live HTTP/1.1\r\n\r\n", b"400"),  # without the host that the protocol demands
        (b"GET\r\n\r\n", b"400"),
        (b"GET /health\r\n\r\n", b"400"),
        (b"GET health HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n", b"400"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /health HTTP/1.1\r\nA: " + b"b" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello and more", b"200"),
        (b"DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
    ],
)
def test_strange_requests_are_answered(server: HttpServer, request_: bytes, status: bytes) -> None:
    assert raw(server, request_).split(b" ")[1] == status
    assert get(server, "/live")[0] == 200


def test_a_slow_peer_has_two_seconds_in_all(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "REQUEST_SECONDS", 0.3)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
        for byte in b"GET /health":
            slow.sendall(bytes([byte]))
            time.sleep(0.02)
        assert get(server, "/live")[0] == 200
        assert b"408" in slow.recv(100)
    assert 0.2 < time.monotonic() - begun < 2


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET /live HTTP/1.0\r\n\r\n"])
def test_peers_that_keep_us_waiting_make_room(server: HttpServer, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Whether they wait before their request, in it, or after the answer."""
    monkeypatch.setattr(http_module, "REQUEST_SECONDS", 3600)
    peers = []
    for _ in range(60):
        peer = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        peer.sendall(sent)
        peers.append(peer)
        if len(peers) > http_module.MAX_WAITED_FOR:
            assert get(server, "/live")[0] == 200
    assert sum(thread.name == "http-request" for thread in threading.enumerate()) <= http_module.MAX_THREADS
    for peer in peers:
        peer.close()


def test_a_peer_that_resets_does_no_harm(server: HttpServer) -> None:
    for _ in range(20):
        peer = socket.create_connection(("127.0.0.1", server.port))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        peer.close()
    assert get(server, "/live")[0] == 200


def test_a_probe_that_raises_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def broken() -> tuple[bool, dict[str, Any]]:
        raise RuntimeError("broken")

    with HttpServer("127.0.0.1", 0, health=broken, ready=broken, metrics=Metrics()) as running:
        assert get(running, "/health")[0] == 500
        assert get(running, "/live")[0] == 200
        until = time.monotonic() + 20
        while not seen:  # it is told by the thread that has answered, and after that
            assert time.monotonic() < until
            time.sleep(0.01)
    assert seen[0].exc_type is RuntimeError


def test_start_and_stop_leave_nothing_behind(probes: Probes) -> None:
    server = HttpServer("127.0.0.1", 0, health=probes.health, ready=probes.ready, metrics=Metrics())
    assert server.port == 0
    server.start()
    port = server.port
    with pytest.raises(OSError, match="in use"):
        HttpServer("127.0.0.1", port, health=probes.health, ready=probes.ready, metrics=Metrics()).start()
    server.stop()
    server.stop()
    assert not any(thread.name == "http" for thread in threading.enumerate())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_it_answers_while_the_event_loop_is_stuck(server: HttpServer) -> None:
    async def stuck() -> int:
        answer = asyncio.get_running_loop().run_in_executor(None, get, server, "/health")
        time.sleep(0.3)
        assert answer.done() or (await answer)[0] == 200
        return (await answer)[0]

    assert asyncio.run(stuck()) == 200


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = list(root.handlers), root.level, ours.level
    yield io.StringIO()
    root.handlers[:], root.level, ours.level = before
    ours.setLevel(before[2])


def test_lines_carry_the_call_and_not_what_was_said(stream: io.StringIO) -> None:
    handler = logs.configure_service(level="info", stream=stream)
    log = logging.getLogger("asterisk_ai.call.staged.conversation")

    async def call(call_id: str) -> None:
        with logs.call_scope(call_id):
            await asyncio.sleep(0)
            log.info("turn", extra={"transcript": "my secret number", "milliseconds": 12})

    async def main() -> None:
        await asyncio.gather(call("id-1"), call("id-2"))

    asyncio.run(main())
    log.info("no call")
    log.debug("not shown")
    logging.getLogger("other").info("not shown")
    logging.getLogger("other").warning("shown")
    handler.close()
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "INFO asterisk_ai.call.staged.conversation [id-1] turn milliseconds=12",
        "INFO asterisk_ai.call.staged.conversation [id-2] turn milliseconds=12",
        "INFO asterisk_ai.call.staged.conversation no call",
        "WARNING other shown",
    ]


def test_transcripts_where_they_are_asked_for(stream: io.StringIO) -> None:
    handler = logs.configure_service(level="info", style="json", transcripts=True, stream=stream)
    logging.getLogger("asterisk_ai").info("turn", extra={"transcript": "hello", "call_id": "x"})
    handler.close()
    entry = json.loads(stream.getvalue())
    assert (entry["message"], entry["call_id"], entry["transcript"], entry["level"]) == ("turn", "x", "hello", "info")


def test_a_second_configuration_takes_the_place_of_the_first(stream: io.StringIO) -> None:
    logs.configure_service(stream=stream)
    handler = logs.configure_service(level="debug", stream=stream)
    logging.getLogger("asterisk_ai").debug("once")
    handler.close()
    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_peer_cannot_begin_a_line_of_the_log(stream: io.StringIO, style: str) -> None:
    handler = logs.configure_service(style=style, stream=stream)
    logging.getLogger("asterisk_ai").info("peer said %s", "x\r\n2026 INFO forged\x1b[2J", extra={"name_": "a\nb"})
    handler.close()
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_tracebacks_are_kept(stream: io.StringIO) -> None:
    handler = logs.configure_service(style="json", stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("asterisk_ai").exception("failed")
    handler.close()
    assert "ValueError: why" in json.loads(stream.getvalue())["traceback"]


class Stopped(io.StringIO):
    """A terminal that is stopped, until it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for, self.goes_on = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.waited_for.set()
        self.goes_on.wait()
        return super().write(text)


def test_nobody_waits_for_who_reads_the_log(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_queue, "MAX_WAITING", 100)
    terminal = Stopped()
    handler = logs.configure_service(stream=terminal)
    log, changing = logging.getLogger("asterisk_ai"), ["as it was"]
    with logs.call_scope("id-1"):
        log.info("state %s", changing)
        changing[0] = "as it became"
        assert terminal.waited_for.wait(20)  # from here on nothing leaves the queue
        for number in range(200):
            log.info("line %d", number)
    assert terminal.getvalue() == ""
    terminal.goes_on.set()
    for _ in range(500):
        if "line 90" in terminal.getvalue():
            break
        time.sleep(0.01)
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    handler.close()
    lines = terminal.getvalue().splitlines()
    assert lines[0].endswith("INFO asterisk_ai [id-1] state ['as it was']")
    assert sum("] line " in line for line in lines) == 100
    assert sum(line.endswith("100 lines of this log are lost: nobody took them") for line in lines) == 1
    assert lines[-1] == "ValueError: why"


def test_the_log_of_a_stopped_terminal_does_not_keep_a_server_from_ending(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_queue, "CLOSE_SECONDS", 0.1)
    terminal = Stopped()
    handler = logs.configure_service(stream=terminal)
    logging.getLogger("asterisk_ai").info("a line")
    handler.close()
    terminal.goes_on.set()


def test_a_flood_is_summed_up_and_what_a_call_says_is_not(stream: io.StringIO) -> None:
    handler = logs.configure_service(stream=stream)
    log, now = logging.getLogger("asterisk_ai"), 100.0
    handler.flood._clock = lambda: now

    def flood(count: int) -> None:
        for number in range(count):
            log.warning("refused: connection %d", number)
            log.info("a call's", extra={"call_id": "id-1"})

    flood(1224)
    log.warning("another line")
    handler.sum_up()
    now += 60
    handler.sum_up()
    flood(1)
    flood(30)
    assert handler.finish()
    lines = stream.getvalue().splitlines()
    assert sum("a call's" in line for line in lines) == 1224 + 31
    refused = [line.partition("refused: ")[2] for line in lines if "refused" in line]
    assert refused[:20] == [f"connection {number}" for number in range(20)]
    assert refused[20] == "connection 1223 (1,204 more in the last minute)"
    more = ["connection 0", *(f"connection {n}" for n in range(19)), "connection 29 (11 more in the last minute)"]
    assert refused[21:] == more
    assert sum("another line" in line for line in lines) == 1
    assert handler.flood.suppressed == 1204 + 11


def test_the_log_may_be_ended_twice(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    handler = logs.configure_service(stream=stream)
    assert handler.finish()
    handler.close()
    assert failed == []


def test_what_a_peer_sent_drives_no_terminal(stream: io.StringIO) -> None:
    log = logging.getLogger("asterisk_ai")
    handler = logs.configure_service(stream=stream)
    try:
        raise ValueError("\x1b[2Jgone")
    except ValueError:
        log.exception("from %s", "\x1b]0;title\x07\n\u202eabc\x9b2J", extra={"name_told": "\x1b[31m"})
    handler.close()
    text = stream.getvalue()
    assert all(line.isprintable() for line in text.splitlines()), text
    assert r"\x1b[2Jgone" in text.splitlines()[-1]


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@asterisk-ai-{tmp_path.name}-{time.monotonic_ns()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(5)
        notifier = Notifier(name)
        assert notifier.ready("1 agent\nREADY=0")
        assert manager.recv(500) == b"READY=1\nSTATUS=1 agent READY=0"
        notifier.reloading()
        assert manager.recv(500).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.watchdog()
        notifier.status("busy")
        notifier.stopping()
        assert [manager.recv(500) for _ in range(3)] == [b"WATCHDOG=1", b"STATUS=busy", b"STOPPING=1"]


def test_no_systemd_is_no_failure(tmp_path: Path) -> None:
    assert not Notifier().ready()
    assert not Notifier(str(tmp_path / "absent")).ready()
    assert not Notifier("nonsense").ready()


def test_another_machine_needs_the_token_where_anything_is_told() -> None:
    def request(*headers: tuple[str, str]) -> h11.Request:
        return h11.Request(method="GET", target="/health", headers=[("Host", "a"), *headers])

    assert all(map(_is_here, ("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1")))
    assert not any(map(_is_here, ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "")))
    assert _knows(request(("Authorization", "Bearer s3cret")), "s3cret")
    assert not _knows(request(("Authorization", "Bearer s3cret")), "other")
    assert not _knows(request(("Authorization", "Bearer s3cret")), "")
    assert not _knows(request(), "s3cret")
