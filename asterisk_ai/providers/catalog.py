"""Names of engines to their classes, imported when they are asked for and not before.

A name with a colon, ``package.module:Class``, loads anybody else's.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType

from asterisk_ai.errors import ConfigError

KINDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "stt": MappingProxyType(
            {
                "pocketsphinx": "asterisk_ai.providers.engines.pocketsphinx:PocketSphinx",
                "vosk": "asterisk_ai.providers.engines.vosk:Vosk",
                "openai": "asterisk_ai.providers.vendors.openai:OpenAITranscription",
                "deepgram": "asterisk_ai.providers.vendors.deepgram:DeepgramSpeechToText",
                "wyoming": "asterisk_ai.providers.vendors.wyoming:WyomingSpeechToText",
            }
        ),
        "llm": MappingProxyType(
            {
                "gpt4all": "asterisk_ai.providers.engines.gpt4all:Gpt4All",
                "rules": "asterisk_ai.providers.engines.rules:Rules",
                "openai": "asterisk_ai.providers.vendors.openai:OpenAIChat",
            }
        ),
        "turn": MappingProxyType({"smart-turn": "asterisk_ai.providers.engines.smart_turn:SmartTurn"}),
        "tts": MappingProxyType(
            {
                "piper": "asterisk_ai.providers.engines.piper:Piper",
                "espeak": "asterisk_ai.providers.engines.espeak:Espeak",
                "openai": "asterisk_ai.providers.vendors.openai:OpenAISpeech",
                "deepgram": "asterisk_ai.providers.vendors.deepgram:DeepgramTextToSpeech",
                "wyoming": "asterisk_ai.providers.vendors.wyoming:WyomingTextToSpeech",
            }
        ),
        "realtime": MappingProxyType(
            {
                "deepgram": "asterisk_ai.providers.vendors.deepgram.agent:DeepgramAgent",
                "openai_realtime": "asterisk_ai.providers.vendors.openai.realtime:OpenAIRealtime",
            }
        ),
    }
)
"""Kind of engine to name to ``package.module:Class``."""

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "vosk": "local",
        "gpt4all": "local",
        "piper": "local",
        "httpx": "remote",
        "websockets": "remote",
        "wyoming": "remote",
    }
)
"""The engine's library (its import name) to the extra of this package that installs it."""

LIBRARIES: Mapping[str, str] = MappingProxyType({"vosk": "vosk", "gpt4all": "gpt4all", "piper": "piper-tts"})
"""Import names of the local engines' libraries to what pip calls them."""


def names(kind: str) -> tuple[str, ...]:
    """The engines of ``kind`` (stt, llm, tts, realtime) that this package brings."""
    return tuple(sorted(KINDS[kind]))


def load(kind: str, name: str) -> type:
    """Import the class of the engine ``name``.

    :raises ConfigError: no such engine, or its library is not installed; the message says how to mend it.
    """
    known = KINDS.get(kind)
    if known is None:
        raise ConfigError(f"there is no kind of engine {kind!r}; known: {', '.join(KINDS)}")
    target = name if ":" in name else known.get(name, "")
    if not target:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"there is no {kind} engine {name!r}; {hint}known: {', '.join(names(kind))}, or package.module:Class"
        )
    module_name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise ConfigError(f"the {kind} engine {name!r} must be written package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"the {kind} engine {name!r} cannot be imported: {error}{_remedy(error)}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        raise ConfigError(f"the {kind} engine {name!r}: {module_name} has no class {attribute}")
    return found


def _remedy(error: ImportError) -> str:
    """The command that installs what was not found; nothing for a library that we know nothing about."""
    missing = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(missing)
    return f" (mend it with: pip install 'asterisk-ai[{extra}]')" if extra else ""
