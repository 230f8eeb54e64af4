"""What a call costs the server and Asterisk over each transport, in one run, and what is left when the calls are over.

    python -m asterisk_ai.bench.transports --asterisk /var/cache/asterisk-ai/asterisk

Calls come through a private Asterisk and its packaged dialplan to an agent that speaks all the time, while its callers
do, too. The transports take turns; CPU is in ms a call-second (10 are 1 % of a core), medians of the rounds. It needs a
machine with two CPUs that does nothing else. Ends with status 1 where channels, bridges or calls are left.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.bench.target import delay_configuration, health
from asterisk_ai.config import Config, HttpConfig, load
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.installation import installed, unpacked
from asterisk_ai.simulator.local_server import LocalServer, local_server
from asterisk_ai.simulator.ports import free_port
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.simulator.waiting import until
from asterisk_ai.telemetry.health import LAG

WAYS = {
    "audiosocket": {},
    "websocket": {"AI_WEBSOCKET": "asterisk-ai"},
    "incoming": {"AI_WEBSOCKET": "INCOMING"},
    "rtp": {"AI_STASIS": "asterisk-ai"},
}
"""The variables that have the packaged dialplan go there."""
PASSWORD = "bench"  # noqa: S105 - of an Asterisk that lives for a minute on loopback
_AT_ONCE = 10
_SPEAKS = "asterisk_ai.providers.engines.delay:DelayTextToSpeech"

DIALPLAN = """
[bench]
exten => s,1,Answer()
 same => n(again),Playback(demo-congrats)
 same => n,Goto(again)
"""


def configuration(folder: Path, seconds: float) -> Config:
    """An agent that speaks for so long, whatever it hears."""
    found = delay_configuration(0.1)
    found["providers"][_SPEAKS]["speaking"] = seconds
    found["agents"]["bench"] |= {"greeting": "Hello.", "greeting_interruptible": False}
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(found), "utf-8")
    return load(str(file))


def place(asterisk: PrivateAsterisk, count: int, variables: dict[str, str]) -> None:
    """Have so many people call, a few at a time."""
    for number in range(count):
        lines = ["Channel: Local/s@bench/n", "Context: asterisk-ai", "Extension: s", "Priority: 1", "MaxRetries: 0",
                 *(f"Setvar: {name}={value}" for name, value in variables.items())]  # fmt: skip
        draft = asterisk.folder / f"spool/tmp/{number}"
        draft.write_text("\n".join(lines) + "\n", "utf-8")
        draft.rename(asterisk.folder / f"spool/outgoing/{number}")
        if number % _AT_ONCE == _AT_ONCE - 1:
            time.sleep(0.3)


def measured(
    asterisk: PrivateAsterisk, server: LocalServer, way: str, calls: int, seconds: float
) -> tuple[float, float, float]:
    """CPU of the server and of Asterisk, ms a call-second, and the server's lateness in ms."""
    http, process = server.config.http or HttpConfig(), asterisk.process
    pid = process.pid if process is not None else 0
    place(asterisk, calls, WAYS[way])
    until(lambda: health(http)["talking"] >= calls, 60, f"{calls} calls over {way}, {health(http)['talking']} talk")
    time.sleep(2)
    before = ProcessUse.of(server.pid), ProcessUse.of(pid), time.monotonic()
    time.sleep(seconds)
    after = ProcessUse.of(server.pid), ProcessUse.of(pid), time.monotonic()
    state = health(http)
    if state["talking"] < calls:
        raise AsteriskAIError(f"{calls - state['talking']} of {calls} calls over {way} have ended by themselves")
    lasted = (after[2] - before[2]) * calls / 1000
    asterisk.rx("channel request hangup all")
    until(lambda: health(http)["active_calls"] == 0, 30, "no call in the server")
    until(lambda: not asterisk.channels(), 30, "no channel in Asterisk")
    return (
        (after[0].cpu_seconds - before[0].cpu_seconds) / lasted,
        (after[1].cpu_seconds - before[1].cpu_seconds) / lasted,
        float(state["frames"].get(LAG, 0.0)),
    )


def _bridges(asterisk: PrivateAsterisk) -> list[str]:
    return [line for line in asterisk.bridges() if "asterisk-ai" in line or "WebSocket" in line]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m asterisk_ai.bench.transports",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("ways", nargs="*", metavar="|".join(WAYS), help="which transports (all)")
    parser.add_argument("--asterisk", help="a folder with an unpacked Asterisk; the machine's own if not given")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    found = unpacked(Path(arguments.asterisk)) if arguments.asterisk else installed()
    if found is None:
        raise AsteriskAIError("there is no Asterisk on this machine: name one with --asterisk")
    ways = arguments.ways or list(WAYS)
    figures: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    agi, media = free_port(), free_port()
    options = "maxload = 1000\n"
    with (
        tempfile.TemporaryDirectory() as folder,
        PrivateAsterisk(
            found, f"127.0.0.1:{agi}", dialplan=DIALPLAN, options=options, ari_password=PASSWORD, websocket_port=media
        ) as asterisk,
    ):
        changes: dict[str, dict[str, Any]] = {
            "server": {"max_calls": 500, "max_lateness_ms": 0},
            "fastagi": {"host": "127.0.0.1", "port": agi},
            "websocket": {"port": media, "asterisk": f"ws://127.0.0.1:{asterisk.http_port}/media"},
            "ari": {"url": asterisk.ari_url, "password": PASSWORD, "rtp_first_port": 40_000, "rtp_last_port": 49_999},
        }
        config = configuration(Path(folder), arguments.seconds + 120)
        with local_server(config, changes) as server:
            for _ in range(arguments.rounds):
                for way in ways:
                    figures[way].append(measured(asterisk, server, way, arguments.calls, arguments.seconds))
            with contextlib.suppress(TimeoutError):  # they are removed when the calls have ended
                until(lambda: not _bridges(asterisk), 5, "no bridge in Asterisk")
            left = _bridges(asterisk)
    print(f"{'':12} {'calls':>5} {'server':>8} {'from':>8} {'to':>8} {'Asterisk':>8} {'late p99':>8}")
    for way, rows in figures.items():
        own = [row[0] for row in rows]
        print(
            f"{way:12} {arguments.calls:5} {statistics.median(own):8.3f} {min(own):8.3f} {max(own):8.3f}"
            f" {statistics.median(row[1] for row in rows):8.3f} {max(row[2] for row in rows):8.1f}"
        )
    total = arguments.calls * arguments.rounds
    print(f"after {total} calls over each: {len(left)} bridges left, no channel, no call")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
