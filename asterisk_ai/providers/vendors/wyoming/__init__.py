"""The Wyoming protocol: Home Assistant's recognisers and voices (faster-whisper, piper, ...) over TCP.

One connection an utterance or
text, as the protocol's servers expect it; the next one's is open already.
Source: the ``wyoming`` library.
"""

from __future__ import annotations

from asterisk_ai.providers.vendors.wyoming.stt import WyomingSpeechToText
from asterisk_ai.providers.vendors.wyoming.tts import WyomingTextToSpeech

__all__ = ["WyomingSpeechToText", "WyomingTextToSpeech"]
