"""The command ``asterisk-ai``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from asterisk_ai import __version__
from asterisk_ai.errors import AsteriskAIError

COMMANDS = (
    "serve", "upgrade", "check", "call", "calls", "dial", "campaign", "web", "webhooks", "mcp", "bench", "regress",
    "dialplan", "models", "provider",
)  # fmt: skip
"""Modules of this package, in the order that the help shows them. Each has ``add_parser(commands)``."""

_DESCRIPTION = "AI voice agents on Asterisk."
_EPILOG = """\
first steps:
  asterisk-ai call --serve              hear a simulated caller talk to the agent; no Asterisk needed
  asterisk-ai check                     is everything there that a first call needs?
  asterisk-ai dialplan install          put the dialplan where Asterisk reads it
  asterisk-ai serve                     run the server (systemd: asterisk-ai dialplan print systemd)
  asterisk-ai models fetch              models for larger local engines, as this machine can bear them

The configuration is the file given with --config, else $ASTERISK_AI_CONFIG, ./asterisk_ai.yaml,
/etc/asterisk/asterisk_ai.yaml, else the one that comes with the package.
"""


def parser(only: str = "") -> argparse.ArgumentParser:
    """The command line: the whole of it, or of one command, so that the others' libraries need not be loaded."""
    top = argparse.ArgumentParser(
        prog="asterisk-ai",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"asterisk-ai {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    top.set_defaults(run=lambda _: top.print_help())
    for name in (only,) if only in COMMANDS else COMMANDS:
        importlib.import_module(f"asterisk_ai.cli.{name}").add_parser(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 well, 1 failed, 2 wrong usage."""
    words = sys.argv[1:] if argv is None else argv
    top = parser(words[0] if words else "")
    arguments, rest = top.parse_known_args(words)
    if rest:  # argparse takes no words of one list from both sides of an option
        if any(word.startswith("-") for word in rest) or not hasattr(arguments, "words"):
            top.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.words += rest
    try:
        return int(arguments.run(arguments) or 0)
    except (AsteriskAIError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # | head
            sys.stderr.close()
            return 0
        print(f"asterisk-ai: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
