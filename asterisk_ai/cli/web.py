"""``asterisk-ai web``: the page in the browser."""

from __future__ import annotations

import argparse
import getpass
import logging
import sys
from typing import Any

from asterisk_ai.config import Config, host_port, load_part, reachable
from asterisk_ai.errors import ConfigError

logger = logging.getLogger(__name__)

ROLES = ("viewer", "operator", "admin")
_EPILOG = """\
roles:
  viewer      sees who calls, when, and how calls end; what was said only with --transcripts
  operator    sees what was said, too, and may hang up, transfer and hand over live calls
  admin       sees the configuration, too

As long as nobody has a password, the page is opened by the link that this command prints when it starts.
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "web",
        help="the page in the browser: live calls, history, figures",
        description="Serve the page in the browser: live calls, history, figures, agents, configuration. It is a "
        "process of its own, which calls do not notice.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--set-password", metavar="NAME", help="add a user, or change one; asks for the password")
    what.add_argument("--remove-user", metavar="NAME", help="who may not log in any more")
    what.add_argument("--users", action="store_true", help="tell who may log in")
    parser.add_argument("--role", choices=ROLES, help="of that user (a new one: viewer)")
    parser.add_argument("--transcripts", action="store_true", help="a viewer sees what was said, too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    # What is wrong elsewhere in the file is shown on the page.
    config = load_part(arguments.config, "web", "http", "server", "store", "recordings")
    try:
        from asterisk_ai.server.web.serving import serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'asterisk-ai[web]'", path="web") from error
    if arguments.set_password or arguments.remove_user or arguments.users:
        return _users(config, arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return serve(config, arguments.config, _tell)


def _tell(host: str, port: int, key: str) -> None:
    where = f"http://{host_port(reachable(host), port)}/"
    if key:
        print(f"Nobody has a password yet. Open this link, as long as this runs:\n  {where}login?key={key}")
        print("To set one: asterisk-ai web --set-password NAME --role admin", flush=True)
    else:
        print(f"The page is at {where}", flush=True)


def _users(config: Config, arguments: argparse.Namespace) -> int:
    from asterisk_ai.server.web.users import FILE_NAME, MIN_PASSWORD, User, Users

    users = Users(config.store_path().with_name(FILE_NAME))
    if arguments.users:
        for name in sorted(users.all()):
            user = users.get(name)
            if user is not None:
                print(f"{name:20} {user.role}{', sees transcripts' if user.transcripts else ''}")
        print(f"{len(users.all())} users in {users.path}")
        return 0
    if arguments.remove_user:
        if not users.remove(arguments.remove_user):
            print(f"there is no user {arguments.remove_user}")
            return 1
        print(f"{arguments.remove_user} may not log in any more")
        return 0
    name = arguments.set_password
    if not name.isprintable() or not 0 < len(name) <= 64:
        print("asterisk-ai: web: a name is 1 to 64 characters", file=sys.stderr)
        return 2
    password = _password()
    if len(password) < MIN_PASSWORD:
        print(f"asterisk-ai: web: a password has {MIN_PASSWORD} characters or more", file=sys.stderr)
        return 2
    known = users.get(name)
    role = arguments.role or (known.role if known else "viewer")
    users.set(User(name, role, arguments.transcripts), password)
    print(f"{name} is {role} and may log in ({users.path})")
    return 0


def _password() -> str:
    """Asked for twice; from a pipe its first line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        print("asterisk-ai: web: those were two different ones", file=sys.stderr)
        return ""
    return password
