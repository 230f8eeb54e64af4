"""Anything that speaks OpenAI's HTTP API: OpenAI, Ollama, vLLM, llama.cpp's server, LocalAI and the rest.

::

    providers:
      openai:
        base_url: https://api.openai.com/v1       # http://127.0.0.1:11434/v1 for Ollama
        api_key: ${OPENAI_API_KEY}
        chat: {model: gpt-4o-mini, temperature: 0.3, max_tokens: 300}
        transcription: {model: gpt-4o-mini-transcribe}
        speech: {model: gpt-4o-mini-tts, voice: alloy, rate: 24000}
      ollama: {engine: openai, base_url: "http://127.0.0.1:11434/v1", chat: {model: llama3.2}}

Source: https://platform.openai.com/docs/api-reference (chat, audio).
"""

from __future__ import annotations

from asterisk_ai.providers.vendors.openai.chat import OpenAIChat
from asterisk_ai.providers.vendors.openai.speech import OpenAISpeech
from asterisk_ai.providers.vendors.openai.transcription import OpenAITranscription

__all__ = ["OpenAIChat", "OpenAISpeech", "OpenAITranscription"]
