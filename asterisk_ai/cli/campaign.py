"""``asterisk-ai campaign``: calls the people of a file, each once."""

from __future__ import annotations

import argparse
import asyncio
import csv
import dataclasses
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asterisk_ai.cli.dial import ami_of, callee
from asterisk_ai.cli.promises import Promises
from asterisk_ai.config import Config, load, load_part
from asterisk_ai.errors import AsteriskAIError, LocalProtocolError
from asterisk_ai.pbx.calling import Calling
from asterisk_ai.pbx.campaign import AGAIN, Campaign, Terms
from asterisk_ai.protocol.ami import MACHINE, Callee, Outcome, number_of
from asterisk_ai.providers.engines.rules.hours import parse_week, parse_zone
from asterisk_ai.session.backends.campaigns import Campaigns, Person, plain_number
from asterisk_ai.session.lock import StoreInUse, StoreLock
from asterisk_ai.telemetry.printable import printable

_EPILOG = """\
  run FILE.csv       call its people, and go on where an earlier run was stopped or killed; Ctrl-C hangs up
  status [FILE.csv]  how far it is
  stop FILE.csv      call nobody more; those who are on the telephone may finish. run goes on
  call-backs         call whom agents have promised to call back, when they said so; it runs until it is stopped
  forbid NUMBER...   never call these, in no campaign

The file's first line names its columns: number; timezone (as Europe/Berlin), if there are several; and any of the
agent's variables. A number that stands in it twice is called once. The campaign's name is the file's, without .csv.

  asterisk-ai campaign run reminders.csv --agent reminder --hours "mon-fri 9:00-19:00" --dry-run
"""
_WORDS = {
    "run": range(1, 2),
    "status": range(9),
    "stop": range(1, 2),
    "call-backs": range(1),
    "forbid": range(1, 9999),
}
"""What can be done, and how many words belong to it."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
CALL_BACKS = "call-backs"
MAX_PEOPLE = 100_000


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "campaign", help="call the people of a file, each once", description="Call the people of a file, each once.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("do", choices=tuple(_WORDS), help="what to do")
    parser.add_argument("words", nargs="*", metavar="FILE.csv | NUMBER", help="the campaign's file")
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    how = parser.add_argument_group("how people are called")
    how.add_argument("--agent", default="", metavar="NAME", help="who talks with them (default: default_agent)")
    how.add_argument("--hours", action="append", metavar="DAYS SPANS", help='when, in the time of their own place '
                     '(default: "mon-sat 9:00-20:00"); may stand several times')  # fmt: skip
    how.add_argument("--timezone", default="", metavar="ZONE", help="of those whose column is empty")
    how.add_argument("--concurrency", type=int, default=1, metavar="N", help="so many at once (default: 1)")
    how.add_argument("--per-minute", type=float, default=30, metavar="N", help="so many are begun (default: 30)")
    how.add_argument("--tries", type=int, default=3, metavar="N", help="so often at most (default: 3)")
    how.add_argument("--retry", action="append", default=[], metavar="OUTCOME=PAUSE", help="the pause before the next "
                     "try, or never (default: busy=10m, no_answer=2h, machine=1d, refused=10m)")  # fmt: skip
    how.add_argument("--machine", choices=MACHINE, default="talk", help="where an answering machine takes the call: "
                     "talk with it, hang up, or say agents.NAME.machine_message after its beep")  # fmt: skip
    how.add_argument("--do-not-call", metavar="FILE", help="numbers never to be called, one a line")
    how.add_argument("--dry-run", action="store_true", help="tell who would be called when, and call nobody")
    parser.add_argument("--json", action="store_true", help="status: as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    words: Sequence[str] = arguments.words
    if len(words) not in _WORDS[arguments.do]:
        print(f"asterisk-ai: campaign {arguments.do}: say which (see asterisk-ai campaign --help)", file=sys.stderr)
        return 2
    if arguments.do in ("run", "call-backs"):
        try:
            config = load(arguments.config)
            ami_of(config)
            people, terms = [], terms_of(arguments)
            if words:
                people = read_people(config, Path(words[0]), arguments.agent, arguments.machine)
            numbers = _numbers(Path(arguments.do_not_call)) if arguments.do_not_call else []
        except (ValueError, LocalProtocolError) as error:
            raise AsteriskAIError(str(error)) from error
        return _run(config, arguments, people, terms, numbers)
    path = load_part(arguments.config, "store").store_path().with_name("campaigns.db")
    store = Campaigns(path)
    try:
        if arguments.do == "forbid":
            store.forbid([number_of(word) for word in words])
            return 0
        if arguments.do == "stop":
            if not store.stop(Path(words[0]).stem):
                raise AsteriskAIError(f"there is no campaign {Path(words[0]).stem} in {path}")
            return 0
        for name in [Path(word).stem for word in words] or store.names():
            _tell(store, name, as_json=arguments.json)
    finally:
        store.close()
    return 0


def _tell(store: Campaigns, name: str, *, as_json: bool) -> None:
    people = store.people(name)
    if as_json:
        for person in people:
            print(json.dumps({"campaign": name, **dataclasses.asdict(person)}))
        return
    figures = ", ".join(f"{count} {state}{f' ({outcome})' if outcome else ''}"
                        for (state, outcome), count in sorted(store.figures(name).items()))  # fmt: skip
    due = store.next_due(name)
    then = f"; next at {time.strftime('%Y-%m-%d %H:%M', time.localtime(due))}" if due and due > time.time() else ""
    print(printable(f"{name}: {figures or 'nobody'}{then}{' (stopped)' if store.is_stopped(name) else ''}"))


def read_people(config: Config, file: Path, agent: str, machine: str) -> list[Person]:
    """Those of the file, each once.

    :raises AsteriskAIError: it cannot be used; with all lines that are wrong.
    """
    people: dict[str, Person] = {}
    problems = []
    with file.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines)
        columns = [name.strip().lower() for name in table.fieldnames or ()]
        table.fieldnames = columns
        if "number" not in columns:
            raise AsteriskAIError(f"{file}: its first line has to name its columns, of which one is number")
        for row in table:
            try:
                person = _person({name: (value or "").strip() for name, value in row.items() if name}, table.line_num)
                callee(config, person.number, agent, person.variables, machine)
            except (ValueError, LocalProtocolError) as error:
                problems.append(f"{file}:{table.line_num}: {error}")
                continue
            people.setdefault(plain_number(person.number), person)
            if len(people) > MAX_PEOPLE:
                raise AsteriskAIError(f"{file}: more than {MAX_PEOPLE:,} people: divide it")
    if problems:
        more = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""
        raise AsteriskAIError("\n".join(problems[:10]) + more)
    return list(people.values())


def _person(row: dict[str, str], line: int) -> Person:
    zone = row.pop("timezone", "")
    parse_zone(zone)
    return Person(number_of(row.pop("number", "")), line, zone, row)


def _numbers(file: Path) -> list[str]:
    lines = file.read_text("utf-8-sig").splitlines()
    return [number_of(line.split(",")[0]) for line in lines if line.strip() and not line.startswith(("#", "number"))]


def terms_of(arguments: argparse.Namespace) -> Terms:
    """:raises ValueError: they cannot be kept."""
    open_: dict[str, list[str]] = {}
    for text in arguments.hours or ["mon-sat 9:00-20:00"]:
        days, _, spans = text.strip().partition(" ")
        open_[days] = re.split(r"\s*,\s*", spans.strip())
    again = dict(AGAIN)
    for pair in arguments.retry:
        outcome, _, pause = pair.partition("=")
        match = re.fullmatch(r"(\d+)([smhd])", pause)
        if outcome not in tuple(AGAIN) or not (match or pause == "never"):
            raise ValueError(f"--retry {pair}: as busy=10m or machine=never, with one of {', '.join(AGAIN)}")
        if match:
            again[Outcome(outcome)] = float(match[1]) * _UNITS[match[2]]
        else:
            del again[Outcome(outcome)]
    parse_zone(arguments.timezone)
    if arguments.concurrency < 1 or arguments.per_minute <= 0 or arguments.tries < 1:
        raise ValueError("--concurrency, --per-minute and --tries are numbers above 0")
    return Terms(
        parse_week(open_), arguments.timezone, arguments.concurrency, arguments.per_minute, arguments.tries, again
    )


def _run(
    config: Config, arguments: argparse.Namespace, people: Sequence[Person], terms: Terms, forbidden: Sequence[str]
) -> int:
    name = Path(arguments.words[0]).stem if arguments.words else CALL_BACKS
    path = config.store_path().with_name("campaigns.db")
    if arguments.dry_run:
        _plan(people, terms, {plain_number(one) for one in forbidden}, Campaigns(path) if path.exists() else None, name)
        return 0
    store, lock = Campaigns(path), StoreLock(path.with_name(f"campaign-{name}"))
    try:
        lock.acquire(0)
        store.forbid(forbidden)
        new = store.enter(name, people)
        print(printable(f"{name}: {len(people)} people, {new} of them new"), flush=True)
        asyncio.run(_call(config, arguments, name, store, terms))
        _tell(store, name, as_json=False)
    except StoreInUse:
        raise AsteriskAIError(f"the campaign {name} runs already (asterisk-ai campaign stop {name} ends it)") from None
    finally:
        lock.release()
        store.close()
    return 0


async def _call(config: Config, arguments: argparse.Namespace, name: str, store: Campaigns, terms: Terms) -> None:
    def make(person: Person, call: str) -> Callee:
        return dataclasses.replace(
            callee(config, person.number, arguments.agent, person.variables, arguments.machine), call=call
        )

    def told(person: Person, what: str) -> None:
        print(printable(f"{person.number}: {what}"), flush=True)

    more = Promises(config, store, terms.timezone).look if name == CALL_BACKS else None
    async with Calling(ami_of(config)) as calling:
        await Campaign(name, store, calling, terms, make=make, told=told, more=more).run()


def _plan(people: Sequence[Person], terms: Terms, forbidden: set[str], store: Campaigns | None, name: str) -> None:
    """Who would be called when."""
    there: dict[str, Person] = {}
    if store is not None:
        forbidden |= store.forbidden()
        there = {one.number: one for one in store.people(name)}
        store.close()
    now = datetime.now(UTC)
    for person in people:
        known = there.get(person.number, person)
        window = terms.window(person, max(now, datetime.fromtimestamp(known.due_at, UTC)))
        if plain_number(person.number) in forbidden:
            when = "not: on the list of those who are not to be called"
        elif known.state != "waiting":
            when = f"not again: {known.state} {known.outcome}"
        else:
            when = "now" if window == now else f"{window:%a %Y-%m-%d %H:%M %Z}" if window else "never: no hours"
        print(printable(f"{person.number}  {when}  {' '.join(f'{k}={v}' for k, v in person.variables.items())}"))
