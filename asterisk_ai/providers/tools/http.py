"""Functions of the language model that are HTTP requests, declared by the administrator.

::

    agents:
      reception:
        tools:
          http:
            order_status:
              description: "The state of an order. Ask the caller for its number first."
              url: "https://shop.example.com/api/orders/{number}"
              headers: {Authorization: "Bearer ${SHOP_KEY}"}
              parameters:
                number: {type: string, pattern: "[0-9]{4,8}", description: "the order's number"}
              say: "One moment, I am looking that up."
              seconds: 5
            call_back:
              description: "Have somebody call the caller back."
              method: POST
              url: "https://crm.example.com/callbacks"
              body: {phone: "{caller.number}", subject: "{subject}", urgent: "{urgent}"}
              parameters:
                subject: {type: string, maxLength: 200}
                urgent: {type: boolean, required: false}

Values that the model chose are escaped for where they stand and never choose the host. A method other than GET is
sent once a call for the same arguments, whatever happens.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.dialog.caller import KNOWN
from asterisk_ai.errors import ConfigError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_VALUE = 500
"""Characters of a text that the model chooses, where its parameter sets no ``maxLength``."""
CALLER = ("caller.number", "caller.name")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
}  # fmt: skip
_TYPE = f"expected one of {', '.join(_TYPES)}"


class BadToolCall(Exception):
    """The model called what does not exist, or with arguments that its schema does not allow; the text tells it so."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent. ``key`` is the same for the same tool with the same arguments."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes
    key: str


@dataclass(frozen=True, slots=True)
class HttpTool:
    """One declared function."""

    name: str
    description: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    parameters: Mapping[str, Mapping[str, Any]]
    say: str
    seconds: float
    hosts: frozenset[str]

    @property
    def safe(self) -> bool:
        """It changes nothing, and may be sent again. Source: RFC 9110, 9.2.1."""
        return self.method == "GET"

    def schema(self) -> dict[str, Any]:
        """As the OpenAI HTTP API takes it."""
        properties = {}
        for name, parameter in self.parameters.items():
            own = {key: value for key, value in parameter.items() if key != "required"}
            if "pattern" in own:
                own["pattern"] = f"^(?:{own['pattern']})$"
            properties[name] = own
        required = [name for name, parameter in self.parameters.items() if parameter.get("required", True)]
        parameters = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    def request(self, arguments: Mapping[str, Any], caller: Mapping[str, str]) -> HttpRequest:
        """The templates filled in. Raises BadToolCall where an argument, or the URL made of it, is not allowed."""
        arguments = self._taken(arguments)
        self._check(arguments)
        values: dict[str, Any] = {name: arguments.get(name) for name in self.parameters}
        values |= {name: str(caller.get(name.partition(".")[2]) or "") for name in CALLER}
        known = [name for name in _PLACEHOLDER.findall(f"{self.url} {json.dumps(self.body)}") if name.startswith(KNOWN)]
        values |= {name: str(caller.get(name) or "") for name in known}
        url = _PLACEHOLDER.sub(lambda found: quote(_text(values[found[1]]), safe=""), self.url)
        self.check_allowed(url)
        content = b"" if self.body is None else json.dumps(_filled(self.body, values)).encode()
        headers = dict(self.headers)
        if content and "content-type" not in {key.lower() for key in headers}:
            headers["Content-Type"] = "application/json"
        key = json.dumps([self.name, arguments], sort_keys=True)
        return HttpRequest(self.method, url, headers, content, key)

    def check_allowed(self, url: str) -> None:
        """Raises BadToolCall for a URL whose host is not on the list, or whose path climbs out of the template's."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise BadToolCall(f"{self.name}: the address is none") from None
        host = (parts.hostname or "").lower()
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or "\\" in url:
            raise BadToolCall(f"{self.name}: the address is not allowed")
        if host not in self.hosts and f"{host}:{port}" not in self.hosts:
            raise BadToolCall(f"{self.name}: the host is not allowed")
        if any(unquote(step) in (".", "..") for step in re.split(r"/|%2f|%5c", parts.path, flags=re.IGNORECASE)):
            raise BadToolCall(f"{self.name}: a value may not be '.' or '..'")

    def _taken(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Those that are declare, of their types where it is clear what is meant; models make up others."""
        return {
            name: coerce(value, str(self.parameters[name]["type"]))
            for name, value in arguments.items()
            if name in self.parameters
        }

    def _check(self, arguments: Mapping[str, Any]) -> None:
        for name, parameter in self.parameters.items():
            if name not in arguments or arguments[name] is None:
                if parameter.get("required", True):
                    raise BadToolCall(f"{self.name}: {name} is missing")
                continue
            if problem := _problem(arguments[name], parameter):
                raise BadToolCall(f"{self.name}: {name} {problem}")


def coerce(value: Any, kind: str) -> Any:
    """A value of the JSON type ``kind`` where another one clearly means it: "4" is a number, 42 a text, "true" true."""
    match kind, value:
        case "integer" | "number", str():
            try:
                number = json.loads(value.strip())
            except ValueError:
                return value
            return coerce(number, kind) if type(number) in (int, float) else value
        case "integer", float() if value.is_integer():
            return int(value)
        case "string", int() | float() if not isinstance(value, bool):
            return json.dumps(value)
        case "boolean", str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
    return value


def _problem(value: object, parameter: Mapping[str, Any]) -> str:
    """What is wrong with a value; empty where nothing is."""
    kind = parameter["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return f"must be of the type {kind}"
    if "enum" in parameter and value not in parameter["enum"]:
        return f"must be one of {', '.join(map(str, parameter['enum']))}"
    if isinstance(value, str):
        low, high = parameter.get("minLength", 0), parameter.get("maxLength", MAX_VALUE)
        if not low <= len(value) <= high:
            return f"must have {low} to {high} characters"
        if any(ord(char) < 32 and char not in "\n\t" for char in value):
            return "must not have control characters"
        if "pattern" in parameter and not re.fullmatch(parameter["pattern"], value):
            return f"must match {parameter['pattern']}"
    if kind in ("integer", "number"):
        low, high = parameter.get("minimum", float("-inf")), parameter.get("maximum", float("inf"))
        if not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high):
            return "is out of its range"
    return ""


def _text(value: object) -> str:
    return "" if value is None else json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    """A JSON template with the values in their places; a text that is one placeholder becomes the value itself.

    What has no value is left out of mappings.
    """
    if isinstance(template, Mapping):
        filled = {key: _filled(item, values) for key, item in template.items()}
        return {key: item for key, item in filled.items() if item is not None or template[key] is None}
    if isinstance(template, (list, tuple)):
        return [_filled(item, values) for item in template]
    if not isinstance(template, str):
        return template
    if whole := _PLACEHOLDER.fullmatch(template):
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: _text(values[found[1]]), template)


# ---- reading the declaration ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of ``parameters``: a JSON schema of those that models understand."""

    type: Literal["string", "integer", "number", "boolean"] = field(default="string", metadata={"needed": _TYPE})
    description: str = ""
    required: bool = True
    enum: tuple[Any, ...] = ()
    pattern: str = ""
    minLength: int = 0
    maxLength: int = MAX_VALUE
    minimum: Annotated[float, Range(-1e300, 1e300)] = 0.0
    maximum: Annotated[float, Range(-1e300, 1e300)] = 0.0

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern: is no pattern: {error}") from None


@dataclass(frozen=True, slots=True)
class HttpToolSettings:
    """One tool as the administrator writes it."""

    description: str = field(default="", metadata={"needed": "say what it does: the model decides by it"})
    method: str = "GET"
    url: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    say: str = ""
    seconds: Annotated[float, Range(0.1, 60)] = 5.0
    hosts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.method.upper() not in METHODS:
            raise ValueError(f"method: must be one of {', '.join(METHODS)}")
        if not all(str(value).isprintable() for value in self.headers.values()):
            raise ValueError("headers: a value has a line break or another character that headers have not")
        if self.method.upper() == "GET" and self.body is not None:
            raise ValueError("body: a GET has none: put the values into the URL")


def declare(tools: object, path: str) -> dict[str, HttpTool]:
    """The tools of ``agents.NAME.tools.http``. Raises ConfigError with the key's path."""
    if not isinstance(tools, Mapping):
        raise ConfigError("expected functions by their names", path=path)
    found = {}
    for name, tool in tools.items():
        below = f"{path}.{name}"
        if not _NAME.fullmatch(str(name)):
            raise ConfigError("a function's name is made of letters, digits, '_' and '-'", path=below)
        found[str(name)] = _tool(str(name), read_settings(HttpToolSettings, tool or {}, below), tool, below)
    return found


def _tool(name: str, read: HttpToolSettings, tool: Mapping[str, Any], path: str) -> HttpTool:
    """:param tool: as it was written; of a parameter, a model is told what was."""
    body = read.body
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            raise ConfigError("expected a mapping, or a text that is JSON", path=f"{path}.body") from None
    _placeholders(read.url, read.parameters, f"{path}.url")
    _placeholders(body, read.parameters, f"{path}.body")
    return HttpTool(
        name,
        read.description,
        read.method.upper(),
        read.url,
        {key: str(value) for key, value in read.headers.items()},
        body,
        {key: dict(tool["parameters"][key]) for key in read.parameters},
        read.say,
        read.seconds,
        _hosts(read.url, read.hosts, path),
    )


def _placeholders(template: Any, parameters: Mapping[str, object], path: str) -> None:
    """Every placeholder is a parameter, or something about the caller."""
    if isinstance(template, Mapping):
        for key, item in template.items():
            _placeholders(item, parameters, f"{path}.{key}")
    elif isinstance(template, (list, tuple)):
        for item in template:
            _placeholders(item, parameters, path)
    elif isinstance(template, str):
        for name in _PLACEHOLDER.findall(template):
            if name not in parameters and name not in CALLER and not name.startswith(KNOWN):
                known = ", ".join((*parameters, *CALLER))
                raise ConfigError(f"there is no parameter {{{name}}}; known: {known}", path=path)


def _hosts(url: str, hosts: tuple[str, ...] | None, path: str) -> frozenset[str]:
    """Who may be asked: the URL's own host where nothing else is said."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError("expected http:// or https:// and a host", path=f"{path}.url")
    if "{" in parts.netloc:
        raise ConfigError("the host must stand there as it is: a model may not choose it", path=f"{path}.url")
    if hosts is None:
        return frozenset({parts.hostname.lower()})
    allowed = frozenset(host.lower() for host in hosts)
    if parts.hostname.lower() not in allowed and parts.netloc.lower() not in allowed:
        raise ConfigError(f"does not hold the URL's own host {parts.hostname}", path=f"{path}.hosts")
    return allowed
