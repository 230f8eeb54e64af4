"""Which kinds of conversation may hold a call of an agent, best first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from asterisk_ai.agents.agent import Agent, RealtimeAgentSetup
from asterisk_ai.call.call import Call
from asterisk_ai.call.conversation import Conversation
from asterisk_ai.call.speech_to_speech.conversation import RealtimeConversation
from asterisk_ai.call.staged.answering import ANSWERED_BY, Answering, MessageForMachine
from asterisk_ai.call.staged.conversation import StagedConversation
from asterisk_ai.dialog.answered import Who
from asterisk_ai.session.model import CallSession

Maker = Callable[[Call], Conversation]


def conversations(agent: Agent | RealtimeAgentSetup, session: CallSession) -> list[Maker]:
    """Makers for :class:`~asterisk_ai.call.call.Call`: services of speech to speech, then the stages behind them.

    Before them, where we called and a machine is not to be talked with, it is found out who has answered.
    """
    kinds = _kinds(agent)
    stages = agent.fallback if isinstance(agent, RealtimeAgentSetup) else agent
    caller = session.caller
    policy, certain = caller.get("machine"), caller.get("amd") == "human" or ANSWERED_BY in caller
    if stages is None or policy not in ("hangup", "message") or certain or session.resumed:
        return kinds
    message = policy == "message" and bool(stages.config.machine_message)
    return [partial(Answering, agent=stages, message=message), partial(_then, agent=stages, kind=kinds[0]), *kinds[1:]]


def _then(call: Call, agent: Agent, kind: Maker) -> Conversation:
    """When it is known who answered."""
    return MessageForMachine(call, agent) if call.session.caller.get(ANSWERED_BY) == Who.MACHINE else kind(call)


def _kinds(agent: Agent | RealtimeAgentSetup) -> list[Maker]:
    if isinstance(agent, Agent):
        return [partial(StagedConversation, agent=agent)]
    spoken: list[Maker] = [partial(RealtimeConversation, agent=agent)]
    return spoken + (_kinds(agent.fallback) if agent.fallback is not None else [])
