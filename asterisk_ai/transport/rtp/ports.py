"""UDP ports for calls, out of the range that the firewall knows."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from collections.abc import Callable

from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.rtp.connection import RtpConnection, RtpCounters
from asterisk_ai.transport.rtp.formats import Format


class RtpPorts:
    """Opens a connection for each call, on an even port (RFC 3550, section 11) between ``first`` and ``last``.

    :param advertise: the host that Asterisk is told; empty for ``host``.
    :param accept: takes a call id and its connection, and raises CallRefused to refuse it.
    """

    def __init__(
        self,
        sound_format: Format,
        clock: PlayoutClock,
        accept: Callable[[str, RtpConnection], MediaHandler],
        *,
        host: str,
        first: int,
        last: int,
        advertise: str = "",
    ) -> None:
        self._host, self._format, self._clock, self._accept = host, sound_format, clock, accept
        self._advertise = advertise or host
        self._ports = range(first + first % 2, last + 1, 2)
        self._next = 0
        self.counters = RtpCounters()

    async def open(self) -> RtpConnection:
        """A connection on the next free port.

        Ports are taken in turn, so that a packet of an ended call seldom meets a new one.

        :raises OSError: none is free, or the address is not ours.
        """
        for _ in self._ports:
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                sock.bind((self._host, port))
            except OSError as error:
                sock.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            # We send on the socket itself, past the transport: half the cost, and no queue behind a peer that is slow.
            make = functools.partial(self._make, sock, f"{self._advertise}:{port}")
            _, connection = await asyncio.get_running_loop().create_datagram_endpoint(make, sock=sock)
            return connection
        raise OSError(
            errno.EADDRINUSE, f"all RTP ports of ari.rtp_ports are in use ({self._ports[0]}-{self._ports[-1]})"
        )

    def _make(self, sock: socket.socket, address: str) -> RtpConnection:
        return RtpConnection(sock, address, self._format, self._clock, counters=self.counters, accept=self._accept)
