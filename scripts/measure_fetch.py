#!/usr/bin/env python3
"""Measure fetching: throughput on loopback against curl and sha256sum, peak memory, and the second run.

    python scripts/measure_fetch.py [--megabytes 400] [--runs 3] [--folder DIR]

A small HTTP server (sendfile, in a process of its own) serves one file.
``curl -o`` and then ``sha256sum`` are timed, and ``asterisk-ai models fetch``
of the same file from start to end of the process, in turn, best of the runs.
The second run is timed for a whole set of models of that size. Exit status 1
where a promise is not kept.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import multiprocessing
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEAST_RATIO, MOST_MEGABYTES, MOST_SECONDS = 0.70, 60.0, 1.0
SET = 5


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        outputfile.flush()
        self.connection.sendfile(source)


def serve(listener: socket.socket, folder: str) -> None:
    os.chdir(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.serve_forever()


def make_file(path: Path, megabytes: int) -> str:
    digest, block = hashlib.sha256(), os.urandom(1 << 20)
    with path.open("wb") as stream:
        for number in range(megabytes):
            piece = number.to_bytes(8, "big") + block[8:]
            stream.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def configuration(folder: Path, base: str, sizes: dict[str, tuple[int, str]]) -> Path:
    models = [
        {
            "id": name, "kind": "llm", "engine": "gpt4all", "language": None, "sample_rates": [], "memory": None,
            "files": [{"path": "big.bin", "urls": [f"{base}/big.bin"], "size": size, "sha256": digest}],
            "licence": {"name": "none", "commercial": "yes"},
        }
        for name, (size, digest) in sizes.items()
    ]  # fmt: skip
    (folder / "own.json").write_text(json.dumps({"schema": 1, "models": models}))
    path = folder / "asterisk_ai.yaml"
    path.write_text(f"models: {{directory: {folder}/models, registries: [own.json]}}\nagents: {{one: {{}}}}\n")
    return path


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds, and the peak memory of the process in megabytes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {command}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener, str(folder)), daemon=True)
    try:
        digest = make_file(folder / "big.bin", arguments.megabytes)
        server.start()
        return measure(arguments, folder, f"http://127.0.0.1:{listener.getsockname()[1]}", digest)
    finally:
        server.kill()
        shutil.rmtree(folder)


def measure(arguments: argparse.Namespace, folder: Path, base: str, digest: str) -> int:
    size = arguments.megabytes << 20
    settings = configuration(folder, base, {f"big{number}": (size, digest) for number in range(SET)})
    fetch = [sys.executable, "-m", "asterisk_ai", "models", "fetch", "--yes", "--config", str(settings)]
    os.environ["PYTHONPATH"] = str(ROOT)
    theirs, ours, peaks = [], [], []
    for _ in range(arguments.runs):
        copy = str(folder / "copy")
        seconds, _ = timed(["curl", "-s", "-o", copy, f"{base}/big.bin"])
        theirs.append(seconds + timed(["sha256sum", copy])[0])
        os.unlink(copy)
        seconds, peak = timed([*fetch, "big0"])
        ours.append(seconds)
        peaks.append(peak)
        shutil.rmtree(folder / "models")
    names = [f"big{number}" for number in range(SET)]
    peaks.append(timed([*fetch, *names])[1])  # several at once
    again = min(timed([*fetch, *names])[0] for _ in range(arguments.runs))
    ratio = min(theirs) / min(ours)
    print(f"curl and sha256sum: {arguments.megabytes / min(theirs):7.0f} MiB/s ({min(theirs):.2f} s)")
    print(f"models fetch:       {arguments.megabytes / min(ours):7.0f} MiB/s ({min(ours):.2f} s with Python's start)")
    print(f"ratio:              {ratio:7.0%} (at least {LEAST_RATIO:.0%})")
    print(f"peak memory:        {max(peaks):7.1f} MB (at most {MOST_MEGABYTES:.0f}; {SET} files, 4 at once, included)")
    print(f"second run:         {again:7.2f} s for {SET * arguments.megabytes} MiB (at most {MOST_SECONDS:g})")
    return 0 if ratio >= LEAST_RATIO and max(peaks) <= MOST_MEGABYTES and again <= MOST_SECONDS else 1


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
