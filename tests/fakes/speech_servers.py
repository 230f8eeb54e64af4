"""Voices of several vendors as they publish them, over HTTP and real sockets, with faults on demand.

The voice's name tells the fault: silent (no answer), hang (a beginning, then nothing), close (in the middle), reset,
401, 404, 429, 429-after (Retry-After: 30), 500, quota (all of the plan is used up), json (no audio), empty. Any other
works well.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
from http_server import Answer, FakeHttp, Request

KEY = "sk-test"


class FakeVoice(FakeHttp):
    """Speaks a tone of 0.25 s for each word."""

    key: tuple[str, str]
    prefix = ""
    probe = ""
    quota = 429

    def __init__(self) -> None:
        super().__init__(idle_seconds=60)
        self.requests: list[dict[str, Any]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        if request.headers.get(self.key[0]) != self.key[1]:
            return await out.json(self.error("no such key"), 401)
        if request.method == "GET":
            return await out.json({}) if request.target == f"{self.prefix}/{self.probe}" else await out.json({}, 404)
        text, voice, rate = self.wanted(request)
        if voice[:3] in ("401", "404", "429", "500"):
            after = {"Retry-After": "30"} if voice.endswith("after") else {}
            return await out.json(self.error(f"no luck with {voice}"), int(voice[:3]), after)
        match voice:
            case "quota":
                return await out.json(self.error("quota_exceeded"), self.quota)
            case "json":
                return await out.json({})
            case "silent":
                await asyncio.sleep(3600)
            case "reset":
                writer.transport.abort()
                return False
        return await self._speak([] if voice == "empty" else text.split(), voice, rate, out)

    async def _speak(self, words: list[str], fault: str, rate: int, out: Answer) -> bool:
        word = (np.sin(2 * np.pi * 800 * np.arange(rate // 4) / rate) * 8000).astype("<i2").tobytes()
        await out.begin("audio/pcm")
        for number, _ in enumerate(words):
            if number == 1 and fault == "hang":
                await asyncio.sleep(3600)
            if number == 1 and fault == "close":
                return False
            await out.chunk(word[:1001])  # half a sample at the end
            await out.chunk(word[1001:])
        await out.end()
        return True

    def error(self, text: str) -> dict[str, Any]:
        raise NotImplementedError

    def wanted(self, request: Request) -> tuple[str, str, int]:
        """Text, voice and rate of a request, which is held against what the vendor publishes."""
        raise NotImplementedError


class FakeElevenLabs(FakeVoice):
    """Source: https://elevenlabs.io/docs/api-reference/text-to-speech/stream, .../resources/errors."""

    key, prefix, probe, quota = ("xi-api-key", KEY), "/v1", "models", 401

    def error(self, text: str) -> dict[str, Any]:
        return {"detail": {"status": text.replace(" ", "_"), "message": f"{text}: sorry"}}

    def wanted(self, request: Request) -> tuple[str, str, int]:
        url = urlsplit(request.target)
        found = re.fullmatch(r"/v1/text-to-speech/([^/]+)/stream", url.path)
        assert found is not None
        (kind,) = parse_qs(url.query)["output_format"]
        body = json.loads(request.body)
        self.requests.append(body)
        assert 0.7 <= body.get("voice_settings", {}).get("speed", 1) <= 1.2
        return body["text"], found[1], int(kind.removeprefix("pcm_"))


class FakeCartesia(FakeVoice):
    """Source: https://docs.cartesia.ai/api-reference/tts/bytes."""

    key, probe = ("authorization", f"Bearer {KEY}"), "voices?limit=1"

    def error(self, text: str) -> dict[str, Any]:
        return {"title": "Error", "message": text, "error_code": text, "request_id": "r"}

    def wanted(self, request: Request) -> tuple[str, str, int]:
        assert request.target == "/tts/bytes"
        assert request.headers["cartesia-version"]
        body = json.loads(request.body)
        self.requests.append(body)
        form: Mapping[str, Any] = body["output_format"]
        assert (form["container"], form["encoding"]) == ("raw", "pcm_s16le")
        assert 0.6 <= body.get("generation_config", {}).get("speed", 1) <= 1.5
        return body["transcript"], body["voice"]["id"], form["sample_rate"]


class FakeAzureSpeech(FakeVoice):
    """Source: https://learn.microsoft.com/azure/ai-services/speech-service/rest-text-to-speech."""

    key, prefix, probe = ("ocp-apim-subscription-key", KEY), "/cognitiveservices", "v1"

    def error(self, text: str) -> dict[str, Any]:
        return {"error": {"code": "x", "message": text}}

    def wanted(self, request: Request) -> tuple[str, str, int]:
        assert request.target == "/cognitiveservices/v1"
        assert request.headers["content-type"] == "application/ssml+xml"
        assert request.headers["user-agent"]
        kind = re.fullmatch(r"raw-(8|16|24|48)khz-16bit-mono-pcm", request.headers["x-microsoft-outputformat"])
        assert kind is not None
        speak = ElementTree.fromstring(request.body)
        space = "{http://www.w3.org/2001/10/synthesis}"
        assert (speak.tag, speak.get("version")) == (f"{space}speak", "1.0")
        language = speak.get("{http://www.w3.org/XML/1998/namespace}lang")
        (voice,) = speak
        rates = [one.get("rate") for one in voice]
        self.requests.append({"language": language, "rates": rates, "text": "".join(voice.itertext())})
        return "".join(voice.itertext()), str(voice.get("name")), int(kind[1]) * 1000
