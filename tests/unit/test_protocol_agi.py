"""The AGI codec: examples from Asterisk's source, and any bytes in any split."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import (
    MAX_LINE,
    command_line,
    set_variable_line,
    split_command,
    works_on_dead_channel,
)
from asterisk_ai.protocol.agi.reader import (
    AgiClosed,
    AgiEvent,
    AgiHangUp,
    AgiReader,
    AgiReply,
    AgiRequest,
    LineBuffer,
)

ENVIRONMENT = (
    b"agi_network: yes\n"
    b"agi_network_script: call/start?agent=front%20desk&x=\n"
    b"agi_request: agi://127.0.0.1:4574/call/start?agent=front%20desk&x=\n"
    b'agi_calleridname: O\'Neil, "Bob" \\ \n'
    b"agi_rdnis: \n"
    b"agi_arg_1: one\n"
    b"agi_arg_2: \n"
    b"agi_arg_3: a: b\n"
    b"\n"
)
USAGE = (
    b"520-Invalid command syntax.  Proper usage follows:\n"
    b" Usage: DATABASE GET <family> <key>\n"
    b" Example return code: 200 result=1 (testvariable)\n"
    b"520 End of proper usage.\n"
)


def read(reader: AgiReader, *pieces: bytes, eof: bool = False) -> list[AgiEvent | str]:
    """All events; a last string stands for the protocol error."""
    events: list[AgiEvent | str] = []
    for piece in [*pieces, None] if eof else pieces:
        if piece is None:
            reader.receive_eof()
        else:
            reader.receive_data(piece)
        try:
            while (event := reader.next_event()) is not None:
                events.append(event)
        except RemoteProtocolError as error:
            return [*events, str(error)]
    return events


def replies(*pieces: bytes) -> list[AgiEvent | str]:
    return read(AgiReader(environment=False), *pieces)


def test_environment() -> None:
    (request,) = read(AgiReader(), ENVIRONMENT)
    assert isinstance(request, AgiRequest)
    assert request.script == "call/start"
    assert request.query == {"agent": "front desk", "x": ""}
    assert request.arguments == ("one", "", "a: b")
    assert request.environment["agi_calleridname"] == 'O\'Neil, "Bob" \\ '
    assert request.environment["agi_rdnis"] == ""


def test_no_script_is_an_empty_one() -> None:
    (request,) = read(AgiReader(), b"agi_network: yes\nagi_request: agi://pbx\n\n")
    assert isinstance(request, AgiRequest)
    assert (request.script, dict(request.query), request.arguments) == ("", {}, ())


def test_what_is_no_utf8_is_replaced_and_goes_on() -> None:
    (request,) = read(AgiReader(), b"agi_network: yes\nagi_calleridname: J\xfcrgen\n\n")
    assert isinstance(request, AgiRequest)
    assert request.environment["agi_calleridname"] == "J\ufffdrgen"


def test_newline_in_a_callers_name_forges_nothing() -> None:
    start = b"agi_network: yes\nagi_calleridname: Bob\n"
    (request,) = read(AgiReader(), start + b"second line\nagi_arg_1: real\n\n")
    assert isinstance(request, AgiRequest)
    assert request.arguments == ("real",)
    forged = read(AgiReader(), start + b"agi_arg_1: forged\nagi_arg_1: real\n\n")
    assert forged == ["agi_arg_1 is there twice"]
    early_end = read(AgiReader(), start + b"\nagi_arg_1: real\n\n")
    assert early_end[1:] == ["not an AGI reply"]


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"GET / HTTP/1.1\n",
        b"agi_network yes\n",
        b"\x16\x03\x01\n",
        b"agi_network: y\0es\n",
        b"agi_network: " + b"x" * MAX_LINE,
        b"".join(b"agi_arg_%d: x\n" % number for number in range(300)),
        b"".join(b"agi_arg_%d: " % number + b"x" * 8000 + b"\n" for number in range(9)),
        b"agi_network_script: x?" + b"a=1&" * 100 + b"\n\n",
    ],
)
def test_environments_that_are_none(data: bytes) -> None:
    events = read(AgiReader(), data)
    assert len(events) == 1
    assert isinstance(events[0], str)


def test_an_error_is_final() -> None:
    reader = AgiReader()
    assert read(reader, b"\n") == read(reader, ENVIRONMENT) == ["an empty environment"]


def test_end_of_the_connection() -> None:
    assert read(AgiReader(), ENVIRONMENT[:-1], eof=True) == ["closed before the end of the environment"]
    reader = AgiReader()
    assert read(reader, ENVIRONMENT + b"HANG", eof=True)[1:] == [AgiClosed()]
    assert reader.next_event() is None


@pytest.mark.parametrize(
    ("wire", "reply"),
    [
        (b"200 result=0\n", AgiReply(200, "0")),
        (b"200 result=-1\r\n", AgiReply(200, "-1")),
        (b"200 result=1 (a value)\n", AgiReply(200, "1", "a value")),
        (b"200 result=1 ()\n", AgiReply(200, "1", "")),
        (b"200 result=1 (a) endpos=5 (b))\n", AgiReply(200, "1", "a) endpos=5 (b)")),
        (b"200 result=1 (two\nlines\n)\n", AgiReply(200, "1", "two\nlines\n")),
        (b"200 result=1 (a\nHANGUP\nb)\n", AgiReply(200, "1", "a\nHANGUP\nb")),
        (b"200 result=0 endpos=1234\n", AgiReply(200, "0", "", 1234)),
        (b"200 result=35 (dtmf) endpos=7\n", AgiReply(200, "35", "dtmf", 7)),
        (b"200 result= (timeout)\n", AgiReply(200, "", "timeout")),
        (b"200 result=12*\n", AgiReply(200, "12*")),
        (b'200 result=1 (speech) endpos=8 results=1 score0=900 text0="a"\n', AgiReply(200, "1", "speech", 8)),
        (b"100 result=0 Trying...\n200 result=0\n", AgiReply(200, "0")),
        (b"510 Invalid or unknown command\n", AgiReply(510, data="Invalid or unknown command")),
        (
            b"511 Command Not Permitted on a dead channel\n",
            AgiReply(511, data="Command Not Permitted on a dead channel"),
        ),
        (b"520 Invalid command syntax.\n", AgiReply(520, data="Invalid command syntax.")),
    ],
)
def test_replies(wire: bytes, reply: AgiReply) -> None:
    (event,) = replies(wire)
    assert isinstance(event, AgiReply)
    assert (event.code, event.result, event.data, event.endpos) == (reply.code, reply.result, reply.data, reply.endpos)
    assert wire.endswith(event.raw)


def test_usage_is_one_reply_whatever_stands_in_it() -> None:
    usage, after = replies(USAGE + b"200 result=7\n")
    assert isinstance(usage, AgiReply)
    assert (usage.code, usage.raw) == (520, USAGE)
    assert "200 result=1 (testvariable)" in usage.data
    assert after == AgiReply(200, "7", raw=b"200 result=7\n")
    (short,) = replies(b"520-Usage follows:\nNo line end here.520 End of proper usage.\n")
    assert isinstance(short, AgiReply)
    assert short.data == "No line end here."


def test_hangup_comes_at_any_place_and_is_no_reply() -> None:
    first, rest = USAGE.split(b"\n", 1)
    events = replies(b"HANGUP\n200 result=0\nHANGUP\n" + first + b"\nHANGUP\n" + rest + b"HANGUP\r\n")
    assert [type(event) for event in events] == [AgiHangUp, AgiReply, AgiHangUp, AgiHangUp, AgiReply, AgiHangUp]


@pytest.mark.parametrize(
    "wire",
    [
        b"\n",
        b"hello\n",
        b"200\n",
        b"200 ok\n",
        b"2000 result=0\n",
        b"\xb2\xb0\xb0 result=0\n",
        b"200 result=1 (a)\n200 result=1 (b\0)\n",
        b"200 result=" + b"9" * MAX_LINE,
        b"520-" + b"x\n" * 40000,
        b"200 result=1 (" + b"x\n" * 40000,
    ],
)
def test_replies_that_are_none(wire: bytes) -> None:
    assert isinstance(replies(wire)[-1], str)


def test_huge_endpos_is_no_number() -> None:
    (event,) = replies(b"200 result=0 endpos=" + b"9" * 5000 + b"\n")
    assert isinstance(event, AgiReply)
    assert event.endpos is None


WIRE = st.lists(
    st.one_of(
        st.sampled_from(
            [b"HANGUP\n", b"200 result=0\n", b"200 result=1 (", b")\n", b"\n", b"\r\n", b"520-", USAGE, b"511 x\n",
             b"100 result=0 Trying\n", b"\0", b"agi_arg_1: x\n", b"agi_network: yes\n", b") endpos=3\n"]
        ),
        st.binary(max_size=40),
        st.just(b"y" * 5000),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


@given(WIRE, st.lists(st.integers(0, 10**6), max_size=8), st.booleans(), st.booleans())
def test_any_bytes_in_any_split(data: bytes, cuts: list[int], greeted: bool, eof: bool) -> None:
    data = ENVIRONMENT + data if greeted else data
    whole = read(AgiReader(), data, eof=eof)
    assert read(AgiReader(), *pieces(data, cuts), eof=eof) == whole


@given(WIRE)
def test_byte_by_byte(data: bytes) -> None:
    data = data[:600]
    assert replies(*(data[at : at + 1] for at in range(len(data)))) == replies(data)


ARGUMENT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=40)


@given(st.lists(ARGUMENT, max_size=20))
def test_asterisk_reads_the_words_that_were_meant(arguments: list[str]) -> None:
    line = command_line("EXEC", *arguments)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert split_command(line.decode()[:-1]) == ["EXEC", *arguments]


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_makes_a_second_line(name: str, value: str) -> None:
    for make in (lambda: set_variable_line(name, value), lambda: command_line(name, value)):
        try:
            line = make()
        except LocalProtocolError:
            continue
        assert line.count(b"\n") == 1
        assert split_command(line.decode()[:-1])[-1] == value


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "\ud800"])
def test_refused_arguments(bad: str) -> None:
    with pytest.raises(LocalProtocolError):
        command_line("VERBOSE", bad)
    with pytest.raises(LocalProtocolError):
        command_line(f"VERBOSE {bad}")


@pytest.mark.parametrize("value", ["\t", "\x1b[2J", "\x7f", "x\n"])
def test_set_variable_refuses_every_control_character(value: str) -> None:
    with pytest.raises(LocalProtocolError):
        set_variable_line("AI_NEXT", value)


def test_variable_names() -> None:
    assert set_variable_line("CALLERID(name)", "x") == b'SET VARIABLE "CALLERID(name)" "x"\n'
    for name in ("", "A B", "${A}", "A)", "1A", "A(B(C))", "A\n"):
        with pytest.raises(LocalProtocolError):
            set_variable_line(name, "x")


def test_limits_are_asterisks_own() -> None:
    room = MAX_LINE - 1 - len(b'VERBOSE ""\n')
    assert len(command_line("VERBOSE", "x" * room)) == MAX_LINE - 1
    for arguments in (["x" * (room + 1)], ["\u00fc" * room], ['"' * room], ["x"] * 127):
        with pytest.raises(LocalProtocolError):
            command_line("VERBOSE", *arguments)
    assert len(split_command(command_line("VERBOSE", *["x"] * 126).decode())) == 127


def test_dead_channel() -> None:
    assert all(map(works_on_dead_channel, ["EXEC", "set variable", "GET FULL VARIABLE", "NOOP", "DATABASE GET"]))
    assert not any(map(works_on_dead_channel, ["STREAM FILE", "ANSWER", "EXECUTE", "GET DATA", "HANGUP"]))


def test_where_one_message_ends() -> None:
    reader = AgiReader(environment=False)
    assert reader.between_messages
    for half, rest in ((b"200 result=1 (a\n", b"b)\n"), (b"520-Usage\n", b"520 End of proper usage.\n")):
        assert read(reader, half) == []
        assert not reader.between_messages
        assert len(read(reader, rest)) == 1
        assert reader.between_messages


def test_line_buffer_gives_back_what_is_left() -> None:
    lines = LineBuffer()
    lines.feed(b"one\ntwo\nthree")
    assert lines.next_line() == b"one\n"
    assert lines.take_rest() == b"two\nthree"
    assert lines.next_line() is None
