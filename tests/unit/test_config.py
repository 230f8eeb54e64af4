"""The configuration: what is wrong is said with file, line and key, all of it at once."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asterisk_ai import config
from asterisk_ai.config import Config, ConfigErrors, Secret
from asterisk_ai.errors import ConfigError

AGENT = "agents: {a: {greeting: hi}}\n"


def problem(text: str, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "a.yaml", environ)
    return caught.value


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and an environment that name no configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASTERISK_AI_CONFIG", raising=False)
    monkeypatch.setattr(config.paths, "SYSTEM_FOLDER", tmp_path / "etc")
    return tmp_path


def test_the_packaged_sample_is_the_default_and_has_the_defaults_it_explains(nowhere: Path) -> None:
    loaded = config.load()
    assert loaded.source == str(config.share_path("etc-asterisk") / "asterisk_ai.yaml")
    bare = config.parse(AGENT)
    for section in ("audiosocket", "fastagi", "http", "server", "store", "playback", "log", "pipelines"):
        assert getattr(loaded, section) == getattr(bare, section)
    assert loaded.agent().name == "reception"
    turn, default = loaded.agent().turn, bare.agent().turn
    explained = ("endpoint_ms", "barge_in", "barge_in_ms", "no_input_seconds", "max_utterance_seconds")
    assert [getattr(turn, name) for name in explained] == [getattr(default, name) for name in explained]


def test_files_are_looked_for_in_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name: nowhere / name for name in ("named.yaml", "variable.yaml", "asterisk_ai.yaml")}
    (nowhere / "etc").mkdir()
    places["etc"] = nowhere / "etc" / "asterisk_ai.yaml"
    for file in places.values():
        file.write_text(AGENT)
    monkeypatch.setenv("ASTERISK_AI_CONFIG", str(places["variable.yaml"]))
    assert config.load(str(places["named.yaml"])).source == str(places["named.yaml"])
    assert config.load().source == str(places["variable.yaml"])
    monkeypatch.delenv("ASTERISK_AI_CONFIG")
    assert config.load().source == "asterisk_ai.yaml"
    places["asterisk_ai.yaml"].unlink()
    assert config.load().source == str(places["etc"])


def test_a_named_file_that_is_missing_is_an_error_and_not_passed_over(nowhere: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load("missing.yaml")


def test_all_mistakes_are_reported_in_the_order_of_the_file() -> None:
    error = problem(
        "agents:\n  a:\n    greting: hi\n    turn: {endpoint_ms: 5}\n"
        "audiosocket: {prot: 1, port: 70000}\nlog: {level: loud}\nfastagi: [1]\npipeline: ${NOPE}\n"
    )
    assert isinstance(error, ConfigErrors)
    assert str(error).splitlines() == [
        "a.yaml:3: agents.a.greting: unknown key; did you mean 'greeting'?",
        "a.yaml:4: agents.a.turn.endpoint_ms: must be between 100 and 10000, found 5",
        "a.yaml:5: audiosocket.prot: unknown key; did you mean 'port'?",
        "a.yaml:5: audiosocket.port: must be between 0 and 65535, found 70000",
        "a.yaml:6: log.level: must be one of debug, info, warning, error, found the text 'loud'",
        "a.yaml:7: fastagi: expected a mapping of keys, found a list",
        "a.yaml:8: pipeline: the environment variable NOPE is not set",
    ]


@pytest.mark.parametrize(
    ("text", "path", "line", "message"),
    [
        ("a: 1\n b: 2", "", 2, "not valid YAML"),
        ("agents:\n\ta: 1", "", 2, "spaces, not with tabs"),
        ("agents: {a: {greeting: Hi: there}}", "", 1, "quotes"),
        ("a:\n - [please] help", "", 2, "begins with ["),
        ("", "", 0, "no configuration"),
        ("# only a comment\n", "", 0, "no configuration"),
        ("- 1", "", 1, "must be a mapping"),
        ("a: \x01", "", 1, "forbids"),
        ("a: &x [*x]", "a[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]", 1, "alias"),
        ("a: &a\n  <<: *a\n", "a", 1, "does an alias contain itself?"),
        ("b: {}\na: &a {<<: [*a, *a]}", "a", 2, "does an alias contain itself?"),
        ("a:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 100)), "", 64, "nested more than 64 deep"),
        ("".join(f"k{n}: 1\n" for n in range(50_000)), "", 20_000, "more keys and values"),
        ("a: !!python/object/apply:os.system [x]", "a", 1, "means nothing here"),
        ("a: 1\n---\nb: 1", "", 2, "single document"),
        ("[" * 5000, "", 1, "nested more than 64 deep"),
        (AGENT + "log: {level: info, level: info}", "log.level", 2, "given twice, first in line 2"),
        (AGENT + "log: {transcripts: 1}", "log.transcripts", 2, "expected true or false, found the number 1"),
        (AGENT + "http: {port: true}", "http.port", 2, "expected a whole number, found true"),
        (AGENT + "http: {port: 1.5}", "http.port", 2, "expected a whole number"),
        (AGENT + "http: {port: 9092}", "http.port", 2, "audiosocket's already"),
        (AGENT + "fastagi: {host: ''}", "fastagi.host", 2, "name an address"),
        (AGENT + "audiosocket: {advertise: pbx}", "audiosocket.advertise", 2, "host:port"),
        (AGENT + "pipeline: ofline", "pipeline", 2, "did you mean 'offline'"),
        (AGENT + "default_agent: b", "default_agent", 2, "there is no agent 'b'"),
        (AGENT + "pipelines: {offline: {stt: ''}}", "pipelines.offline.stt", 2, "name an engine"),
        (AGENT + "pipelines: {offline: {stt: []}}", "pipelines.offline.stt", 2, "name at least one"),
        (AGENT + "pipelines: {offline: {stt: [a, b, a]}}", "pipelines.offline.stt", 2, "names an engine twice"),
        (AGENT + "pipelines: {offline: {stt: [a, 7]}}", "pipelines.offline.stt", 2, "the number 7"),
        (AGENT + "? [1]\n: x", "", 2, "a key must be"),
        (AGENT + "playback: {spool: '${A B}'}", "playback.spool", 2, "names no environment variable"),
        ("agents: {a: {}, b: {}}", "default_agent", 0, "which of the agents"),
        ("agents: {}", "agents", 1, "at least one agent"),
        ("agents: {a: {pipeline: x}}", "agents.a.pipeline", 1, "there is no pipeline 'x'"),
        ("agents: {'a b': {}}", "agents.a b", 1, "a name is made of"),
        ("agents: {a: {turn: {no_input_prompts: hi}}}", "agents.a.turn.no_input_prompts", 1, "expected a list"),
        ("agents: {a: {turn: {no_input_prompts: [1]}}}", "agents.a.turn.no_input_prompts[0]", 1, "expected text"),
        ("agents: {a: {greeting: 12}}", "agents.a.greeting", 1, "expected text, found the number 12"),
    ],
)
def test_mistakes(text: str, path: str, line: int, message: str) -> None:
    error = problem(text)
    assert (error.path[:60], error.line, error.file) == (path[:60], line, "a.yaml")
    assert message in error.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for content, message in ((b"a: \xff", "line"), (b"\xff\xfea\0", "UTF-8"), (b"#" * (1 << 20) + b"##", "1 MiB")):
        (tmp_path / "x.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=message if message != "line" else "x.yaml:1: is not UTF-8"):
            config.load(str(tmp_path / "x.yaml"))
    with pytest.raises(ConfigError, match="is a folder"):
        config.load(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(AGENT)
    file.chmod(0)
    with pytest.raises(ConfigError, match="may not read"):
        config.load(str(file))


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_users_home_as_the_working_directory_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sudo -u asterisk asterisk-ai check``, typed in root's home."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "asterisk_ai.yaml").write_text(AGENT)
    (tmp_path / "asterisk_ai.yaml").write_text(AGENT)
    monkeypatch.setattr(config.paths, "SYSTEM_FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path / "home")
    assert config.paths.find() == Path("asterisk_ai.yaml")
    os.seteuid(65534)
    try:
        assert config.paths.find() == tmp_path / "asterisk_ai.yaml"
    finally:
        os.seteuid(0)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + AGENT.encode())
    assert config.load(str(tmp_path / "x.yaml")).agent("a").greeting == "hi"


def test_words_of_a_pbx_stay_what_was_written() -> None:
    rules = "rules: {exten: 0200, number: +4930, at: 9:30, day: 2026-12-25, say: [yes, no, off], 0: x, yes: y}"
    read = config.parse(f"agents: {{a: {{{rules}}}}}").agent().rules
    assert read == {
        "exten": "0200",
        "number": "+4930",
        "at": "9:30",
        "day": "2026-12-25",
        "say": ["yes", "no", "off"],
        "0": "x",
        "yes": "y",
    }


def test_booleans_numbers_and_off() -> None:
    read = config.parse(AGENT + "http: off\nlog: {transcripts: yes}\nserver: {drain_seconds: 5}")
    assert read.http is None
    assert read.log.transcripts is True
    assert read.server.drain_seconds == 5.0
    assert config.parse(AGENT + "http: null").http is None
    assert config.parse(AGENT + "http: {}").http is not None


def test_environment_variables_fill_texts_and_numbers() -> None:
    environ = {"KEY": "s3cr3t: [x]", "PORT": "9999", "ON": "true"}
    text = (
        "agents: {a: {greeting: 'a $${KEY} b'}}\nproviders: {x: {api_key: '${KEY}', url: 'http://h/${PORT}', size: 3}}"
        "\nhttp:\n  port: ${PORT}\nlog:\n  transcripts: ${ON}\n"
    )
    read = config.parse(text, environ=environ)
    assert read.agent().greeting == "a ${KEY} b"
    assert read.settings("x") == {"api_key": "s3cr3t: [x]", "url": "http://h/9999", "size": 3}
    assert read.http is not None
    assert read.http.port == 9999
    assert read.log.transcripts is True
    assert read.settings("absent") == {}


def test_a_rewritten_configuration_is_the_same_but_for_the_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "agents:\n  a:\n    greeting: 'a $${X} é'\n    rules: {exten: 0200, at: 9:30, say: [yes, no], 0: x, n: 0.5}\n"
        "providers: {x: {api_key: '${KEY}', size: 3}}\nhttp: no\naudiosocket: {port: 1, idle_seconds: 3}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", "hunter2")
        before = config.load(str(file))
        text = config.rewritten(before, {"audiosocket": {"port": 5}, "http": {"port": 6}, "fastagi": {"port": 7}})
        after = config.parse(text)
    assert "hunter2" not in text
    assert (after.agents, after.providers) == (before.agents, before.providers)
    assert (after.audiosocket.port, after.audiosocket.idle_seconds, after.fastagi.port) == (5, 3, 7)
    assert after.http is not None
    assert after.http.port == 6
    sample = config.load(str(config.share_path("etc-asterisk") / "asterisk_ai.yaml"))
    assert config.parse(config.rewritten(sample, {})).agents == sample.agents


def test_secrets_are_in_no_representation_and_no_error() -> None:
    text = "providers: {x: {api_key: hunter2, nested: {password: [hunter3]}, from_env: '${KEY}'}}\n"
    read = config.parse(AGENT + text, environ={"KEY": "hunter4"})
    assert "hunter" not in repr(read)
    key = read.settings("x")["api_key"]
    assert isinstance(key, Secret)
    assert f"Bearer {key}" == "Bearer hunter2"
    error = problem(AGENT + "http: {port: '${KEY}'}", KEY="hunter4")
    assert "hunter" not in str(error)


def test_aliases_and_merged_keys() -> None:
    read = config.parse("agents:\n  a: &a {greeting: hi, closing: bye}\n  b: {<<: *a, greeting: ho}\ndefault_agent: b")
    assert (read.agent().greeting, read.agent().closing) == ("ho", "bye")
    assert "<< takes a mapping" in problem("agents: {a: {<<: 3}}").message


def test_too_many_nodes_are_refused_quickly() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert "too large" in problem(bomb).message


def test_errors_found_later_get_their_line() -> None:
    read = config.parse("agents:\n  a:\n    rules:\n      intents:\n        x:\n          do: fly\n", "a.yaml")
    error = read.located(ConfigError("no", path="agents.a.rules.intents.x.do.transfer"))
    assert str(error) == "a.yaml:6: agents.a.rules.intents.x.do.transfer: no"


def test_agents_and_their_engines() -> None:
    read = config.parse(
        "agents: {a: {}, b: {pipeline: p}}\ndefault_agent: a\npipelines: {offline: {}, p: {tts: 'm:C'}}"
    )
    assert read.pipeline_of(read.agent("a")).tts == ("hibari", "espeak")
    assert read.pipeline_of(read.agent("b")).tts == ("m:C",)
    assert read.agent("b").as_mapping()["name"] == "b"
    with pytest.raises(KeyError):
        read.agent("c")


def test_where_the_state_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(config.paths, "SYSTEM_STATE", tmp_path / "system")
    read = config.parse(AGENT)
    assert read.store_path() == tmp_path / "system" / "sessions.db"
    assert read.spool_path() == tmp_path / "system" / "spool"
    monkeypatch.setattr(config.paths, "SYSTEM_STATE", Path("/proc/no/such"))
    assert read.store_path() == tmp_path / "state" / "asterisk-ai" / "sessions.db"
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/systemd:/other")
    assert read.store_path() == tmp_path / "systemd" / "sessions.db"
    given_ = config.parse(AGENT + "store: {path: x/calls.db}\nplayback: {spool: /s}", str(tmp_path / "a.yaml"))
    assert given_.store_path() == tmp_path / "x" / "calls.db"
    assert given_.spool_path() == Path("/s")


def test_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    assert config.service_manager() == config.ServiceManager("", 0.0)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    assert config.service_manager() == config.ServiceManager("/run/x", 3.0)
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert config.service_manager().watchdog_seconds == 0.0


def test_share_path() -> None:
    assert (config.share_path("etc-asterisk") / "asterisk_ai.yaml").is_file()
    with pytest.raises(ConfigError, match="install it again"):
        config.share_path("nothing")


_SAMPLE = (config.share_path("etc-asterisk") / "asterisk_ai.yaml").read_text()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(_SAMPLE)), st.integers(0, 40), st.text("[]{}:*&!|>'\"%@`-#, \t\nab0\x00é", max_size=6))
def test_a_damaged_file_gives_a_configuration_or_a_configuration_error(at: int, cut: int, put: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(config.parse(_SAMPLE[:at] + put + _SAMPLE[at + cut :]), Config)
