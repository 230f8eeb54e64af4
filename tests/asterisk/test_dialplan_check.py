"""asterisk-ai check against an Asterisk that runs: what is missing there is found, and its cure named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port
from rig import Asterisk

from asterisk_ai.cli.pbx_check import inspect
from asterisk_ai.config import Config, parse
from asterisk_ai.pbx.access import User, user
from asterisk_ai.pbx.console import Console

PORT = 4574


def config(folder: Path, do: str = "{transfer: 601@landed}", tools: str = "{}") -> Config:
    return parse(f"""
fastagi: {{port: {PORT}}}
store: {{path: {folder}/state/sessions.db}}
pipelines:
  offline: {{stt: pocketsphinx, llm: [openai, rules], tts: espeak}}
agents:
  desk:
    tools: {tools}
    rules:
      slots: {{team: {{values: {{sales: {{exten: "601"}}, help: {{exten: "602"}}}}, ask: "Which?"}}}}
      intents: {{go: {{say: [go], answer: Yes., do: {do}}}}}
""")


@pytest.fixture(scope="module")
def asterisk() -> Iterator[Asterisk]:
    with Asterisk(server=f"127.0.0.1:{PORT}") as running:
        yield running


def problems(asterisk: Asterisk, wanted: Config | None = None, runs_as: User | None = None) -> dict[str, str]:
    """What fails, with its remedy."""
    findings = inspect(asterisk.folder / "etc", Console(asterisk.command()), wanted, runs_as)
    return {finding.text: finding.remedy for finding in findings if not finding.ok}


def test_all_is_well(asterisk: Asterisk, tmp_path: Path) -> None:
    tools = "{queue: {help: support}, voicemail: {boss: 100@default, b: 100}, transfer: {a: 77@landed}, hangup: true}"
    wanted = config(tmp_path, "{transfer: '{team.exten}@landed'}", tools)
    assert problems(asterisk, wanted) == {}
    texts = [finding.text for finding in inspect(asterisk.folder / "etc", Console(asterisk.command()), wanted)]
    assert any("Asterisk 2" in text for text in texts)
    (there,) = [text for text in texts if text.startswith("there to send callers to")]
    for name in ("601@landed", "602@landed", "77@landed", "support", "100@default"):
        assert name in there


@pytest.mark.parametrize(
    ("do", "missing"),
    [
        ("{transfer: 601@elsewhere}", "transfer 601@elsewhere"),
        ("{transfer: 'abc@landed'}", "transfer abc@landed"),
        ("{transfer: '{team}@landed'}", "transfer sales@landed"),
        ("{queue: none-such}", "queue none-such"),
        ("{voicemail: 999@default}", "voicemail 999@default"),
        ("{voicemail: 100@elsewhere}", "voicemail 100@elsewhere"),
    ],
)
@pytest.mark.parametrize("by", ["rules", "tools"])
def test_where_callers_are_sent(asterisk: Asterisk, tmp_path: Path, do: str, missing: str, by: str) -> None:
    if by == "rules":
        wanted = config(tmp_path, do)
    elif "{team}" in do:
        pytest.skip("a language model has no slots")
    else:
        kind, _, target = do.strip("{}").partition(": ")
        wanted = config(tmp_path, tools=f"{{{kind}: {{x: {target}}}}}")
    found = problems(asterisk, wanted)
    assert f"agent desk sends callers to {missing}, which is not there" in found
    assert all("agents.desk" in remedy for remedy in found.values())


def test_another_port(asterisk: Asterisk) -> None:
    other = parse("fastagi: {port: 4599}\nagents: {a: {rules: {intents: {x: {say: [x], answer: Hello.}}}}}")
    found = problems(asterisk, other)
    (text,) = found
    assert text == f"the dialplan asks 127.0.0.1:{PORT}, but the server listens on 127.0.0.1:4599 (fastagi.port)"
    assert "AI_SERVER=127.0.0.1:4599" in found[text]


def test_a_fallback_that_is_not_there() -> None:
    with Asterisk(server=f"127.0.0.1:{PORT}", globals_={"AI_FALLBACK": "queue:none-such"}) as asterisk:
        assert "AI_FALLBACK=queue:none-such: there is no such queue" in problems(asterisk)


def test_audio_another_way_needs_modules_and_a_section() -> None:
    agents = "agents: {a: {rules: {intents: {x: {say: [x], answer: Hello.}}}}}"
    ours = parse(f"fastagi: {{port: {PORT}}}\n{agents}")
    with Asterisk(server=f"127.0.0.1:{PORT}", globals_={"AI_WEBSOCKET": "INCOMING"}) as asterisk:
        found = problems(asterisk, ours)
        (text,) = found
        assert text.startswith("AI_WEBSOCKET=INCOMING: modules missing: chan_websocket")
        assert "Asterisk 20.16, 21.11, 22.6, 23.0 or newer" in found[text]
        for name in ("res_http_websocket", "res_websocket_client", "chan_websocket"):
            asterisk.rx(f"module load {name}.so")
        assert problems(asterisk, ours) == {
            "AI_WEBSOCKET=INCOMING: the server has no such audio": "add websocket: to the configuration"
        }


def test_who_is_rung_for_callers(asterisk: Asterisk) -> None:
    transfers = "{sales: {to: [601@landed, 601@elsewhere, PJSIP/200]}}"
    rules = "{intents: {x: {say: [x], do: {connect: sales}}}}"
    ours = parse(f"fastagi: {{port: {PORT}}}\nagents: {{a: {{transfers: {transfers}, rules: {rules}}}}}")
    assert list(problems(asterisk, ours)) == ["agent a rings 601@elsewhere, which is not there"]
    asterisk.rx("module unload func_devstate.so")
    try:
        assert "transfers: modules missing: func_devstate" in problems(asterisk, ours)
    finally:
        asterisk.rx("module load func_devstate.so")


def test_who_is_to_be_called(asterisk: Asterisk) -> None:
    rules = "{intents: {x: {say: [x], do: hangup}}}"
    ours = parse(f"fastagi: {{port: {PORT}}}\nami: {{secret: x}}\nagents: {{a: {{rules: {rules}}}}}")
    assert list(problems(asterisk, ours)) == [
        "ami: func_db does not run: nobody can be called",
        "ami: app_amd does not run: machines are told by the agent alone (it needs an amd.conf)",
    ]


def test_a_dialplan_that_was_not_reloaded(asterisk: Asterisk) -> None:
    file = asterisk.folder / "etc/asterisk_ai.conf"
    text = file.read_text()
    try:
        file.write_text(text.replace("Set(AI_PATIENCE=20)", "Set(AI_PATIENCE=30)"))
        found = problems(asterisk)
        assert [remedy for text, remedy in found.items() if "runs another one" in text] == [
            "asterisk -rx 'dialplan reload'"
        ]
        asterisk.rx("dialplan reload")
        assert not any("runs another one" in text for text in problems(asterisk))
    finally:
        file.write_text(text)
        asterisk.rx("dialplan reload")


def test_what_asterisk_may_not_read(asterisk: Asterisk, tmp_path: Path) -> None:
    nobody, file = user("nobody"), asterisk.folder / "etc/asterisk_ai.conf"
    wanted = config(tmp_path)
    wanted.spool_path().mkdir(parents=True)
    tmp_path.chmod(0o700)  # as a server that root ran leaves it
    file.chmod(0o600)
    try:
        found = problems(asterisk, wanted, nobody)
    finally:
        file.chmod(0o644)
    assert f"{file} cannot be read by Asterisk (user nobody)" in found
    assert f"replies as files: Asterisk (user nobody) cannot read {wanted.spool_path()}" in found
    assert all("ch" in remedy for remedy in found.values())


def test_what_is_missing_is_found() -> None:
    with Asterisk(server=f"127.0.0.1:{free_port()}") as asterisk:
        etc = asterisk.folder / "etc"
        for module in ("func_cut", "app_voicemail"):
            assert "ERROR" not in asterisk.rx(f"module unload {module}.so")
        text = (etc / "extensions.conf").read_text()
        (etc / "extensions.conf").write_text(text.replace("#include asterisk_ai.conf", ""))
        shutil.move(etc / "asterisk_ai.conf", etc / "elsewhere.conf")
        asterisk.rx("dialplan reload")
        found = problems(asterisk)
        assert any("func_cut" in problem for problem in found)
        assert "the application VoiceMail is not there: no caller can leave a message" in found
        assert "context [asterisk-ai] is not loaded" in found
        assert len(found) == 10
