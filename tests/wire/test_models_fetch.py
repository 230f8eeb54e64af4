"""Fetching, against real servers that misbehave: the right model comes of it, or a clear error, never anything else."""

from __future__ import annotations

import email.utils
import hashlib
import json
import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from models_server import V1, V2, Fault, Server, content, entry, model_of, proxy, running, settings_file, zipped

from asterisk_ai.config import Proxies
from asterisk_ai.errors import ModelError
from asterisk_ai.models.fetch import Fetcher, FetchResult, Settings
from asterisk_ai.models.registry import Model
from asterisk_ai.models.sources import Opened, Patience, Web
from asterisk_ai.models.store import Store
from asterisk_ai.models.transfer import Policy

QUICK = Policy(backoff_seconds=0.005, backoff_most_seconds=0.02, slow_seconds=0.5, slow_bytes_per_second=2000)
VOICE = {"v.onnx": content(100_000), "v.onnx.json": b'{"audio": {}}'}
ONNX = "/v.onnx"


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.setbacks: list[tuple[str, float]] = []
        self.done: list[tuple[str, str]] = []
        self.begun: list[tuple[str, int]] = []

    def started(self, label: str, size: int, done: int) -> None:
        self.begun.append((label, done))

    def moved(self, label: str, done: int) -> None: ...

    def setback(self, label: str, why: str, seconds: float) -> None:
        self.setbacks.append((why, seconds))

    def finished(self, label: str, what: str) -> None:
        self.done.append((label, what))


class Rig:
    """A server, a store and what fetches from one into the other."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.store, self.heard = server, Store(directory), Heard()
        self.web = Web(patience=Patience(connect_seconds=2, read_seconds=1))
        self.settings = Settings(reserve_bytes=0, policy=QUICK)

    def model(self, files: dict[str, bytes] | None = None, name: str = "voice", **more: Any) -> Model:
        files = VOICE if files is None else files
        self.server.files |= {f"/{path}": data for path, data in files.items()}
        return model_of(entry(name, files, self.server.url, **more))

    def fetch(self, *models: Model) -> FetchResult:
        outcome = Fetcher(self.store, self.web, self.heard, self.settings).fetch(models)
        for name in outcome.failed:
            assert not self.store.folder(name).exists()
            with pytest.raises(ModelError, match=f"asterisk-ai models fetch {name}"):
                self.store.path(name)
        return outcome

    def failure(self, model: Model) -> str:
        """Of a fetch that must fail."""
        outcome = self.fetch(model)
        assert list(outcome.failed) == [model.id]
        return outcome.failed[model.id]

    def check(self, name: str = "voice", files: dict[str, bytes] | None = None) -> None:
        """The model is there, and it is the right one."""
        found = self.store.files(name)
        assert {path: place.read_bytes() for path, place in found.items()} == (VOICE if files is None else files)
        assert self.store.problem(name, deep=True) == ""
        assert not self.store.staging(name).exists()


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a power cut loses what fsync promised is not to be seen here; it only makes the tests slow."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with running(Server()) as server:
        made = Rig(server, tmp_path / "models")
        yield made
        made.web.close()


def test_fetched_then_left_alone(rig: Rig) -> None:
    model = rig.model()
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert rig.store.path("voice") == rig.store.directory / "voice" / "v.onnx"
    before = len(rig.server.requests)
    assert rig.fetch(model).present == ["voice"]
    assert len(rig.server.requests) == before  # no request at all


@pytest.mark.parametrize("files", [V1, V2])
def test_archives_of_both_layouts(rig: Rig, files: dict[str, bytes]) -> None:
    how = {"format": "zip", "top_level": "m", "layout": "vosk"}
    assert rig.fetch(rig.model({"m.zip": zipped(files)}, archive=how)).fetched == ["voice"]
    rig.check(files=files)
    assert rig.store.path("voice") == rig.store.directory / "voice"


@pytest.mark.parametrize("after", [0, 1, 4096, 70_000, 99_999])
def test_cut_and_resumed(rig: Rig, after: int) -> None:
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(cut=after)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert rig.server.ranges(ONNX) == ["", f"bytes={after}-" if after else ""]


def test_cut_again_and_again_gets_there(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(cut=9000)
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert len(rig.server.ranges(ONNX)) == 12


def test_cut_at_once_always_is_given_up_and_resumed_later(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(cut=100)
    why = rig.failure(model)
    assert "broke the connection off" in why
    assert "tried 5 times" in why
    assert len(rig.server.ranges(ONNX)) == 5
    rig.server.always.clear()
    rig.fetch(model)
    rig.check()
    assert rig.server.ranges(ONNX)[-1] == "bytes=500-"


def test_no_range_support(rig: Rig) -> None:
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(cut=60_000), Fault(ignore_range=True)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()


def test_wrong_part_of_the_file(rig: Rig) -> None:
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(cut=60_000), Fault(content_range="bytes 5-99999/100000")]
    assert "another part of the file" in rig.failure(model)
    rig.fetch(model)
    rig.check()


def test_chunked_without_length(rig: Rig) -> None:
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(chunked=True, cut=50_000), Fault(chunked=True)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()


def test_wrong_length_told(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(length=99_000)
    assert "it has 99000 bytes, the registry says 100000" in rig.failure(model)
    rig.server.always[ONNX] = Fault(content=VOICE["v.onnx"] + b"x")
    assert "it has 100001 bytes" in rig.failure(model)


@pytest.mark.parametrize("extra", [b"x", b"x" * 400_000])
def test_more_than_it_should_without_length(rig: Rig, extra: bytes) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(content=VOICE["v.onnx"] + extra, chunked=True)
    assert "the registry says 100000" in rig.failure(model)


def test_length_told_but_less_sent(rig: Rig) -> None:
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(content=VOICE["v.onnx"][:90_000], length=100_000)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert rig.server.ranges(ONNX) == ["", "bytes=90000-"]


def test_wrong_digest(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(content=content(100_000, seed=2))
    why = rig.failure(model)
    assert "is not what the registry describes: its digest is sha256:" in why
    assert len(rig.server.ranges(ONNX)) == 1
    assert not list(rig.store.staging("voice").rglob("v.onnx*.part"))


def test_resumed_with_another_content_begins_anew(rig: Rig) -> None:
    """The part that was there does not fit: all of it once more, not an error for ever."""
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(content=content(100_000, seed=2), cut=70_000)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert rig.server.ranges(ONNX) == ["", "bytes=70000-", ""]


def test_md5_where_nothing_better_is_known(rig: Rig) -> None:
    described = entry("voice", VOICE, rig.server.url)
    rig.model()
    for file in described["files"]:
        del file["sha256"]
        file |= {"md5": hashlib.md5(VOICE[file["path"]]).hexdigest(), "weak_digest": True}
    rig.server.faults[ONNX] = [Fault(content=content(100_000, seed=2))]
    assert "its digest is md5:" in rig.failure(model_of(described))
    assert rig.fetch(model_of(described)).fetched == ["voice"]
    rig.check()


@pytest.mark.parametrize("status", [404, 410, 403, 401])
def test_refused_at_once(rig: Rig, status: int) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(status=status)
    assert f"answers {status}" in rig.failure(model)
    assert len(rig.server.ranges(ONNX)) == 1


def test_another_address_of_the_same_file(rig: Rig) -> None:
    described = entry("voice", VOICE, rig.server.url)
    described["files"][0]["urls"].insert(0, f"{rig.server.url}/gone")
    rig.model()
    assert rig.fetch(model_of(described)).fetched == ["voice"]
    rig.check()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_tried_again_with_backoff(rig: Rig, status: int) -> None:
    model = rig.model()
    rig.server.faults[ONNX] = [Fault(status=status)] * 3
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    waits = [seconds for _, seconds in rig.heard.setbacks]
    assert len(waits) == 3
    assert all(0.0025 <= wait <= 0.02 for wait in waits)


def test_given_up_in_the_end(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(status=500)
    assert "answers 500 Internal Server Error (tried 5 times)" in rig.failure(model)


@pytest.mark.parametrize("form", ["1", "date"])
def test_retry_after(rig: Rig, form: str) -> None:
    model = rig.model()
    after = form if form == "1" else email.utils.formatdate(time.time() + 2, usegmt=True)
    rig.server.faults[ONNX] = [Fault(status=429, head={"Retry-After": after})]
    began = time.monotonic()
    assert rig.fetch(model).fetched == ["voice"]
    assert time.monotonic() - began >= 0.9
    rig.check()


def test_retry_after_that_is_too_long_is_told(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(status=429, head={"Retry-After": "3600"})
    assert "asks us to come back in 3600 s" in rig.failure(model)


def test_slow_trickle_is_given_up_and_what_came_is_kept(rig: Rig) -> None:
    model = rig.model()
    rig.settings = replace(rig.settings, policy=replace(QUICK, attempts=2))
    rig.server.always[ONNX] = Fault(piece=20, pause=0.05)
    assert "less than 2000 bytes a second" in rig.failure(model)
    rig.server.always.clear()
    rig.fetch(model)
    rig.check()
    assert rig.server.ranges(ONNX)[-1].startswith("bytes=")


def test_slow_but_not_too_slow(rig: Rig) -> None:
    model = rig.model({"v.onnx": content(5000)})
    rig.server.always[ONNX] = Fault(piece=250, pause=0.05)
    assert rig.fetch(model).fetched == ["voice"]


def test_silence(rig: Rig) -> None:
    model = rig.model()
    hold = threading.Event()
    rig.server.faults[ONNX] = [Fault(cut=40_000, hold=hold)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert "sends nothing any more" in rig.heard.setbacks[0][0]
    hold.set()


def test_redirects(rig: Rig) -> None:
    model = rig.model()
    for path in ("/a", "/b"):
        rig.server.files[path] = b""
    rig.server.always[ONNX] = Fault(status=302, head={"Location": "/a"})
    rig.server.always["/a"] = Fault(status=307, head={"Location": f"{rig.server.url}/b"})
    rig.server.files["/b"] = VOICE["v.onnx"]
    rig.server.faults["/b"] = [Fault(cut=1000)]
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()
    assert rig.server.ranges("/b") == ["", "bytes=1000-"]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/v.onnx", "more than 5 times"),
        ("", "not where to"),
        ("file:///etc/passwd", "no web address"),
        ("http://[", "is no address"),
        ("//localhost:99999/", "is no address"),
    ],
)
def test_redirects_that_lead_nowhere(rig: Rig, target: str, why: str) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(status=302, head={"Location": target} if target else {})
    assert why in rig.failure(model)


def test_compressed_in_spite_of_us(rig: Rig) -> None:
    model = rig.model()
    rig.server.always[ONNX] = Fault(head={"Content-Encoding": "gzip"})
    assert "compressed although we asked it not to" in rig.failure(model)


def test_part_that_is_whole_or_too_long(rig: Rig) -> None:
    model = rig.model()
    part = rig.store.staging("voice") / "model" / "v.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(VOICE["v.onnx"])
    rig.fetch(model)
    rig.check()
    assert rig.server.ranges(ONNX) == []
    rig.store.remove("voice")
    part.parent.mkdir(parents=True)
    part.write_bytes(VOICE["v.onnx"] + b"x")
    rig.fetch(model)
    rig.check()
    assert rig.server.ranges(ONNX) == [""]


def test_one_fails_the_others_come(rig: Rig) -> None:
    other = {"w.onnx": content(5000, seed=3)}
    models = [rig.model(), rig.model(other, name="other")]
    rig.server.always[ONNX] = Fault(status=404)
    outcome = rig.fetch(*models)
    assert outcome.fetched == ["other"]
    assert list(outcome.failed) == ["voice"]
    rig.check("other", other)


def test_damaged_model_is_mended(rig: Rig) -> None:
    model = rig.model()
    rig.fetch(model)
    rig.store.path("voice").write_bytes(content(100_000, seed=9))
    assert "other content than was fetched" in rig.store.problem("voice")
    assert rig.fetch(model).fetched == ["voice"]
    rig.check()


def test_failed_mending_leaves_the_old_one_where_it_is(rig: Rig) -> None:
    """A newer version that cannot be had must not take away the one that works."""
    rig.fetch(rig.model())
    newer = rig.model({"v.onnx": content(100_000, seed=7), "v.onnx.json": b"{}"})
    rig.server.always[ONNX] = Fault(status=500)
    outcome = Fetcher(rig.store, rig.web, rig.heard, rig.settings).fetch([newer])
    assert list(outcome.failed) == ["voice"]
    assert rig.store.path("voice").read_bytes() == VOICE["v.onnx"]


class Counting:
    """A source that knows how many files are being read at once."""

    def __init__(self, source: Web) -> None:
        self._source, self._lock, self.now, self.most = source, threading.Lock(), 0, 0

    def open(self, url: str, offset: int) -> Opened:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        opened = self._source.open(url, offset)
        time.sleep(0.03)
        return Opened(Body(opened.body, self), opened.start, opened.total)

    def closed(self) -> None:
        with self._lock:
            self.now -= 1


class Body:
    def __init__(self, body: Any, counting: Counting) -> None:
        self._body, self._counting = body, counting

    def read(self, size: int, /) -> bytes:
        data: bytes = self._body.read(size)
        return data

    def close(self) -> None:
        self._body.close()
        self._counting.closed()


def test_parallel_is_bounded(rig: Rig) -> None:
    files = {f"f{number}.bin": content(100, seed=number) for number in range(9)}
    counting = Counting(rig.web)
    settings = replace(rig.settings, parallel=3)
    assert Fetcher(rig.store, counting, rig.heard, settings).fetch([rig.model(files)]).fetched == ["voice"]
    assert (counting.most, counting.now) == (3, 0)


# -- TLS, proxies, mirrors, hosts that are not there


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, name: str = "localhost") -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return Server(context)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls(authority: trustme.CA, tmp_path: Path) -> None:
    with running(tls_server(authority)) as server:
        rig = Rig(server, tmp_path)
        rig.web = Web(tls=trusting(authority))
        rig.server.faults[ONNX] = [Fault(cut=70_000), Fault(status=500)]
        assert rig.fetch(rig.model()).fetched == ["voice"]
        rig.check()
        assert server.ranges(ONNX)[-1] == "bytes=70000-"
        rig.web.close()


def test_tls_is_verified(authority: trustme.CA, tmp_path: Path) -> None:
    with running(tls_server(authority)) as server:
        rig = Rig(server, tmp_path)
        assert "the certificate of localhost" in rig.failure(rig.model())
        assert server.requests == []
    with running(tls_server(authority, "other.example")) as server:
        rig = Rig(server, tmp_path)
        rig.web = Web(tls=trusting(authority))
        assert "is not to be trusted" in rig.failure(rig.model())
        assert server.requests == []


def test_no_way_from_https_to_http(authority: trustme.CA, tmp_path: Path) -> None:
    with running(tls_server(authority)) as server, running(Server()) as plain:
        rig = Rig(server, tmp_path)
        rig.web = Web(tls=trusting(authority))
        server.always[ONNX] = Fault(status=302, head={"Location": f"{plain.url}{ONNX}"})
        assert "without encryption" in rig.failure(rig.model())
        assert plain.requests == []
        rig.web.close()


def test_proxy_for_http_and_https(authority: trustme.CA, tmp_path: Path) -> None:
    with running(Server()) as plain, running(tls_server(authority)) as secure, proxy() as between:
        address = f"http://me:s%20cret@127.0.0.1:{between.server_address[1]}"
        proxies = Proxies({"http": address, "https": address})
        for server, folder in ((plain, "a"), (secure, "b")):
            rig = Rig(server, tmp_path / folder)
            rig.web = Web(proxies, tls=trusting(authority))
            assert rig.fetch(rig.model({"v.onnx": VOICE["v.onnx"]})).fetched == ["voice"]
            rig.web.close()
        assert [path for path, _ in between.seen] == [f"{plain.url}{ONNX}", secure.url.removeprefix("https://")]
        assert {secret for _, secret in between.seen} == {"Basic bWU6cyBjcmV0"}


def test_no_proxy(rig: Rig) -> None:
    rig.web = Web(Proxies({"http": "http://127.0.0.1:1"}, no="localhost"))
    assert rig.fetch(rig.model()).fetched == ["voice"]
    rig.web.close()


@pytest.mark.parametrize(
    ("proxy_url", "why"),
    [
        ("http://x:y@127.0.0.1:1", "127.0.0.1:1 cannot be reached"),
        ("socks5://127.0.0.1:1", "others are not supported"),
        ("http://proxy:bar", "the proxy http://proxy:bar is not http://host:port"),
    ],
)
def test_proxy_that_does_not_work(rig: Rig, proxy_url: str, why: str) -> None:
    rig.web = Web(Proxies({"http": proxy_url}))
    found = rig.failure(rig.model())
    assert why in found
    assert "x:y" not in found


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("https://models.invalid", "the name models.invalid cannot be resolved: no network, or no DNS"),
        ("http://127.0.0.1:1", "127.0.0.1:1 cannot be reached: Connection refused"),
    ],
)
def test_unreachable_host_is_told_plainly_and_soon(rig: Rig, base: str, why: str) -> None:
    began = time.monotonic()
    found = rig.failure(model_of(entry("voice", {"v.onnx": b"x"}, base)))
    assert found == f"v.onnx: {why} (tried 2 times)"
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("form", ["file", "folder", "http"])
def test_mirror(rig: Rig, tmp_path: Path, form: str) -> None:
    described = entry("voice", VOICE, "https://models.invalid")
    folder = tmp_path / "a mirror" / "voice"
    folder.mkdir(parents=True)
    for name, data in VOICE.items():
        (folder / name).write_bytes(data)
        rig.server.files[f"/voice/{name}"] = data
    mirror = {"file": folder.parent.as_uri(), "folder": str(folder.parent), "http": rig.server.url}[form]
    rig.settings = replace(rig.settings, mirror=mirror)
    assert rig.fetch(model_of(described)).fetched == ["voice"]
    rig.check()


def test_mirror_that_lacks_it(rig: Rig, tmp_path: Path) -> None:
    rig.settings = replace(rig.settings, mirror=tmp_path.as_uri())
    assert f"there is no file {tmp_path}/voice/v.onnx" in rig.failure(model_of(entry("voice", VOICE, "http://x")))


# -- killed, two at once, disk full

FETCH = """
    import sys
    from asterisk_ai.cli.main import main
    sys.exit(main(["models", "fetch", "voice", "--yes", "--config", sys.argv[1]]))
"""


def start(settings: Path, code: str = FETCH) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(settings)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("after", [0, 50_000, 99_999])
def test_killed_while_receiving(rig: Rig, tmp_path: Path, after: int) -> None:
    rig.model()
    settings = settings_file(tmp_path, entry("voice", VOICE, rig.server.url))
    hold, sent = threading.Event(), threading.Event()
    rig.server.faults[ONNX] = [Fault(cut=after, hold=hold, then=sent.set)]
    process = start(settings)
    assert sent.wait(20)
    part = rig.store.staging("voice") / "model" / "v.onnx.part"
    until = time.monotonic() + 10
    while not (part.exists() and part.stat().st_size == after) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hold.set()
    assert not rig.store.folder("voice").exists()
    again = start(settings)
    assert "\nvoice: there\n" in again.communicate(timeout=30)[0]
    assert again.returncode == 0
    rig.check()
    assert rig.server.ranges(ONNX)[1] == (f"bytes={after}-" if after else "")


def test_resumed_at_any_byte(rig: Rig) -> None:
    files = {"s.bin": content(120)}
    model = rig.model(files)
    for at in range(121):
        part = rig.store.staging("voice") / "model" / "s.bin.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(files["s.bin"][:at])
        rig.server.requests.clear()
        assert rig.fetch(model).fetched == ["voice"]
        rig.check(files=files)
        assert rig.server.ranges("/s.bin") == ([f"bytes={at}-" if at else ""] if at < 120 else [])
        rig.store.remove("voice")


def test_stopped_by_hand(rig: Rig, tmp_path: Path) -> None:
    """Ctrl-C ends it at once, though the server is silent; what came stays."""
    rig.model()
    settings = settings_file(tmp_path, entry("voice", VOICE, rig.server.url))
    hold, sent = threading.Event(), threading.Event()
    rig.server.faults[ONNX] = [Fault(cut=50_000, hold=hold, then=sent.set)]
    process = start(settings)
    assert sent.wait(20)
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=10)[0]
    hold.set()
    assert process.returncode == 130
    assert time.monotonic() - began < 5
    assert "the next fetch goes on from there" in said
    rig.fetch(model_of(entry("voice", VOICE, rig.server.url)))
    rig.check()
    assert rig.server.ranges(ONNX)[-1] == "bytes=50000-"


def test_readable_by_others_whatever_the_umask(rig: Rig) -> None:
    """Root fetches, and the PBX's user reads."""
    before = os.umask(0o077)
    try:
        rig.fetch(rig.model({"m.zip": zipped(V2)}, archive={"format": "zip", "top_level": "m", "layout": "vosk"}))
    finally:
        os.umask(before)
    for path in (rig.store.directory, *rig.store.folder("voice").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


KILL_EVERYWHERE = """
    import json, os, shutil, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from models_server import document
    from asterisk_ai.errors import ModelError
    from asterisk_ai.models import registry
    from asterisk_ai.models.fetch import Fetcher, Settings
    from asterisk_ai.models.sources import Web
    from asterisk_ai.models.store import Store

    root = Path(sys.argv[1])
    os.fsync = lambda handle: None  # whether the disk itself keeps its word is not asked here
    described, good = json.loads((root / "what.json").read_text())
    model = registry.merge([("x", document(described), "")]).models["voice"]
    EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "shutil.rmtree"}

    class Deaf:
        def started(self, *_): ...
        moved = setback = finished = started

    def fetch(store, kill_at):
        count = 0
        def hook(event, arguments):
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        outcome = Fetcher(store, Web(), Deaf(), Settings(reserve_bytes=0)).fetch([model])
        os._exit(0 if not outcome.failed else 3)

    def child(store, kill_at=0):
        process = os.fork()
        if not process:
            fetch(store, kill_at)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def right(store):
        return {path: place.read_bytes().hex()[:64] for path, place in store.files("voice").items()} == good

    kill_at, killed = 0, 0
    while True:
        kill_at += 1
        shutil.rmtree(root / "models", ignore_errors=True)
        store = Store(root / "models")
        if sys.argv[3] == "damaged":
            (store.folder("voice")).mkdir(parents=True)
            (store.folder("voice") / "junk").write_bytes(b"junk")
        status = child(store, kill_at)
        try:
            store.path("voice")
        except ModelError:
            assert status == -9, status
        else:
            assert right(store), "a wrong model in place"
        killed += status == -9
        assert child(store) == 0
        assert right(store)
        assert sorted(os.listdir(store.directory)) == [".lock", "voice"], os.listdir(store.directory)
        if status == 0:
            break
    print(killed)
"""


@pytest.mark.parametrize("before", ["nothing", "damaged"])
@pytest.mark.parametrize("form", ["files", "archive"])
def test_killed_at_any_step(tmp_path: Path, form: str, before: str) -> None:
    """SIGKILL at each operation on the file system in turn: right or not there, and the next run mends it."""
    mirror = tmp_path / "mirror" / "voice"
    mirror.mkdir(parents=True)
    if form == "archive":
        files = {"m.zip": zipped(V2)}
        more = {"archive": {"format": "zip", "top_level": "m", "layout": "vosk"}}
        good = V2
    else:
        files, more, good = VOICE, {}, VOICE
    for name, data in files.items():
        (mirror / name).write_bytes(data)
    what = [entry("voice", files, mirror.as_uri(), **more), {name: data.hex()[:64] for name, data in good.items()}]
    (tmp_path / "what.json").write_text(json.dumps(what))
    fakes = str(Path(__file__).parents[1] / "fakes")
    code = [sys.executable, "-c", textwrap.dedent(KILL_EVERYWHERE), str(tmp_path), fakes, before]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_two_at_once(rig: Rig, tmp_path: Path) -> None:
    rig.model()
    rig.server.always[ONNX] = Fault(piece=10_000, pause=0.05)
    settings = settings_file(tmp_path, entry("voice", VOICE, rig.server.url))
    processes = [start(settings), start(settings)]
    said = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    rig.check()
    assert len(rig.server.requests) == 2  # each file once, by one of them
    assert any("waiting for another fetch (process" in text for text in said)


def test_lock_that_is_not_given_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock(), pytest.raises(ModelError, match=f"another fetch \\(process {os.getpid()}\\)"):  # noqa: SIM117
        with Store(tmp_path).lock(seconds=0.1):
            pass


def test_not_enough_room_is_known_before(rig: Rig) -> None:
    free = shutil.disk_usage(rig.store.directory.parent).free
    rig.settings = replace(rig.settings, reserve_bytes=free)
    with pytest.raises(ModelError, match=r"not enough room in .*0\.1 MB are needed"):
        rig.fetch(rig.model())
    assert rig.server.requests == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("file systems cannot be mounted here; test_file_size_limit stands in")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_becomes_full(rig: Rig, small_disk: Path) -> None:
    files = {"v.onnx": content(1_000_000)}
    model = rig.model(files)
    rig.store = Store(small_disk / "models")
    hog = small_disk / "hog"
    rig.server.faults[ONNX] = [
        Fault(cut=300_000, then=lambda: hog.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000)))
    ]
    assert "became full" in rig.failure(model)
    hog.unlink()
    assert shutil.disk_usage(small_disk).used < 100_000  # nothing of ours is left to fill the disk
    rig.fetch(model)
    rig.check(files=files)


def test_disk_becomes_full_while_unpacking(rig: Rig, small_disk: Path) -> None:
    files = V2 | {"graph/HCLG.fst": bytes(1_900_000)}  # small as an archive
    how = {"format": "zip", "top_level": "m", "layout": "vosk"}
    model = rig.model({"m.zip": zipped(files)}, archive=how)
    rig.store = Store(small_disk / "models")
    (small_disk / "other").write_bytes(bytes(500_000))
    assert "not enough room" in rig.failure(model)
    (small_disk / "other").unlink()
    assert rig.fetch(model).fetched == ["voice"]
    assert rig.server.ranges("/m.zip") == [""]  # the archive was kept, and right
    rig.check(files=files)


def test_file_size_limit(rig: Rig) -> None:
    """The kernel ends a write in the middle, as on a full disk; no special rights needed."""
    model = rig.model()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        assert "may not become so large" in rig.failure(model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    rig.fetch(model)
    rig.check()


def test_directory_that_cannot_be_written(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rig.store = Store(tmp_path / "file" / "models")
    with pytest.raises(ModelError, match="cannot write to"):
        rig.fetch(rig.model())
