"""The private Asterisk of tests, and what its callers say: human recordings with known words.

``scripts/get_asterisk.sh`` made the tree that it runs from, which is never written to.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from asterisk_ai.simulator.installation import unpacked
from asterisk_ai.simulator.ports import free_port
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.simulator.telephone import Hangup, speech
from asterisk_ai.simulator.telephone import Telephone as Caller
from asterisk_ai.simulator.waiting import die_with_parent, until

__all__ = ["Asterisk", "Caller", "Hangup", "die_with_parent", "free_port", "speech", "until"]

CACHE = Path(os.environ.get("ASTERISK_AI_CACHE", "/var/cache/asterisk-ai"))
TREE = CACHE / "asterisk"
SOUNDS = TREE / "usr/share/asterisk/sounds/en_US_f_Allison"
WORDING = TREE / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
SIP_MODULES = """
    bridge_native_rtp res_pjproject res_pjsip_pubsub res_sorcery_config res_sorcery_memory res_sorcery_astdb
    res_rtp_asterisk res_pjsip res_pjsip_session res_pjsip_sdp_rtp res_pjsip_endpoint_identifier_ip res_pjsip_caller_id
    res_pjsip_dtmf_info res_pjsip_logger res_pjsip_rfc3326 res_pjsip_nat chan_pjsip
""".split()


def why_not() -> str:
    """Why no real Asterisk can be started here; empty where it can."""
    return "" if unpacked(TREE) and WORDING.exists() else f"no Asterisk in {TREE}: run scripts/get_asterisk.sh"


def wording() -> dict[str, str]:
    """The prompts that are 8 kHz recordings here: name -> words as spoken, without ``[tones]``."""
    found: dict[str, str] = {}
    with gzip.open(WORDING, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, colon, words = line.partition(":")
            text = " ".join(words.split())
            if colon and text and not name.startswith(";") and "[" not in text and (SOUNDS / f"{name}.wav").exists():
                found[name] = text
    return found


@dataclass(frozen=True)
class Sentence:
    """One prompt as something a caller may say."""

    prompt: str
    words: str
    seconds: float


def sentences(prompts: Mapping[str, str]) -> list[Sentence]:
    """The prompts fit to be a caller's turn, in an order that is always the same and mixes all subjects.

    Three to twelve words that are in the recogniser's dictionary, no digits,
    said in one breath (no pause of 0.4 s), no two of the same wording.
    """
    import pocketsphinx  # not there for every Python

    dictionary = {
        line.split()[0]
        for line in (Path(pocketsphinx.get_model_path()) / "en-us/cmudict-en-us.dict").read_text().splitlines()
    }
    found: dict[str, Sentence] = {}
    for name, wording_ in prompts.items():
        words = " ".join(re.sub(r"[^a-z' ]", " ", wording_.lower()).split())
        count = len(words.split())
        if re.search(r"[^A-Za-z' ,.!?-]", wording_) or not 3 <= count <= 12 or not dictionary.issuperset(words.split()):
            continue
        samples, rate = soundfile.read(SOUNDS / f"{name}.wav", dtype="int16")
        if rate == 8000 and len(speech(samples)) == 1 and len(samples) < 6 * rate:
            found.setdefault(words, Sentence(name, words, len(samples) / rate))
    return sorted(found.values(), key=lambda sentence: hashlib.sha256(sentence.words.encode()).digest())


class Asterisk(PrivateAsterisk):
    """With a SIP telephone's endpoint at :attr:`sip_port`; where a test fails, the end of its log is shown."""

    def __init__(self, server: str, *, dialplan: str = "", **options: Any) -> None:
        installation = unpacked(TREE)
        assert installation is not None, why_not()
        self.sip_port = free_port(socket.SOCK_DGRAM)
        files = {"pjsip.conf": PJSIP.format(port=self.sip_port)}
        super().__init__(
            installation, server, dialplan=FROM_SIP + dialplan, modules=SIP_MODULES, files=files, **options
        )

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if kind is not None:
            print(f"Asterisk's log ends:\n{self.log()[-6000:]}")
        super().__exit__()


FROM_SIP = """
[from-sip]
exten => _X!,1,Goto(asterisk-ai,s,1)
"""

PJSIP = """
[global]
type=global
user_agent=asterisk-ai-tests

[udp]
type=transport
protocol=udp
bind=127.0.0.1:{port}

[phone]
type=endpoint
transport=udp
context=from-sip
disallow=all
allow=ulaw,alaw
direct_media=no
dtmf_mode=rfc4733

[phone]
type=identify
endpoint=phone
match=127.0.0.1
"""
