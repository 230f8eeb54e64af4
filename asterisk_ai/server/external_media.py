"""ExternalMedia put together: the Stasis application, and the RTP of its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asterisk_ai.config import AriConfig
from asterisk_ai.errors import ConfigError
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import Line, MediaHandler
from asterisk_ai.transport.rtp.formats import FORMATS
from asterisk_ai.transport.rtp.ports import RtpPorts

if TYPE_CHECKING:
    from asterisk_ai.pbx.ari.application import AriApplication


def external_media(
    config: AriConfig, clock: PlayoutClock, accept: Callable[[str, Line], MediaHandler]
) -> AriApplication:
    """The application, not running yet.

    :raises ConfigError: the libraries that speak to ARI are not installed.
    """
    try:
        from asterisk_ai.pbx.ari.application import AriApplication
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'asterisk-ai[ari]'", path="ari") from error
    sound_format = FORMATS[config.format]
    try:
        sound_format.coder()
    except ModuleNotFoundError as error:
        raise ConfigError("g722 is missing: pip install 'asterisk-ai[ari]'", path="ari.format") from error
    ports = RtpPorts(
        sound_format,
        clock,
        accept,
        host=config.host,
        first=config.rtp_first_port,
        last=config.rtp_last_port,
        advertise=config.advertise,
    )
    return AriApplication(
        url=config.url,
        user=config.user,
        password=config.password,
        app=config.app,
        sound_format=config.format,
        ports=ports,
    )
