"""What is asked as a whole, of one engine after the other."""

from __future__ import annotations

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    RealtimeAgent,
    TurnEnd,
)
from asterisk_ai.providers.chain.chain import Chain


class TurnEndChain(Chain[TurnEnd]):
    """What tells the end of a turn by its sound, in line. Satisfies :class:`~asterisk_ai.providers.api.TurnEnd`."""

    stage = "turn"

    async def likelihood(self, pcm: bytes, rate: int) -> float:
        """That of the first engine that tells.

        :raises ProviderUnavailable, ProviderRejected: all have failed.
        """
        for attempt in self.attempts():
            async with attempt.limit():
                found = await attempt.member.engine.likelihood(pcm, rate)
                attempt.served = True
            if attempt.failure is None:
                return found
        raise ProviderUnavailable(self.stage, "no engine is left")


class RealtimeChain(Chain[RealtimeAgent]):
    """Engines of speech to speech in line. Whoever has the call goes along :meth:`~.Chain.attempts` itself.

    What was said is with the call, and the engines hold no part of it that another could take over.
    """

    stage = "realtime"
