"""Functions of the language model that servers of the Model Context Protocol offer, as the administrator allows them.

::

    agents:
      reception:
        tools:
          mcp:
            crm:
              command: [crm-mcp, --quiet]             # a program that is run, or ...
              env: {CRM_KEY: "${CRM_KEY}"}
              allow: [find_customer, book]            # nothing else is ever offered to the model
              reads: [find_customer]                  # changes nothing, whatever the server says of it
              say: "One moment, I am looking that up."
              seconds: 5
            shop: {url: "https://shop.example.com/mcp", headers: {Authorization: "Bearer ${SHOP_KEY}"}, allow: [stock]}

Source: https://modelcontextprotocol.io/specification (tools). Needs the ``mcp`` extra.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.tools.http import BadToolCall, coerce

MAX_SCHEMA = 16_000
"""Characters of a function's schema; a model is not told of one that is longer."""
MAX_DESCRIPTION = 1000
_TYPES = ("string", "integer", "number", "boolean")


@dataclass(frozen=True, slots=True)
class McpServerSettings:
    """One server as the administrator writes it."""

    command: tuple[str, ...] = ()
    """A program and its arguments, which speaks the protocol on its standard input and output; or ``url``."""
    env: Mapping[str, Any] = field(default_factory=dict)
    """Of the program, beside the little that it is given anyhow."""
    url: str = ""
    """Of a server that speaks streamable HTTP."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    allow: tuple[str, ...] = field(default=(), metadata={"needed": "name the functions that the model may call"})
    reads: tuple[str, ...] = ()
    """Those of them that change nothing; others are held to, where the server does not say ``readOnlyHint`` of them."""
    say: str = ""
    """Heard while it is asked; empty for nothing."""
    seconds: Annotated[float, Range(0.1, 60)] = 5.0
    """Then the model is told that there was no answer."""
    longest: Annotated[int, Range(1, 100_000)] = 4000
    """Characters of the arguments of a call, as JSON."""

    def __post_init__(self) -> None:
        if self.command and self.url:
            raise ValueError("command: expected either a command or a url")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError("url: expected http:// or https://")
        if others := set(self.reads) - set(self.allow):
            raise ValueError(f"reads: {min(others)} is not allowed")


def declare(servers: object, path: str) -> dict[str, McpServerSettings]:
    """The servers of ``agents.NAME.tools.mcp``.

    :raises ConfigError: with the key's path; also that the library is not installed.
    """
    if not isinstance(servers, Mapping):
        raise ConfigError("expected servers by names of your own", path=path)
    found = {str(name): read_settings(McpServerSettings, own or {}, f"{path}.{name}") for name, own in servers.items()}
    names: dict[str, str] = {}
    for server, own in found.items():
        if not (own.command or own.url):
            raise ConfigError("expected either a command or a url", path=f"{path}.{server}.command")
        for tool in own.allow:
            if (other := names.setdefault(function_name(tool), server)) != server:
                raise ConfigError(f"{other} has a function of that name, too: {tool}", path=f"{path}.{server}.allow")
    if found and importlib.util.find_spec("mcp") is None:
        raise ConfigError("there is no library for it (mend it with: pip install 'asterisk-ai[mcp]')", path=path)
    return found


def function_name(tool: str) -> str:
    """A tool's name as language models take it: they know letters, digits, ``_`` and ``-`` alone."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", tool)[:64]


@dataclass(frozen=True, slots=True)
class McpTool:
    """One function of a server, as it offers it now.

    :param tool: its name there.
    :param reads: it changes nothing.
    """

    tool: str
    description: str
    parameters: Mapping[str, Any]
    reads: bool

    @property
    def name(self) -> str:
        return function_name(self.tool)

    def schema(self) -> dict[str, Any]:
        """As the OpenAI HTTP API takes it."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": dict(self.parameters)},
        }

    def arguments(self, given: Mapping[str, Any], longest: int) -> dict[str, Any]:
        """What is sent: what the function takes, of its types where it is clear what is meant. Raises BadToolCall.

        The server holds them against all of its schema.
        """
        known: Mapping[str, Any] = self.parameters.get("properties") or {}
        loose = self.parameters.get("additionalProperties") not in (None, False)
        taken = {name: _coerced(value, known.get(name)) for name, value in given.items() if name in known or loose}
        for name in self.parameters.get("required") or ():
            if name not in taken:
                raise BadToolCall(f"{self.name}: {name} is missing")
        if len(json.dumps(taken)) > longest:
            raise BadToolCall(f"{self.name}: the arguments are too long")
        return taken


def tool_of(name: str, description: str, schema: Mapping[str, Any], *, reads: bool) -> McpTool | None:
    """A function from what a server says of it; None where it says too much."""
    if len(json.dumps(schema)) > MAX_SCHEMA:
        return None
    parameters = {"type": "object", **schema, "properties": schema.get("properties") or {}}
    return McpTool(name, " ".join(description.split())[:MAX_DESCRIPTION] or name, parameters, reads)


def _coerced(value: Any, schema: object) -> Any:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return coerce(value, kind) if kind in _TYPES else value
