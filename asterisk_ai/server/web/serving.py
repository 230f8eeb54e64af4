"""Serving the page: whether it may be where it is asked to be, and its HTTP server."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn

from asterisk_ai.config import Config
from asterisk_ai.config.private import made_control_token
from asterisk_ai.errors import ConfigError
from asterisk_ai.server.web.app import application
from asterisk_ai.server.web.site import Site, loopback

logger = logging.getLogger(__name__)

Told = Callable[[str, int, str], None]
"""Given the address, the port, and the key of the link; empty where there are passwords."""


def check_open(site: Site) -> None:
    """Off loopback everybody may come: there has to be something that keeps strangers off.

    :raises ConfigError: there is nothing.
    """
    web = site.config.web
    if not loopback(web.host) and not web.proxy_header and not site.users.all():
        raise ConfigError(
            f"{web.host} can be reached by others, and nobody has a password: set one with "
            "`asterisk-ai web --set-password NAME --role admin`, or name the proxy's header in web.proxy_header",
            path="web.host",
        )


def serve(config: Config, file: str | None, told: Told) -> int:
    """Until SIGTERM or Ctrl-C. Raises ConfigError, StoreError, OSError."""
    site = Site(config, file)
    check_open(site)
    web = config.web
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    try:
        listener = socket.create_server((web.host, web.port), family=family, backlog=128)
    except OSError as error:
        hint = "is another one running? web.port chooses another port"
        raise OSError(error.errno, f"cannot listen on {web.host}:{web.port}: {error.strerror} ({hint})") from error
    try:
        made_control_token(config)
    except OSError as error:
        logger.warning("live calls are not shown: %s cannot be written: %s", config.store_path().parent, error.strerror)
    with listener:
        by_key = not site.users.all() and not web.proxy_header
        told(web.host, listener.getsockname()[1], site.key if by_key else "")
        # Peers' addresses are trusted as our own settings say, not by the server's.
        server = uvicorn.Server(uvicorn.Config(
            application(site), access_log=False, proxy_headers=False, server_header=False, log_level="warning",
            timeout_graceful_shutdown=2, limit_concurrency=500,
        ))  # fmt: skip
        server.run(sockets=[listener])
    return 0
