"""A vendor's own types, from its SDK: what they say against a message of ours, and messages made of them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from typing_extensions import is_typeddict

Path = tuple[str | int, ...]


def unwrapped(kind: Any) -> Any:
    """Without annotations, and for required and optional keys of a TypedDict."""
    while get_origin(kind) in (Annotated, typing.Required, typing.NotRequired) or hasattr(kind, "__supertype__"):
        kind = getattr(kind, "__supertype__", None) or get_args(kind)[0]
    return kind


def members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union, nested ones too; the kind itself where it is none."""
    kind = unwrapped(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(one for part in get_args(kind) for one in members(part))
    return (kind,)


def fields(kind: Any) -> Mapping[str, tuple[Any, bool]] | None:
    """The keys of an object with their types and whether they must be there; None where it is no object."""
    if is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {key: (hint, key in kind.__required_keys__) for key, hint in hints.items()}
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return {
            one.alias or name: (_described(kind, name, one), one.is_required())
            for name, one in kind.model_fields.items()
        }
    return None


def _described(kind: type[pydantic.BaseModel], name: str, field: pydantic.fields.FieldInfo) -> Any:
    return kind.__annotations__.get(name) if not field.annotation else field.annotation


def problems(kind: Any, value: object, path: Path = ()) -> list[str]:
    """What the type does not know or does not allow in the value; for a union, of its nearest member."""
    return min((list(_against(one, value, path)) for one in members(kind)), key=len)


def _against(kind: Any, value: object, path: Path) -> Iterator[str]:
    where = ".".join(map(str, path)) or "the message"
    known = fields(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if known is not None:
        yield from _object(known, value, path)
    elif origin is Literal:
        if value not in arguments:
            yield f"{where}: {value!r} is none of {arguments}"
    elif origin in (list, tuple) or (isinstance(origin, type) and issubclass(origin, typing.Iterable)
                                     and not issubclass(origin, typing.Mapping)):  # fmt: skip
        if not isinstance(value, list):
            yield f"{where}: no list"
            return
        for number, item in enumerate(value):
            yield from problems(arguments[0], item, (*path, number))
    elif kind in (str, int, float, bool, bytes):
        wanted = {float: (int, float), bytes: (bytes, str)}.get(kind, kind)  # bytes are base64 in JSON
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            yield f"{where}: {value!r} is no {kind.__name__}"
    elif kind in (None, types.NoneType) and value is not None:
        yield f"{where}: is not null"


def _object(known: Mapping[str, tuple[Any, bool]], value: object, path: Path) -> Iterator[str]:
    where = ".".join(map(str, path)) or "the message"
    if not isinstance(value, Mapping):
        yield f"{where}: no object"
        return
    for key, item in value.items():
        if key in known:
            yield from problems(known[key][0], item, (*path, key))
        else:
            yield f"{where}: unknown key {key!r}"
    for key, (_, required) in known.items():
        if required and key not in value:
            yield f"{where}: {key!r} is missing"


def parameters(call: Any) -> Mapping[str, tuple[Any, bool]]:
    """As :func:`fields`, of a method of an SDK whose arguments are a query's."""
    hints = typing.get_type_hints(call)
    found = inspect.signature(call).parameters.items()
    return {name: (hints[name], one.default is one.empty) for name, one in found if name != "self"}


def example(kind: Any, *, whole: bool, depth: int = 9) -> Any:
    """A value of the type: with every key, or with those that must be there (a type tells which message it is)."""
    kind = next((one for one in members(kind) if one is not types.NoneType), types.NoneType)
    known = fields(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if known is not None:
        return {
            key: example(hint, whole=whole, depth=depth - 1)
            for key, (hint, required) in known.items()
            if required or key in ("type", "message_type") or (whole and depth > 0)
        }
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [example(arguments[0], whole=whole, depth=depth - 1)]
    plain: dict[Any, object] = {str: "AAAA", int: 1, float: 0.5, bool: True, types.NoneType: None, object: "AAAA"}
    return plain.get(kind, {} if origin is dict or kind is dict else "AAAA")
