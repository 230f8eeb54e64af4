"""What the process's environment says about the way to the internet."""

from __future__ import annotations

import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Proxies:
    """``by_scheme`` maps http and https to the proxy's URL; ``no`` lists hosts that are reached without one."""

    by_scheme: Mapping[str, str] = field(default_factory=dict)
    no: str = ""

    def for_url(self, url: str) -> str:
        """The proxy's URL, empty where there is none to be used."""
        parts = urllib.parse.urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme) or self.by_scheme.get("all", "")
        host = parts.netloc.rpartition("@")[2]
        if not proxy or urllib.request.proxy_bypass_environment(host, {"no": self.no}):  # type: ignore[attr-defined]
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"


def proxies() -> Proxies:
    """Read http_proxy, https_proxy, all_proxy and no_proxy, in small letters or in capitals."""
    found = urllib.request.getproxies_environment()
    return Proxies({scheme: url for scheme, url in found.items() if scheme != "no"}, found.get("no", ""))


_WILDCARDS = ("", "0.0.0.0", "::")


def reachable(host: str) -> str:
    """The address at which a program on this machine reaches a listener on ``host``.

    Every wildcard takes IPv4: on ``::`` we listen for both (:mod:`asterisk_ai.transport.listener`).
    """
    return "127.0.0.1" if host in _WILDCARDS else host


def host_port(host: str, port: int) -> str:
    """``host:port`` as the dialplan and URLs write it: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
