"""Faults of a real server raise the packaged alerts on a real Prometheus, and nothing else raises one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import yaml
from prometheus import RULES, Prometheus, program
from rig import until
from served import Served
from sound import tone

from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.simulator.asterisk import Caller, Line, simulate

DELAY = {
    stage: f"asterisk_ai.providers.engines.delay:Delay{kind}"
    for stage, kind in (("stt", "SpeechToText"), ("llm", "LanguageModel"), ("tts", "TextToSpeech"))
}
NOBODY = "http://127.0.0.1:1/calls"
HOOK = {"url": NOBODY, "secret": "a secret of this test"}
AGENT = {"greeting": "one two three", "turn": {"endpoint_ms": 200}}
DASHBOARD = RULES.with_name("grafana-dashboard.json")
NOT_TRIED = {"AsteriskAiOutOfFiles", "AsteriskAiAudioLate"}
"""Whoever takes a process its last files takes it the metrics, too. Audio that is late for half a minute is played to
the rule below: to have this machine late for so long would be to have all of its tests fail."""


def settings(folder: Path) -> dict[str, object]:
    (folder / "recordings").write_text("no folder")
    return {
        "pipelines": {
            "offline": {**DELAY, "stt_seconds": 30},
            "slow": {**DELAY, "llm": "slow", "llm_seconds": 10},
            "broken": {**DELAY, "llm": "raises"},
            "gives_up": {**DELAY, "llm": "gives_up"},
            "gaps": {**DELAY, "tts": "late", "stt": [DELAY["stt"], "down"]},
        },
        "providers": {
            DELAY["tts"]: {"speaking": 1.0},
            "slow": {"engine": DELAY["llm"], "seconds": 4.5},
            "raises": {"engine": "faulty:FaultyLanguageModel", "fault": "first-raise"},
            "gives_up": {"engine": "faulty:FaultyLanguageModel", "do": "fallback"},
            "late": {"engine": "faulty:FaultyTextToSpeech", "late": 0.7},
            "down": {"engine": "faulty:FaultySpeechToText", "fault": "start"},
        },
        "vad": {"engine": "energy"},
        "webhooks": {"crm": HOOK, "old": {**HOOK, "agents": ["echo"]}},
    }


AGENTS = {
    "desk": {**AGENT, "record": True},
    "slow": {**AGENT, "pipeline": "slow"},
    "broken": {**AGENT, "pipeline": "broken", "lookup": {"url": NOBODY, "variables": "x", "timeout_seconds": 1}},
    "gives_up": {**AGENT, "pipeline": "gives_up"},
    "gaps": {**AGENT, "pipeline": "gaps", "greeting": "a b c d e f g h"},
}


async def call(server: Served, agent: str, *, patience: float = 15) -> None:
    lines = [Line("said", pcm=tone())]
    caller = Caller(lines, patience=patience, linger=0.2)
    await simulate(caller, host="127.0.0.1", fastagi_port=server.agi_port, agent=agent)


async def some_calls(server: Served) -> None:
    def agi(script: str, *arguments: str) -> object:
        return run_agi("127.0.0.1", server.agi_port, script, arguments=arguments, timeout=20)

    async def stand_still() -> None:
        await asyncio.sleep(1.0)  # the agent is speaking
        assert server.process is not None
        for number in (signal.SIGSTOP, signal.SIGCONT):
            server.process.send_signal(number)
            await asyncio.sleep(0.5)

    async def never_ended() -> None:
        for _ in range(3):  # told of and never brought: lost after 15 s
            await agi("call/start?agent=desk")

    async with asyncio.TaskGroup() as group:
        group.create_task(never_ended())
        for agent, count in (("desk", 1), ("slow", 5), ("broken", 4), ("gives_up", 8), ("gaps", 2)):
            for _ in range(count):
                group.create_task(call(server, agent))
        group.create_task(stand_still())
        group.create_task(call(server, "nobody"))
    for _ in range(2):
        started = await agi("call/start?agent=echo")
        await agi("call/end", started.variables["AI_CALL_ID"])


def change(server: Served, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(server.folder / "sessions.db", timeout=20)) as database, database:
        database.execute(statement)


def test_each_fault_raises_its_alert(tmp_path: Path) -> None:
    expected = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]} - NOT_TRIED
    server = Served(tmp_path, AGENTS, settings(tmp_path))
    with server, Prometheus(tmp_path, server.http_port).running() as prometheus:
        until(prometheus.firing, 20, "an alert")
        seen = prometheus.firing()
        assert seen == {"AsteriskAiEngineDown"}, "it is down from the start, and nothing else is wrong"
        asyncio.run(some_calls(server))
        change(server, "UPDATE deliveries SET made_at = made_at - 1000 WHERE target = 'crm'")
        change(server, "UPDATE deliveries SET made_at = made_at - 400000 WHERE target = 'old'")
        server.file.write_text("nonsense: true\n")
        os.kill(server.health()["pid"], signal.SIGHUP)
        change(server, "CREATE TRIGGER full BEFORE INSERT ON calls BEGIN SELECT raise(ABORT, 'disk full'); END")
        asyncio.run(call(server, "slow", patience=1))

        def all_but_the_last() -> bool:
            nonlocal seen
            seen |= prometheus.firing()
            return expected - seen == {"AsteriskAiDown"}

        with contextlib.suppress(AssertionError, TimeoutError):
            until(all_but_the_last, 40, "the alerts")
        assert expected - seen == {"AsteriskAiDown"}
        panels = json.loads(DASHBOARD.read_text().replace("$instance", ".+"))["panels"]
        asked = [one["expr"] for panel in panels for one in panel["targets"]]
        assert [one for one in asked if not prometheus.understands(one)] == [], "the dashboard's"
        server.kill()
        until(lambda: "AsteriskAiDown" in prometheus.firing(), 40, "the alert of a server that is gone")


def test_the_rules_are_such_as_prometheus_takes() -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_audio_that_is_late_for_a_moment_wakes_nobody(tmp_path: Path) -> None:
    """Two servers, one late for ten seconds and one for a minute, in samples of five seconds."""
    lag = "ai_agent_clock_lag_p99_seconds{instance="
    played = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [
                    {"series": f'{lag}"moment"}}', "values": "0x10 0.2x1 0x30"},
                    {"series": f'{lag}"lasts"}}', "values": "0x10 0.2x30"},
                    {"series": 'up{job="asterisk-ai", instance="lasts"}', "values": "1x50"},
                    {"series": 'up{job="asterisk-ai", instance="moment"}', "values": "1x50"},
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (instance) (ALERTS{alertname="AsteriskAiAudioLate"})',
                        "eval_time": "120s",
                        "exp_samples": [{"labels": '{instance="lasts"}', "value": 1}],
                    },
                    {"expr": 'ALERTS{alertname="AsteriskAiAudioLate"}', "eval_time": "50s", "exp_samples": []},
                ],
            }
        ],
    }
    file = tmp_path / "late.yml"
    file.write_text(yaml.safe_dump(played))
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
