"""Deepgram: streaming recognition over a WebSocket, streaming speech over HTTP.

::

    providers:
      deepgram:
        api_key: ${DEEPGRAM_API_KEY}
        base_url: https://api.deepgram.com/v1     # or a self-hosted one
        listen: {model: nova-3, keyterms: [Asterisk]}
        speak: {model: aura-2-thalia-en}

Source: https://developers.deepgram.com/reference (listen-streaming, text-to-speech, errors).
"""

from __future__ import annotations

from asterisk_ai.providers.vendors.deepgram.listen import DeepgramSpeechToText
from asterisk_ai.providers.vendors.deepgram.speak import DeepgramTextToSpeech

__all__ = ["DeepgramSpeechToText", "DeepgramTextToSpeech"]
