"""Which model an engine opens: the one that its settings name, or the one that was fetched for the agent's language."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asterisk_ai.config import Config, share_path
from asterisk_ai.errors import ModelError
from asterisk_ai.models import registry as registries
from asterisk_ai.models.registry import Model, Registry
from asterisk_ai.models.store import Store, store_of
from asterisk_ai.models.tiers import models_of

ENGINES = ("vosk", "piper", "gpt4all")
"""Engines that are nothing without a model; one of their own is found for them where none is named."""

FETCHED = {"moonshine": "moonshine-tiny-en"}
"""Engines that have their model with them, and the same model in the store, for systems where it could not come so."""


def load_registry(config: Config) -> Registry:
    """The packaged registry and the configuration's own. Raises ConfigError."""
    return registries.load(share_path("models") / "registry.json", config.registry_paths())


@dataclass(frozen=True, slots=True)
class Found:
    """An engine's settings with the model's file or folder in them, which need not be there (yet).

    ``check`` raises ModelError, with the command that mends it, while it is not; None for what is not in the store.
    ``by_language`` says that another language would have had another one.
    """

    settings: Mapping[str, Any]
    check: Callable[[], object] | None = None
    by_language: bool = False


class Models:
    """Finds engines' models. The registry is read when it is first needed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store = store_of(config)
        self._registry: Registry | None = None

    def find(self, engine: str, settings: Mapping[str, Any], language: str) -> Found:
        """:param engine: its name in the catalog, or ``package.module:Class``.

        :raises ConfigError: a registry of the configuration's cannot be read.
        """
        name = settings.get("model", "")
        spare = FETCHED.get(engine, "")
        if spare and not name and not self._store.missing(spare):
            return Found({**settings, "model": str(self._store.folder(spare))}, _Check(self._store, spare))
        if not isinstance(name, str) or os.sep in name or not (engine in ENGINES or (":" in engine and name)):
            return Found(settings)
        if name:
            known = self.registry.models.get(name)
            if known is None and name not in self._store.ids():
                return Found(settings)  # a file or folder; the engine says where there is none
            return Found({**settings, "model": str(self._place(name, known))}, _Check(self._store, name))
        known = self._for(engine, language)
        if known is None:
            return Found({**settings, "model": "none"}, _Unknown(engine, language), by_language=True)
        place = str(self._place(known.id, known))
        return Found({**settings, "model": place}, _Check(self._store, known.id), by_language=known.kind != "llm")

    @property
    def registry(self) -> Registry:
        if self._registry is None:
            self._registry = load_registry(self._config)
        return self._registry

    def _place(self, name: str, known: Model | None) -> Path:
        """Where it is, or will be once it was fetched."""
        try:
            return self._store.folder(name) / self._store.manifest(name).main
        except ModelError:
            return self._store.folder(name) / (known.main if known else "")

    def _for(self, engine: str, language: str) -> Model | None:
        """What is here for the language, of the last fetch's choice best; else what a fetch would choose."""
        known = [one for one in self.registry.models.values() if one.engine == engine]
        fitting = [one for one in known if _distance(one, language) < 2]
        selection = self._store.selection()
        chosen = selection.models if selection else ()
        here = [one for one in fitting if not self._store.missing(one.id)]
        if here:
            return min(here, key=lambda one: (one.id not in chosen, _distance(one, language)))
        tiers = sorted(self.registry.tiers, key=lambda tier: tier.name != (selection.tier if selection else ""))
        for tier in tiers:
            for one in models_of(self.registry, tier, [language])[0]:
                if one.engine == engine:
                    return one
        allowed = [one for one in fitting if one.licence.commercial != "no"]
        return min(allowed, key=lambda one: (_distance(one, language), one.size), default=None)


@dataclass(frozen=True, slots=True)
class _Unknown:
    engine: str
    language: str

    def __call__(self) -> None:
        """Raises ModelError."""
        raise ModelError(
            f"no model of {self.engine} for {self.language} is known: name one in providers.{self.engine}.model, "
            "or add it to a registry of your own (models.registries)"
        )


class _Check:
    """Whether a model is well. What was found damaged is read again only once it has been put there anew."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._known: tuple[tuple[int, int], str] | None = None

    def __call__(self) -> None:
        """Raises ModelError. Reads the whole model where times differ from the manifest's."""
        try:
            folder = self._store.folder(self._name).stat()
            put = folder.st_ino, folder.st_ctime_ns  # a number is given to the next folder once this one is gone
        except OSError:
            put = 0, 0
        if self._known and self._known[0] == put:
            raise ModelError(self._known[1])
        try:
            self._store.path(self._name)
        except ModelError as error:
            self._known = (put, str(error))
            raise


def _distance(model: Model, language: str) -> int:
    """0: the very language, or any; 1: that of another region; 2: another one."""
    own, wanted = model.language.lower(), language.lower().replace("_", "-")
    if own in ("", "any", "multi", wanted):
        return 0
    return 1 if own.partition("-")[0] == wanted.partition("-")[0] else 2
