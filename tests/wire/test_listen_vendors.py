"""Recognisers that hear while the caller speaks: asked as the vendors' types have it, and read whatever they send."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from aside import aside
from assemblyai.streaming.v3 import models as assembly
from deepgram.listen.v2 import types as flux_types
from deepgram.listen.v2.client import AsyncV2Client as Flux
from deepgram.listen.v2.socket_client import V2SocketClientResponse
from elevenlabs import types as eleven
from elevenlabs.realtime.scribe import ScribeRealtime
from elevenlabs.v_1_speech_to_text_realtime.types.receive_transcription import ReceiveTranscription
from listen_servers import KEY, FakeAssembly, FakeFlux, FakeListen, FakeScribe
from sound import tone
from speechmatics import rt as speechmatics
from vendor_types import example, fields, members, parameters, problems

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import catalog, testing
from asterisk_ai.providers.api import Hints, Transcript
from asterisk_ai.providers.net.listen import StreamedUtterance
from asterisk_ai.providers.vendors.assemblyai import AssemblyUtterance
from asterisk_ai.providers.vendors.deepgram.flux import FluxUtterance
from asterisk_ai.providers.vendors.elevenlabs.scribe import ScribeUtterance

FAKES: Mapping[str, type[FakeListen]] = {
    "deepgram_flux": FakeFlux, "assemblyai": FakeAssembly, "elevenlabs": FakeScribe,
}  # fmt: skip


@pytest.fixture(params=FAKES)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(vendor: str) -> Iterator[FakeListen]:
    with aside(FAKES[vendor]().running()) as (server,):
        yield server


def made(vendor: str, fake: FakeListen | None = None, *, model: str = "", **more: Any) -> Any:
    own = {"model": model} if model else {}
    settings = {"base_url": fake.base_url if fake else "http://127.0.0.1:9/v1", "api_key": KEY, "seconds": 5, **more}
    return catalog.STT.load(vendor)(settings | ({"transcription": own} if vendor == "elevenlabs" else own))


def heard(engine: Any, sound: bytes, language: str = "en-US", rate: int = 8000) -> tuple[Transcript, list[str]]:
    async def main() -> tuple[Transcript, list[str]]:
        told: list[str] = []
        await engine.start()
        try:
            hints = Hints(language=language)
            async with engine.open(rate=rate, hints=hints, partial=lambda words: told.append(words.text)) as stream:
                for start in range(0, len(sound), rate // 25):  # 20 ms, as they come from the line
                    stream.feed(sound[start : start + rate // 25])
                    await asyncio.sleep(0.001)
                return await stream.finish(), told
        finally:
            await engine.stop()

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_conformance(vendor: str, fake: FakeListen) -> None:
    testing.check_speech_to_text(
        lambda: made(vendor, fake), speech=tone(400, seconds=1.0), text="Opening hours", broken=lambda: made(vendor)
    )


def test_words_come_while_the_caller_speaks(vendor: str, fake: FakeListen) -> None:
    words, told = heard(made(vendor, fake, model="slow"), tone(400, seconds=1.0) + bytes(8000))
    assert (words.text, words.accepted) == ("opening hours", True)
    assert told
    assert told[0].startswith("opening")
    if vendor != "elevenlabs":
        assert [(one.text, one.start) for one in words.words] == [("opening", 0.0), ("hours", 0.2)]
        assert words.confidence == pytest.approx(0.9)
    if vendor == "assemblyai":
        assert fake.shortest >= 400, "messages of less than 50 ms end its session"


def test_nothing_said_is_no_failure(vendor: str, fake: FakeListen) -> None:
    words, told = heard(made(vendor, fake, model="mute"), bytes(8000))
    assert (words.text, words.accepted, told) == ("", False, [])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        *((fault, ProviderUnavailable) for fault in "hang close garbage nonsense error quota 429 429-after".split()),
        ("401", ProviderRejected),
    ],
)  # fmt: skip
def test_every_fault_is_one_of_the_two_errors(
    vendor: str, fake: FakeListen, fault: str, error: type[ProviderError]
) -> None:
    engine = made(vendor, fake, model=fault, seconds=0.5 if fault == "hang" else 5)
    fake.refusing = fault if fault[0].isdigit() else ""
    with pytest.raises(error) as found:
        heard(engine, tone(400, seconds=1.0))
    assert isinstance(found.value, ProviderRejected) == (error is ProviderRejected)
    if fault == "429-after":
        assert "30 s" in str(found.value)


# ---- the vendors' own types -----------------------------------------------------------


def test_every_query_and_message_is_what_the_vendors_types_know(vendor: str, fake: FakeListen) -> None:
    terms = {"keyterms": ["Asterisk", "PBX"]}
    heard(made(vendor, fake), tone(400, seconds=0.5))
    more = {"transcription": terms} if vendor == "elevenlabs" else terms
    heard(catalog.STT.load(vendor)({"base_url": fake.base_url, "api_key": KEY, **more}), tone(400), "de-DE", 16_000)
    known = {
        "deepgram_flux": set(parameters(Flux.connect)),
        "assemblyai": set(fields(assembly.RealTimeParameters) or ()),
        "elevenlabs": set(parameters(ScribeRealtime._build_websocket_url)),
        "speechmatics": set(),
    }
    assert [set(query) - known[vendor] for query in fake.queries] == [set(), set()]
    types: Mapping[str, tuple[Any, ...]] = {
        "deepgram_flux": (flux_types.ListenV2ForceEndTurn, flux_types.ListenV2CloseStream),
        "assemblyai": (assembly.ForceEndpoint, assembly.TerminateSession),
        "elevenlabs": (eleven.InputAudioChunkPayload,),
    }
    assert fake.messages
    if vendor == "speechmatics":  # whose types are plain classes
        begin, end = fake.messages[-2:]
        assert set(begin["transcription_config"]) <= {
            one.name for one in dataclasses.fields(speechmatics.TranscriptionConfig)
        }
        sound = speechmatics.AudioFormat(encoding=speechmatics.AudioEncoding.PCM_S16LE, sample_rate=16_000)
        assert begin["audio_format"] == sound.to_dict()
        kinds = {one.value for one in speechmatics.ClientMessageType}
        assert {begin["message"], end["message"]} <= kinds
        return
    for message in fake.messages:
        assert min((problems(kind, message) for kind in types[vendor]), key=len) == [], message


UTTERANCES: Mapping[str, tuple[Callable[..., StreamedUtterance], Any]] = {
    "deepgram_flux": (FluxUtterance, V2SocketClientResponse),
    "assemblyai": (AssemblyUtterance, assembly.EventMessage),
    "elevenlabs": (ScribeUtterance, ReceiveTranscription),
}


class Wire:
    """What the service says."""

    def __init__(self, *coming: str) -> None:
        self.coming = list(coming)

    async def __aiter__(self) -> Any:
        while self.coming:
            yield self.coming.pop(0)


def test_every_name_of_speechmatics_messages_is_its_own() -> None:
    told = {"RecognitionStarted", "AddPartialTranscript", "AddTranscript", "EndOfTranscript", "Error"}
    assert told <= {one.value for one in speechmatics.ServerMessageType}


@pytest.mark.parametrize("vendor", UTTERANCES)
@pytest.mark.parametrize("whole", [False, True])
def test_every_message_of_a_service_is_understood(vendor: str, whole: bool) -> None:
    made_of, kinds = UTTERANCES[vendor]

    async def main(message: Any) -> tuple[list[str], str]:
        told: list[str] = []
        stream = made_of(Wire(json.dumps(message)), 8000, 1.0, lambda words: told.append(words.text))
        await stream.receive()
        problem = ""
        with contextlib.suppress(ProviderError):
            try:
                await stream.finish()
            except ProviderError as error:
                problem = str(error)
        return told, problem

    texts, failed = 0, 0
    for kind in members(kinds):
        told, problem = asyncio.run(main(example(kind, whole=whole)))
        assert "makes no sense" not in problem, kind
        texts += bool(told)
        failed += "closed the connection" not in problem
    assert texts >= 1
    assert failed >= 1, "errors are told"
