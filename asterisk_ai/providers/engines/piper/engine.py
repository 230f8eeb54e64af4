"""The voice in a worker process."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asterisk_ai.providers.boundary import engine_boundary, library_boundary
from asterisk_ai.providers.engines.piper import NAME, voice_config
from asterisk_ai.providers.workers import ProducerStream


class PiperEngine:
    """An :class:`~asterisk_ai.providers.workers.child.Engine`. Settings: ``model``, ``threads``."""

    quantum_bytes = 2
    max_streams = 1_000_000

    def __init__(self, settings: Mapping[str, Any]) -> None:
        model = Path(settings["model"])
        with library_boundary(NAME, f"{model} is no voice"):
            import onnxruntime
            from piper import PiperVoice
            from piper.config import PiperConfig, SynthesisConfig

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = int(settings["threads"])
            options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
            config = PiperConfig.from_dict(voice_config(model))
        self._synthesis = SynthesisConfig
        self._voice = PiperVoice(session=session, config=config)
        for _ in self._speak({"text": "Hi.", "speaker": None, "speed": 1.0}):
            pass  # the first run is slow: nobody waits for it now

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        config = self._voice.config
        speakers = dict(config.speaker_id_map) or {
            str(n): n for n in range(config.num_speakers if config.num_speakers > 1 else 0)
        }
        return {"rate": config.sample_rate, "speakers": speakers}

    def open(self, options: Mapping[str, Any]) -> ProducerStream:
        return ProducerStream(self._speak(options))

    def _speak(self, options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if not options["text"]:
            return
        scale = self._voice.config.length_scale / options["speed"]
        how = self._synthesis(speaker_id=options["speaker"], length_scale=scale)
        with engine_boundary(NAME):
            for chunk in self._voice.synthesize(options["text"], how):
                yield {"pcm": base64.b64encode(chunk.audio_int16_bytes).decode()}
