"""Changing one value of ``asterisk_ai.yaml`` and nothing else of it: comments, quotes and layout stay.

The value's place comes from the YAML parser's marks. What comes out is read
again and must hold the same as before but for that one value, else nothing is
written: a file that uses YAML in ways not foreseen here is refused, not harmed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.config.document import Document, loader_class
from asterisk_ai.errors import ConfigError

BACKUP_SUFFIX = ".bak"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = frozenset("true false yes no on off null y n".split())


def set_value(text: str, path: Sequence[str], value: str | Sequence[str], *, file: str = "") -> str:
    """``text`` with the key at ``path`` set to one name or a list of them; the key is put in where it is missing.

    Raises ConfigError where that cannot be done without touching anything else.
    """
    root = yaml.compose(text, loader_class())
    new = _put(text, root, list(path), value)
    wanted = _data(text, file)
    place = wanted
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value if isinstance(value, str) else list(value)
    try:
        same = _data(new, file) == wanted
    except ConfigError:
        same = False
    if not same:
        raise ConfigError("cannot be changed here without changing more: edit the file", path=".".join(path), file=file)
    return new


def _data(text: str, file: str) -> Any:
    root = Document(text, file, environ=None).root()
    return root.python() if root else None


def _put(text: str, root: yaml.Node | None, path: list[str], value: str | Sequence[str]) -> str:
    node, parents = root, list(path)
    while parents:
        key = parents.pop(0)
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError("there is no such mapping", path=".".join(path))
        found = next((item for name, item in node.value if name.value == key), None)
        if found is None and not parents:
            return _insert(text, node, key, value)
        node = found
    assert node is not None  # noqa: S101 - the path is not empty
    start, end = node.start_mark.index, node.end_mark.index
    if anchor := re.match(r"&\S+\s+", text[start:end]):
        start += anchor.end()
    style = node.style if isinstance(node, yaml.ScalarNode) else None
    if text[start:end].endswith("\n") or "\n" in text[start:end]:
        raise ConfigError("is written over several lines: edit the file", path=".".join(path))
    return text[:start] + _written(value, style) + text[end:]


def _insert(text: str, node: yaml.MappingNode, key: str, value: str | Sequence[str]) -> str:
    """As the mapping's first key, in its own layout."""
    if not node.value:
        raise ConfigError("is an empty mapping: edit the file", path=key)
    first = node.value[0][0].start_mark
    entry = f"{key}: {_written(value, None)}"
    if node.flow_style:
        return f"{text[: first.index]}{entry}, {text[first.index :]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    return f"{text[: first.index]}{entry}{newline}{' ' * first.column}{text[first.index :]}"


def _written(value: str | Sequence[str], style: str | None) -> str:
    if not isinstance(value, str):
        return "[" + ", ".join(_written(item, None) for item in value) + "]"
    if style == "'" and "'" not in value:
        return f"'{value}'"
    plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain and style is None else json.dumps(value, ensure_ascii=False)


def read(file: Path) -> str:
    """The file's text, line ends and all. Raises ConfigError."""
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(file)) from error


def replace(file: Path, old: str, new: str) -> Path:
    """Put ``new`` in the place of ``old``: whole or not at all, with owner and mode as they were. Returns the backup.

    Raises ConfigError where it cannot be written, or no longer holds ``old``.
    """
    target = file.resolve()  # a link stays a link
    backup = target.with_name(target.name + BACKUP_SUFFIX)
    temporary = ""
    try:
        state = target.stat()
        number, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(number, "wb") as stream:
            stream.write(new.encode())
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, state.st_mode & 0o7777)
        if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, state.st_uid, state.st_gid)
        if read(target) != old:
            raise ConfigError("was changed by somebody else meanwhile; nothing is written", file=str(file))
        shutil.copy2(target, backup)
        os.replace(temporary, target)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror or error}", file=str(file)) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
    return backup
