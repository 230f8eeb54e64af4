"""``asterisk-ai models``: what there is, what suits this machine, fetch it, keep it well."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from asterisk_ai.cli.models_choice import (
    Choice,
    Context,
    choose,
    context_of,
    languages_of,
    machine_lines,
    measured_of,
    model_line,
    terms,
    wanted_of,
)
from asterisk_ai.cli.models_progress import Bars, Lines, size_text
from asterisk_ai.config import proxies
from asterisk_ai.errors import ConfigError
from asterisk_ai.models import hardware, tiers
from asterisk_ai.models import registry as registries
from asterisk_ai.models.choice import ENGINES
from asterisk_ai.models.registry import Model
from asterisk_ai.providers import catalog

_AFTER_FAILURE = """\
Nothing half-fetched is in use; what has come stays for the next run. Behind a proxy set https_proxy; without
internet set models.mirror in asterisk_ai.yaml to a copy of the files (`models list --json` names them all).\
"""


def add_parser(commands: Any) -> None:
    """Register the command and its sub-commands."""
    parser = commands.add_parser("models", help="fetch, check and list the models of the local engines")
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    parser.set_defaults(run=lambda _: parser.print_help())  # the group alone: it helps

    def action(name: str, text: str, run: Any, names: str = "") -> argparse.ArgumentParser:
        found: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:])
        if names:
            found.add_argument("names", nargs=names, metavar="MODEL", help="ids, as `models list` shows them")
        found.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml (for models: and the agents' languages)")
        found.add_argument("--json", action="store_true", help="the result as JSON")
        found.set_defaults(run=run)
        return found

    listing = action("list", "models that can be fetched, and those that are here", run_list)
    listing.add_argument("--kind", choices=registries.KINDS)
    listing.add_argument("--language", help="de, en-GB, ...; models for any language are shown, too")
    listing.add_argument("--here", action="store_true", help="only those that are here")

    about = "fetch what suits this machine and the agents' languages, or MODELs by name"
    fetch = action("fetch", about, run_fetch, "*")
    _add_choice(fetch)
    fetch.add_argument("--yes", "-y", action="store_true", help="do not ask")
    fetch.add_argument("--dry-run", action="store_true", help="only tell what would be fetched, and why")
    fetch.add_argument("--accept-licence", action="store_true", help="also models whose licence forbids commercial use")
    fetch.add_argument("--mirror", metavar="URL", help="take MODEL/FILE below this URL or folder, not the internet")
    fetch.add_argument("--parallel", type=_parallel, default=4, metavar="N", help="files at a time (default: 4)")

    tier = action("tier", "what this machine has, and which models follow from it", run_tier)
    _add_choice(tier)

    verify = action("verify", "are the models that are here whole and unchanged?", run_verify, "*")
    verify.add_argument("--deep", action="store_true", help="read every byte again")

    remove = action("remove", "delete models, or what is left of fetching them", run_remove, "+")
    remove.add_argument("--yes", "-y", action="store_true", help="do not ask")
    remove.add_argument("--dry-run", action="store_true", help="only tell what would be deleted")

    action("path", "where a model is; fails with the command that mends it", run_path, "+")


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tier", metavar="NAME", help="as if the machine were of this tier; auto: look at it anew")
    parser.add_argument("--language", action="append", metavar="TAG", help="de, en-GB, ... (default: the agents' own)")
    parser.add_argument("--benchmark", action="store_true", help="measure for two seconds, instead of counting only")


def _parallel(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 16:
        raise argparse.ArgumentTypeError("from 1 to 16")
    return number


def _ask(question: str, *, yes: bool) -> bool:
    """True where the administrator wants it. Raises ConfigError where there is nobody to be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask at: say --yes (or --dry-run to see what would be done)")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _dump(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


# -- list


def run_list(arguments: argparse.Namespace) -> int:
    context = context_of(arguments)
    here = set(context.store.ids())
    rows = [_row(context, model) for model in context.registry.models.values() if _wanted(arguments, model, here)]
    rows += [
        {"id": name, "state": "here, not in the registry"}
        for name in sorted(here - set(context.registry.models))
        if not (arguments.kind or arguments.language)
    ]
    if arguments.json:
        _dump(rows)
        return 0
    for row in rows:
        kind, language = row.get("kind", ""), row.get("language") or "-"
        size = size_text(row["size"]) if "size" in row else ""
        print(f"{row['id']:42} {kind:4} {language:6} {size:>8}  {row.get('terms', ''):42} {row['state']}".rstrip())
    return 0


def _wanted(arguments: argparse.Namespace, model: Model, here: set[str]) -> bool:
    if (arguments.kind and model.kind != arguments.kind) or (arguments.here and model.id not in here):
        return False
    if not arguments.language or model.language in ("", "any", "multi"):
        return True
    wanted: str = arguments.language.lower().replace("_", "-")
    own = model.language.lower()
    return own == wanted or own.partition("-")[0] == wanted or own == wanted.partition("-")[0]


def _row(context: Context, model: Model) -> dict[str, Any]:
    """One model as JSON has it."""
    store = context.store
    problem = "" if store.missing(model.id) else store.problem(model.id, model)
    state = "" if store.missing(model.id) else f"DAMAGED: {problem}" if problem else "here"
    if not state and model.id in store.leftovers():
        state = "partly fetched"
    return {
        "id": model.id,
        "name": model.name,
        "kind": model.kind,
        "engine": model.engine,
        "language": model.language,
        "sample_rates": list(model.sample_rates),
        "size": model.size,
        "memory_bytes": model.memory_bytes or None,
        "licence": asdict(model.licence),
        "terms": terms(model),
        "files": [asdict(file) | {"mirror_path": f"{model.id}/{file.path}"} for file in model.files],
        "note": model.note,
        "state": state,
    }


# -- tier


def run_tier(arguments: argparse.Namespace) -> int:
    context = context_of(arguments, for_agents=True)
    machine = hardware.detect(context.store.directory)
    measured = measured_of(arguments, machine)
    languages = languages_of(arguments, context.config)
    verdicts = tiers.judge(context.registry, machine, measured, wanted_of(context, languages))
    chosen = tiers.best(verdicts).tier
    if arguments.tier and arguments.tier != "auto":
        chosen = context.registry.tier(arguments.tier)
    models, missing = tiers.models_of(context.registry, chosen, languages)
    if arguments.json:
        _dump(
            {
                "machine": asdict(machine) | {"instructions": sorted(machine.instructions)},
                "measured": asdict(measured) if measured else None,
                "tiers": {verdict.tier.name: list(verdict.lacks) for verdict in verdicts},
                "tier": chosen.name,
                "models": [model.id for model in models],
                "missing": list(missing),
            }
        )
        return 0
    print("\n".join(machine_lines(machine)))
    if measured:
        print(f"measured: {measured.bytes_per_second / 1e9:.1f} GB/s from memory, {measured.flops / 1e9:.0f} GFLOP/s")
    for verdict in verdicts:
        mark = "->" if verdict.tier is chosen else "  "
        why = f"lacks {', '.join(verdict.lacks)}" if verdict.lacks else "enough"
        print(f"{mark} {verdict.tier.name:9} {verdict.tier.about}\n{'':13}{why}")
    for model in models:
        print(f"     {model_line(model)}")
    for text in missing:
        print(f"     ({text})")
    return 0


# -- fetch


def run_fetch(arguments: argparse.Namespace) -> int:
    """Exit status 1 where a model could not be had."""
    context = context_of(arguments, for_agents=True)
    choice = choose(arguments, context)
    lacking = [model for model in choice.models if context.store.problem(model.id, model)]
    out = sys.stderr if arguments.json else sys.stdout
    _tell(choice, lacking, context, out)
    refused = [model for model in lacking if model.licence.commercial == "no" and not arguments.accept_licence]
    if arguments.dry_run:
        if arguments.json:
            _dump({"fetch": [_row(context, model) for model in lacking], "missing": list(choice.missing)})
        return 0
    if refused:
        names = ", ".join(f"{model.id} ({model.licence.name})" for model in refused)
        raise ConfigError(f"commercial use is forbidden by the licence of {names}: --accept-licence if yours is not")
    if not lacking:
        context.store.settle(model.id for model in choice.models)
        if choice.selection and choice.models:
            context.store.select(choice.selection)
        status = _report([model.id for model in choice.models], [], {}, arguments)
        _say_next(choice, arguments, out, [])
        return status
    if not _ask("fetch?", yes=arguments.yes):
        return 1
    return _fetch(arguments, context, choice)


def _tell(choice: Choice, lacking: Sequence[Model], context: Context, out: Any) -> None:
    """What would be fetched and why: size, licence, what it costs in memory."""
    for line in choice.reasons:
        print(line, file=out)
    for text in choice.missing:
        print(f"note: {text}", file=out)
    if not choice.models:
        print("nothing is to be fetched for that (--tier NAME overrides, `models list` shows everything)", file=out)
    elif not lacking:
        print(f"all is there: {', '.join(model.id for model in choice.models)} in {context.store.directory}", file=out)
    for model in lacking:
        print(f"  {model_line(model)}", file=out)
        notes = [*model.licence.flags, model.note] if model.licence.commercial in ("unclear", "no") else [model.note]
        if any(file.weak for file in model.files):
            notes.append("only an MD5 of it is known, which does not protect against a forger")
        for note in filter(None, notes):
            print(f"{'':36}{note}", file=out)
    if lacking:
        memory = sum(model.memory_bytes for model in choice.models)
        known = f"; {size_text(memory)} of memory by published figures" if memory else ""
        total = size_text(sum(model.size for model in lacking))
        print(f"{total} to be fetched into {context.store.directory}{known}", file=out)


def _fetch(arguments: argparse.Namespace, context: Context, choice: Choice) -> int:
    from asterisk_ai.models.fetch import Fetcher, Settings  # needs the HTTP library, which nothing else here does
    from asterisk_ai.models.sources import Web
    from asterisk_ai.models.wheels import Wheels

    mirror = arguments.mirror or context.config.mirror_url()
    reserve = context.registry.thresholds.disk_reserve_bytes
    settings = Settings(mirror=mirror, parallel=arguments.parallel, reserve_bytes=reserve)
    out = sys.stderr if arguments.json else sys.stdout
    listener = Bars(out) if out.isatty() else Lines(out)
    web = Web(proxies())
    wheels = Wheels(web)
    fetcher = Fetcher(context.store, wheels, listener, settings)
    try:
        outcome = fetcher.fetch(
            choice.models, waiting=lambda process: listener.say(f"waiting for another fetch (process {process})")
        )
    except KeyboardInterrupt:
        listener.close()
        print("stopped; what has come stays, and the next fetch goes on from there", file=sys.stderr, flush=True)
        out.flush()
        os._exit(130)  # threads may hang on a silent server for long; nothing is lost, whenever we end
    listener.close()
    wheels.close()
    web.close()
    if choice.selection and not outcome.failed:
        context.store.select(choice.selection)
    status = _report(outcome.present, outcome.fetched, outcome.failed, arguments)
    if not outcome.failed:
        _say_next(choice, arguments, out, outcome.fetched)
    return status


def _report(
    present: Iterable[str], fetched: Iterable[str], failed: dict[str, str], arguments: argparse.Namespace
) -> int:  # fmt: skip
    if arguments.json:
        _dump({"present": list(present), "fetched": list(fetched), "failed": failed})
        return 1 if failed else 0
    by_reason: dict[str, list[str]] = {}
    for name, why in failed.items():
        by_reason.setdefault(why.removeprefix(f"{name}: "), []).append(name)
    for why, names in by_reason.items():
        print(f"FAIL  {', '.join(names)}\n      {why}", file=sys.stderr)
    if failed:
        print(_AFTER_FAILURE, file=sys.stderr)
    return 1 if failed else 0


def _say_next(choice: Choice, arguments: argparse.Namespace, out: Any, fetched: Sequence[str]) -> None:
    """From models to a pipeline: what their engines lack still, how to try them, and how to use them."""
    engines = dict.fromkeys(model.engine for model in choice.models if model.engine in ENGINES)
    lacking = [catalog.LIBRARIES[engine] for engine in engines if importlib.util.find_spec(engine) is None]
    if lacking:
        python = shlex.quote(sys.executable)
        print(f"first: {python} -m pip install {' '.join(lacking)}    the engines themselves", file=out)
    elif not fetched:
        return
    if engines:
        config = f" --config {shlex.quote(arguments.config)}" if arguments.config else ""
        pipeline = "local-llm" if "gpt4all" in engines and len(engines) == 1 else "local"
        print(f"then: asterisk-ai provider test {pipeline}{config}      tries them", file=out)
        print(f"      asterisk-ai provider switch {pipeline}{config}    uses them for calls", file=out)
        if "gpt4all" in engines and pipeline == "local":
            print("      (local-llm instead of local: the language model answers, by the agents' `prompt`)", file=out)


# -- verify, remove, path


def _known(names: Sequence[str], context: Context) -> list[str]:
    """Models of the registry or that are here. Raises ConfigError with what was probably meant."""
    return [name if name in context.store.ids() else context.registry.model(name).id for name in names]


def run_verify(arguments: argparse.Namespace) -> int:
    """Exit status 1 where one is missing or damaged."""
    context = context_of(arguments)
    names = _known(arguments.names, context) or context.store.ids()
    problems = {}
    for name in names:
        model = context.registry.models.get(name)
        problems[name] = context.store.problem(name, model, deep=arguments.deep)
        if not arguments.json:
            remedy = f"\n      -> {context.store.command(name)}"
            print(f"FAIL  {name}: {problems[name]}{remedy}" if problems[name] else f"ok    {name}")
    if arguments.json:
        _dump({name: {"ok": not problem, "problem": problem} for name, problem in problems.items()})
    elif not names:
        print(f"no models in {context.store.directory}")
    return 1 if any(problems.values()) else 0


def run_remove(arguments: argparse.Namespace) -> int:
    context = context_of(arguments)
    store = context.store
    leftovers = store.leftovers()
    for name in arguments.names:
        if store.missing(name) and name not in leftovers:
            raise ConfigError(f"{name} is not here; here are: {', '.join([*store.ids(), *leftovers]) or 'none'}")
    what = f"{', '.join(arguments.names)} from {store.directory}"
    if arguments.dry_run:
        freed, said = {name: store.held(name) for name in arguments.names}, "would be deleted, {} would be free again"
    elif not _ask(f"delete {what}?", yes=arguments.yes):
        return 1
    else:
        with store.lock():
            freed, said = {name: store.remove(name) for name in arguments.names}, "deleted, {} are free again"
    if arguments.json:
        _dump(freed)
    else:
        print("\n".join(f"{name}: {said.format(size_text(size))}" for name, size in freed.items()))
    return 0


def run_path(arguments: argparse.Namespace) -> int:
    context = context_of(arguments)
    found = {name: str(context.store.path(name)) for name in _known(arguments.names, context)}
    if arguments.json:
        _dump(found)
    else:
        print("\n".join(found.values()))
    return 0
