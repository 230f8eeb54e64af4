"""The one timer of a call: it rings at the time, or sooner, and never when the call is over."""

from __future__ import annotations

import asyncio
import time

from asterisk_ai.call.alarm import Alarm


def test_it_rings_at_the_earliest_time_that_it_was_set_to() -> None:
    async def work() -> list[str]:
        rung: list[str] = []
        done = asyncio.Event()

        def ring() -> None:
            rung.append("rung")
            done.set()

        alarm = Alarm(time.monotonic, ring)
        alarm.set(time.monotonic() + 1000)
        alarm.set(time.monotonic())
        alarm.set(time.monotonic() + 2000)
        async with asyncio.timeout(20):
            await done.wait()
        alarm.set(time.monotonic())
        alarm.set(None)
        alarm.set(time.monotonic())
        alarm.close()
        await asyncio.sleep(0.01)
        return rung

    assert asyncio.run(work()) == ["rung"]
