"""Which kinds of conversation may hold a call of an agent, best first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from asterisk_ai.agents.agent import Agent, RealtimeAgentSetup
from asterisk_ai.call.call import Call
from asterisk_ai.call.conversation import Conversation
from asterisk_ai.call.speech_to_speech.conversation import RealtimeConversation
from asterisk_ai.call.staged.conversation import StagedConversation


def conversations(agent: Agent | RealtimeAgentSetup) -> list[Callable[[Call], Conversation]]:
    """Makers for :class:`~asterisk_ai.call.call.Call`: services of speech to speech, then the stages behind them."""
    if isinstance(agent, Agent):
        return [partial(StagedConversation, agent=agent)]
    spoken: list[Callable[[Call], Conversation]] = [partial(RealtimeConversation, agent=agent)]
    return spoken + (conversations(agent.fallback) if agent.fallback is not None else [])
