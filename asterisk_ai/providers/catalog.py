"""Names of engines to their classes, imported when they are asked for and not before.

A name with a colon, ``package.module:Class``, loads anybody else's.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api import Engine, LanguageModel, RealtimeAgent, SpeechToText, TextToSpeech, TurnEnd
from asterisk_ai.providers.presets import PRESETS

E = TypeVar("E", bound=Engine)
_ENGINES = "asterisk_ai.providers.engines"
_VENDORS = "asterisk_ai.providers.vendors"


@dataclass(frozen=True, slots=True)
class Kind(Generic[E]):
    """One kind of engine.

    :param name: as the keys of a pipeline have it.
    :param protocol: what its engines offer.
    :param engines: those that this package brings, name to ``package.module:Class``.
    :param of_agent: each is made for one agent, ``Class(settings, agent)``; others are ``Class(settings)``.
    """

    name: str
    protocol: type
    engines: Mapping[str, str]
    of_agent: bool = False

    def load(self, name: str) -> Callable[..., E]:
        """The class of the engine ``name``.

        :raises ConfigError: no such engine, its library is not installed, or it is not of this kind; the message says
            how to mend it.
        """
        target = name if ":" in name else self.engines.get(name, "")
        if not target:
            near = difflib.get_close_matches(name, self.engines, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            known = ", ".join(sorted(self.engines))
            raise ConfigError(f"there is no {self.name} engine {name!r}; {hint}known: {known}, or package.module:Class")
        found = engine_class(target, f"the {self.name} engine {name!r}")
        if preset := PRESETS.get(name):
            return type(found.__name__, (found,), {"preset": preset, "__module__": found.__module__})
        return found if name in self.engines else self._completed(found, name)

    def _completed(self, found: type, name: str) -> type:
        """Anybody's class with the members that it has nothing to say to and left out.

        :raises ConfigError: it cannot be called as a call does.
        """
        missing: dict[str, object] = {}
        for member, own in _members(self.protocol):
            theirs = getattr(found, member, None)
            if theirs is None and not getattr(own, "__isabstractmethod__", False):
                missing[member] = own
            elif isinstance(own, FunctionType):
                self._check_method(name, member, own, theirs)
        return type(found)(found.__name__, (found,), missing | {"__module__": found.__module__}) if missing else found

    def _check_method(self, name: str, member: str, own: FunctionType, theirs: object) -> None:
        model = f"write it as {self.protocol.__module__}.{self.protocol.__name__} has it"
        if not callable(theirs):
            raise ConfigError(f"the {self.name} engine {name!r} has no method {member}(): {model}")
        try:
            has = inspect.signature(theirs).parameters.values()
        except (TypeError, ValueError):  # something that Python cannot look into
            return
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in has):
            return
        known = {one.name for one in has}
        for one in inspect.signature(own).parameters.values():
            if one.kind is inspect.Parameter.KEYWORD_ONLY and one.name not in known:
                raise ConfigError(f"the {self.name} engine {name!r}: {member}() does not take {one.name!r}: {model}")


def _presets(kind: str, target: str) -> dict[str, str]:
    return {name: f"{_VENDORS}.openai:{target}" for name, preset in PRESETS.items() if kind in preset.kinds}


STT: Kind[SpeechToText] = Kind(
    "stt",
    SpeechToText,
    {
        "moonshine": f"{_ENGINES}.moonshine:Moonshine",
        "pocketsphinx": f"{_ENGINES}.pocketsphinx:PocketSphinx",
        "vosk": f"{_ENGINES}.vosk:Vosk",
        "openai": f"{_VENDORS}.openai:OpenAITranscription",
        **_presets("stt", "OpenAITranscription"),
        "deepgram": f"{_VENDORS}.deepgram:DeepgramSpeechToText",
        "deepgram_flux": f"{_VENDORS}.deepgram.flux:DeepgramFlux",
        "assemblyai": f"{_VENDORS}.assemblyai:AssemblySpeechToText",
        "elevenlabs": f"{_VENDORS}.elevenlabs:Scribe",
        "speechmatics": f"{_VENDORS}.speechmatics:SpeechmaticsSpeechToText",
        "wyoming": f"{_VENDORS}.wyoming:WyomingSpeechToText",
    },
)
LLM: Kind[LanguageModel] = Kind(
    "llm",
    LanguageModel,
    {
        "gpt4all": f"{_ENGINES}.gpt4all:Gpt4All",
        "rules": f"{_ENGINES}.rules:Rules",
        "openai": f"{_VENDORS}.openai:OpenAIChat",
        **_presets("llm", "OpenAIChat"),
        "anthropic": f"{_VENDORS}.anthropic:AnthropicChat",
        "gemini": f"{_VENDORS}.gemini:GeminiChat",
    },
    of_agent=True,
)
TTS: Kind[TextToSpeech] = Kind(
    "tts",
    TextToSpeech,
    {
        "hibari": f"{_ENGINES}.hibari:Hibari",
        "piper": f"{_ENGINES}.piper:Piper",
        "espeak": f"{_ENGINES}.espeak:Espeak",
        "openai": f"{_VENDORS}.openai:OpenAISpeech",
        **_presets("tts", "OpenAISpeech"),
        "deepgram": f"{_VENDORS}.deepgram:DeepgramTextToSpeech",
        "elevenlabs": f"{_VENDORS}.elevenlabs:ElevenLabsSpeech",
        "cartesia": f"{_VENDORS}.cartesia:CartesiaSpeech",
        "azure_speech": f"{_VENDORS}.azure_speech:AzureSpeech",
        "wyoming": f"{_VENDORS}.wyoming:WyomingTextToSpeech",
    },
)
TURN: Kind[TurnEnd] = Kind("turn", TurnEnd, {"smart-turn": f"{_ENGINES}.smart_turn:SmartTurn"})
REALTIME: Kind[RealtimeAgent] = Kind(
    "realtime",
    RealtimeAgent,
    {
        "deepgram": f"{_VENDORS}.deepgram.agent:DeepgramAgent",
        "gemini_live": f"{_VENDORS}.gemini.live:GeminiLive",
        "openai_realtime": f"{_VENDORS}.openai.realtime:OpenAIRealtime",
        "ultravox": f"{_VENDORS}.ultravox:Ultravox",
    },
    of_agent=True,
)
KINDS: Mapping[str, Kind[Any]] = MappingProxyType({kind.name: kind for kind in (REALTIME, STT, LLM, TTS, TURN)})


def packaged_turn_ends() -> tuple[str, ...]:
    """What tells the end of a turn where the configuration names nothing: the engine whose model is in an installed
    wheel, or none."""
    return ("smart-turn",) if importlib.import_module(f"{_ENGINES}.smart_turn").packaged() is not None else ()


if TYPE_CHECKING:  # each engine fits its kind, and is made as its kind is
    from asterisk_ai.providers.engines.espeak import Espeak
    from asterisk_ai.providers.engines.gpt4all import Gpt4All
    from asterisk_ai.providers.engines.hibari import Hibari
    from asterisk_ai.providers.engines.moonshine import Moonshine
    from asterisk_ai.providers.engines.piper import Piper
    from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx
    from asterisk_ai.providers.engines.rules import Rules
    from asterisk_ai.providers.engines.smart_turn import SmartTurn
    from asterisk_ai.providers.engines.vosk import Vosk
    from asterisk_ai.providers.vendors.anthropic import AnthropicChat
    from asterisk_ai.providers.vendors.assemblyai import AssemblySpeechToText
    from asterisk_ai.providers.vendors.azure_speech import AzureSpeech
    from asterisk_ai.providers.vendors.cartesia import CartesiaSpeech
    from asterisk_ai.providers.vendors.deepgram import DeepgramSpeechToText, DeepgramTextToSpeech
    from asterisk_ai.providers.vendors.deepgram.agent import DeepgramAgent
    from asterisk_ai.providers.vendors.deepgram.flux import DeepgramFlux
    from asterisk_ai.providers.vendors.elevenlabs import ElevenLabsSpeech, Scribe
    from asterisk_ai.providers.vendors.gemini import GeminiChat
    from asterisk_ai.providers.vendors.gemini.live import GeminiLive
    from asterisk_ai.providers.vendors.openai import OpenAIChat, OpenAISpeech, OpenAITranscription
    from asterisk_ai.providers.vendors.openai.realtime import OpenAIRealtime
    from asterisk_ai.providers.vendors.speechmatics import SpeechmaticsSpeechToText
    from asterisk_ai.providers.vendors.ultravox import Ultravox
    from asterisk_ai.providers.vendors.wyoming import WyomingSpeechToText, WyomingTextToSpeech

    Settings = Mapping[str, Any]
    _stt: tuple[Callable[[Settings], SpeechToText], ...] = (
        Moonshine,
        PocketSphinx,
        Vosk,
        OpenAITranscription,
        DeepgramSpeechToText,
        DeepgramFlux,
        AssemblySpeechToText,
        Scribe,
        SpeechmaticsSpeechToText,
        WyomingSpeechToText,
    )
    _llm: tuple[Callable[[Settings, Settings], LanguageModel], ...] = (
        Gpt4All,
        Rules,
        OpenAIChat,
        AnthropicChat,
        GeminiChat,
    )
    _tts: tuple[Callable[[Settings], TextToSpeech], ...] = (
        Hibari,
        Piper,
        Espeak,
        OpenAISpeech,
        DeepgramTextToSpeech,
        ElevenLabsSpeech,
        CartesiaSpeech,
        AzureSpeech,
        WyomingTextToSpeech,
    )
    _turn: tuple[Callable[[Settings], TurnEnd], ...] = (SmartTurn,)
    _realtime: tuple[Callable[[Settings, Settings], RealtimeAgent], ...] = (
        DeepgramAgent,
        GeminiLive,
        OpenAIRealtime,
        Ultravox,
    )

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
    """The engines of ``kind`` (realtime, stt, llm, tts, turn) that this package brings."""
    return tuple(sorted(KINDS[kind].engines))


def load(kind: str, name: str) -> Callable[..., Any]:
    """As :meth:`Kind.load`, by the kind's name. Raises ConfigError."""
    known = KINDS.get(kind)
    if known is None:
        raise ConfigError(f"there is no kind of engine {kind!r}; known: {', '.join(KINDS)}")
    return known.load(name)


def engine_class(target: str, who: str) -> type:
    """Import ``package.module:Class``. Raises ConfigError."""
    module_name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise ConfigError(f"{who} must be written package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{who} cannot be imported: {error}{_remedy(error, target)}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        raise ConfigError(f"{who}: {module_name} has no class {attribute}")
    return found


def _members(protocol: type) -> Iterator[tuple[str, Any]]:
    """What a protocol declares, with what it inherits."""
    for base in reversed(protocol.__mro__):
        if base.__module__.startswith("asterisk_ai."):
            yield from ((name, member) for name, member in vars(base).items() if not name.startswith("_"))


def _remedy(error: ImportError, target: str) -> str:
    """The command that installs what was not found; nothing for a library that we know nothing about."""
    missing = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(missing)
    if extra:
        return f" (mend it with: pip install 'asterisk-ai[{extra}]')"
    own = target.partition(":")[0].partition(".")[0]
    return " (install it into this environment with pip, or name its folder in PYTHONPATH)" if missing == own else ""
