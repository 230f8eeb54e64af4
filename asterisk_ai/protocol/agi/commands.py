"""AGI commands as Asterisk reads them, written and read.

Source: ``res_agi.c`` (``parse_args``, ``agi_handle_command``).
"""

from __future__ import annotations

import re

from asterisk_ai.errors import LocalProtocolError

#: Asterisk's line buffer (``AGI_BUF_LEN``): a line with its LF must be shorter, as C keeps a byte for the NUL.
MAX_LINE = 8192
#: ``MAX_ARGS``: one fewer word fits. Asterisk checks that for bare words only, quoted ones run over its array.
MAX_ARGUMENTS = 128

_WORDS = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\([^()]*\))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LINE_BREAKING = re.compile(r"[\r\n\x00]")

#: What Asterisk still does on a hung-up channel; everything else gets a 511 there.
_DEAD_CHANNEL_COMMANDS = (
    "DATABASE",
    "EXEC",
    "GET FULL VARIABLE",
    "GET VARIABLE",
    "NOOP",
    "SET VARIABLE",
    "VERBOSE",
)


def command_line(command: str, *arguments: str) -> bytes:
    """A command as Asterisk reads it, with its LF.

    :param command: the command's own words, such as ``SET VARIABLE``.
    :param arguments: text that Asterisk takes exactly as it is.
    :raises LocalProtocolError: for CR, LF or NUL in it, and for what is too long or too much for Asterisk.
    """
    if not _WORDS.fullmatch(command):
        raise LocalProtocolError(f"not an AGI command: {command!r}")
    if command.count(" ") + 1 + len(arguments) >= MAX_ARGUMENTS:
        raise LocalProtocolError(f"{command}: more than {MAX_ARGUMENTS - 1} words")
    line = _encode(" ".join([command, *(_quote(command, argument) for argument in arguments)]) + "\n", command)
    if len(line) >= MAX_LINE:
        raise LocalProtocolError(f"{command}: {len(line)} bytes are too many for Asterisk ({MAX_LINE - 1})")
    return line


def set_variable_line(name: str, value: str) -> bytes:
    """``SET VARIABLE``, with a stricter eye: values may come from callers and are used in the dialplan.

    :raises LocalProtocolError: for a bad name, and for any control character in the value.
    """
    if _CONTROL.search(value):
        raise LocalProtocolError(f"SET VARIABLE {name}: a control character in the value")
    return command_line("SET VARIABLE", variable_name(name), value)


def variable_name(name: str) -> str:
    """The name of a variable, or a function call such as ``CALLERID(num)``, checked.

    :raises LocalProtocolError: for anything else.
    """
    if not _VARIABLE.fullmatch(name):
        raise LocalProtocolError(f"not a variable's name: {name!r}")
    return name


def _quote(command: str, argument: str) -> str:
    if _LINE_BREAKING.search(argument):
        raise LocalProtocolError(f"{command}: CR, LF or NUL in an argument")
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _encode(line: str, command: str) -> bytes:
    try:
        return line.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{command}: a lone surrogate in an argument") from None


def works_on_dead_channel(command: str) -> bool:
    """Whether Asterisk carries a command out after the hang-up (else it answers 511)."""
    words = command.upper()
    return any(words == known or words.startswith(known + " ") for known in _DEAD_CHANNEL_COMMANDS)


def split_command(line: str) -> list[str]:
    """The words of a command line, split as ``parse_args`` in Asterisk does it."""
    words: list[str] = []
    quoted = escaped = False
    between = True
    for char in line:
        if char == '"' and not escaped:
            quoted = not quoted
            if quoted and between:
                words.append("")
                between = False
        elif char in " \t" and not quoted and not escaped:
            between = True
        elif char == "\\" and not escaped:
            escaped = True
        else:
            if between:
                words.append("")
                between = False
            words[-1] += char
            escaped = False
    return words
