"""The trial of engines of speech to speech."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from asterisk_ai.dialog.dialplan import ACTIONS
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    CallerText,
    DialplanAction,
    Message,
    RealtimeRequest,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from asterisk_ai.providers.testing.life import (
    ABORT_SECONDS,
    LAG_SECONDS,
    Check,
    Trial,
    body_error,
    expect,
    left_soon,
    refused,
)

GREETING = "Hello, this is the first sentence. And here is another one, so that there is something to interrupt."
_FRAME_SECONDS = 0.02


class RealtimeTrial(Trial):
    """Holds conversations: the caller's side is fed in real time, silence where there is nothing to say."""

    def __init__(self, speech: bytes, rate: int) -> None:
        super().__init__(rate)
        self.speech = speech

    def checks(self) -> dict[str, Check]:
        found: dict[str, Check] = {
            "sample_rates": self.rates,
            "a greeting": self.use,
            "going on with an earlier conversation": self.history,
            "saying and telling": self.commands,
            "interrupting": self.interrupting,
            "feeding": self.feeding,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three conversations at once": self.together,
            "a rate that is not offered": self.wrong_rate,
            "stopping with a session open": self.stopping,
        }
        return found | {"answering the caller": self.answering} if self.speech else found

    def request(self, greeting: str = GREETING, **more: Any) -> RealtimeRequest:
        return RealtimeRequest(self.rate, greeting, **more)

    @asynccontextmanager
    async def session(self, engine: Any, request: RealtimeRequest) -> AsyncIterator[_Talk]:
        async with engine.open(request) as session, aclosing(session.events()) as events:
            talk = _Talk(session, events, self.rate)
            feeding = asyncio.create_task(talk.feed())
            try:
                yield talk
            finally:
                feeding.cancel()

    async def use(self, engine: Any) -> None:
        async with self.session(engine, self.request()) as talk:
            await talk.until(ResponseDone)
        talk.judge_answer("the greeting")

    async def history(self, engine: Any) -> None:
        turns = [Message("agent", "Hello."), Message("caller", "what time is it"), Message("agent", "Nine.")]
        request = self.request(history=turns, memory={"of": "another"}, caller={"number": "200", "name": "Ann"})
        async with self.session(engine, request) as talk:
            await talk.until(ResponseDone)
        talk.judge_answer("the greeting after an earlier conversation")

    async def answering(self, engine: Any) -> None:
        async with self.session(engine, self.request("")) as talk:
            talk.speech = self.speech
            await talk.until(ResponseDone)
        kinds = [type(event) for event in talk.seen]
        for kind in (SpeechStarted, SpeechStopped):
            expect(kind in kinds, f"the caller spoke, and no {kind.__name__} came")
        expect(kinds.index(SpeechStarted) < kinds.index(SpeechStopped) < kinds.index(AgentAudio), "events out of order")
        talk.judge_answer("the caller")

    async def commands(self, engine: Any) -> None:
        """Asked for while an answer is being made, they come after it."""
        async with self.session(engine, self.request()) as talk:
            talk.session.say("Goodbye.")
            talk.session.tell("(dialled on the keys: 42)")
            for _ in range(3):
                await talk.until(ResponseDone)
                talk.judge_answer("what was asked for")
                talk.seen.clear()

    async def interrupting(self, engine: Any) -> None:
        async with self.session(engine, self.request()) as talk:
            first = await talk.until(AgentAudio)
            began = time.monotonic()
            talk.session.interrupt(first.item, 10)
            expect(time.monotonic() - began < LAG_SECONDS, "interrupt() must return at once")
            if ResponseDone not in [type(event) for event in talk.seen]:
                await talk.until(ResponseDone)
            talk.seen.clear()
            talk.session.interrupt("", 0)  # nothing is being said: nothing happens
            talk.session.say("Something else.")
            await talk.until(ResponseDone)
        late = [event for event in talk.seen if isinstance(event, AgentAudio) and event.item == first.item]
        expect(not late, "audio of what was interrupted came all the same")
        talk.judge_answer("what was said after the interruption")

    async def feeding(self, engine: Any) -> None:
        """Also when the session was left."""
        async with engine.open(self.request("")) as session:
            await self.feed_much(session)
        session.feed(bytes(320))  # one more frame was on its way
        session.interrupt("", 0)
        session.say("Hello.")
        session.tool_done("no such call", "done", answer=False)

    async def leaving(self, engine: Any) -> None:
        await left_soon(engine.open(self.request()))
        await body_error(engine.open(self.request()))
        async with self.session(engine, self.request()) as talk:
            await talk.until(AgentAudio)
        await self.use(engine)

    async def wrong_rate(self, engine: Any) -> None:
        await refused(engine.open(RealtimeRequest(12_345)))

    async def stopping(self, engine: Any) -> None:
        async with engine.open(self.request()) as session:

            async def listen() -> None:
                async for _ in session.events():
                    pass

            waiting = asyncio.ensure_future(listen())
            await asyncio.sleep(0.01)
            await engine.stop()
            try:
                await asyncio.wait_for(waiting, 5 * ABORT_SECONDS)
            except ProviderUnavailable:
                pass
            except TimeoutError:
                raise AssertionError("stop() leaves who waits for events waiting") from None
            else:
                raise AssertionError("events() must end by raising ProviderUnavailable")
        await engine.start()
        await self.use(engine)


class _Talk:
    """One conversation, and what was seen of it."""

    def __init__(self, session: Any, events: AsyncIterator[Any], rate: int) -> None:
        self.session, self._events, self._rate = session, events, rate
        self.speech = b""
        self.seen: list[Any] = []

    async def feed(self) -> None:
        size = round(self._rate * _FRAME_SECONDS) * 2
        due = time.monotonic()
        while True:
            frame, self.speech = self.speech[:size], self.speech[size:]
            self.session.feed(frame.ljust(size, b"\0"))
            due += _FRAME_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def until(self, kind: type[Any]) -> Any:
        async for event in self._events:
            judge(event)
            self.seen.append(event)
            if isinstance(event, kind):
                return event
        raise AssertionError("events() ends only by raising")

    def judge_answer(self, to: str) -> None:
        problems = [event.problem for event in self.seen if isinstance(event, ResponseDone) and event.problem]
        expect(not problems, f"{to}: {problems}")
        audio = [event for event in self.seen if isinstance(event, AgentAudio)]
        seconds = sum(len(event.pcm) for event in audio) / 2 / self._rate
        expect(seconds > 0.1, f"{to} was answered with {seconds:.2f} s of audio")
        items = {event.item for event in audio}
        said = {event.item for event in self.seen if isinstance(event, AgentText)}
        expect(items & said, f"{to} was answered without words for its audio: {items} and {said}")


_TEXTS: dict[type[Any], Callable[[Any], str]] = {
    AgentText: lambda event: event.text,
    CallerText: lambda event: event.text,
    ServiceProblem: lambda event: event.text,
    ResponseDone: lambda event: event.problem,
    SpeechStarted: lambda event: event.item,
    SpeechStopped: lambda event: event.item,
    ResponseStarted: lambda event: "",
}


def judge(event: object) -> None:
    match event:
        case AgentAudio():
            expect(type(event.pcm) is bytes and event.pcm, "audio must be bytes, and some")
            expect(len(event.pcm) % 2 == 0, "a piece holds half a sample")
            expect(event.item, "audio must name its item")
        case ToolCall():
            expect(event.call, "a tool call must have a name to be answered by")
            known = not isinstance(event.part, DialplanAction) or event.part.kind in ACTIONS
            expect(known, f"there is no action {event.part!r}")
        case _:
            text = _TEXTS.get(type(event))
            expect(text is not None, f"there is no such event: {event!r}")
            expect(text is not None and isinstance(text(event), str), f"wrong types in {event!r}")
