"""What a private Asterisk is configured with: nothing but what calls to agents need, below one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from asterisk_ai.config import share_path
from asterisk_ai.simulator.installation import Installation

MODULES = """
    app_mixmonitor func_callerid func_channel func_speex func_uuid pbx_spool app_verbose app_senddtmf app_waitforsilence
    app_stack app_dial app_record app_read app_echo bridge_simple bridge_softmix format_sln format_gsm codec_gsm
    chan_audiosocket func_devstate func_extstate
""".split()
"""Besides those that etc-asterisk/modules.conf names: what the caller's half and recordings need."""

ARI_MODULES = """
    res_sorcery_config res_pjproject res_http_websocket res_websocket_client
    res_stasis res_stasis_answer res_stasis_playback res_stasis_recording
    res_stasis_snoop res_ari res_ari_model res_ari_events res_ari_channels res_ari_bridges res_ari_applications
    app_stasis res_rtp_multicast res_rtp_asterisk chan_rtp codec_g722
""".split()

WEBSOCKET_MODULES = "res_sorcery_config res_http_websocket res_websocket_client chan_websocket".split()

AMI_MODULES = ["func_db", "app_amd"]

FOLDERS = "etc run log lib/keys cache moh rec spool/monitor spool/outgoing spool/tmp data".split()

DIALPLAN = """
[caller]
exten => _[0-9a-f].,1,Answer()
 same => n,AGI(agi://127.0.0.1:${CALLER_PORT}/)
 same => n,Hangup()

[landed]
exten => _X!,1,NoOp(landed ${EXTEN})
 same => n,Answer()
 same => n,Playback(beep)
 same => n,Wait(2)
 same => n,Hangup()
exten => fallback,1,NoOp(landed in the fallback)
 same => n,Answer()
 same => n,Playback(beep)
 same => n,Wait(2)
 same => n,Hangup()
"""
"""The caller's half of a call, and where calls may be handed on to."""

_SOUNDS = ("documentation", "rest-api", "static-http")


def link_data(installation: Installation, folder: Path) -> None:
    """Make ``folder`` a data directory whose English prompts are the installation's recordings."""
    for name in _SOUNDS:
        if (installation.data / name).exists():
            (folder / name).symlink_to(installation.data / name)
    (folder / "sounds").mkdir()
    if installation.sounds is not None:
        (folder / "sounds/en").symlink_to(installation.sounds)


def settings(
    installation: Installation,
    here: Path,
    *,
    globals_: Mapping[str, str],
    dialplan: str,
    entry: str,
    options: str,
    modules: Iterable[str],
    http_port: int,
    ari_password: str,
    websocket_port: int,
    ami_port: int,
    ami_secret: str,
    rtp_port: int,
) -> dict[str, str]:
    """The files of ``here``/etc, name to text.

    :param ari_password: of ARI's user ``asterisk-ai``; empty: there is no ARI.
    :param websocket_port: where the server listens for chan_websocket; 0: that is not loaded.
    :param ami_port: where the manager interface listens, for its user ``asterisk-ai``.
    :param ami_secret: of that user; empty: it does not listen.
    :param rtp_port: the first of 200 ports for RTP.
    """
    ami = AMI_MODULES if ami_secret else ()
    further = (*ami, *(ARI_MODULES if ari_password else ()), *(WEBSOCKET_MODULES if websocket_port else ()))
    wanted = dict.fromkeys((*MODULES, *modules, *further))
    load = "".join(f"load => {name}.so\n" for name in wanted if installation.has(name))
    product = (share_path("etc-asterisk") / "modules.conf").read_text("utf-8")
    variables = "".join(f"{name}={value}\n" for name, value in globals_.items())
    http = "yes" if ari_password or websocket_port else "no"
    ari = "yes" if ari_password else "no"
    return {
        "asterisk.conf": (
            f"[directories]\nastetcdir => {here}/etc\nastmoddir => {installation.modules}\n"
            f"astvarlibdir => {here}/lib\nastdbdir => {here}/lib\nastkeydir => {here}/lib\n"
            f"astdatadir => {here}/data\nastagidir => {here}/lib\nastcachedir => {here}/cache\n"
            f"astspooldir => {here}/spool\nastrundir => {here}/run\nastlogdir => {here}/log\n"
            f"[options]\nverbose = 4\nhideconnect = yes\n{options}"
        ),
        "modules.conf": product.replace("\n[modules]\n", "\n[modules]\nautoload=no\n") + load,
        "logger.conf": "[general]\n[logfiles]\nfull => notice,warning,error,verbose(4),dtmf\n",
        "extensions.conf": (
            f"[general]\nstatic=yes\nwriteprotect=yes\n[globals]\n{variables}{DIALPLAN}\n{dialplan}\n"
            f"#include {entry}\n"
        ),
        "rtp.conf": f"[general]\nrtpstart={rtp_port}\nrtpend={rtp_port + 198}\nicesupport=no\n",
        "musiconhold.conf": f"[default]\nmode=files\ndirectory={here}/moh\n",
        "voicemail.conf": "[general]\nformat=wav\nmaxsilence=2\n[default]\n100 => 1234,Test Box\n",
        "queues.conf": "[general]\n[support]\nmusicclass=default\nstrategy=ringall\njoinempty=yes\nsetqueuevar=yes\n",
        "http.conf": f"[general]\nenabled={http}\nbindaddr=127.0.0.1\nbindport={http_port}\n",
        "ari.conf": f"[general]\nenabled={ari}\n[asterisk-ai]\ntype=user\nread_only=no\npassword={ari_password}\n",
        "websocket_client.conf": (
            "[asterisk-ai]\ntype=websocket_client\nconnection_type=per_call_config\nprotocols=media\n"
            f"uri=ws://127.0.0.1:{websocket_port}/media\nreconnect_attempts=1\n"
            if websocket_port else ""
        ),
        "chan_websocket.conf": "",
        "amd.conf": "[general]\n",
        "manager.conf": (
            f"[general]\nenabled={'yes' if ami_secret else 'no'}\nbindaddr=127.0.0.1\nport={ami_port}\n"
            f"[asterisk-ai]\nsecret={ami_secret}\nread=call,dialplan\nwrite=originate,call,reporting,system\n"
        ),
        "cdr.conf": "[general]\nenable=no\n",
        "indications.conf": (
            "[general]\ncountry=us\n[us]\ndescription = United States\nringcadence = 2000,4000\n"
            "dial = 350+440\nbusy = 480+620/500,0/500\nring = 440+480/2000,0/4000\ncongestion = 480+620/250,0/250\n"
        ),
        # Nothing to set there, but Asterisk complains where they are missing.
        **dict.fromkeys(("cel.conf", "features.conf", "acl.conf", "udptl.conf", "pjproject.conf", "ccss.conf"), ""),
    }  # fmt: skip
