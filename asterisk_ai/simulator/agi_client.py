"""Asterisk's part of a FastAGI conversation: for ``asterisk-ai call``, and to test servers against.

As strict as Asterisk: a command it does not know gets a 510, a wrong number of
words a 520, a command on a hung-up channel a 511, and a line that would not
fit into its buffer is an error, where Asterisk would do something worse.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import MAX_ARGUMENTS, MAX_LINE, split_command, works_on_dead_channel
from asterisk_ai.protocol.agi.reader import LineBuffer

#: Asterisk's own limit for the TCP connection, seconds.
CONNECT_SECONDS = 2.0

#: Carries a command out: gets its words, gives what follows ``200 result=``.
Command = Callable[[Sequence[str]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class AgiOutcome:
    """How AGI() ended.

    :param status: AGISTATUS: ``SUCCESS``, ``FAILURE`` (no connection, or it broke) or ``HANGUP``.
    :param variables: the channel's variables afterwards.
    :param commands: what the server asked for, in words.
    :param reason: for a FAILURE, what happened.
    """

    status: str
    variables: dict[str, str]
    commands: list[list[str]] = field(default_factory=list)
    reason: str = ""


async def run_agi(
    host: str,
    port: int,
    script: str,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    timeout: float,  # noqa: ASYNC109 - it bounds a whole AGI() with its ways to fail, and is reported as one
    hang_up: asyncio.Event | None = None,
    commands: Mapping[str, Command] | None = None,
) -> AgiOutcome:
    """Run ``AGI(agi://host:port/script,arguments...)`` on a channel that does not exist.

    :param script: path and query, such as ``call/start?agent=reception``.
    :param environment: ``agi_...`` values that replace or add to the usual ones.
    :param variables: the channel's variables before; the mapping is not changed.
    :param timeout: seconds for all of it; a server that takes longer makes it a FAILURE.
    :param hang_up: the caller hangs up when this is set.
    :param commands: commands to carry out otherwise than by the built-in ways, such as ``STREAM FILE``.
    :raises RemoteProtocolError: where the server sends what Asterisk cannot take.
    """
    channel = _Channel(dict(variables or {}), dict(commands or {}), asyncio.Event() if hang_up is None else hang_up)
    lines = _environment(host, port, script, arguments, environment or {})
    try:
        async with asyncio.timeout(timeout):
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(lines)
                await channel.converse(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except OSError as error:  # TimeoutError is one
        return AgiOutcome("FAILURE", channel.variables, channel.log, str(error) or "time ran out")
    return AgiOutcome("HANGUP" if channel.dead else "SUCCESS", channel.variables, channel.log)


def _environment(host: str, port: int, script: str, arguments: Sequence[str], extra: Mapping[str, str]) -> bytes:
    """The environment, in the order in which Asterisk sends it."""
    script = script.lstrip("/")
    values = {
        "agi_network": "yes",
        **({"agi_network_script": script} if script else {}),
        "agi_request": f"agi://{host}:{port}/{script}",
        "agi_channel": "Local/caller@asterisk-ai-00000001;1",
        "agi_language": "en",
        "agi_type": "Local",
        "agi_uniqueid": "1700000000.1",
        "agi_version": "22.10.1",
        "agi_callerid": "unknown",
        "agi_calleridname": "unknown",
        "agi_callingpres": "0",
        "agi_callingani2": "0",
        "agi_callington": "0",
        "agi_callingtns": "0",
        "agi_dnid": "unknown",
        "agi_rdnis": "unknown",
        "agi_context": "default",
        "agi_extension": "s",
        "agi_priority": "1",
        "agi_enhanced": "0.0",
        "agi_accountcode": "",
        "agi_threadid": "139900000000000",
        **extra,
        **{f"agi_arg_{number}": argument for number, argument in enumerate(arguments, 1)},
    }
    if len(arguments) >= MAX_ARGUMENTS:
        raise LocalProtocolError("too many arguments")
    return "".join(f"{key}: {value}\n" for key, value in values.items()).encode() + b"\n"


class _Channel:
    """A channel as far as AGI commands can tell."""

    def __init__(self, variables: dict[str, str], commands: dict[str, Command], hang_up: asyncio.Event) -> None:
        self.variables = variables
        self.log: list[list[str]] = []
        self.dead = False
        self._database: dict[tuple[str, str], str] = {}
        self._hang_up = hang_up
        self._commands = {**_COMMANDS, **{name.upper(): _given(command) for name, command in commands.items()}}

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer commands until the server closes.

        :raises RemoteProtocolError: as :func:`run_agi`.
        :raises OSError: the connection broke.
        """
        failed: list[Exception] = []
        async with asyncio.TaskGroup() as group:
            hanging_up = group.create_task(self._watch_hang_up(writer))
            try:
                await self._answer_all(reader, writer)
            except (OSError, RemoteProtocolError) as error:
                failed.append(error)  # out of the group, which would wrap it
            hanging_up.cancel()
        if failed:
            raise failed[0]

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = LineBuffer(MAX_LINE - 1)
        while data := await reader.read(65536):
            lines.feed(data)
            if (line := lines.next_line()) is None:
                continue
            if lines.next_line() is not None:
                raise RemoteProtocolError("two commands at once: Asterisk would leave the second one lying")
            writer.write(await self._answer(line))
            await writer.drain()

    async def _watch_hang_up(self, writer: asyncio.StreamWriter) -> None:
        await self._hang_up.wait()
        self.dead = True
        writer.write(b"HANGUP\n")

    async def _answer(self, line: bytes) -> bytes:
        text = line.decode("utf-8", "replace").removesuffix("\n")
        if "\r" in text or "\0" in text:
            raise RemoteProtocolError("a control character in a command")
        words = split_command(text)
        if len(words) >= MAX_ARGUMENTS:
            raise RemoteProtocolError("too many words in a command")
        self.log.append(words)
        found = self._find(words)
        if found is None:
            return b"510 Invalid or unknown command\n"
        name, (least, most, command) = found
        if self.dead and not works_on_dead_channel(name):
            return b"511 Command Not Permitted on a dead channel\n"
        arguments = words[name.count(" ") + 1 :]
        if not least <= len(arguments) <= most:
            usage = f"520-Invalid command syntax.  Proper usage follows:\n Usage: {name}\n520 End of proper usage.\n"
            return usage.encode()
        result = await command(self, arguments)
        return f"200 result={result}\n".encode()

    def _find(self, words: list[str]) -> tuple[str, tuple[int, int, _Builtin]] | None:
        for count in range(min(3, len(words)), 0, -1):
            name = " ".join(words[:count]).upper()
            if name in self._commands:
                return name, self._commands[name]
        return None

    async def nothing(self, arguments: Sequence[str]) -> str:
        return "0"

    async def done(self, arguments: Sequence[str]) -> str:
        return "1"

    async def status(self, arguments: Sequence[str]) -> str:
        return "6"

    async def play(self, arguments: Sequence[str]) -> str:
        return "0 endpos=8000"

    async def hang(self, arguments: Sequence[str]) -> str:
        self._hang_up.set()
        return "1"

    async def set_variable(self, arguments: Sequence[str]) -> str:
        self.variables[arguments[0]] = arguments[1]
        return "1"

    async def get_variable(self, arguments: Sequence[str]) -> str:
        value = self.variables.get(arguments[0])
        return "0" if value is None else f"1 ({value[:1023]})"

    async def get_full_variable(self, arguments: Sequence[str]) -> str:
        value = re.sub(r"\$\{([^{}]+)\}", lambda found: self.variables.get(found[1], ""), arguments[0])
        return f"1 ({value})" if value else "0"

    async def database_put(self, arguments: Sequence[str]) -> str:
        self._database[arguments[0], arguments[1]] = arguments[2]
        return "1"

    async def database_get(self, arguments: Sequence[str]) -> str:
        value = self._database.get((arguments[0], arguments[1]))
        return "0" if value is None else f"1 ({value})"

    async def database_del(self, arguments: Sequence[str]) -> str:
        return "0" if self._database.pop((arguments[0], arguments[1]), None) is None else "1"


_Builtin = Callable[[_Channel, Sequence[str]], Awaitable[str]]


def _given(command: Command) -> tuple[int, int, _Builtin]:
    async def run(channel: _Channel, arguments: Sequence[str]) -> str:
        return await command(arguments)

    return 0, MAX_ARGUMENTS, run


def _go(variable: str) -> _Builtin:
    async def run(channel: _Channel, arguments: Sequence[str]) -> str:
        channel.variables[variable] = arguments[0]
        return "0"

    return run


#: Least and most words after the command's name, and what it does.
_COMMANDS: dict[str, tuple[int, int, _Builtin]] = {
    "ANSWER": (0, 0, _Channel.nothing),
    "CHANNEL STATUS": (0, 1, _Channel.status),
    "DATABASE DEL": (2, 2, _Channel.database_del),
    "DATABASE GET": (2, 2, _Channel.database_get),
    "DATABASE PUT": (3, 3, _Channel.database_put),
    "EXEC": (1, MAX_ARGUMENTS, _Channel.nothing),
    "GET FULL VARIABLE": (1, 2, _Channel.get_full_variable),
    "GET VARIABLE": (1, 1, _Channel.get_variable),
    "HANGUP": (0, 1, _Channel.hang),
    "NOOP": (0, MAX_ARGUMENTS, _Channel.nothing),
    "SET CONTEXT": (1, 1, _go("CONTEXT")),
    "SET EXTENSION": (1, 1, _go("EXTEN")),
    "SET PRIORITY": (1, 1, _go("PRIORITY")),
    "SET VARIABLE": (2, 2, _Channel.set_variable),
    "STREAM FILE": (2, 3, _Channel.play),
    "VERBOSE": (1, 2, _Channel.done),
    "WAIT FOR DIGIT": (1, 1, _Channel.nothing),
}
