"""What is sent to vendors is what their own types know, and whatever these types let a service say is understood."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Union

import pytest
from deepgram.agent.v1 import types as agent_types
from deepgram.agent.v1.socket_client import V1SocketClientResponse as AgentResponse
from deepgram.listen.v1 import types as listen_types
from deepgram.listen.v1.client import AsyncV1Client as Listen
from deepgram.speak.v1.audio.client import AsyncAudioClient as Speak
from deepgram_server import FakeDeepgram
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.audio import Transcription
from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.audio.transcription_create_params import TranscriptionCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from openai_server import KEY, FakeOpenAI
from sound import tone
from vendor_types import example, members, parameters, problems
from websockets.exceptions import ConnectionClosedError

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    CallerText,
    Hints,
    Message,
    RealtimeEvent,
    RealtimeRequest,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    TurnRequest,
)
from asterisk_ai.providers.net.realtime_session import SocketSession
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.deepgram import DeepgramSpeechToText, DeepgramTextToSpeech
from asterisk_ai.providers.vendors.deepgram.agent import DeepgramAgent
from asterisk_ai.providers.vendors.deepgram.agent_session import DeepgramAgentSession
from asterisk_ai.providers.vendors.deepgram.client import KEEP
from asterisk_ai.providers.vendors.deepgram.listen import DeepgramUtterance as Utterance
from asterisk_ai.providers.vendors.openai import OpenAIChat, OpenAISpeech, OpenAITranscription
from asterisk_ai.providers.vendors.openai.completion import Completion
from asterisk_ai.providers.vendors.openai.realtime import OpenAIRealtime
from asterisk_ai.providers.vendors.openai.realtime_session import OpenAIRealtimeSession

TOOLS = {"hangup": True, "transfer": {"sales": "200@from-internal"}, "digits": True}
AGENT = {"name": "a", "prompt": "You are the receptionist.", "language": "en-GB", "tools": TOOLS}
REQUEST = RealtimeRequest(
    8000, "Hello.", [Message("caller", "hi"), Message("agent", "Yes?")], caller={"number": "200", "name": "Ann"}
)
AGENT_CLIENT = Union[  # noqa: UP007 - of classes that mypy need not know
    agent_types.AgentV1Settings, agent_types.AgentV1InjectAgentMessage, agent_types.AgentV1InjectUserMessage,
    agent_types.AgentV1SendFunctionCallResponse, agent_types.AgentV1KeepAlive,
]  # fmt: skip
LISTEN_CLIENT = Union[  # noqa: UP007
    listen_types.ListenV1Finalize, listen_types.ListenV1CloseStream, listen_types.ListenV1KeepAlive
]


class Wire:
    """A connection: what the service says is given, what it is told is kept; closed when it has said all."""

    def __init__(self) -> None:
        self.coming: list[str | bytes] = []
        self.sent: list[str | bytes] = []

    async def recv(self) -> str | bytes:
        if not self.coming:
            raise ConnectionClosedError(None, None)
        return self.coming.pop(0)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while self.coming:
            yield self.coming.pop(0)

    async def send(self, message: str | bytes) -> None:
        self.sent.append(message)

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.sent if isinstance(message, str)]


def session_of(kind: Any, request: RealtimeRequest = REQUEST) -> tuple[SocketSession, Wire]:
    wire = Wire()
    return kind(wire, request, Toolbox(TOOLS, "tools")), wire


async def heard(session: SocketSession, wire: Wire, *messages: Mapping[str, Any] | bytes) -> list[RealtimeEvent]:
    """What the session makes of messages; what it has to say goes onto the wire."""
    wire.coming = [one if isinstance(one, bytes) else json.dumps(one) for one in messages]
    events: list[RealtimeEvent] = []
    with contextlib.suppress(ProviderUnavailable):
        async for event in session.events():
            events += [event]
    assert not wire.coming, f"{session}: nothing more was read before {wire.coming[0]!r}"
    writing = asyncio.create_task(session.write())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    return events


def unlike(kind: Any, messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everything in the messages that the vendor's types do not know or do not allow."""
    return [f"{one.get('type')}: {problem}" for one in messages for problem in problems(kind, one)]


def test_a_mistake_would_be_found() -> None:
    wrong = [{"type": "session.update", "session": {"type": "realtime", "voicee": "marin"}}]
    assert unlike(RealtimeClientEvent, wrong) == ["session.update: session: unknown key 'voicee'"]
    assert problems(RealtimeClientEvent, {"type": "response.create", "response": {"instructions": 5}})
    assert problems(RealtimeClientEvent, {"type": "response.cancle"})
    assert problems(CompletionCreateParamsStreaming, {"model": "m", "stream": True, "messages": [{"role": "me"}]})
    assert problems(AGENT_CLIENT, {"type": "InjectAgentMessage", "message": "x", "behaviour": "queue"})


# ---- speech to speech --------------------------------------------------------------


def made(event: str, **more: Any) -> dict[str, Any]:
    """A server's event of the OpenAI realtime API, whole."""
    kind = next(one for one in members(RealtimeServerEvent) if example(one, whole=False)["type"] == event)
    found: dict[str, Any] = example(kind, whole=True)
    return found | more


def call(name: str, arguments: str, identity: str) -> dict[str, Any]:
    item = {"type": "function_call", "name": name, "call_id": identity, "arguments": arguments}
    return made("response.done", response={"id": "r", "object": "realtime.response", "status": "completed",
                                           "output": [item]})  # fmt: skip


def test_every_message_to_openais_realtime_api() -> None:
    async def main() -> list[dict[str, Any]]:
        session, wire = session_of(OpenAIRealtimeSession)
        delta = {"item_id": "i", "response_id": "r", "delta": "//////8="}
        created = made("response.created", response={"id": "r", "object": "realtime.response"})
        session.feed(bytes(320))
        await heard(session, wire, created, made("response.output_audio.delta", **delta))
        session.interrupt("i", 0)
        await heard(session, wire, call("hangup", "{}", "c0"))
        session.tell("(dialled on the keys: 42)")
        await heard(session, wire, created, made("response.output_audio.delta", **{**delta, "item_id": "j"}))
        session.interrupt("j", 1)
        session.say("Goodbye.")
        calls = await heard(session, wire, call("transfer", '{"to": "the moon"}', "c1"), created)
        assert any(isinstance(event, ServiceProblem) for event in calls) or calls
        await heard(session, wire, call("transfer", '{"to": "sales"}', "c2"))
        session.tool_done("c2", "done", answer=True)
        await heard(session, wire)
        assert session.probe is not None
        return [*wire.told(), dict(session.probe)]

    own = {"session": {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}, "tracing": "auto"}}
    agents = [
        OpenAIRealtime({}, AGENT),
        OpenAIRealtime({"turn_detection": {"type": "semantic_vad", "eagerness": "high"}, **own}, AGENT),
        OpenAIRealtime({"transcription": ""}, {}),
    ]
    messages = asyncio.run(main()) + [
        {"type": "session.update", "session": agent.wanted(RealtimeRequest(rate))}
        for agent in agents
        for rate in agent.sample_rates
    ]
    assert unlike(RealtimeClientEvent, messages) == []
    assert {one["type"] for one in messages} == {
        "conversation.item.create", "conversation.item.delete", "conversation.item.truncate",
        "input_audio_buffer.append", "response.cancel", "response.create", "session.update",
    }  # fmt: skip


def test_every_message_to_deepgrams_agent() -> None:
    async def main() -> list[dict[str, Any]]:
        session, wire = session_of(DeepgramAgentSession)
        welcome = {"type": "ConversationText", "role": "assistant", "content": "Hello."}
        await heard(session, wire, welcome, {"type": "AgentAudioDone"})
        session.say("One moment.")
        await heard(session, wire, {**welcome, "content": "One moment."}, {"type": "AgentAudioDone"})
        session.tell("(dialled on the keys: 42)")
        await heard(session, wire)
        session.interrupt("", 0)
        session.say("Goodbye.")
        function = {"id": "1", "name": "transfer", "arguments": '{"to": "sales"}', "client_side": True}
        calls = await heard(session, wire, {"type": "FunctionCallRequest", "functions": [function]})
        assert isinstance(calls[-1], ToolCall)
        session.tool_done("1", "done", answer=True)
        await heard(session, wire)
        assert session.idle is not None
        return [*wire.told(), dict(session.idle[1])]

    flux = {"listen": {"type": "deepgram", "version": "v2", "model": "flux-general-en"}}
    voices = [{"type": "open_ai", "model": "tts-1"}, {"type": "cartesia", "model_id": "sonic-2"}]
    agents = [
        DeepgramAgent({}, AGENT),
        DeepgramAgent({"agent": flux}, {**AGENT, "voice": "aura-2-apollo-en"}),
        *(DeepgramAgent({"agent": {"speak": voice}}, {**AGENT, "voice": "alloy"}) for voice in voices),
    ]
    messages = asyncio.run(main()) + [agent.wanted(REQUEST) for agent in agents]
    assert unlike(AGENT_CLIENT, messages) == []
    assert {one["type"] for one in messages} == {
        "FunctionCallResponse", "InjectAgentMessage", "InjectUserMessage", "KeepAlive", "Settings",
    }  # fmt: skip


OPENAI_SAYS: Mapping[str, type[Any]] = {
    "response.output_audio.delta": AgentAudio,
    "response.output_audio_transcript.delta": AgentText,
    "input_audio_buffer.speech_started": SpeechStarted,
    "input_audio_buffer.speech_stopped": SpeechStopped,
    "conversation.item.input_audio_transcription.completed": CallerText,
    "conversation.item.input_audio_transcription.failed": ServiceProblem,
    "response.created": ResponseStarted,
    "response.done": ResponseDone,
    "error": ServiceProblem,
}
DEEPGRAM_SAYS: Mapping[str, type[Any]] = {
    "AgentThinking": ResponseStarted,
    "AgentStartedSpeaking": ResponseStarted,
    "UserStartedSpeaking": SpeechStarted,
    "FunctionCallRequest": ServiceProblem,  # of a function that the agent does not have
    "InjectionRefused": ServiceProblem,
    "Warning": ServiceProblem,
    "Error": ServiceProblem,
}


def said_by(kind: Any) -> dict[str, Any]:
    """The vendor's types of messages by the name that stands in them."""
    objects = [one for one in members(kind) if isinstance(example(one, whole=False), dict)]
    return {str(example(one, whole=False)["type"]): one for one in objects if "type" in example(one, whole=True)}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("session", "kinds", "says"),
    [
        (OpenAIRealtimeSession, said_by(RealtimeServerEvent), OPENAI_SAYS),
        (DeepgramAgentSession, said_by(AgentResponse), DEEPGRAM_SAYS),
    ],
    ids=["openai", "deepgram"],
)
def test_every_message_of_a_service_is_understood(
    session: type[SocketSession], kinds: Mapping[str, Any], says: Mapping[str, type[Any]], whole: bool
) -> None:
    assert set(says) <= set(kinds), "the vendor has no such message (any more)"
    for name, kind in kinds.items():
        message = example(kind, whole=whole) | ({"delta": "/////w=="} if "audio.delta" in name else {})
        made, wire = session_of(session, RealtimeRequest(8000))
        events = asyncio.run(heard(made, wire, message))
        if name in says:
            assert says[name] in map(type, events), name
    assert set(session.handlers) <= set(kinds), "a message that the vendor does not have"


@pytest.mark.parametrize(
    ("session", "kind"), [(OpenAIRealtimeSession, RealtimeServerEvent), (DeepgramAgentSession, AgentResponse)]
)
def test_messages_may_come_in_any_order(session: type[SocketSession], kind: Any) -> None:
    kinds = said_by(kind)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(sorted(kinds)), st.booleans()), max_size=12))
    def check(names: list[tuple[str, bool]]) -> None:
        made, wire = session_of(session)
        messages = [example(kinds[name], whole=whole) for name, whole in names]
        asyncio.run(heard(made, wire, *messages))

    check()


# ---- one after the other -----------------------------------------------------------------


def test_every_request_to_openais_http_api() -> None:
    async def main() -> list[tuple[str, Any]]:
        answers = {"sales": ("One moment.", "transfer", '{"to": "the moon"}')}
        async with FakeOpenAI(answers).running() as fake:
            access = {"base_url": fake.base_url, "api_key": KEY}
            chats: list[dict[str, Any]] = [
                {"model": "gpt-4o-mini"}, {"model": "gpt-5-mini", "temperature": 0.3, "max_tokens": 300},
                {"model": "llama3.2", "max_tokens": 300},
            ]  # fmt: skip
            for chat in chats:
                model = OpenAIChat({**access, "chat": chat}, AGENT)
                await model.start()
                history = [Message("caller", "hi"), Message("agent", "Yes?")]
                async with model.reply(TurnRequest("sales", history=history, caller={"name": "Ann"})) as parts:
                    assert [part async for part in parts]
                await model.stop()
            hearing = OpenAITranscription({**access, "transcription": {"prompt": "Asterisk"}})
            voice = OpenAISpeech({**access, "speech": {"instructions": "calm"}})
            await asyncio.gather(hearing.start(), voice.start())
            async with hearing.open(rate=16_000, hints=Hints()) as stream:
                stream.feed(tone(400, rate=16_000))
                assert (await stream.finish()).text
            async with voice.open("Hello there.", voice="coral", speed=1.1) as pieces:
                assert [pcm async for pcm in pieces]
            await asyncio.gather(hearing.stop(), voice.stop())
            return fake.requests

    requests = asyncio.run(main())
    kinds = {
        "/v1/chat/completions": CompletionCreateParamsStreaming,
        "/v1/audio/speech": SpeechCreateParams,
        "/v1/audio/transcriptions": TranscriptionCreateParams,
    }
    assert {path for path, _ in requests} == set(kinds)
    wrong = [
        f"{path}: {problem}"
        for path, body in requests
        for problem in problems(kinds[path], {"file": "", **body} if "transcriptions" in path else body)
    ]
    assert wrong == []


@pytest.mark.parametrize("whole", [False, True])
def test_every_answer_of_openais_http_api_is_understood(whole: bool) -> None:
    chunk = example(ChatCompletionChunk, whole=whole)
    answer = example(ChatCompletion, whole=whole)
    for body, part in ((chunk, "delta"), (answer, "message")):
        completion = Completion("x")
        body["choices"][0][part]["content"] = "Hello."
        body["choices"][0][part].pop("function_call", None)  # the older form of tool_calls: never both
        assert completion.feed(json.dumps(body)) == "Hello."
        assert [one.name for one in completion.calls] == (["AAAA"] if whole else [])
        assert completion.ended == bool(body["choices"][0].get("finish_reason"))
    assert "text" in example(Transcription, whole=whole)


def test_every_message_to_deepgrams_recogniser_and_voice() -> None:
    async def main() -> FakeDeepgram:
        async with FakeDeepgram().running() as fake:
            access = {"base_url": fake.base_url, "api_key": KEY}
            hearing = DeepgramSpeechToText({**access, "listen": {"keyterms": ["Asterisk", "PBX"]}})
            voice = DeepgramTextToSpeech(access)
            await asyncio.gather(hearing.start(), voice.start())
            async with hearing.open(rate=8000, hints=Hints()) as stream:
                stream.feed(tone(400, seconds=0.5))
                await stream.finish()
            async with voice.open("Hello there.", speed=1.1) as pieces:
                assert [pcm async for pcm in pieces]
            await asyncio.gather(hearing.stop(), voice.stop())
            return fake

    fake = asyncio.run(main())
    known = {True: set(parameters(Listen.connect)), False: set(parameters(Speak.generate))}
    assert {"channels" in query for query in fake.queries} == {True, False}
    assert [set(query) - known["channels" in query] for query in fake.queries] == [set()] * len(fake.queries)
    told = [{"type": kind} for kind in fake.messages] + [json.loads(KEEP.message)]
    assert {one["type"] for one in told} == {"CloseStream", "Finalize", "KeepAlive"}
    assert unlike(LISTEN_CLIENT, told) == []


@pytest.mark.parametrize("whole", [False, True])
def test_every_message_of_deepgrams_recogniser_is_understood(whole: bool) -> None:
    async def main() -> list[Transcript]:
        wire, found = Wire(), list[Transcript]()
        stream = Utterance(wire, 8000, 1.0, found.append)
        for name in ("SpeechStarted", "UtteranceEnd", "Metadata", "Results"):
            wire.coming.append(json.dumps(example(getattr(listen_types, f"ListenV1{name}"), whole=whole)))
        await stream.receive()
        return found

    (words,) = asyncio.run(main())
    assert (words.text, words.words[0].text) == ("AAAA", "AAAA")
