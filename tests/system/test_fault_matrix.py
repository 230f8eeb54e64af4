"""Each fault of each remote service at each stage of whole calls, and what the caller hears of it.

The services speak their published protocols over real sockets (:mod:`openai_server`, :mod:`deepgram_server`, and
Wyoming by its own library). A call asks two questions; one stage of it is served by an engine that fails, with another
behind it, or with none. In every case the caller hears something within 2 s of the stage's limit, and the call's
record says what happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aside import aside
from deepgram_server import FakeDeepgram
from openai_server import KEY, FakeOpenAI
from whole_calls import calls, records
from wyoming_server import serving

from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import Result

LIMIT = 0.7  # less than the pause (0.8 s) after which the simulated caller takes the agent to have finished
ENDPOINT = 0.3
AT_ONCE = 28
"""Calls at a time: many more than that, and this very machine is what keeps callers waiting."""
ROUNDS = 3
"""Who was kept waiting by a machine with other work is called again."""
COMMON = "slow silent hang close reset 401 429 429-after 500 malformed empty".split()
FAULTS = {
    ("openai", "stt"): [*COMMON, "nodone"],
    ("openai", "llm"): [*COMMON, "nodone", "error"],
    ("openai", "tts"): [*COMMON, "nodone", "wav16"],
    ("deepgram", "stt"): [*COMMON, "mute", "403", "odd", "error"],
    ("deepgram", "tts"): [*COMMON, "mute", "403", "wav16"],
    ("wyoming", "stt"): "slow silent hang close error odd empty".split(),
    ("wyoming", "tts"): "slow silent hang close error odd empty rate stereo".split(),
}
ALONE = ["silent", "close", "401", "429", "error"]
"""Tried with no other engine behind, too."""
HARMLESS = {"", "slow", "wav16", "rate"}
PARTS = {
    ("openai", "stt"): "transcription: {model: 'FAULT'}",
    ("openai", "llm"): "chat: {model: 'FAULT'}",
    ("openai", "tts"): "speech: {model: 'FAULT'}",
    ("deepgram", "stt"): "listen: {model: 'FAULT'}",
    ("deepgram", "tts"): "speak: {model: 'FAULT'}",
    ("wyoming", "stt"): "model: 'FAULT'",
    ("wyoming", "tts"): "voice: 'FAULT'",
}
GOOD = {"stt": "FaultySpeechToText", "llm": "FaultyLanguageModel", "tts": "FaultyTextToSpeech"}
TOLD = {"401": "401", "403": "403", "429": "rate limit", "429-after": "left alone", "500": "500"}
"""What the record is to say of a refusal."""


@dataclass(frozen=True)
class Case:
    vendor: str
    stage: str
    fault: str
    alone: bool = False

    @property
    def name(self) -> str:
        return f"{self.vendor}_{self.stage}_{self.fault or 'well'}{'_alone' if self.alone else ''}"

    @property
    def harmless(self) -> bool:
        # A model's answer has a finish reason at its end, whatever comes behind it.
        unended = self.fault == "nodone" and self.stage in ("stt", "llm")
        return self.fault in HARMLESS or unended or (self.stage == "stt" and self.fault == "empty")


CASES = [Case(*where, fault) for where, faults in FAULTS.items() for fault in ["", *faults]]
CASES += [Case(*where, fault, True) for where, faults in FAULTS.items() for fault in faults if fault in ALONE]


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, str]]:
    """The three services in a thread of their own; the settings that lead to them."""
    names = ["good", *dict.fromkeys(fault for faults in FAULTS.values() for fault in faults)]
    with aside(FakeOpenAI().running(), FakeDeepgram().running(), serving([], names)) as (openai, deepgram, port):
        # Engines that have a limit of their own are to tell of it before the stage does, or after it.
        yield {
            "openai": f"base_url: '{openai.base_url}', api_key: {KEY}, seconds: 5",
            "deepgram": f"base_url: '{deepgram.base_url}', api_key: {KEY}, seconds: 5, connect_seconds: 0.5",
            "wyoming": f"port: {port}, seconds: 5",
        }


def configuration(folder: Path, cases: list[Case], services: dict[str, str]) -> str:
    """An agent for each case."""
    lines: dict[str, list[str]] = {"pipelines": [], "providers": [], "agents": []}
    lines["providers"] = [f"  good_{stage}: {{engine: 'faulty:{name}'}}" for stage, name in GOOD.items()]
    for case in cases:
        part = PARTS[case.vendor, case.stage].replace("FAULT", case.fault or "good")
        lines["providers"].append(f"  {case.name}: {{engine: {case.vendor}, {services[case.vendor]}, {part}}}")
        stages = {stage: f"good_{stage}" for stage in GOOD}
        stages[case.stage] = case.name if case.alone else f"[{case.name}, good_{case.stage}]"
        limits = {f"{stage}_seconds": LIMIT for stage in GOOD}
        text = ", ".join(f"{key}: {value}" for key, value in {**stages, **limits}.items())
        lines["pipelines"].append(f"  {case.name}: {{{text}}}")
        turn = "{endpoint_ms: 200, no_input_seconds: 60, trouble_prompt: Oh dear., max_troubles: 3}"
        lines["agents"].append(f"  {case.name}: {{pipeline: {case.name}, greeting: Hello there, turn: {turn}}}")
    head = f"default_agent: {cases[0].name}\npipeline: {cases[0].name}\naudiosocket: {{port: 0}}\n"
    head += "vad: {engine: energy}\n"  # callers whistle
    head += "fastagi: {port: 0}\nhttp: {port: 0}\nserver: {max_lateness_ms: 0}\n"
    head += f"store: {{path: {folder}/sessions.db}}\n"
    return head + "\n".join(f"{key}:\n" + "\n".join(items) for key, items in lines.items())


def wrong(case: Case, result: Result, record: CallSession) -> str:
    """What is not as it should be in one call; empty where all is."""
    mute = case.alone and case.stage == "tts"  # without a voice there is nothing to say: the dialplan's fallback
    if result.next != "caller hung up" and not (mute and result.next == "fallback"):
        return f"{case.name}: {result.next}"
    for response in [] if mute else result.responses:
        if response.seconds is None or response.seconds > ENDPOINT + LIMIT + 2.0:
            return f"{case.name}: heard nothing for {response.seconds} s"
    said = " ".join(turn.text for turn in record.history if turn.role == "agent")
    if not mute and ("Oh dear." if case.alone and not case.harmless else "Nine to five.") not in said:
        return f"{case.name}: said {said!r}"
    told = [item for item in record.troubles if item["engine"] == case.name]
    behind = "" if case.alone else f"good_{case.stage}"
    if {(item["stage"], item["next"]) for item in told} != (set() if case.harmless else {(case.stage, behind)}):
        return f"{case.name}: {record.troubles}"
    reasons = " ".join(item["reason"] for item in told)
    if not case.harmless and (
        not reasons or not any(text in reasons for text in (TOLD.get(case.fault, ""), "left alone"))
    ):
        return f"{case.name}: the record says {reasons!r}"
    return ""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_every_fault_at_every_stage(services: dict[str, str], tmp_path: Path) -> None:
    left, problems = CASES, [""]
    for number in range(ROUNDS):
        problems = []
        for start in range(0, len(left), AT_ONCE):
            batch, folder = left[start : start + AT_ONCE], tmp_path / f"{number}-{start}"
            folder.mkdir()
            results, _ = asyncio.run(calls(configuration(folder, batch, services), [case.name for case in batch]))
            kept = records(folder)
            problems += [wrong(case, results[case.name], kept[case.name]) for case in batch]
        problems = [problem for problem in problems if problem]
        left = [case for case in CASES if any(problem.startswith(f"{case.name}:") for problem in problems)]
        if not left:
            break
        print(problems)
    assert not problems
