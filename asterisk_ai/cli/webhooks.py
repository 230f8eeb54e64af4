"""``asterisk-ai webhooks``: what is told of calls to others, by webhooks and e-mail, and what could not be told."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from asterisk_ai.config import Config, load, load_part
from asterisk_ai.errors import ConfigError
from asterisk_ai.session.backends import deliveries
from asterisk_ai.session.backends.deliveries import WAITING, Delivery
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord, new_call_id
from asterisk_ai.telemetry.printable import printable, printable_json

_EPILOG = """\
  asterisk-ai webhooks                  what is still to be delivered, or was given up, and why
  asterisk-ai webhooks list --all       what was delivered, too
  asterisk-ai webhooks retry            try all of that again now
  asterisk-ai webhooks retry 6ba7b810   the delivery, or the call, whose id begins so
  asterisk-ai webhooks test             tell each target of a made-up call (its type is "test"), and say what came of it
  asterisk-ai webhooks test crm         this one; a message of `mail` is called mail/NAME
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "webhooks",
        help="what is told of calls to others, by webhooks and e-mail",
        description="What is told of calls to others (webhooks, e-mail): what waits, what was given up, trying again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="list | retry | test | ID", help="what to do, and with which")
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    parser.add_argument("--all", action="store_true", help="list: what was delivered, too")
    parser.add_argument("--json", action="store_true", help="list: as JSON, one a line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.words[:1] == ["test"]:
        return _test(load(arguments.config), arguments.words[1:])
    config = load_part(arguments.config, "store")  # also while other parts are being edited
    if config.store.backend != "sqlite":
        raise ConfigError("store.backend is memory: nothing is kept, and nothing delivered", path="store.backend")
    ids: list[str] = list(arguments.words)
    retry = bool(ids) and ids[0] == "retry"
    if ids and ids[0] in ("list", "retry"):
        del ids[0]
    reader = SqliteReader(config.store_path())
    try:
        found = [one for one in reader.deliveries(every=arguments.all or bool(ids)) if _meant(one, ids)]
    finally:
        reader.close()
    if ids and not found:
        print(f"nothing is to be delivered of {printable(' '.join(ids))} in {config.store_path()}")
        return 1
    return _retry(config, found) if retry else _list(found, as_json=arguments.json)


def _test(config: Config, names: Sequence[str]) -> int:
    """Exit status 1 where one could not be told, or where there is none of that name."""
    # With what delivers: the other words do without.
    from asterisk_ai.server.after.after_calls import targets
    from asterisk_ai.server.after.courier import DeliveryFailed

    now = time.time()
    call = CallSession(new_call_id(), config.default_agent, started_at=now - 42, ended_at=now, outcome=Outcome.HANGUP)
    call.caller = {"number": "5550100", "name": "Test"}
    call.history = [TurnRecord("agent", "This is a test.", now - 40), TurnRecord("caller", "It works.", now - 35)]
    known = dict(targets(config))
    well = True
    for name in names or known:
        if name not in known:
            raise ConfigError(f"nobody is called {name!r}; there are {', '.join(known) or 'none'}")
        try:
            known[name](deliveries.delivery(call, name, "test"), call)
            print(f"{name}: delivered")
        except DeliveryFailed as error:
            print(f"{name}: not delivered: {error}")
            well = False
    if not known:
        print("nobody is told of calls: webhooks and mail are not in the configuration")
    return 0 if well else 1


def _meant(one: Delivery, ids: Sequence[str]) -> bool:
    return not ids or any(whole.startswith(begin) for whole in (one.id, one.call_id) for begin in ids)


def _list(found: Sequence[Delivery], *, as_json: bool) -> int:
    for one in found:
        print(printable_json(json.loads(json.dumps(asdict(one)))) if as_json else line(one))
    if not found and not as_json:
        print("nothing waits to be delivered")
    return 0


def _retry(config: Config, found: Sequence[Delivery]) -> int:
    count = deliveries.retry(config.store_path(), [one.id for one in found])
    print(f"{count} deliveries are tried again by the running server, within a quarter of a minute")
    return 0


def line(one: Delivery) -> str:
    """When, to whom, which event of which call, and how it went."""
    made = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.made_at))
    how = one.state
    if one.state == WAITING and one.tries:
        how = f"waiting, tried {one.tries} times, again at {time.strftime('%H:%M:%S', time.localtime(one.due_at))}"
    why = f": {one.problem}" if one.problem else ""
    return printable(f"{made}  {one.target:16} {one.event:12} {one.call_id}  {how}{why}")
