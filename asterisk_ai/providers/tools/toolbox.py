"""What a language model may do, told to it as functions with JSON schemas, and its calls checked against them.

The administrator names every destination, so that the model chooses among
names and never makes up an extension::

    agents:
      reception:
        prompt: "You are the receptionist of Example Company. ..."
        tools:
          hangup: true
          transfer: {sales: 200@from-internal, support: 300@from-internal}
          queue: {operator: reception}
          voicemail: {sales: 200@default}
          connect: true           # have one of the agent's transfers rung, with a word about the call
          digits: true            # ask for digits: the caller dials them
          http: {}                # requests, see asterisk_ai.providers.tools.http
          mcp: {}                 # other servers' functions, see asterisk_ai.providers.tools.mcp
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from asterisk_ai.config.reader import did_you_mean
from asterisk_ai.dialog import dialplan
from asterisk_ai.dialog.dialplan import HANG_UP, ActionKind, DialplanAction
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api import AskDigits
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.providers.tools import mcp
from asterisk_ai.providers.tools.http import BadToolCall, HttpRequest, HttpTool, coerce, declare

__all__ = ["Asked", "BadToolCall", "Request", "Requests", "Tool", "Toolbox"]

MAX_DIGITS = 20
_HANDOVERS = (ActionKind.TRANSFER, ActionKind.QUEUE, ActionKind.VOICEMAIL, ActionKind.CONNECT)
MAX_ABOUT = 300
"""Characters of what a colleague is told of a call."""
_WORDS = {
    "connect": "Have somebody rung for the caller. Say so first. about: one sentence for them: who calls, and why.",
    "hangup": "End the call. Say goodbye first.",
    "transfer": "Connect the caller to somebody. Say so first.",
    "queue": "Put the caller into a waiting queue, to be served by a person. Say so first.",
    "voicemail": "Let the caller leave a message. Say so first.",
    "digits": "Let the caller dial digits on the telephone's keys. Ask for them first.",
}


@dataclass(frozen=True, slots=True)
class Tool:
    """One function. ``choices`` are the names that its argument may have, with what they stand for."""

    name: str
    choices: Mapping[str, DialplanAction]

    def schema(self) -> dict[str, Any]:
        """As the OpenAI HTTP API takes it."""
        properties: dict[str, Any] = {}
        if self.choices:
            properties["to"] = {"type": "string", "enum": sorted(self.choices)}
            if self.name == ActionKind.CONNECT:
                properties["about"] = {"type": "string"}
        elif self.name == "digits":
            properties["count"] = {"type": "integer", "minimum": 1, "maximum": MAX_DIGITS}
        parameters = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        return {
            "type": "function",
            "function": {"name": self.name, "description": _WORDS[self.name], "parameters": parameters},
        }


class Asked(Protocol):
    """What somebody else's service is asked for the model, ready to be sent."""

    @property
    def say(self) -> str:
        """What the caller hears meanwhile; empty for nothing."""

    @property
    def seconds(self) -> float:
        """How long it may take."""

    async def result(self, ledger: Ledger, certain: Callable[[], Awaitable[object]]) -> str:
        """Ask it: what came of it, for the model. Never raises but CancelledError."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request that the model wants sent. An :class:`Asked`."""

    tool: HttpTool
    request: HttpRequest
    calls: Any

    @property
    def say(self) -> str:
        return self.tool.say

    @property
    def seconds(self) -> float:
        return self.tool.seconds

    async def result(self, ledger: Ledger, certain: Callable[[], Awaitable[object]]) -> str:
        """Send it: what came of it, for the model. See :meth:`~asterisk_ai.providers.tools.calls.HttpCalls.send`."""
        result: str = await self.calls.send(self.tool, self.request, ledger, certain)
        return result


class Toolbox:
    """The tools of one agent.

    :param tools: the ``tools`` mapping of the agent.
    :param path: its key's path, for errors.
    :param targets: the names of the agent's ``transfers``.
    :raises ConfigError: an unknown tool or a destination that cannot be one.
    """

    def __init__(self, tools: Mapping[str, Any], path: str, targets: Collection[str] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        self._http: dict[str, HttpTool] = {}
        self._calls: Any = None
        self._mcp: Mapping[str, mcp.McpServerSettings] = {}
        self._servers: Sequence[Any] = ()
        for name, value in tools.items():
            if name == "http":
                self._declare(value or {}, f"{path}.http")
                continue
            if name == "mcp":
                self._mcp = mcp.declare(value or {}, f"{path}.mcp")
                continue
            if name not in _WORDS:
                hint = did_you_mean(name, (*_WORDS, "http", "mcp"))
                raise ConfigError(f"there is no tool {name!r}{hint}", path=f"{path}.{name}")
            if value is False or value is None:
                continue
            given = name in _HANDOVERS and name != ActionKind.CONNECT
            choices = _choices(ActionKind(name), value, f"{path}.{name}") if given else {}
            if name == ActionKind.CONNECT:
                choices = {target: DialplanAction(ActionKind.CONNECT, {"to": target}) for target in targets}
                if not choices:
                    raise ConfigError("the agent has no transfers", path=f"{path}.{name}")
            if not given and value is not True:
                raise ConfigError("expected true or false", path=f"{path}.{name}")
            self._tools[name] = Tool(name, choices)
        for server, own in self._mcp.items():
            for name in map(mcp.function_name, own.allow):
                if name in _WORDS or name in self._http:
                    raise ConfigError(f"{name} is the name of another tool", path=f"{path}.mcp.{server}.allow")

    def _declare(self, tools: object, path: str) -> None:
        self._http = declare(tools, path)
        for name in self._http:
            if name in _WORDS:
                raise ConfigError("is the name of another tool", path=f"{path}.{name}")
        if self._http:
            try:
                from asterisk_ai.providers.tools.calls import HttpCalls
            except ImportError as error:
                raise ConfigError(f"{error} (mend it with: pip install 'asterisk-ai[remote]')", path=path) from error
            self._calls = HttpCalls()

    async def start(self) -> None:
        """To be called with the engine's."""
        if self._calls is not None:
            await self._calls.start()
        if self._mcp and not self._servers:
            # Some seconds' work: calls go on meanwhile.
            client = await asyncio.to_thread(importlib.import_module, "asterisk_ai.providers.tools.mcp_client")
            self._servers = [client.McpServer(name, own) for name, own in self._mcp.items()]
        await asyncio.gather(*(server.start() for server in self._servers))

    async def stop(self) -> None:
        """As :meth:`start`."""
        await asyncio.gather(*(server.stop() for server in self._servers))
        if self._calls is not None:
            await self._calls.stop()

    def problems(self) -> list[str]:
        """Why some of the tools cannot be offered now."""
        return [problem for server in self._servers if (problem := server.problem())]

    def schemas(self, actions: Collection[str]) -> list[dict[str, Any]]:
        """:param actions: what the dialplan can do for the call; a model is not told of others."""
        own = [tool.schema() for tool in self._tools.values() if tool.name not in _HANDOVERS or tool.name in actions]
        offered = [tool for server in self._servers for tool in server.tools.values()]
        return own + [tool.schema() for tool in (*self._http.values(), *offered)]

    def destinations(self) -> list[DialplanAction]:
        """Every action that it may take a caller by."""
        return [action for tool in self._tools.values() for action in tool.choices.values()]

    def is_request(self, name: str) -> bool:
        """Whether the function's result is for the model; else :meth:`carry_out` makes an action of it."""
        return name in self._http or any(name in server.tools for server in self._servers)

    def request(self, name: str, arguments: str, caller: Mapping[str, str]) -> Asked:
        """A request, ready to be sent. Raises BadToolCall."""
        for server in self._servers:
            if name in server.tools:
                asked: Asked = server.asked(server.tools[name], _parse_arguments(name, arguments))
                return asked
        tool = self._http[name]
        return Request(tool, tool.request(_parse_arguments(name, arguments), caller), self._calls)

    def carry_out(self, name: str, arguments: str, actions: Collection[str]) -> DialplanAction | AskDigits:
        """The action of one call. ``arguments`` is the JSON text that the model made.

        :raises BadToolCall: it is none, or the dialplan cannot do it for this call.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise BadToolCall(f"there is no function {name[:50]!r}")
        if name in _HANDOVERS and name not in actions:
            raise BadToolCall("nobody can be reached from this call: tell the caller")
        if name == "digits":
            count = coerce(_parse_arguments(name, arguments).get("count"), "integer")
            if type(count) is not int or not 1 <= count <= MAX_DIGITS:
                raise BadToolCall(f"digits: count is a whole number from 1 to {MAX_DIGITS}")
            return AskDigits(count)
        if not tool.choices:
            return HANG_UP  # whatever was said beside it, such as a reason
        told = _parse_arguments(name, arguments)
        chosen = _choose(told, tool.choices)
        if not chosen:
            raise BadToolCall(f"{name}: to is one of {', '.join(sorted(tool.choices))}")
        action = tool.choices[chosen]
        if action.kind is not ActionKind.CONNECT:
            return action
        return replace(action, arguments={**action.arguments, "about": str(told.get("about") or "")[:MAX_ABOUT]})


def _choose(given: Mapping[str, Any], choices: Mapping[str, object]) -> str:
    """The choice that is clearly meant, whatever its key, its capitals and its brackets; empty where none is."""
    values = [given["to"]] if "to" in given else list(given.values())
    values = [item for value in values for item in (value if isinstance(value, list) else [value])]
    known = {choice.casefold(): choice for choice in choices}
    found = {known[value.strip().casefold()] for value in values if str(value).strip().casefold() in known}
    return found.pop() if len(found) == 1 else ""


def _choices(kind: ActionKind, value: Any, path: str) -> dict[str, DialplanAction]:
    if isinstance(value, (list, tuple)):
        value = {str(item): item for item in value}
    if not isinstance(value, Mapping) or not value:
        raise ConfigError("expected names with their destinations, e.g. {sales: 200@from-internal}", path=path)
    keys = tuple(dialplan.ACTIONS[kind])
    found: dict[str, DialplanAction] = {}
    for choice, target in value.items():
        text = str(target)
        first, at, second = text.partition("@") if len(keys) > 1 else (text, "", "")
        if not first or (at and not second):
            raise ConfigError("expected a destination", path=f"{path}.{choice}")
        if kind is ActionKind.TRANSFER and not at:
            raise ConfigError(f"in which context? e.g. {first}@from-internal", path=f"{path}.{choice}")
        arguments = {keys[0]: first} | ({keys[1]: second} if at else {})
        found[str(choice)] = DialplanAction(kind, arguments)
        for key, part in arguments.items():
            if problem := dialplan.problem(kind, key, part):
                raise ConfigError(problem, path=f"{path}.{choice}")
    return found


class Requests:
    """The requests of one conversation by speech to speech, beside which the conversation goes on."""

    def __init__(self, tools: Toolbox, caller: Mapping[str, str], ledger: Ledger) -> None:
        self._tools, self._caller, self._ledger = tools, caller, ledger
        self._tasks: dict[asyncio.Task[None], str] = {}

    def begin(self, name: str, arguments: str, done: Callable[[str], None], call: str = "") -> str:
        """Send one; ``done`` is called with what came of it. Returns what the caller hears meanwhile.

        :param call: what :meth:`cancel` knows it by.

        Raises BadToolCall.
        """
        request = self._tools.request(name, arguments, self._caller)

        async def send() -> None:
            done(await request.result(self._ledger, _at_once))

        task = asyncio.create_task(send(), name=f"tool {name}")
        self._tasks[task] = call
        task.add_done_callback(lambda task: self._tasks.pop(task, None))
        return request.say

    def cancel(self, call: str) -> None:
        """Its result is not wanted any more; what changes something and was sent goes on to its end by itself."""
        for task, of in self._tasks.items():
            if of == call:
                task.cancel()

    async def close(self) -> None:
        """The conversation is over; what changes something goes on to its end by itself."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _at_once() -> None: ...


def _parse_arguments(name: str, arguments: str) -> dict[str, Any]:
    """The arguments as the model wrote them. Raises BadToolCall."""
    try:
        given = json.loads(arguments.strip() or "{}")
        if isinstance(given, str):  # written twice
            given = json.loads(given or "{}")
    except (ValueError, RecursionError):
        raise BadToolCall(f"{name}: the arguments are not JSON") from None
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadToolCall(f"{name}: the arguments are not an object")
    return given
