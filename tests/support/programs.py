"""The AGI programs for a rig's Asterisk, which lives in a chroot where there is no Python."""

from __future__ import annotations

import sys
from pathlib import Path

from rig import Asterisk

# Root steps out of a chroot by changing into another one with its working directory outside of that.
_SCRIPT = """#!/usr/bin/perl
chdir '/'; chroot '{folder}' or die; chdir '..' for 1..32; chroot '.' or die;
$ENV{{PYTHONPATH}} = '{package}';
exec '{python}', '-c', 'import sys; from asterisk_ai.agi.{program} import main; sys.exit(main())', {options} @ARGV;
"""


def install(asterisk: Asterisk, name: str, program: str, *options: str) -> None:
    """Make ``AGI(name,...)`` run ``asterisk_ai.agi.<program>`` with ``options`` before its arguments."""
    script = asterisk.outside / "lib" / name
    script.write_text(
        _SCRIPT.format(
            folder=asterisk.inside,
            package=Path(__file__).parents[2],
            python=sys.executable,
            program=program,
            options="".join(f"'{option}', " for option in options),
        )
    )
    script.chmod(0o755)


EAGI = """
[eagi]
exten => s,1,Answer()
 same => n,EAGI(asterisk-ai-eagi,desk)
 same => n,NoOp(AGISTATUS=${AGISTATUS} AI_STATUS=${AI_STATUS})
 same => n,AGI(asterisk-ai-agi,next,${AI_CALL_ID})
 same => n,NoOp(AI_NEXT=${AI_NEXT})
 same => n,Hangup()
exten => h,1,AGI(asterisk-ai-agi,end,${AI_CALL_ID})
"""
