"""People who can be called on the real Asterisk: they answer, are busy, or nobody is at home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SECRET = "s3cret"
"""Of AMI's user."""
CALLEES = """
[callees]
exten => _1XX,1,NoOp(rung ${EXTEN} by ${CALLERID(num)})
 same => n,Ringing()
 same => n,Wait(0.3)
 same => n,Answer()
 same => n,Wait(${IF($[${EXTEN} < 150]?0:30)})
 same => n,Wait(2)
 same => n,Hangup()
exten => _2XX,1,NoOp(rung ${EXTEN})
 same => n,Busy(1)
exten => _3XX,1,NoOp(rung ${EXTEN})
 same => n,Ringing()
 same => n,Wait(60)
exten => _40[12],1,NoOp(rung ${EXTEN})
 same => n,Answer()
 same => n,Set(SAYS=${IF($[${EXTEN} = 401]?vm-goodbye:vm-dialout)})
 same => n,Playback(silence/1&${SAYS}&silence/4)
 same => n,NoOp(heard by ${EXTEN})
 same => n,Hangup()
exten => _40[34],1,NoOp(rung ${EXTEN})
 same => n,Answer()
 same => n,ExecIf($[${EXTEN} = 403]?Playback(silence/1&vm-theperson&digits/4&vm-isunavail&vm-intro&beep))
 same => n,ExecIf($[${EXTEN} = 404]?Playback(silence/1&queue-thankyou&conf-usermenu))
 same => n,Playback(silence/10)
 same => n,Hangup()
"""
"""1XX answer and hang up (from 150 on late), 2XX are busy, 3XX are not at home; 401 and 402 are people with a short and
a long greeting, 403 a machine that beeps and 404 one that talks on and on; all else is no number."""


def ami(port: int, **more: object) -> dict[str, object]:
    """The section of the configuration."""
    return {"port": port, "secret": SECRET, "dial": "Local/{number}@callees", "seconds": 5, **more}


def command(*words: str) -> subprocess.Popen[str]:
    """``asterisk-ai ...`` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "asterisk_ai", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
