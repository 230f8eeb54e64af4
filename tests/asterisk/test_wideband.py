"""16 kHz from the agent's voice to a telephone that has it, over each transport that carries it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk import NUMBER, desk
from ports import free_port
from rig import Asterisk, until
from served import Served

WAYS: dict[str, dict[str, str]] = {
    "audiosocket": {"AI_WIDEBAND": "yes"},
    "websocket": {"AI_WIDEBAND": "yes", "AI_WEBSOCKET": "asterisk-ai"},
    "external media": {"AI_STASIS": "asterisk-ai"},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_caller_hears_what_no_8_khz_line_carries(way: str, tmp_path: Path, prompts: dict[str, str]) -> None:
    agi_port, port = free_port(), free_port()
    ari = "not-a-secret" if "AI_STASIS" in WAYS[way] else ""
    with Asterisk(
        server=f"127.0.0.1:{agi_port}", globals_=WAYS[way], ari_password=ari, websocket_port=port
    ) as asterisk:
        settings: dict[str, Any] = {"fastagi": {"port": agi_port}, "websocket": {"port": port}}
        if ari:
            ports = {"rtp_first_port": 42_000, "rtp_last_port": 48_999}
            settings["ari"] = {"url": asterisk.ari_url, "password": ari, "format": "g722", **ports}
        with Served(tmp_path, {"desk": desk(prompts)}, settings) as served:
            if ari:
                until(lambda: served.health()["ari"] == "connected", 20, "connected to ARI")
            with asterisk.call(wide=True) as caller:
                caller.hear()
                caller.say(NUMBER)  # 8 kHz, and understood all the same
                caller.hear()
                caller.dial("4711")
                caller.hear()
            served.no_calls()
            assert "I have noted your account" in served.log()
        until(lambda: not asterisk.channels(), 20, "no channel in Asterisk")
        track = caller.heard().astype(float)
    spectrum = np.abs(np.fft.rfft(track[: 16_000 * 4])) ** 2
    hertz = np.fft.rfftfreq(len(track[: 16_000 * 4]), 1 / 16_000)
    above, below = spectrum[hertz > 4300].sum(), spectrum[(hertz > 300) & (hertz < 3400)].sum()
    assert 10 * np.log10(above / below) > -30, "a line of 8 kHz has nothing there"
