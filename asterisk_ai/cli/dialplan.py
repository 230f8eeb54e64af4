"""``asterisk-ai dialplan``: print, install and check what Asterisk has to read.

An installed file begins with a stamp: the version that wrote it and the
SHA-256 of the rest. So an older file that nobody touched is told from one that
the administrator changed, and only the former is replaced without a word.
"""

from __future__ import annotations

import argparse
import difflib
import enum
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asterisk_ai import __version__
from asterisk_ai.config import share_path

ETC = Path("/etc/asterisk")
INCLUDE = "asterisk_ai.conf"
_INCLUDE_LINE = re.compile(r'^\s*#(?:try)?include\s+"?(?:\S*/)?asterisk_ai\.conf"?\s*(?:;.*)?$', re.MULTILINE)
_STAMP = re.compile(r"^[;#] installed by asterisk-ai (\S+), sha256 of the rest: ([0-9a-f]{64})\n")
_LOAD = re.compile(r"^load => (\w+)\.so", re.MULTILINE)
_RUNNING = re.compile(r"^(\w+)\.so .*(?<!Not )Running", re.MULTILINE)
_CONSOLE_SECONDS = 10.0


class State(enum.Enum):
    """An installed file compared with the packaged one."""

    MISSING = "missing"
    CURRENT = "up to date"
    OLDER = "older than the packaged one, unchanged since it was installed"
    CHANGED = "changed by hand"


@dataclass(frozen=True, slots=True)
class Packaged:
    """One file of the package: its folder and name there, and its text as it is to be installed."""

    folder: str
    name: str

    @property
    def text(self) -> str:
        text = (share_path(self.folder) / self.name).read_text(encoding="utf-8")
        if self.name.endswith(".service"):
            text = text.replace("/usr/local/bin/asterisk-ai serve", f"{own_command()} serve")
        return text


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. ``remedy`` says how to mend it; ``ok`` None: it could not be checked."""

    ok: bool | None
    text: str
    remedy: str = ""


FILES = {
    "plain": Packaged("dialplan", INCLUDE),
    "freepbx": Packaged("dialplan", "extensions_custom.conf"),
    "modules": Packaged("etc-asterisk", "modules.conf"),
    "systemd": Packaged("etc-asterisk", "asterisk-ai.service"),
    "config": Packaged("etc-asterisk", "asterisk_ai.yaml"),
}


def add_parser(commands: Any) -> None:
    """Register the command and its three sub-commands."""
    parser = commands.add_parser("dialplan", help="print, install or check the files that Asterisk reads")
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    parser.set_defaults(run=lambda _: parser.print_help())  # the group alone: it helps

    show = actions.add_parser("print", help="print a file as it would be installed")
    show.add_argument("what", nargs="?", default="plain", choices=sorted(FILES), help="default: plain")
    show.set_defaults(run=run_print)

    install = actions.add_parser(
        "install",
        help="write the files where they belong",
        description="Write the dialplan and a first asterisk_ai.yaml. A file that was changed by hand is left alone: "
        "the new one is put beside it as FILE.new and the differences are shown.",
    )
    install.add_argument("--etc", type=Path, default=ETC, metavar="DIR", help=f"default: {ETC}")
    install.add_argument("--freepbx", action="store_true", help="for FreePBX: include from extensions_custom.conf")
    install.add_argument("--include", action="store_true", help="add the #include line to extensions.conf")
    install.add_argument(
        "--systemd", nargs="?", type=Path, const=Path("/etc/systemd/system"), metavar="DIR", help="write the unit, too"
    )
    install.add_argument("--force", action="store_true", help="replace changed files, keep the old as FILE.bak-TIME")
    install.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    install.set_defaults(run=run_install)

    check = actions.add_parser("check", help="are the files in place and does Asterisk use them?")
    check.add_argument("--etc", type=Path, default=ETC, metavar="DIR", help=f"default: {ETC}")
    check.add_argument("--asterisk", default="asterisk", metavar="COMMAND", help="how to run Asterisk's console")
    check.set_defaults(run=run_check)


# -- print


def run_print(arguments: argparse.Namespace) -> int:
    sys.stdout.write(FILES[arguments.what].text)
    return 0


# -- install


def run_install(arguments: argparse.Namespace) -> int:
    """Exit status 1 when something could not be put in place and needs a decision."""
    etc: Path = arguments.etc
    if not etc.is_dir():
        print(f"{etc} is not there: is Asterisk installed on this machine? --etc names its configuration folder")
        return 1
    installer = Installer(dry_run=arguments.dry_run, force=arguments.force)
    installer.place(FILES["plain"], etc / INCLUDE)
    main = etc / ("extensions_custom.conf" if arguments.freepbx else "extensions.conf")
    if arguments.freepbx and not _content(main):
        installer.write(main, FILES["freepbx"].text)
    elif arguments.include:
        installer.include(main)
    elif not _includes(_read(main)):
        print(f'to do: add the line "#include {INCLUDE}" to {main} (or run this again with --include)')
    installer.place_settings(FILES["config"], etc / FILES["config"].name)
    if arguments.systemd is not None:
        installer.place(FILES["systemd"], arguments.systemd / FILES["systemd"].name)
        print("then: systemctl daemon-reload && systemctl enable --now asterisk-ai")
    print("then: asterisk -rx 'dialplan reload', and asterisk-ai dialplan check")
    return 1 if installer.undecided else 0


class Installer:
    """Writes files; says what it does. ``undecided`` are the changed files it has left alone."""

    def __init__(self, *, dry_run: bool = False, force: bool = False) -> None:
        self.dry_run, self.force = dry_run, force
        self.undecided: list[Path] = []

    def place(self, packaged: Packaged, target: Path) -> None:
        """Bring ``target`` up to date unless somebody has changed it."""
        state, text = compare(packaged, target), packaged.text
        new = stamp(text)
        if state is State.CURRENT:
            print(f"{target}: {state.value}")
        elif state is State.CHANGED and not self.force:
            self.undecided.append(target)
            print(f"{target}: {state.value}, left alone. The packaged file differs so:")
            sys.stdout.write(difference(target, text))
            self.write(target.with_name(target.name + ".new"), new, like=target)
            print("take over what you want from it, or run this again with --force")
        else:
            if state is State.CHANGED:
                self._back_up(target)
            self.write(target, new)

    def place_settings(self, packaged: Packaged, target: Path) -> None:
        """A file that is the administrator's from the first day on: written once, never again."""
        if target.exists():
            print(f"{target}: yours, left alone")
        else:
            self.write(target, packaged.text, mode=0o640)

    def include(self, main: Path) -> None:
        """Add the #include line at the end of ``main``, once."""
        text = _read(main)
        if _includes(text):
            print(f"{main}: includes {INCLUDE} already")
            return
        if text:
            self._back_up(main)
        gap = "" if not text or text.endswith("\n") else "\n"
        self.write(main, f"{text}{gap}\n#include {INCLUDE}\n")

    def _back_up(self, target: Path) -> None:
        backup = target.with_name(f"{target.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}")
        print(f"{'would keep' if self.dry_run else 'kept'} the old {target.name} as {backup}")
        if not self.dry_run:
            shutil.copy2(target, backup)

    def write(self, target: Path, text: str, *, like: Path | None = None, mode: int = 0o644) -> None:
        """Whole or not at all, owned as the file it replaces or as its folder."""
        print(f"{'would write' if self.dry_run else 'wrote'} {target}")
        if self.dry_run:
            return
        model = next((path for path in (like, target) if path is not None and path.exists()), None)
        owner = (model or target.parent).stat()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(owner.st_mode & 0o777 if model else mode)
        if os.geteuid() == 0:
            os.chown(draft, owner.st_uid, owner.st_gid)
        draft.replace(target)


def stamp(text: str) -> str:
    """``text`` with the line that proves later on that nobody has changed it."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    mark = "#" if text.startswith("#") else ";"
    return f"{mark} installed by asterisk-ai {__version__}, sha256 of the rest: {digest}\n{text}"


def compare(packaged: Packaged, target: Path) -> State:
    """The state of an installed file. Raises OSError where it cannot be read."""
    if not target.exists():
        return State.MISSING
    text = _read(target)
    found = _STAMP.match(text)
    body = text[found.end() :] if found else text
    if body == packaged.text:
        return State.CURRENT
    if found and hashlib.sha256(body.encode()).hexdigest() == found[2]:
        return State.OLDER
    return State.CHANGED


def difference(target: Path, packaged: str) -> str:
    """A unified diff from the installed file to the packaged one."""
    installed = _STAMP.sub("", _read(target))
    lines = difflib.unified_diff(
        installed.splitlines(keepends=True), packaged.splitlines(keepends=True), str(target), "packaged"
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def own_command() -> str:
    """How systemd is to call this very installation."""
    beside = Path(sys.executable).with_name("asterisk-ai")
    return str(beside) if beside.exists() else f"{sys.executable} -m asterisk_ai"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def _content(path: Path) -> bool:
    """Whether there is more in the file than comments."""
    return any(line.strip() and not line.lstrip().startswith(";") for line in _read(path).splitlines())


def _includes(text: str) -> bool:
    return _INCLUDE_LINE.search(text) is not None


# -- check


def run_check(arguments: argparse.Namespace) -> int:
    findings = inspect(arguments.etc, shlex.split(arguments.asterisk))
    print_findings(findings)
    return 1 if any(finding.ok is False for finding in findings) else 0


def print_findings(findings: Sequence[Finding]) -> None:
    """For people: a line each, and what to do below it."""
    for finding in findings:
        print(f"{ {True: 'ok', False: 'FAIL', None: '?'}[finding.ok]:4}  {finding.text}")
        if finding.remedy:
            print(f"      -> {finding.remedy}")


def inspect(etc: Path = ETC, asterisk: Sequence[str] = ("asterisk",)) -> list[Finding]:
    """What is right and wrong with the files in ``etc`` and with the Asterisk that runs here.

    :param asterisk: the words that run Asterisk's console, to which ``-rx COMMAND`` is added.
    """
    return [*_inspect_files(etc), *_inspect_asterisk(asterisk)]


def _inspect_files(etc: Path) -> list[Finding]:
    if not etc.is_dir():
        return [Finding(None, f"{etc} is not there: files not checked", "on the PBX, name it with --etc")]
    try:
        state = compare(FILES["plain"], etc / INCLUDE)
        mains = [name for name in ("extensions.conf", "extensions_custom.conf") if _includes(_read(etc / name))]
    except OSError as error:
        return [Finding(None, f"{error.filename}: {error.strerror}", "run this as root or as the user asterisk")]
    remedies = {
        State.MISSING: "asterisk-ai dialplan install",
        State.OLDER: "asterisk-ai dialplan install, then asterisk -rx 'dialplan reload'",
        State.CHANGED: "better leave it as it is and set variables; asterisk-ai dialplan install shows the differences",
    }
    findings = [
        Finding(state in (State.CURRENT, State.CHANGED), f"{etc / INCLUDE}: {state.value}", remedies.get(state, ""))
    ]
    if mains:
        findings.append(Finding(True, f"{etc / mains[0]} includes it"))
    else:
        findings.append(
            Finding(
                False,
                f"neither extensions.conf nor extensions_custom.conf in {etc} includes {INCLUDE}",
                "asterisk-ai dialplan install --include (FreePBX: --freepbx --include)",
            )
        )
    return findings


def _inspect_asterisk(asterisk: Sequence[str]) -> list[Finding]:
    version, problem = _console(asterisk, "core show version")
    if problem:
        return [Finding(None, f"Asterisk itself not checked: {problem}", "run this on the PBX, as root or asterisk")]
    findings = [Finding(True, version.split(" built by", maxsplit=1)[0].strip() + " answers")]
    listing, _ = _console(asterisk, "module show")
    running = set(_RUNNING.findall(listing))
    needed = _LOAD.findall(FILES["modules"].text)
    missing = [name for name in needed if name not in running]
    if missing:
        remedy = f"asterisk -rx 'module load {missing[0]}.so'; for good: asterisk-ai dialplan print modules"
        findings.append(Finding(False, f"modules missing: {', '.join(missing)}", remedy))
    else:
        findings.append(Finding(True, f"all {len(needed)} needed modules run"))
    for context in ("asterisk-ai", "asterisk-ai-fallback"):
        shown, _ = _console(asterisk, f"dialplan show {context}")
        there = f"Context '{context}'" in shown
        findings.append(
            Finding(
                there,
                f"context [{context}] is {'' if there else 'not '}loaded",
                "" if there else "asterisk -rx 'dialplan reload'; is the #include line there?",
            )
        )
    return findings


def _console(asterisk: Sequence[str], command: str) -> tuple[str, str]:
    """What Asterisk's console answers, and why it does not."""
    try:
        done = subprocess.run(
            [*asterisk, "-rx", command],
            capture_output=True, text=True, errors="replace", timeout=_CONSOLE_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        return "", "there is no Asterisk on this machine"
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"its console does not answer ({error})"
    output = done.stdout + done.stderr
    if done.returncode != 0 or "Unable to connect" in output:
        return "", (output.strip().splitlines() or ["its console does not answer"])[-1]
    return output, ""
