"""Who may connect, and how often: by address, before a byte was read."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence

from asterisk_ai.errors import Refusal

BURST_SECONDS = 10.0
"""A source that was quiet may connect at once as often as in so many seconds: a PBX with all its calls."""
MAX_SOURCES = 4096
"""So many sources are remembered; the one that was heard of least lately is forgotten, as if it had been quiet."""


class Door:
    """Of one listener.

    :param allow: addresses and networks (``192.0.2.0/24``); empty: everybody.
    :param per_second: connections that one address may begin a second, in the long run.
    :raises ValueError: one of ``allow`` is neither.
    """

    def __init__(self, allow: Sequence[str] = (), per_second: float = 200.0) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in allow]
        self._rate = per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # of each source: how many more, and when

    def refuses(self, source: str, now: float) -> Refusal | None:
        """Why a new connection of this address is not taken at ``now``; None where it is."""
        if self._networks and not self._allows(source):
            return Refusal.SOURCE
        most = self._rate * BURST_SECONDS
        left, at = self._left.pop(source, (most, now))
        left = min(most, left + (now - at) * self._rate)
        self._left[source] = max(0.0, left - 1.0), now
        if len(self._left) > MAX_SOURCES:
            self._left.popitem(last=False)
        return Refusal.RATE if left < 1.0 else None

    def _allows(self, source: str) -> bool:
        try:
            address = ipaddress.ip_address(source.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks if network.version == address.version)
