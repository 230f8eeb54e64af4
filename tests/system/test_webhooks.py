"""Every ended call is told, whatever the other server and ours go through, and always under one id."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
import yaml
from hook_server import CLOSE, HANG, HookServer
from rig import until
from served import Served
from smtp_server import SmtpServer
from sound import tone

from asterisk_ai.cli.main import main
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.simulator.agi_client import AgiOutcome, run_agi
from asterisk_ai.simulator.asterisk import Caller, Line, simulate

SECRET = "a secret of this test"
DELAY = {
    stage: f"asterisk_ai.providers.engines.delay:Delay{kind}"
    for stage, kind in (("stt", "SpeechToText"), ("llm", "LanguageModel"), ("tts", "TextToSpeech"))
}


def settings(folder: Path, url: str) -> dict[str, object]:
    return {
        "pipelines": {"offline": DELAY},
        "vad": {"engine": "energy"},
        "webhooks": {"crm": {"url": url, "secret": SECRET, "timeout_seconds": 1}},
    }


async def one_call(server: Served, number: int) -> AgiOutcome:
    """From its registration to its end, without a word."""
    caller = {"agi_callerid": f"555{number:04d}"}
    begun = await run_agi("127.0.0.1", server.agi_port, "call/start", environment=caller, timeout=20)
    call_id = begun.variables.get("AI_CALL_ID", "")
    return await run_agi("127.0.0.1", server.agi_port, "call/end", arguments=(call_id,), timeout=20)


def some_calls(server: Served, count: int) -> None:
    async def work() -> None:
        await asyncio.gather(*(one_call(server, number) for number in range(count)))

    asyncio.run(work())


def ended(folder: Path) -> set[str]:
    reader = SqliteReader(folder / "sessions.db")
    try:
        return {one.call_id for one in reader.search(CallFilter()) if one.ended}
    finally:
        reader.close()


def told(folder: Path, hooks: HookServer, count: int) -> None:
    def all_of_them() -> bool:
        calls = ended(folder)
        return len(calls) >= count and calls <= set(hooks.calls())

    until(all_of_them, 60, "every ended call told")


def test_every_ended_call_is_told_though_both_servers_fail(tmp_path: Path) -> None:
    hooks = HookServer(SECRET.encode(), fails=[500, HANG, CLOSE, 301])
    with hooks.running() as url, Served(tmp_path, {"desk": {}}, settings(tmp_path, url)) as server:
        some_calls(server, 10)
        until(lambda: hooks.tried, 20, "the first try")
        some_calls(server, 5)
        server.kill()  # kill -9, while the other side hangs
        server.start()
        some_calls(server, 10)
        told(tmp_path, hooks, 20)
        assert "not delivered, will be tried again: HTTP 500" in server.log()
        nothing = 'ai_agent_deliveries_waiting{target="crm"} 0.0'
        until(lambda: nothing in server.get("/metrics")[1], 20, "nothing that waits")
        assert server.stop() == 0
    assert hooks.forged == []
    assert {call: len(ids) for call, ids in hooks.calls().items() if len(ids) > 1} == {}
    tries = [(name, event["data"]["id"]) for name, event in hooks.tried]
    assert len(set(tries)) == len({call for _, call in tries}), "every try of a call has its one id"
    assert hooks.accepted[0][1]["data"]["caller"]["number"].startswith("555")


def test_nobody_is_kept_waiting_by_a_server_that_hangs_at_the_end(tmp_path: Path) -> None:
    hooks = HookServer(SECRET.encode(), fails=[HANG])
    with hooks.running() as url:
        wanted = settings(tmp_path, url)
        with Served(tmp_path, {"desk": {}}, {**wanted, "webhooks": {}}) as server:
            written = server.file.read_text().replace("webhooks: {}", f"webhooks: {wanted['webhooks']}")
            server.file.write_text(written)
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            until(lambda: server.health().get("reloads"), 20, "the reload")
            some_calls(server, 3)
            until(lambda: hooks.tried, 20, "the first try")
            assert server.stop(20) == 0
            server.start()
            told(tmp_path, hooks, 3)


def test_a_call_is_summed_up_by_a_language_model_and_mailed(tmp_path: Path) -> None:
    """Where the model fails, it is told from the record, and nobody waits for long."""
    hooks, mails = HookServer(SECRET.encode()), SmtpServer(fails=["451 later"])
    with hooks.running() as url, mails.running() as port:
        mail = {
            "server": "127.0.0.1", "port": port, "sender": "pbx@example.com",
            "messages": {"boss": {"to": "boss@example.com", "agents": "desk", "outcomes": ["hangup"]}},
        }  # fmt: skip
        agents = {"desk": {"greeting": "Hi.", "summary_by": "writer", "turn": {"endpoint_ms": 200}}}
        agents["broken"] = {**agents["desk"], "summary_by": "faulty"}
        more = {
            **settings(tmp_path, url),
            "mail": mail,
            "providers": {
                "writer": {"engine": DELAY["llm"], "seconds": 1},
                DELAY["tts"]: {"speaking": 0.4},
                "faulty": {"engine": "faulty:FaultyLanguageModel", "fault": "first-raise"},
            },
        }
        with Served(tmp_path, agents, more) as server:
            for agent in agents:
                caller = Caller([Line("said", pcm=tone())], patience=10.0, linger=0.5)
                asyncio.run(simulate(caller, host="127.0.0.1", fastagi_port=server.agi_port, agent=agent))
            until(lambda: len(hooks.calls()) == 2 and mails.taken, 60, "both calls told, and one mailed")
    told = {event["data"]["agent"]: event["data"]["summary"] for _, event, _ in hooks.accepted}
    assert told == {"desk": "An answer.", "broken": 'Asked: "something". The caller hung up.'}
    assert len(hooks.accepted) == 2, "told once, with its summary"
    (mail_text,) = mails.messages
    assert mail_text.get_content().startswith("An answer.")
    assert mails.taken[0][0] == ["boss@example.com"]


def test_each_target_can_be_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hooks, mails, file = HookServer(SECRET.encode()), SmtpServer(), tmp_path / "asterisk_ai.yaml"
    with hooks.running() as url, mails.running() as port:
        mail = {"server": "127.0.0.1", "port": port, "sender": "pbx@example.com"}
        config = {
            "agents": {"desk": {}},
            "webhooks": {
                name: {"url": at, "secret": SECRET} for name, at in (("crm", url), ("gone", "http://127.0.0.1:1"))
            },
            "mail": {**mail, "messages": {"boss": {"to": "boss@example.com"}}},
        }
        file.write_text(yaml.safe_dump(config))
        assert main(["webhooks", "test", "--config", str(file)]) == 1
        told = capsys.readouterr().out.splitlines()
        assert told[0] == "crm: delivered"
        assert told[1].startswith("gone: not delivered: no connection")
        assert told[2] == "mail/boss: delivered"
        assert main(["webhooks", "test", "crm", "--config", str(file)]) == 0
        assert main(["webhooks", "test", "cmr", "--config", str(file)]) == 1
        assert "nobody is called 'cmr'; there are crm, gone, mail/boss" in capsys.readouterr().err
    assert [event["type"] for _, event, _ in hooks.accepted] == ["test", "test"]
    assert "This is a test." in mails.messages[0].get_content()
