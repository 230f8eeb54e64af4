"""Services that speak OpenAI's HTTP API: where each is found, and in what it differs.

The name of a preset is the name of an engine: ``llm: groq``. Another address is given by ``base_url``, as always.
Sources: each service's reference of its API, as its ``about`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Preset:
    """One service.

    :param base_url: of the API; empty where each customer has another one, as in ``example``.
    :param limit: the parameter for the length of an answer; empty: as the model has it.
    :param probe: what is asked to see whether the service and the key are well.
    :param scheme: of the ``Authorization`` header, or the name of another header with its colon.
    :param kinds: of engines that it offers.
    :param counts: it tells the tokens of a stream where it is asked to; others do so anyhow, or refuse the question.
    """

    name: str
    about: str
    base_url: str = ""
    limit: str = "max_tokens"
    probe: str = "models"
    scheme: str = "Bearer"
    kinds: tuple[str, ...] = ("llm",)
    example: str = ""
    counts: bool = False


OPENAI = Preset(
    "openai", "https://platform.openai.com/docs/api-reference", "https://api.openai.com/v1", limit="",
    kinds=("llm", "stt", "tts"), counts=True,
)  # fmt: skip
_OTHERS = (
    Preset(
        "azure", "https://learn.microsoft.com/azure/ai-foundry/openai/latest (a model is a deployment's name)",
        limit="max_completion_tokens", scheme="api-key:", example="https://RESOURCE.openai.azure.com/openai/v1",
        counts=True,
    ),
    Preset("grok", "https://docs.x.ai/docs/api-reference", "https://api.x.ai/v1", limit="max_completion_tokens"),
    Preset(
        "groq", "https://console.groq.com/docs/api-reference", "https://api.groq.com/openai/v1",
        limit="max_completion_tokens", kinds=("llm", "stt"),
    ),
    Preset("mistral", "https://docs.mistral.ai/api", "https://api.mistral.ai/v1"),
    Preset("deepseek", "https://api-docs.deepseek.com", "https://api.deepseek.com/v1", counts=True),
    Preset(
        "openrouter", "https://openrouter.ai/docs/api-reference (anybody may list models: the key is asked for)",
        "https://openrouter.ai/api/v1", probe="key",
    ),
    Preset("together", "https://docs.together.ai/docs/inference/openai-compatibility", "https://api.together.ai/v1"),
    Preset(
        "vllm", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", "http://127.0.0.1:8000/v1",
        kinds=("llm", "stt"), counts=True,
    ),
    Preset("llamacpp", "https://github.com/ggml-org/llama.cpp (tools/server)", "http://127.0.0.1:8080/v1", counts=True),
    Preset("lmstudio", "https://lmstudio.ai/docs/app/api/endpoints/openai", "http://127.0.0.1:1234/v1"),
    Preset("ollama", "https://docs.ollama.com/api/openai-compatibility", "http://127.0.0.1:11434/v1", counts=True),
    Preset("whisper", "https://speaches.ai (faster-whisper-server before)", "http://127.0.0.1:8000/v1", kinds=("stt",)),
    Preset("kokoro", "https://github.com/remsky/Kokoro-FastAPI", "http://127.0.0.1:8880/v1", kinds=("tts",)),
)  # fmt: skip
PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _OTHERS})
"""By name, without OpenAI's own."""
