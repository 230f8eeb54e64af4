"""ElevenLabs: a voice, and Scribe as a recogniser.

::

    providers:
      elevenlabs:
        api_key: ${ELEVENLABS_API_KEY}
        speech: {model: eleven_flash_v2_5, voice: JBFqnCBsd6RMkjVDRZzb, rate: 8000}     # the agent's `voice` goes first
        transcription: {model: scribe_v2_realtime}
"""

from __future__ import annotations

from asterisk_ai.providers.vendors.elevenlabs.scribe import Scribe
from asterisk_ai.providers.vendors.elevenlabs.speech import ElevenLabsSpeech

__all__ = ["ElevenLabsSpeech", "Scribe"]
