"""``asterisk-ai dialplan``: print, install and check what Asterisk has to read."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from asterisk_ai.cli.findings import print_findings
from asterisk_ai.cli.pbx_check import inspect
from asterisk_ai.pbx.console import Console
from asterisk_ai.pbx.install import (
    FILES,
    INCLUDE,
    PROGRAMS,
    Installer,
    agi_folder,
    has_content,
    includes,
    is_freepbx,
    own_program,
    read,
)

ETC = Path("/etc/asterisk")


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
    install.add_argument(
        "--freepbx", action="store_true", help="include from extensions_custom.conf (FreePBX is recognised by itself)"
    )
    install.add_argument("--include", action="store_true", help="add the #include line to extensions.conf")
    install.add_argument(
        "--agi", nargs="?", type=Path, const=Path(), metavar="DIR", help="link the AGI and EAGI programs into agi-bin"
    )
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


def run_print(arguments: argparse.Namespace) -> int:
    sys.stdout.write(FILES[arguments.what].text)
    return 0


def run_install(arguments: argparse.Namespace) -> int:
    """Exit status 1 when something could not be put in place and needs a decision."""
    etc: Path = arguments.etc
    if not etc.is_dir():
        print(f"{etc} is not there: is Asterisk installed on this machine? --etc names its configuration folder")
        return 1
    installer = Installer(print, dry_run=arguments.dry_run, force=arguments.force)
    installer.place(FILES["plain"], etc / INCLUDE)
    freepbx = arguments.freepbx or is_freepbx(etc)
    main = etc / ("extensions_custom.conf" if freepbx else "extensions.conf")
    if freepbx and not has_content(main):
        installer.write(main, FILES["freepbx"].text)
    elif arguments.include:
        installer.include(main)
    elif not includes(read(main)):
        print(f'to do: add the line "#include {INCLUDE}" to {main} (or run this again with --include)')
    installer.place_settings(FILES["config"], etc / FILES["config"].name)
    if arguments.agi is not None and not _link_programs(installer, etc, arguments.agi):
        return 1
    if arguments.systemd is not None:
        installer.place(FILES["systemd"], arguments.systemd / FILES["systemd"].name)
        print("then: systemctl daemon-reload && systemctl enable --now asterisk-ai")
    print("then: asterisk -rx 'dialplan reload', and asterisk-ai check")
    return 1 if installer.undecided else 0


def _link_programs(installer: Installer, etc: Path, folder: Path) -> bool:
    """So that AGI(asterisk-ai-agi,...) and EAGI(asterisk-ai-eagi,...) find them."""
    target = agi_folder(etc) if folder == Path() else folder
    if target is None or not target.is_dir():
        print(f"agi-bin is not known: name it, --agi DIR (asterisk -rx 'core show settings' tells it): {target or etc}")
        return False
    for name in PROGRAMS:
        installer.link(target / name, own_program(name))
    return True


def run_check(arguments: argparse.Namespace) -> int:
    findings = list(inspect(arguments.etc, Console(shlex.split(arguments.asterisk))))
    print_findings(findings)
    return 1 if any(finding.ok is False for finding in findings) else 0
