"""The ways of a call's audio that the regression goes, and what each needs and leaves in the log."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

from asterisk_ai.simulator.installation import Installation
from asterisk_ai.simulator.regression.script import AGENT

DIALPLAN = f"""
[regression-eagi]
exten => s,1,Set(AI_PASSES=0)
 same => n,Set(AI_PASS_AT=${{EPOCH}})
 same => n,Set(AI_PATIENCE=5)
 same => n,Answer()
 same => n,EAGI(asterisk-ai-eagi,{AGENT})
 same => n,Goto(asterisk-ai,s,next)
exten => h,1,Goto(asterisk-ai,h,1)
"""

_EVERY_CALL = {
    "the call is known": r"call registered: channel ",
    "its audio is there": r"audio connected \(connection 1 of the call\)",
    "playback starts": r"playback started",
    "the provider gets the caller's audio": r"s of audio to the recogniser",
    "playback finishes": r"playback finished",
    "the call is cleaned up": r"call cleaned up: ",
}


@dataclass(frozen=True, slots=True)
class Transport:
    """One way of the audio."""

    name: str
    title: str
    releases: str
    """Of Asterisk, for people."""
    modules: tuple[str, ...]
    """Of Asterisk, without which it cannot be gone."""
    libraries: tuple[str, ...] = ()
    """Of Python's."""
    extra: str = ""
    """The extra of asterisk-ai that installs those."""
    since: Mapping[int, int] = field(default_factory=dict)
    """Major releases, and the first minor one of each; the next major ones have it from the beginning."""
    entry: str = "asterisk-ai,s,1"
    variables: Mapping[str, str] = field(default_factory=dict)
    step: str = ""
    """How the dialplan's step begins that goes this way."""
    log: Mapping[str, str] = field(default_factory=dict)
    """What a line of the server's log has to tell, and the regular expression that finds it."""

    def lines(self) -> Mapping[str, str]:
        """All that is looked for in the log."""
        return {**_EVERY_CALL, **self.log}

    def lacks(self, installation: Installation) -> str:
        """What keeps it from being tried here; empty where nothing does."""
        missing = [name for name in self.modules if not installation.has(name)]
        if missing:
            return f"this Asterisk has no {', '.join(missing)} (Asterisk {self.releases})"
        if self.since and not self._there(installation.release()):
            return f"{installation.version()} is too old for it (Asterisk {self.releases})"
        absent = [name for name in self.libraries if importlib.util.find_spec(name) is None]
        return f"{', '.join(absent)} is missing: pip install 'asterisk-ai[{self.extra}]'" if absent else ""

    def _there(self, release: tuple[int, int]) -> bool:
        """Where no release can be told, the calls will."""
        major, minor = release
        return not major or major > max(self.since) or minor >= self.since.get(major, minor + 1)


TRANSPORTS = (
    Transport(
        "audiosocket",
        "AudioSocket",
        "18 and newer",
        ("res_audiosocket", "app_audiosocket", "res_agi"),
        step="TryExec(AudioSocket(",
    ),
    Transport(
        "audiosocket-file",
        "AudioSocket, replies as files",
        "18 and newer",
        ("res_audiosocket", "app_audiosocket", "app_controlplayback", "res_agi"),
        variables={"AI_DOWNSTREAM": "file"},
        step="TryExec(ControlPlayback(",
        log={"replies are files": r"replies: file$"},
    ),
    Transport(
        "audiosocket-wideband",
        "AudioSocket at 16 kHz",
        "20.17, 21.12, 22.7, 23.1 and newer",
        ("res_audiosocket", "chan_audiosocket", "res_agi"),
        since={20: 17, 21: 12, 22: 7, 23: 1},
        variables={"AI_WIDEBAND": "yes"},
        step="TryExec(Dial(AudioSocket/",
    ),
    Transport(
        "rtp",
        "ExternalMedia over ARI (RTP)",
        "18 and newer",
        ("res_ari", "res_ari_channels", "app_stasis", "chan_rtp", "res_rtp_asterisk", "res_agi"),
        libraries=("httpx", "websockets"),
        extra="ari",
        variables={"AI_STASIS": "asterisk-ai"},
        step="TryExec(Stasis(asterisk-ai,",
        log={
            "the ExternalMedia channel is created": r"ExternalMedia channel created: ",
            "it is connected": r"ExternalMedia connected: RTP at ",
            "RTP audio comes": r"RTP audio comes from ",
            "channel and bridge are cleaned up": r"ExternalMedia cleaned up",
        },
    ),
    Transport(
        "websocket",
        "chan_websocket, Asterisk connects",
        "20.16, 21.11, 22.6, 23.0 and newer",
        ("chan_websocket", "res_websocket_client", "res_agi"),
        libraries=("websockets",),
        extra="websocket",
        variables={"AI_WEBSOCKET": "asterisk-ai"},
        step="TryExec(Dial(WebSocket/asterisk-ai/",
    ),
    Transport(
        "websocket-incoming",
        "chan_websocket, the server connects",
        "20.16, 21.11, 22.6, 23.0 and newer",
        ("chan_websocket", "res_http_websocket", "res_agi"),
        libraries=("websockets",),
        extra="websocket",
        variables={"AI_WEBSOCKET": "INCOMING"},
        step="TryExec(Dial(WebSocket/INCOMING/",
    ),
    Transport(
        "eagi",
        "EAGI, replies as files",
        "18 and newer",
        ("res_agi",),
        entry="regression-eagi,s,1",
        step="EAGI(asterisk-ai-eagi,",
    ),
)
"""In the order in which they are gone."""

NAMES = tuple(transport.name for transport in TRANSPORTS)
