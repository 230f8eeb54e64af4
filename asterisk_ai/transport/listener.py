"""Listening so that a burst of callers is let in at once, however busy the loop is."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

BACKLOG = 1024
"""Connections that wait to be accepted; what is more is dropped, and its caller tries again after a second."""
AT_ONCE = 16
"""Connections that are accepted in one turn of the loop.

uvloop (libuv from 1.45 on) accepts one a turn and listener. While the audio of a thousand calls takes 60 ms a turn that
is 16 new callers a second, and the others wait in silence.
"""


async def listen(
    serve: Callable[..., Awaitable[asyncio.Server]],
    host: str,
    port: int,
    *,
    shared: bool = False,
    inherited: socket.socket | None = None,
) -> list[asyncio.Server]:
    """Have ``serve`` listen there, :data:`AT_ONCE` times on the same socket; on ``::`` for IPv4, too.

    :param serve: takes ``host`` and ``port``, or ``sock``, and ``backlog``, as ``loop.create_server`` does.
    :param shared: other processes may listen there as well.
    :param inherited: a socket that listens there already, given by the process before this one.
    :raises OSError: where the address cannot be bound.
    """
    if inherited is not None:
        first = await serve(sock=inherited, backlog=BACKLOG)
    elif host == "::":  # which asyncio takes for IPv6 alone, and Asterisk's callers come from 127.0.0.1
        first = await serve(sock=both_families(port, shared=shared), backlog=BACKLOG)
    else:
        first = await serve(host=host, port=port, backlog=BACKLOG, reuse_port=shared or None)
    return [first] + [
        await serve(sock=socket.socket(fileno=os.dup(bound.fileno())), backlog=BACKLOG)
        for bound in first.sockets
        for _ in range(AT_ONCE - 1)
    ]


def both_families(port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens for IPv6 and IPv4. Raises OSError."""
    dualstack = socket.has_dualstack_ipv6()
    return socket.create_server(
        ("::", port), family=socket.AF_INET6, backlog=BACKLOG, reuse_port=shared, dualstack_ipv6=dualstack
    )


def descriptor(servers: list[asyncio.Server]) -> int:
    """A descriptor of the socket that :func:`listen` has bound, for another process. The caller closes it."""
    return os.dup(servers[0].sockets[0].fileno())


def bound_port(servers: list[asyncio.Server]) -> int:
    """The port that :func:`listen` has bound."""
    return int(servers[0].sockets[0].getsockname()[1])
