"""A telephone calls: SIP and RTP through PJSIP, played by sipp."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from desk import WRONG, desk
from ports import free_port
from rig import SOUNDS, Asterisk, speech, until
from served import Served

SCENARIO = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="a caller">
  <send retrans="500"><![CDATA[
    INVITE sip:100@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: "Ann Example" <sip:5551234@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:100@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:5551234@[local_ip]:[local_port]>
    Max-Forwards: 70
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=- 1 1 IN IP[local_ip_type] [local_ip]
    s=-
    c=IN IP[media_ip_type] [media_ip]
    t=0 0
    m=audio [rtpstream_audio_port] RTP/AVP 0
    a=rtpmap:0 PCMU/8000
    a=ptime:20
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rtd="true"/>
  <send><![CDATA[
    ACK sip:100@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: "Ann Example" <sip:5551234@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:100@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <nop><action><exec rtp_stream="{audio},1,0"/></action></nop>
  <pause milliseconds="{milliseconds}"/>
  <send retrans="500"><![CDATA[
    BYE sip:100@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: "Ann Example" <sip:5551234@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:100@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Max-Forwards: 70
    Content-Length: 0
  ]]></send>
  <recv response="200"/>
</scenario>
"""


def test_a_telephone_is_understood(tmp_path: Path, prompts: dict[str, str]) -> None:
    assert shutil.which("sipp"), "apt-get install sip-tester (scripts/get_asterisk.sh does)"
    words, rate = soundfile.read(SOUNDS / f"{WRONG}.wav", dtype="int16")
    assert rate == 8000
    quiet = np.zeros(8000, dtype="<i2")
    track = np.concatenate([*[quiet] * 4, words, *[quiet] * 8])  # the greeting is over after 4 s
    soundfile.write(tmp_path / "caller.ul", track, 8000, format="RAW", subtype="ULAW")
    scenario = tmp_path / "caller.xml"
    scenario.write_text(
        SCENARIO.replace("{audio}", str(tmp_path / "caller.ul")).replace("{milliseconds}", str(len(track) // 8))
    )
    with (
        Served(tmp_path, {"desk": desk(prompts)}) as server,
        Asterisk(server.address, globals_={"AI_RECORD": "yes"}) as asterisk,
    ):
        phone = subprocess.run(
            [
                "sipp", f"127.0.0.1:{asterisk.sip_port}", "-i", "127.0.0.1", "-p", str(free_port()), "-sf", scenario,
                "-m", "1", "-nostdin", "-timeout", "40s", "-mp", str(40000 + free_port() % 20000 // 4 * 4),
            ],
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert phone.returncode == 0, phone.stdout[-3000:] + phone.stderr + server.log()
        steps = asterisk.executed("PJSIP/phone")
        server.no_calls()
        assert "Queue(support)" in [step.data for step in steps if step.application == "TryExec"], server.log()
        assert any("/call/end" in step.data for step in steps) or steps[-1].exten == "h"
        recording = until(lambda: list((asterisk.folder / "spool/monitor").glob("asterisk-ai-*.wav")), 5, "recording")
        samples, _ = soundfile.read(recording[0], dtype="int16")
        parts = speech(samples, gap=0.2)  # the answer comes within 0.4 s
        assert len(parts) >= 3, "greeting, caller, answer"
