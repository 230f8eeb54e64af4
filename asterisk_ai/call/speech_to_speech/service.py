"""The services in line for one call: one of them has it at a time, and gets the caller's audio."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol

from asterisk_ai.agents.agent import RealtimeAgentSetup
from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.audio.window import Window
from asterisk_ai.call.call import Call
from asterisk_ai.errors import ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import Message, RealtimeAgent, RealtimeEvent, RealtimeRequest, RealtimeSession, Usage
from asterisk_ai.providers.chain.chain import Attempt
from asterisk_ai.providers.ledger import Ledger

logger = logging.getLogger(__name__)

KEPT_SECONDS = 3.0
"""What the caller says while no service has the call yet; the oldest is dropped beyond."""
SERVED_SECONDS = 60.0
"""An engine that had the call for so long is worth another try: services end sessions after their time."""
FILL_SECONDS = 0.2
"""Without a frame for so long the service gets silence: longer than frames are late on a bad line."""


class ServiceListener(Protocol):
    """Whom the services tell; called within the call's edge."""

    def opened(self, rate: int, *, speaks: bool) -> None:
        """A service has the call, and its audio is at ``rate``. ``speaks``: it was told to say something first."""

    def happened(self, event: RealtimeEvent) -> None: ...

    def lost(self) -> None:
        """The service has the call no more; the next one is tried."""


class Services:
    """Has them serve the call one after the other, for as long as each of them works."""

    def __init__(self, call: Call, agent: RealtimeAgentSetup, listener: ServiceListener) -> None:
        self._call = call
        self._agent = agent
        self._listener: ServiceListener | None = listener
        self._attempt: Attempt[RealtimeAgent] | None = None
        self._patience: asyncio.Timeout | None = None
        self._input: Resampler | None = None  # to the service's rate; None while none has the call
        self._kept = Window(KEPT_SECONDS, call.rate)
        self._fed_until = 0.0  # the time up to which the service has audio
        self.session: RealtimeSession | None = None
        """Of the service that has the call."""

    # ---- life -------------------------------------------------------------------

    async def run(self) -> None:
        """Returns when all have failed, or when cancelled: a task that was would keep the call by its traceback."""
        try:
            await self._serve()
        except asyncio.CancelledError:
            logger.debug("hung up")

    async def _serve(self) -> None:
        again = True
        while again:
            again = False
            try:
                for attempt in self._agent.chain.attempts():
                    self._attempt = attempt
                    began = self._call.clock()
                    await self._serve_by(attempt)
                    again = again or self._call.clock() - began >= SERVED_SECONDS
            except ProviderError as error:
                logger.warning("no service has the call: %s", error)

    async def _serve_by(self, attempt: Attempt[RealtimeAgent]) -> None:
        """One engine has the call, until it fails; ``attempt.failure`` says how."""
        stack = AsyncExitStack()
        chain, began = self._agent.chain, 0.0
        try:
            async with attempt.limit() as patience:
                engine = attempt.member.engine
                rates = list(engine.sample_rates)
                request = self._request(self._call.rate if self._call.rate in rates else rates[0])
                request = replace(request, spent=partial(chain.spend, attempt))
                session = await stack.enter_async_context(engine.open(request))
                began = self._call.clock()
                self._call.guard(self._opened, session, request, patience)
                events = await stack.enter_async_context(aclosing(session.events()))
                async for event in events:
                    self._call.guard(self._happened, event)
                    if attempt.failure is not None:
                        break
        finally:
            self.session = self._patience = self._input = None
            if began:
                chain.spend(attempt, Usage(seconds=round(self._call.clock() - began, 3)))
            if not self._call.closed.is_set() and self._listener is not None:
                self._call.guard(self._listener.lost)
            await attempt.close(stack)

    def _request(self, rate: int) -> RealtimeRequest:
        session, turn = self._call.session, self._agent.config.turn
        turns = [Message(record.role, record.text) for record in session.history if record.text]
        greeting = self._agent.config.first_words
        if session.service_failed and any(message.role == "agent" for message in turns):
            greeting = turn.trouble_prompt
        elif told := self._agent.config.back_from(session.came_back):
            greeting = told
        elif session.connects > 1:
            greeting = turn.resume_prompt if session.cut and not session.was_played_to else ""
        save = partial(self._call.store.save, session)  # nothing of this call: an engine's session may outlive it
        ledger = Ledger(session.done, save)
        return RealtimeRequest(rate, greeting, turns, dict(session.memory), session.caller, session.actions, ledger)

    def _opened(self, session: RealtimeSession, request: RealtimeRequest, patience: asyncio.Timeout) -> None:
        self.session, self._patience = session, patience
        self._call.session.came_back = {}
        self._input = Resampler(self._call.rate, request.rate)
        self._fed_until = max(self._fed_until, self._call.clock() - FILL_SECONDS)
        patience.reschedule(None)  # from here on the dialog core says how long to wait
        for pcm in self._kept.take():
            session.feed(self._input.push(pcm))
        logger.info("%s has the call", self.name or "a service")
        if self._listener is not None:
            self._listener.opened(request.rate, speaks=bool(request.greeting))

    def _happened(self, event: RealtimeEvent) -> None:
        if self._listener is not None:
            self._listener.happened(event)

    def release(self) -> None:
        """The call is over: nobody is told of anything any more."""
        self._listener = self._attempt = None

    # ---- the one that has the call ------------------------------------------------

    @property
    def name(self) -> str:
        """Of the engine that is tried or has the call; empty where there is none."""
        return self._attempt.member.name if self._attempt is not None else ""

    def served(self) -> None:
        """It has done something for the caller."""
        if self._attempt is not None:
            self._attempt.served = True

    def fail(self, problem: str) -> None:
        """It has failed; somebody else is to answer."""
        if self._attempt is not None:
            self._attempt.failure = ProviderUnavailable(self.name, problem)

    def give_up(self) -> None:
        """It keeps the caller waiting."""
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    # ---- the caller's audio ---------------------------------------------------------

    def feed(self, pcm: bytes, now: float) -> None:
        """A frame for the service; kept for the next one where none has the call."""
        self._fed_until = now
        if self.session is not None and self._input is not None:
            self.session.feed(self._input.push(pcm))
        else:
            self._kept.push(pcm)

    async def fill(self) -> None:
        """Lines may carry nothing while the caller is silent; services go by the audio, and would wait for ever."""
        while True:
            await asyncio.sleep(FILL_SECONDS)
            now = self._call.clock()
            missing = now - self._fed_until
            if self.session is not None and missing >= FILL_SECONDS:
                self.feed(bytes(SAMPLE_BYTES * round(min(missing, 1.0) * self._call.rate)), now)
