"""Which models there are: the packaged ``models/registry.json`` and files of the administrator's own.

The shape is in ``models/registry.schema.json``. It is checked here once more, by the classes below and as the
configuration is: an administrator's file must be told what is wrong with it, and a JSON schema library is no part of
the installation.
"""

from __future__ import annotations

import difflib
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from asterisk_ai.config.reader import did_you_mean
from asterisk_ai.config.schema import Pattern, Range
from asterisk_ai.config.settings import in_file, read_json
from asterisk_ai.errors import ConfigError

SCHEMA = 1
KINDS = ("stt", "llm", "tts", "vad", "turn")
MANIFEST = "asterisk-ai-manifest.json"

_PATH = r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*"
_BYTES = Range(0, 1 << 50)
_NEEDED = {"needed": "is missing"}

Id = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")]
Place = Annotated[str, Pattern(rf"(?!{re.escape(MANIFEST)}$)(?=.{{1,200}}$){_PATH}")]
"""A path inside of a model's folder: no way out of it, and not the manifest."""
Url = Annotated[str, Pattern(r"(?:(https?|file)://|wheel:).+")]


@dataclass(frozen=True, slots=True)
class File:
    """One file to be fetched. ``sha256`` is empty where only ``md5`` was ever published (``weak`` then)."""

    path: Place = field(default="", metadata=_NEEDED)
    urls: tuple[Url, ...] = field(default=(), metadata=_NEEDED)
    size: Annotated[int, Range(1, 1 << 50)] = field(default=0, metadata=_NEEDED)
    sha256: Annotated[str, Pattern(r"[0-9a-f]{64}")] = ""
    md5: Annotated[str, Pattern(r"[0-9a-f]{32}")] = ""
    weak_digest: bool = False

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

    format: Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"] = field(default="zip", metadata=_NEEDED)
    top_level: Place = ""
    layout: str = ""
    layouts: tuple[tuple[str, ...], ...] = field(default=(), metadata={"key": False})


@dataclass(frozen=True, slots=True)
class Licence:
    """``flags`` say what makes it unclear whether it may be used commercially."""

    name: str = field(default="", metadata=_NEEDED)
    commercial: Literal["yes", "conditions", "unclear", "no"] = field(default="unclear", metadata=_NEEDED)
    url: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a model needs, as somebody has published it."""

    bytes: Annotated[int, _BYTES] = field(default=0, metadata=_NEEDED)
    source: str = field(default="", metadata=_NEEDED)


@dataclass(frozen=True, slots=True)
class Model:
    """One model. ``memory_bytes`` is 0 where nobody has published a figure, ``language`` empty likewise."""

    id: Id = field(default="", metadata=_NEEDED)
    kind: Literal["stt", "llm", "tts", "vad", "turn"] = field(default="stt", metadata=_NEEDED)
    engine: str = field(default="", metadata=_NEEDED)
    files: tuple[File, ...] = field(default=(), metadata=_NEEDED)
    licence: Licence = field(default_factory=Licence, metadata=_NEEDED)
    name: str = ""
    """Its publisher's; where nothing is said the ``id``."""
    language: str = ""
    sample_rates: tuple[Annotated[int, Range(8000, 192_000)], ...] = ()
    archive: Archive | None = None
    memory: Memory = field(default_factory=Memory)
    parameters: Annotated[int, Range(0, 1e13)] = 0
    note: str = ""
    speakers: Any = None
    quality: Any = None
    requires: Any = None

    @property
    def memory_bytes(self) -> int:
        return self.memory.bytes

    @property
    def memory_source(self) -> str:
        return self.memory.source

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
class Needs:
    """Of a machine. ``instructions`` maps machine to instruction sets."""

    cores: Annotated[float, Range(0, 10_000)] = 0.0
    cores_with_gpu: Annotated[float, Range(0, 10_000)] | None = None
    memory_bytes: Annotated[int, _BYTES] = 0
    instructions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of machines and the models for it."""

    name: Id = field(default="", metadata=_NEEDED)
    about: str = field(default="", metadata=_NEEDED)
    needs: Needs = field(default_factory=Needs, metadata=_NEEDED)
    every: tuple[Id, ...] = ()
    languages: Mapping[str, tuple[Id, ...]] = field(default_factory=dict)
    speech: bool = True
    """False: it has none of the models by language."""

    @property
    def cores(self) -> float:
        return self.needs.cores

    @property
    def cores_with_gpu(self) -> float:
        return self.needs.cores if self.needs.cores_with_gpu is None else self.needs.cores_with_gpu

    @property
    def memory_bytes(self) -> int:
        return self.needs.memory_bytes

    @property
    def instructions(self) -> Mapping[str, tuple[str, ...]]:
        return self.needs.instructions


@dataclass(frozen=True, slots=True)
class Thresholds:
    """See ``thresholds`` in the schema."""

    tokens_per_second: Annotated[float, Range(0.001, 1e6)] = 6.0
    prompt_tokens: Annotated[int, Range(1, 1_000_000)] = 48
    prompt_seconds: Annotated[float, Range(0.001, 86_400)] = 2.0
    disk_reserve_bytes: Annotated[int, _BYTES] = 268_435_456


@dataclass(frozen=True, slots=True)
class _File:
    """One registry's own file."""

    schema: int = 0
    models: tuple[Model, ...] = ()
    layouts: Mapping[str, tuple[tuple[Place, ...], ...]] = field(default_factory=dict)
    thresholds: Thresholds | None = None
    languages: Mapping[str, tuple[Id, ...]] = field(default_factory=dict)
    tiers: tuple[Tier, ...] = ()


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

    :raises ConfigError: with file, line and key path.
    """
    return merge((str(path), *_read(path)) for path in (packaged, *own))


def merge(documents: Iterable[tuple[str, Any, str]]) -> Registry:
    """As :func:`load`, from (file name, parsed JSON, its text: empty where no lines are to be told)."""
    layouts: dict[str, tuple[tuple[str, ...], ...]] = {}
    languages: dict[str, tuple[str, ...]] = {}
    models: dict[str, Model] = {}
    tiers: dict[str, Tier] = {}
    thresholds = Thresholds()
    problems: list[Callable[[], ConfigError | None]] = []
    for file, document, text in documents:
        found = _of(document, file, text)
        layouts |= found.layouts
        languages |= found.languages
        thresholds = found.thresholds or thresholds
        for number, model in enumerate(found.models):
            if problem := _problem(model, layouts):
                raise in_file(problem[1], f"models[{number}].{problem[0]}".rstrip("."), file, text)
            archive = model.archive and replace(model.archive, layouts=layouts.get(model.archive.layout, ()))
            models[model.id] = replace(model, name=model.name or model.id, archive=archive)
        tiers |= {tier.name: tier for tier in found.tiers}
        problems += [partial(_unknown, tier, number, models, file, text) for number, tier in enumerate(found.tiers)]
    for one in problems:  # once all models are known
        if error := one():
            raise error
    made = (replace(one, languages={**languages, **one.languages} if one.speech else {}) for one in tiers.values())
    return Registry(models, tuple(made), thresholds)


def _of(document: Any, file: str, text: str) -> _File:
    """One file as it stands there. Raises ConfigError."""
    if isinstance(document, dict):
        document = {key: item for key, item in document.items() if key != "$schema"}
        if "models" not in document:
            raise ConfigError("lacks 'models'", file=file)
    found = read_json(_File, document, file, text)
    if found.schema != SCHEMA:
        raise in_file(f"is {found.schema!r}, this version reads {SCHEMA}", "schema", file, text)
    return found


def _problem(model: Model, layouts: Mapping[str, object]) -> tuple[str, str] | None:
    """The key and what is wrong with it, of what one key's type cannot tell; None where all is well."""
    if len({file.path for file in model.files}) != len(model.files):
        return "files", "each file once"
    for number, file in enumerate(model.files):
        if file.weak and not (file.md5 and file.weak_digest):
            return f"files[{number}]", "needs a sha256, or an md5 and weak_digest: true"
        if file.weak_digest and not file.weak:
            return f"files[{number}].weak_digest", "has a sha256, so its digest is not weak"
    if model.archive is None:
        return None
    if model.archive.layout and model.archive.layout not in layouts:
        known = ", ".join(layouts)
        return "archive.layout", f"there is no layout {model.archive.layout!r}; known: {known}"
    return ("files", "an archive is one file") if len(model.files) != 1 else None


def _unknown(tier: Tier, number: int, models: Mapping[str, Model], file: str, text: str) -> ConfigError | None:
    """A tier names models that there are."""
    for name in [*tier.every, *(name for names in tier.languages.values() for name in names)]:
        if name not in models:
            return in_file(f"there is no model {name!r}{did_you_mean(name, models)}", f"tiers[{number}]", file, text)
    return None


def urls(model: Model, file: File, mirror: str = "") -> tuple[str, ...]:
    """Where to fetch ``file`` from, best first. Where there is a mirror: from its ``<mirror>/<id>/<path>`` only."""
    if not mirror:
        return file.urls
    base = mirror if "://" in mirror else Path(mirror).expanduser().resolve().as_uri()
    return (f"{base.rstrip('/')}/{urllib.parse.quote(model.id)}/{urllib.parse.quote(file.path)}",)


def _read(path: Path) -> tuple[Any, str]:
    """What a file holds, and its text."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text), text
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
