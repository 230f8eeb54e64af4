"""The voice in a worker process."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping
from typing import Any

from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.boundary import engine_boundary, library_boundary
from asterisk_ai.providers.engines.hibari import NAME
from asterisk_ai.providers.engines.hibari.sound import telephone
from asterisk_ai.providers.workers import ProducerStream

_SEED = 1  # of the breath in the voice: what is said again sounds the same
_PAUSE, _SHORT_PAUSE = 0.22, 0.09  # seconds after a sentence, and after a clause


class HibariEngine:
    """An :class:`~asterisk_ai.providers.workers.child.Engine`. Settings: ``voice``, ``rate``."""

    quantum_bytes = 2
    max_streams = 1_000_000

    def __init__(self, settings: Mapping[str, Any]) -> None:
        with library_boundary(NAME, "cannot be loaded", "pip install hibari-tts"):
            from hibari import SAMPLE_RATE, Hibari
            from hibari.voices import voice_path
        self._make, self._path, self._source = Hibari, voice_path, SAMPLE_RATE
        self._rate = int(settings["rate"])
        self._first = str(settings["voice"])
        self._voices: dict[str, Any] = {}
        for _ in self._speak({"text": "Hi.", "voice": self._first, "speed": 1.0}):
            pass  # the first run is slow: nobody waits for it now

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """``seconds`` of this core's time for a second of speech, the best of some."""
        voice, best = self._voice(self._first), float("inf")
        for _ in range(3):
            began = time.process_time()
            audio = voice("We are open from nine to five.", seed=_SEED)
            best = min(best, (time.process_time() - began) * self._source / len(audio))
        return {"seconds": best}

    def open(self, options: Mapping[str, Any]) -> ProducerStream:
        return ProducerStream(self._speak(options))

    def _voice(self, name: str) -> Any:
        if name not in self._voices:
            try:
                path = self._path(name, download_missing=False)
            except ValueError as error:
                raise ProviderRejected(NAME, f"there is no voice {name!r}: {str(error)[:200]}") from error
            except FileNotFoundError as error:
                raise ProviderRejected(NAME, f"the voice {name!r} is not here: copy its file to {error}") from error
            self._voices[name] = self._make(voice=name, model=path)
        return self._voices[name]

    def _speak(self, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        voice = self._voice(options["voice"])
        text = options["text"]
        pause = _SHORT_PAUSE if text[-1:] in ",;:\u2013\u2014" else _PAUSE
        with engine_boundary(NAME):
            for audio in voice.stream(text, speed=options["speed"], seed=_SEED):
                yield {"pcm": base64.b64encode(telephone(audio, self._source, self._rate, pause)).decode()}
