"""Is what Asterisk reads in place, does it run with it, and is everything there that agents send callers to?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from asterisk_ai.cli.destinations import destinations
from asterisk_ai.cli.findings import Finding
from asterisk_ai.config import Config, host_port, reachable
from asterisk_ai.dialog.dialplan import FALL_BACK, ActionKind, DialplanAction
from asterisk_ai.pbx.access import User, asterisk_user
from asterisk_ai.pbx.console import Console, ConsoleError
from asterisk_ai.pbx.install import (
    FILES,
    INCLUDE,
    PROGRAMS,
    State,
    agi_folder,
    compare,
    includes,
    is_freepbx,
    main_file,
    read,
)

RELOAD = "asterisk -rx 'dialplan reload'"
_LOAD = re.compile(r"^load => (\w+)\.so", re.MULTILINE)
_VOICEMAIL = "app_voicemail"  # or its sisters for ODBC and IMAP: what counts is the application
_STEP = re.compile(r"^(?:exten => [^,]+,1|same => n(?:\(\w+\))?),(.*)$")
_LOCAL = ("127.0.0.1", "::1", "localhost", "")


def inspect(
    etc: Path, console: Console, config: Config | None = None, runs_as: User | None = None
) -> Iterator[Finding]:
    """What is right and wrong with the files in ``etc`` and with the Asterisk that runs here.

    :param config: the server's, for what Asterisk has to have for it.
    :param runs_as: the user of Asterisk, where it is known.
    """
    reader = runs_as or asterisk_user(etc)
    if not etc.is_dir():
        yield Finding(None, f"{etc} is not there: files not checked", "on the PBX, name it with --etc")
    else:
        try:
            yield from _files(etc, reader)
        except OSError as error:
            yield Finding(None, f"{error.filename}: {error.strerror}", "run this as root or as the user asterisk")
    if config is not None and reader is not None:
        yield from _spool(etc, reader, config)
    try:
        yield Finding(True, f"{console.version()} answers")
        yield from _modules(console)
        yield from _dialplan(etc, console)
        yield from _variables(etc, console, config)
        if config is not None:
            yield from _destinations(console, config)
            yield from _transfers(console, config)
            yield from _calling(console, config)
    except ConsoleError as error:
        yield Finding(None, f"Asterisk itself not checked: {error}", "run this on the PBX, as root or asterisk")


# -- files


def _files(etc: Path, reader: User | None) -> Iterator[Finding]:
    state = compare(FILES["plain"], etc / INCLUDE)
    remedies = {
        State.MISSING: "asterisk-ai dialplan install",
        State.OLDER: f"asterisk-ai dialplan install, then {RELOAD}",
        State.CHANGED: "better leave it as it is and set variables; asterisk-ai dialplan install shows the differences",
    }
    well = state in (State.CURRENT, State.CHANGED)
    yield Finding(well, f"{etc / INCLUDE}: {state.value}", remedies.get(state, ""))
    main = next((name for name in ("extensions.conf", "extensions_custom.conf") if includes(read(etc / name))), "")
    if main:
        yield Finding(True, f"{etc / main} includes it")
    else:
        where = main_file(etc).name if is_freepbx(etc) else "neither extensions.conf nor extensions_custom.conf"
        text = f"{where} in {etc} does not include" if is_freepbx(etc) else f"{where} in {etc} includes"
        yield Finding(False, f"{text} {INCLUDE}", "asterisk-ai dialplan install --include")
    for name in filter(None, (INCLUDE if state is not State.MISSING else "", main)):
        if reader is not None and reader.may("r", etc / name) is False:
            cure = f"chown {reader.name} {etc / name} or chmod a+r {etc / name}, then {RELOAD}"
            yield Finding(False, f"{etc / name} cannot be read by Asterisk (user {reader.name})", cure)
    folder = agi_folder(etc)
    if folder is not None and reader is not None:
        yield from _programs(folder, reader)


def _programs(folder: Path, runner: User) -> Iterator[Finding]:
    for link in (folder / name for name in PROGRAMS):
        if link.is_symlink() and runner.may("rx", link) is False:
            cure = f"install asterisk-ai where {runner.name} may run it, then asterisk-ai dialplan install --agi"
            yield Finding(False, f"{link} cannot be run by Asterisk (user {runner.name})", cure)


def _spool(etc: Path, reader: User, config: Config) -> Iterator[Finding]:
    """EAGI needs it, and agents whose replies or briefings are, or may come to be, files that Asterisk plays."""
    spool, agi_bin = config.spool_path(), agi_folder(etc)
    over_eagi = agi_bin is not None and (agi_bin / PROGRAMS[1]).is_symlink()
    by_agents = any(agent.downstream_mode != "stream" or agent.transfers for agent in config.agents.values())
    if not (os.path.isdir(spool) or over_eagi or by_agents):
        return
    nearest = next(folder for folder in (spool, *spool.parents) if os.path.isdir(folder))
    may = reader.may("rx" if nearest == spool else "x", nearest)
    if may is False:
        cure = f"chgrp {reader.name} {spool.parent} {spool}; chmod g+rx {spool.parent} {spool}; or set playback.spool"
        yield Finding(False, f"replies as files: Asterisk (user {reader.name}) cannot read {spool}", cure)
    else:
        yield Finding(may, f"replies as files: {spool}")


# -- Asterisk


_TO_CONNECT = "app_dial app_stack app_read bridge_simple func_channel func_devstate func_extstate".split()
"""What an agent's ``transfers`` need besides."""


def _transfers(console: Console, config: Config) -> Iterator[Finding]:
    """Whom agents have rung: modules and extensions. A device may well come later."""
    if not any(agent.transfers for agent in config.agents.values()):
        return
    running = console.modules()
    if missing := [name for name in _TO_CONNECT if name not in running]:
        cure = f"asterisk -rx 'module load {missing[0]}.so'; for good: asterisk-ai dialplan print modules"
        yield Finding(False, f"transfers: modules missing: {', '.join(missing)}", cure)
    for agent in config.agents.values():
        for name, target in agent.transfers.items():
            for exten, at, context in (one.partition("@") for one in target.to if "/" not in one):
                if at and not console.has_extension(exten, context):
                    cure = f"create it in the dialplan, or change agents.{agent.name}.transfers.{name}"
                    yield Finding(False, f"agent {agent.name} rings {exten}@{context}, which is not there", cure)


_TO_CALL = {
    "func_db": "nobody can be called",
    "app_dial": "nobody can be called",
    "app_amd": "machines are told by the agent alone (it needs an amd.conf)",
}
"""What ``ami`` needs besides, and what becomes of it without."""


def _calling(console: Console, config: Config) -> Iterator[Finding]:
    """Where people are to be called."""
    running = console.modules() if config.ami is not None else _TO_CALL
    for name, without in _TO_CALL.items():
        if name not in running:
            cure = f"asterisk -rx 'module load {name}.so'; for good: asterisk-ai dialplan print modules"
            yield Finding(None if name == "app_amd" else False, f"ami: {name} does not run: {without}", cure)


def _modules(console: Console) -> Iterator[Finding]:
    running, needed = console.modules(), _LOAD.findall(FILES["modules"].text)
    missing = [name for name in needed if name not in running and name != _VOICEMAIL]
    if missing:
        cure = f"asterisk -rx 'module load {missing[0]}.so'; for good: asterisk-ai dialplan print modules"
        yield Finding(False, f"modules missing: {', '.join(missing)}", cure)
    else:
        yield Finding(True, f"all {len(needed)} needed modules run")
    if "voicemail" not in console.applications():
        others = ", ".join(sorted(name for name in running if name.startswith(_VOICEMAIL)))
        cure = f"asterisk -rx 'module load {_VOICEMAIL}.so'" + (f"; it may not stand beside {others}" if others else "")
        yield Finding(False, "the application VoiceMail is not there: no caller can leave a message", cure)


_FOR_VARIABLE: Mapping[str, tuple[str, ...]] = {
    "AI_WEBSOCKET": (
        "chan_websocket",
        "res_http_websocket",
        "res_websocket_client",
        "res_sorcery_config",
        "app_dial",
        "bridge_simple",
    ),
    "AI_STASIS": ("app_stasis", "res_ari_channels", "res_ari_bridges", "chan_rtp", "res_rtp_asterisk"),
    "AI_WIDEBAND": ("chan_audiosocket", "app_dial", "bridge_simple"),
    "AI_CDR": ("func_cdr",),
}
"""What is needed besides, by the variable that asks for it."""
_SINCE = {"chan_websocket": "Asterisk 20.16, 21.11, 22.6, 23.0 or newer", "chan_audiosocket": "Asterisk 18 or newer"}


def _chosen(console: Console, variables: Mapping[str, str], config: Config | None) -> Iterator[Finding]:
    """Is there what carries the audio, where it is not AudioSocket()?"""
    running = console.modules()
    other_way = variables.get("AI_WEBSOCKET") or variables.get("AI_STASIS")
    for variable, needed in _FOR_VARIABLE.items():
        value = variables.get(variable, "")
        switched = variable in ("AI_WIDEBAND", "AI_CDR")
        if not value or (switched and value != "yes") or (variable == "AI_WIDEBAND" and other_way):
            continue
        missing = [name for name in (*needed, *["app_stack"] * (value == "INCOMING")) if name not in running]
        section = {"AI_WEBSOCKET": "websocket", "AI_STASIS": "ari"}.get(variable, "")
        if missing:
            since = f" ({_SINCE[missing[0]]})" if missing[0] in _SINCE else ""
            cure = f"asterisk -rx 'module load {missing[0]}.so'{since}; for good: asterisk-ai dialplan print modules"
            yield Finding(False, f"{variable}={value}: modules missing: {', '.join(missing)}", cure)
        elif config is not None and section and getattr(config, section) is None:
            cure = f"add {section}: to the configuration"
            yield Finding(False, f"{variable}={value}: the server has no such audio", cure)
        else:
            yield Finding(True, f"{variable}={value}: what it needs runs")


def _dialplan(etc: Path, console: Console) -> Iterator[Finding]:
    installed = read(etc / INCLUDE) if etc.is_dir() else ""
    for context in re.findall(r"^\[([\w-]+)\]", FILES["plain"].text, re.MULTILINE):
        steps = console.steps(context)
        if steps is None:
            yield Finding(False, f"context [{context}] is not loaded", f"{RELOAD}; is the #include line there?")
        elif installed and sorted(steps) != sorted(_steps(installed, context)):
            yield Finding(False, f"context [{context}]: Asterisk runs another one than {etc / INCLUDE} has", RELOAD)
        else:
            yield Finding(True, f"context [{context}] is loaded")


def _steps(text: str, context: str) -> list[str]:
    """What a context of a dialplan file does, as Asterisk's console shows it."""
    found, here = [], False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            here = line.startswith(f"[{context}]")
        elif here and (step := _STEP.match(line)):
            data = re.sub(r"(?<!\\);.*", "", step[1]).strip().replace("\\;", ";")
            found.append(data if data.endswith(")") else f"{data}()")
    return found


def _variables(etc: Path, console: Console, config: Config | None) -> Iterator[Finding]:
    variables = console.variables()
    if config is not None:
        yield _server(etc, variables, config)
    yield from _chosen(console, variables, config)
    fallback = variables.get("AI_FALLBACK", "")
    if not fallback:
        cure = f"set it in [globals] of {main_file(etc) if not is_freepbx(etc) else 'globals_custom.conf'}"
        yield Finding(None, "AI_FALLBACK is not set: callers whom no agent takes hear that nobody is available", cure)
        return
    kind, _, to = fallback.partition(":")
    there = _is_there(console, _fallback(kind, to))
    if there is False or kind not in _FALLBACKS:
        cure = "create it, or name another (the choices are at the top of asterisk_ai.conf); until then it is a message"
        yield Finding(False, f"AI_FALLBACK={fallback}: there is no such {kind}", cure)
    else:
        yield Finding(True, f"AI_FALLBACK={fallback}")


_FALLBACKS = ("message", "queue", "extension", "voicemail")


def _fallback(kind: str, to: str) -> DialplanAction:
    """What AI_FALLBACK says, as the action that does the same."""
    if kind == "extension":
        context, _, rest = to.partition(",")
        return DialplanAction(ActionKind.TRANSFER, {"context": context, "exten": rest.partition(",")[0]})
    if kind == "voicemail":
        mailbox, _, context = to.partition("@")
        return DialplanAction(ActionKind.VOICEMAIL, {"mailbox": mailbox, "context": context})
    return DialplanAction(ActionKind.QUEUE, {"queue": to}) if kind == "queue" else FALL_BACK


def _server(etc: Path, variables: Mapping[str, str], config: Config) -> Finding:
    """Does the dialplan ask where the server listens?"""
    default = re.search(r"Set\(AI_SERVER=([^)]+)\)", FILES["plain"].text)
    asked = variables.get("AI_SERVER") or (default[1] if default else "")
    host, _, port = asked.rpartition(":")
    ours = host_port(reachable(config.fastagi.host), config.fastagi.port)
    if host.strip("[]") not in (*_LOCAL, reachable(config.fastagi.host)):
        return Finding(None, f"AI_SERVER={asked} is another machine: not checked")
    if port == str(config.fastagi.port):
        return Finding(True, f"AI_SERVER={asked} is where the server listens")
    where = "globals_custom.conf" if is_freepbx(etc) else main_file(etc)
    cure = f"set AI_SERVER={ours} in [globals] of {where}, then {RELOAD}; or set fastagi.port: {port or 4574}"
    return Finding(False, f"the dialplan asks {asked}, but the server listens on {ours} (fastagi.port)", cure)


# -- where callers are sent


def _destinations(console: Console, config: Config) -> Iterator[Finding]:
    good = []
    for found in destinations(config):
        action = found.action
        name = "@".join(action.arguments.values())
        there = _is_there(console, action)
        if there:
            good.append(f"{action.kind} {name}")
        elif there is False:
            cure = f"create it in Asterisk ({_WHERE[action.kind]}), or change agents.{found.agent}"
            yield Finding(False, f"agent {found.agent} sends callers to {action.kind} {name}, which is not there", cure)
    yield from _all_there(good)


def _all_there(good: Iterable[str]) -> Iterator[Finding]:
    if known := ", ".join(good):
        yield Finding(True, f"there to send callers to: {known}")


_WHERE = {
    ActionKind.TRANSFER: "the dialplan",
    ActionKind.QUEUE: "queues.conf",
    ActionKind.VOICEMAIL: "voicemail.conf",
}


def _is_there(console: Console, action: DialplanAction) -> bool | None:
    """None for what is no destination, or cannot be asked for."""
    kind, arguments = action.kind, action.arguments
    if kind is ActionKind.TRANSFER:
        return console.has_extension(arguments["exten"], arguments["context"])
    if kind is ActionKind.QUEUE:
        return console.has_queue(arguments["queue"])
    if kind is ActionKind.VOICEMAIL:
        return console.has_mailbox(arguments["mailbox"], arguments.get("context") or "default")
    return None
