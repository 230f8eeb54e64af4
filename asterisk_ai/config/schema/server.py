"""The listeners, the limits, and where the server keeps and tells things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from asterisk_ai.config.schema.types import AnyPort, Count, Network, Port, Range, Seconds

WORKER_PORTS_EACH = 3
"""AudioSocket, FastAGI and HTTP."""


@dataclass(frozen=True, slots=True)
class AudioSocketConfig:
    """Where Asterisk sends the caller's audio: ``AudioSocket(${AI_CALL_ID},${AI_AUDIOSOCKET})``."""

    host: str = "127.0.0.1"
    """The address to listen on. AudioSocket has no password: mind the firewall where it is not loopback."""
    port: AnyPort = 9092
    """The port; 0 takes any free one."""
    advertise: str = ""
    """``host:port`` as Asterisk reaches us, where that is not ``host`` and ``port``."""
    require_registration: bool = True
    """Refuse UUIDs that ``call/start`` has not given out; false lets a bare ``AudioSocket()`` in."""
    handshake_seconds: Seconds = 5.0
    """A connection that has not told its UUID by then is closed."""
    idle_seconds: Seconds = 10.0
    """Asterisk's host has not answered TCP for so long: it is gone. That no audio comes says nothing."""
    max_connections: Count = 200
    """So many connections may be without a UUID; for one more the oldest is closed. Calls have a limit of their own."""
    allow: tuple[Network, ...] = ()
    """Addresses and networks that may connect, as in ``[192.0.2.10, 10.0.0.0/8]``; empty for all."""
    per_second: Count = 200
    """So many connections a second may one address begin in the long run, and ten times as many at once."""


@dataclass(frozen=True, slots=True)
class FastAGIConfig:
    """Where ``AGI(agi://...)`` goes. FreePBX has a FastAGI server of its own on 4573."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: AnyPort = 4574
    """The port; 0 takes any free one."""
    header_seconds: Seconds = 5.0
    """A connection that has not sent its whole request by then is closed."""
    max_connections: Count = 200
    """So many requests are served at a time (more get ``AI_STATUS=FULL``), and so many connections may be without one;
    for one more of these the oldest is closed."""
    allow: tuple[Network, ...] = ()
    """Addresses and networks that may connect, as in ``[192.0.2.10, 10.0.0.0/8]``; empty for all."""
    per_second: Count = 200
    """So many connections a second may one address begin in the long run, and ten times as many at once."""


@dataclass(frozen=True, slots=True)
class AriConfig:
    """Audio as RTP by Asterisk's REST interface: ``Stasis(asterisk-ai,${AI_CALL_ID})``. Not there: no such audio."""

    url: str = "http://127.0.0.1:8088/ari"
    """Where the interface is; ``enabled=yes`` in http.conf and ari.conf."""
    user: str = "asterisk-ai"
    """The user of ari.conf."""
    password: str = field(default="", repr=False)
    """The user's password, best as ``${NAME}`` from the environment."""
    app: str = "asterisk-ai"
    """The name that ``Stasis()`` is called with; one for each server on this Asterisk."""
    format: Literal["slin", "g722", "ulaw", "alaw"] = "slin"
    """How the audio is coded. ``g722`` is wideband, where the telephone is. (Asterisk sends linear audio of 16 kHz over
    RTP, too, but does not take it.)"""
    host: str = "127.0.0.1"
    """The address that takes RTP."""
    advertise: str = ""
    """The same as Asterisk reaches it, where that is another; without a port."""
    rtp_first_port: Port = 18_000
    """The first of the ports for RTP; each call takes an even one."""
    rtp_last_port: Port = 18_999
    """The last of them."""

    def __post_init__(self) -> None:
        """:raises ValueError: no port lies between the two."""
        if self.rtp_last_port < self.rtp_first_port + self.rtp_first_port % 2:
            raise ValueError("rtp_last_port leaves no even port for RTP")


@dataclass(frozen=True, slots=True)
class WebSocketConfig:
    """Audio by Asterisk's chan_websocket: ``Dial(WebSocket/...)``. Not there: no such audio. ``{}`` is enough."""

    host: str = "127.0.0.1"
    """The address to listen on. It has no password: mind the firewall where it is not loopback."""
    port: AnyPort = 9095
    """The port; 0 takes any free one. The ``uri`` of websocket_client.conf is ``ws://HOST:PORT/media``. Not with
    several workers: there we connect to Asterisk."""
    asterisk: str = "ws://127.0.0.1:8088/media"
    """Where we connect to Asterisk, for ``Dial(WebSocket/INCOMING/...)``; ``enabled=yes`` in http.conf."""
    handshake_seconds: Seconds = 5.0
    """A connection that has not told its call and its audio's format by then is closed."""
    idle_seconds: Seconds = 10.0
    """Asterisk's host has not answered TCP for so long: it is gone. That no audio comes says nothing."""
    max_connections: Count = 200
    """So many connections may be without a call; for one more the oldest is closed. Calls have a limit of their own."""
    allow: tuple[Network, ...] = ()
    """Addresses and networks that may connect, as in ``[192.0.2.10, 10.0.0.0/8]``; empty for all."""
    per_second: Count = 200
    """So many connections a second may one address begin in the long run, and ten times as many at once."""

    def __post_init__(self) -> None:
        """:raises ValueError: the address of Asterisk is none that we can connect to."""
        if not self.asterisk.startswith("ws://"):
            raise ValueError("asterisk is an address that begins with ws://")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """``/health``, ``/live``, ``/ready``, ``/metrics`` and live calls. ``http: false`` switches it off."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: AnyPort = 9093
    """The port; 0 takes any free one."""
    allow: tuple[Network, ...] = ()
    """Addresses and networks that may connect, as in ``[192.0.2.10, 10.0.0.0/8]``; empty for all."""
    token: str = field(default="", repr=False)
    """What a program has to know to see and end live calls, and from another machine for ``/health`` and ``/metrics``;
    best as ``${NAME}``. Empty for what stands in the file
    ``control.token`` beside the store, which ``asterisk-ai web`` makes."""


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The page in the browser, ``asterisk-ai web``: a process of its own."""

    host: str = "127.0.0.1"
    """The address to listen on. Where it is not loopback, a user (``asterisk-ai web --set-password NAME``) or
    ``proxy_header`` is needed."""
    port: AnyPort = 9094
    """The port; 0 takes any free one."""
    hosts: tuple[str, ...] = ()
    """Names by which browsers reach it, where that is not ``localhost`` or ``host``: ``[pbx.example.com]``."""
    session_hours: Annotated[float, Range(0.1, 744)] = 12.0
    """Who does nothing for so long has to log in again."""
    proxy_header: str = ""
    """The header in which a proxy in front of it tells who has logged in there, such as ``X-Forwarded-User``."""
    proxy_addresses: tuple[str, ...] = ("127.0.0.1", "::1")
    """The addresses of proxies that are trusted with that."""
    proxy_role: Literal["viewer", "operator", "admin"] = "viewer"
    """What they are who log in there and are not among the users here."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Limits of each worker process, and how many there are."""

    max_calls: Count = 100
    """More calls than this get ``AI_STATUS=FULL``, and the dialplan's fallback."""
    drain_seconds: Annotated[float, Range(0, 86_400)] = 30.0
    """When the server is stopped, calls in progress may go on for so long."""
    handover_seconds: Annotated[float, Range(0, 86_400)] = 7200.0
    """When another process takes over (``asterisk-ai upgrade``), the calls of this one may go on for so long."""
    max_call_seconds: Annotated[float, Range(1, 604_800)] = 3600.0
    """A call that lasts longer is ended."""
    workers: Annotated[int, Range(1, 64)] = 1
    """Processes that carry calls, one a core; every limit is each worker's own."""
    max_lateness_ms: Annotated[float, Range(0, 1000)] = 20.0
    """No new calls (``FULL``) while one of a hundred audio frames leaves later than that; 0 for no such limit."""
    worker_ports: Annotated[int, Range(1, 65535 - WORKER_PORTS_EACH * 64)] = 9100
    """With several workers: the first of three ports a worker (AudioSocket, FastAGI, and HTTP on loopback)."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """The calls, and what was said in them. They survive the server: a caller goes on where it was."""

    backend: Literal["sqlite", "memory"] = "sqlite"
    """``memory`` leaves nothing behind when the server ends."""
    path: str = ""
    """The SQLite file; empty for ``sessions.db`` in ``/var/lib/asterisk-ai``, or in the user's state directory."""
    keep_days: Annotated[int, Range(0, 36_500)] = 30
    """Records of ended calls are deleted after so many days."""
    shared: str = field(default="", repr=False)
    """``redis://HOST:6379/0``, a Redis or Valkey that several hosts share: a call whose host is lost goes on at another
    one. Empty: this host alone."""


@dataclass(frozen=True, slots=True)
class VadConfig:
    """What tells a caller's speech from noise, music and coughs."""

    engine: Literal["silero", "energy"] = "silero"
    """``silero`` is a small model behind a gate that silence does not pass; ``energy`` goes by the level alone."""
    threshold: Annotated[float, Range(0.1, 0.99)] = 0.7
    """The model's probability of speech from which speech begins."""


@dataclass(frozen=True, slots=True)
class PlaybackConfig:
    """Replies that Asterisk plays as files (EAGI, and ``downstream_mode``)."""

    spool: str = ""
    """The folder of those files; empty for one beside the store."""
    sounds: str = ""
    """The folder of Asterisk's sounds, for texts that name some (``sound:NAME``) and for ``ambience``; empty for the
    one that asterisk.conf names."""
    spool_mb: Annotated[int, Range(1, 1_000_000)] = 200
    """It may hold so many megabytes; the oldest prompts make room."""
    keep_hours: Annotated[int, Range(1, 100_000)] = 24
    """Prompts that were made before, such as greetings, are used again for so long."""


@dataclass(frozen=True, slots=True)
class RecordingsConfig:
    """Recordings of the calls of those agents that have ``record: true``: the caller left, the agent right."""

    directory: str = ""
    """Where they are kept; empty for a folder beside the store."""
    format: Literal["flac", "ogg", "wav"] = "flac"
    """``flac`` loses nothing and takes half of ``wav``; ``ogg`` (Opus) takes a twentieth."""
    keep_days: Annotated[int, Range(0, 36_500)] = 30
    """They are deleted after so many days; 0 keeps them."""
    max_gib: Annotated[float, Range(0, 1_000_000)] = 10.0
    """While there are more gibibytes than this the oldest are deleted; 0 for no such limit."""


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Models for the local engines, fetched by ``asterisk-ai models fetch``."""

    directory: str = ""
    """Where they are kept; empty for ``/var/lib/asterisk-ai/models``, or the user's state directory."""
    mirror: str = ""
    """A URL (http, https, file) or a folder with ``MODEL/FILE`` below it, used instead of the internet."""
    registries: tuple[str, ...] = ()
    """JSON files of your own, in the shape of ``models/registry.schema.json``, added to the packaged one."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the log says, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    transcripts: bool = False
    """True puts what callers say and dial into the log."""
    format: Literal["text", "json"] = "text"
    """``json``: one object a line."""
