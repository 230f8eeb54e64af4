"""The simulated caller, where what it talks to is not as it should be."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from asterisk_ai.simulator.asterisk import Caller


class BrokenOff:
    """A connection that is gone before its reader has heard of it, as uvloop has it: writing raises."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        raise RuntimeError("the handler is closed")


def test_a_connection_that_broke_off_ends_the_call_and_is_no_fault_of_the_caller() -> None:
    caller = Caller([])
    asyncio.run(caller._speak(cast(Any, BrokenOff())))
    assert not caller.hung_up
