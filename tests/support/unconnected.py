"""Calls without a line, for what only has to be made."""

from __future__ import annotations

import asyncio
from typing import Any

from asterisk_ai.call import diagnostic
from asterisk_ai.protocol.audiosocket import Reader
from asterisk_ai.server.calls import AnyCall
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection


class _NoSocket:
    def fileno(self) -> int:
        return -1

    def setsockopt(self, *_: object) -> None: ...


class _NoTransport(asyncio.Transport):
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _NoSocket()

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: object) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


def unconnected_call(server: Server, session: CallSession) -> AnyCall:
    """A call of ``server`` that nobody is at the other end of."""

    def connect(kind: Any) -> Any:
        return kind(server.transports.audiosocket, _NoTransport(), Reader(), "")

    agent = server.calls._agent(session)
    if isinstance(agent, str):
        return diagnostic.AGENTS[agent](session, connect)
    return server.calls._call(session, agent, connect(AudioSocketConnection))
