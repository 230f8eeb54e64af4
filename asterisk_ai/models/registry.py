"""Which models there are: the packaged ``models/registry.json`` and files of the administrator's own.

The shape is in ``models/registry.schema.json``. It is checked here once more,
by hand: an administrator's file must be told what is wrong with it, and a
JSON schema library is no part of the installation.
"""

from __future__ import annotations

import difflib
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from asterisk_ai.errors import ConfigError

SCHEMA = 1
KINDS = ("stt", "llm", "tts", "vad", "turn")
COMMERCIAL = ("yes", "conditions", "unclear", "no")
FORMATS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")
MANIFEST = "asterisk-ai-manifest.json"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_URL = re.compile(r"(https?|file)://.+")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class File:
    """One file to be fetched. ``sha256`` is empty where only ``md5`` was ever published (``weak`` then)."""

    path: str
    urls: tuple[str, ...]
    size: int
    sha256: str = ""
    md5: str = ""

    @property
    def weak(self) -> bool:
        return not self.sha256

    @property
    def digest(self) -> str:
        """What it is known by: ``sha256:...`` or ``md5:...``."""
        return f"md5:{self.md5}" if self.weak else f"sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Archive:
    """How a model is packed. ``layouts`` are alternatives: of one of them all files must be there."""

    format: str
    top_level: str
    layout: str
    layouts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Licence:
    """``commercial`` is yes, conditions, unclear or no; ``flags`` say what makes it unclear."""

    name: str
    commercial: str
    url: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One model. ``memory_bytes`` is 0 where nobody has published a figure, ``language`` empty likewise."""

    id: str
    name: str
    kind: str
    engine: str
    language: str
    sample_rates: tuple[int, ...]
    files: tuple[File, ...]
    licence: Licence
    archive: Archive | None = None
    memory_bytes: int = 0
    memory_source: str = ""
    parameters: int = 0
    note: str = ""

    @property
    def size(self) -> int:
        """Bytes to be fetched."""
        return sum(file.size for file in self.files)

    @property
    def main(self) -> str:
        """What engines open: a file, or "" for the folder of what came in an archive."""
        return "" if self.archive else self.files[0].path

    @property
    def digests(self) -> dict[str, str]:
        """What was asked for, by file: the manifest keeps it, so that a newer registry is noticed."""
        return {file.path: file.digest for file in self.files}


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of machines and the models for it. ``instructions`` maps machine to instruction sets."""

    name: str
    about: str
    cores: float
    cores_with_gpu: float
    memory_bytes: int
    instructions: Mapping[str, tuple[str, ...]]
    every: tuple[str, ...]
    languages: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """See ``thresholds`` in the schema."""

    tokens_per_second: float = 6.0
    prompt_tokens: int = 48
    prompt_seconds: float = 2.0
    disk_reserve_bytes: int = 268_435_456


@dataclass(frozen=True, slots=True)
class Registry:
    """All that is known about models. ``tiers`` go from the least machine to the largest."""

    models: Mapping[str, Model] = field(default_factory=dict)
    tiers: tuple[Tier, ...] = ()
    thresholds: Thresholds = Thresholds()

    def model(self, name: str) -> Model:
        """By id, or by its publisher's name. Raises ConfigError with what was probably meant."""
        found = self.models.get(name) or next((one for one in self.models.values() if one.name == name), None)
        if found is None:
            near = difflib.get_close_matches(name, self.models, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"there is no model {name!r}{hint} (asterisk-ai models list shows all)")
        return found

    def tier(self, name: str) -> Tier:
        """By name. Raises ConfigError."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise ConfigError(f"there is no tier {name!r}; known: {', '.join(tier.name for tier in self.tiers)}")


def load(packaged: Path, own: Sequence[Path] = ()) -> Registry:
    """Read the packaged registry and then ``own`` ones; a model or tier of the same name replaces the earlier.

    :raises ConfigError: with file and key path.
    """
    documents = [(str(path), _read(path)) for path in (packaged, *own)]
    return merge(documents)


def merge(documents: Iterable[tuple[str, Any]]) -> Registry:
    """As :func:`load`, from (file name, parsed JSON) pairs."""
    layouts: dict[str, Any] = {}
    languages: dict[str, tuple[str, ...]] = {}
    models: dict[str, Model] = {}
    tiers: dict[str, tuple[_Reader, Mapping[str, Any]]] = {}
    thresholds = Thresholds()
    for file, document in documents:
        reader = _Reader(file)
        known = ("$schema", "layouts", "thresholds", "languages", "tiers")
        top = reader.mapping(document, "", ("schema", "models"), known)
        if top["schema"] != SCHEMA:
            raise reader.error(f"is {top['schema']!r}, this version reads {SCHEMA}", "schema")
        layouts |= {name: reader.layout(one, f"layouts.{name}") for name, one in reader.entries(top, "layouts")}
        languages |= {tag: reader.ids(one, f"languages.{tag}") for tag, one in reader.entries(top, "languages")}
        if "thresholds" in top:
            thresholds = reader.thresholds(top["thresholds"])
        for number, one in enumerate(reader.sequence(top["models"], "models")):
            model = reader.model(one, f"models[{number}]", layouts)
            models[model.id] = model
        for number, one in enumerate(reader.sequence(top.get("tiers", []), "tiers")):
            tier = reader.tier(one, f"tiers[{number}]", {})
            tiers[tier.name] = (reader, one)
    made = tuple(reader.tier(one, f"tiers.{name}", languages) for name, (reader, one) in tiers.items())
    for tier, (reader, _) in zip(made, tiers.values(), strict=True):
        for name in [*tier.every, *(name for names in tier.languages.values() for name in names)]:
            if name not in models:
                raise reader.error(f"there is no model {name!r}", f"tiers.{tier.name}")
    return Registry(models, made, thresholds)


def urls(model: Model, file: File, mirror: str = "") -> tuple[str, ...]:
    """Where to fetch ``file`` from, best first. Where there is a mirror: from its ``<mirror>/<id>/<path>`` only."""
    if not mirror:
        return file.urls
    base = mirror if "://" in mirror else Path(mirror).expanduser().resolve().as_uri()
    return (f"{base.rstrip('/')}/{urllib.parse.quote(model.id)}/{urllib.parse.quote(file.path)}",)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("there is no such registry file", file=str(path)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", file=str(path)) from None
    except RecursionError:
        raise ConfigError("nested too deeply", file=str(path)) from None
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        raise ConfigError(f"is not JSON: {error}", file=str(path), line=line) from None


class _Reader:
    """Takes one document apart; every complaint names file and key."""

    def __init__(self, file: str) -> None:
        self._file = file

    def error(self, message: str, path: str) -> ConfigError:
        return ConfigError(message, path=path, file=self._file)

    # -- shapes

    def mapping(self, value: Any, path: str, needed: Sequence[str], known: Sequence[str] = ()) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.error("must be an object", path)
        for key in needed:
            if key not in value:
                raise self.error(f"lacks {key!r}", path)
        for key in value:
            if key not in needed and key not in known:
                raise self.error("unknown key", f"{path}.{key}" if path else key)
        return value

    def entries(self, top: Mapping[str, Any], key: str) -> Iterable[tuple[str, Any]]:
        value = top.get(key, {})
        if not isinstance(value, dict):
            raise self.error("must be an object", key)
        return value.items()

    def sequence(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.error("must be a list", path)
        return value

    def text(self, value: Any, path: str, pattern: re.Pattern[str] | None = None, *, empty: bool = False) -> str:
        if not isinstance(value, str) or not (value or empty):
            raise self.error("must be a text", path)
        if pattern is not None and not pattern.fullmatch(value):
            raise self.error(f"{value!r} is not allowed here", path)
        return value

    def number(self, value: Any, path: str, low: float = 0) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= low:
            raise self.error(f"must be a number of at least {low:g}", path)
        return value

    def whole(self, value: Any, path: str, low: int = 0) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.error(f"must be a whole number of at least {low}", path)
        return value

    def rate(self, value: Any, path: str) -> int:
        return self.whole(value, path, 8000)

    def choice(self, value: Any, path: str, known: Sequence[str]) -> str:
        if not isinstance(value, str) or value not in known:
            raise self.error(f"must be one of {', '.join(known)}", path)
        return value

    def many(self, value: Any, path: str, read: Callable[[Any, str], _T]) -> tuple[_T, ...]:
        return tuple(read(one, f"{path}[{number}]") for number, one in enumerate(self.sequence(value, path)))

    def ids(self, value: Any, path: str) -> tuple[str, ...]:
        return self.many(value, path, lambda one, where: self.text(one, where, _ID))

    def layout(self, value: Any, path: str) -> tuple[tuple[str, ...], ...]:
        def files(one: Any, where: str) -> tuple[str, ...]:
            return self.many(one, where, self.path)

        return self.many(value, path, files)

    def path(self, value: Any, path: str) -> str:
        """A path inside of a model's folder: no way out of it, and not the manifest."""
        text = self.text(value, path, _PATH)
        if text == MANIFEST or len(text) > 200:
            raise self.error(f"{text!r} is not allowed here", path)
        return text

    # -- parts

    def thresholds(self, value: Any) -> Thresholds:
        names = ("tokens_per_second", "prompt_tokens", "prompt_seconds", "disk_reserve_bytes")
        found = self.mapping(value, "thresholds", names)
        return Thresholds(
            tokens_per_second=self.number(found[names[0]], f"thresholds.{names[0]}", 0.001),
            prompt_tokens=self.whole(found[names[1]], f"thresholds.{names[1]}", 1),
            prompt_seconds=self.number(found[names[2]], f"thresholds.{names[2]}", 0.001),
            disk_reserve_bytes=self.whole(found[names[3]], f"thresholds.{names[3]}"),
        )

    def tier(self, value: Any, path: str, common: Mapping[str, tuple[str, ...]]) -> Tier:
        found = self.mapping(value, path, ("name", "about", "needs"), ("speech", "every", "languages"))
        at = f"{path}.needs"
        needs = self.mapping(found["needs"], at, ("cores", "memory_bytes"), ("cores_with_gpu", "instructions"))
        cores = self.number(needs["cores"], f"{at}.cores")
        own = {tag: self.ids(one, f"{path}.languages.{tag}") for tag, one in self.entries(found, "languages")}
        instructions = {
            machine: self.many(one, f"{at}.instructions.{machine}", self.text)
            for machine, one in self.entries(needs, "instructions")
        }
        return Tier(
            name=self.text(found["name"], f"{path}.name", _ID),
            about=self.text(found["about"], f"{path}.about"),
            cores=cores,
            cores_with_gpu=self.number(needs.get("cores_with_gpu", cores), f"{at}.cores_with_gpu"),
            memory_bytes=self.whole(needs["memory_bytes"], f"{at}.memory_bytes"),
            instructions=instructions,
            every=self.ids(found.get("every", []), f"{path}.every"),
            languages={**common, **own} if found.get("speech", True) is True else {},
        )

    def model(self, value: Any, path: str, layouts: Mapping[str, Any]) -> Model:
        needed = ("id", "kind", "engine", "language", "sample_rates", "files", "licence", "memory")
        known = ("name", "speakers", "quality", "parameters", "requires", "archive", "note")
        found = self.mapping(value, path, needed, known)
        name = self.text(found["id"], f"{path}.id", _ID)
        path = f"models.{name}"
        files = self.many(found["files"], f"{path}.files", self.file)
        if not files or len({file.path for file in files}) != len(files):
            raise self.error("at least one file, and each once", f"{path}.files")
        memory: Mapping[str, Any] = {"bytes": 0, "source": ""}
        if found["memory"] is not None:
            memory = self.mapping(found["memory"], f"{path}.memory", ("bytes", "source"))
        archive = None
        if "archive" in found:
            archive = self.archive(found["archive"], f"{path}.archive", layouts)
            if len(files) != 1:
                raise self.error("an archive is one file", f"{path}.files")
        return Model(
            id=name,
            name=self.text(found.get("name", name), f"{path}.name"),
            kind=self.choice(found["kind"], f"{path}.kind", KINDS),
            engine=self.text(found["engine"], f"{path}.engine"),
            language=self.text(found["language"] or "", f"{path}.language", empty=True),
            sample_rates=self.many(found["sample_rates"], f"{path}.sample_rates", self.rate),
            files=files,
            licence=self.licence(found["licence"], f"{path}.licence"),
            archive=archive,
            memory_bytes=self.whole(memory["bytes"], f"{path}.memory.bytes"),
            memory_source=self.text(memory["source"], f"{path}.memory.source", empty=True),
            parameters=self.whole(found.get("parameters") or 0, f"{path}.parameters"),
            note=self.text(found.get("note", ""), f"{path}.note", empty=True),
        )

    def file(self, value: Any, path: str) -> File:
        found = self.mapping(value, path, ("path", "urls", "size"), ("sha256", "md5", "weak_digest"))
        digests = {
            name: self.text(found[name], f"{path}.{name}", re.compile(f"[0-9a-f]{{{length}}}")) if name in found else ""
            for name, length in (("sha256", 64), ("md5", 32))
        }
        weak = found.get("weak_digest", False)
        if not digests["sha256"] and not (digests["md5"] and weak is True):
            raise self.error("needs a sha256, or an md5 and weak_digest: true", path)
        if digests["sha256"] and weak:
            raise self.error("has a sha256, so its digest is not weak", f"{path}.weak_digest")
        addresses = self.many(found["urls"], f"{path}.urls", lambda one, where: self.text(one, where, _URL))
        if not addresses:
            raise self.error("at least one URL", f"{path}.urls")
        name, size = self.path(found["path"], f"{path}.path"), self.whole(found["size"], f"{path}.size", 1)
        return File(path=name, urls=addresses, size=size, **digests)

    def archive(self, value: Any, path: str, layouts: Mapping[str, Any]) -> Archive:
        found = self.mapping(value, path, ("format", "top_level", "layout"))
        layout = found["layout"]
        if layout is not None and layout not in layouts:
            raise self.error(f"there is no layout {layout!r}; known: {', '.join(layouts)}", f"{path}.layout")
        return Archive(
            format=self.choice(found["format"], f"{path}.format", FORMATS),
            top_level="" if found["top_level"] is None else self.path(found["top_level"], f"{path}.top_level"),
            layout=layout or "",
            layouts=layouts[layout] if layout else (),
        )

    def licence(self, value: Any, path: str) -> Licence:
        found = self.mapping(value, path, ("name", "commercial"), ("url", "flags"))
        return Licence(
            name=self.text(found["name"], f"{path}.name"),
            commercial=self.choice(found["commercial"], f"{path}.commercial", COMMERCIAL),
            url=self.text(found.get("url", ""), f"{path}.url", empty=True),
            flags=self.many(found.get("flags", []), f"{path}.flags", self.text),
        )
