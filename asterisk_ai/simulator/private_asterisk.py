"""A private, real Asterisk with a configuration of its own, and calls through it.

All that it reads and writes lies below one temporary folder, and its ports are
free ones: an Asterisk that serves telephones on the same machine feels nothing
of it, and several live side by side. It runs in the foreground as our child,
dies with us, and is killed for certain at the end.

The caller is the far half of a Local channel: its dialplan hands itself to a
FastAGI conversation with :class:`~asterisk_ai.simulator.telephone.Telephone`,
which makes it speak a prompt, dial digits, listen, or hang up, step by step.
The near half arrives in the dialplan under test like any other call.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import asterisk_ai
from asterisk_ai.config import share_path
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator import dialplan_log, private_config
from asterisk_ai.simulator.installation import Installation
from asterisk_ai.simulator.ports import free_port
from asterisk_ai.simulator.telephone import Telephone
from asterisk_ai.simulator.waiting import die_with_parent, until

START_SECONDS = 30.0
PACKAGE = Path(asterisk_ai.__file__).parents[1]

_PROGRAM = """#!/bin/sh
PYTHONPATH='{package}' exec '{python}' -c 'import sys; from asterisk_ai.agi.{program} import main; sys.exit(main())' \
{options} "$@"
"""


class PrivateAsterisk:
    """Use as a context manager.

    :param server: host:port for AI_SERVER, the FastAGI that the packaged dialplan calls.
    :param globals_: further global variables, e.g. ``AI_FALLBACK``.
    :param dialplan: further contexts, as text.
    :param options: further lines of asterisk.conf's [options].
    :param ari_password: of ARI's user ``asterisk-ai``; ARI is at :attr:`ari_url`. Empty: there is no ARI.
    :param ami_secret: of the manager interface's user ``asterisk-ai``; it is at :attr:`ami_port`. Empty: there is none.
    :param websocket_port: where the server listens for chan_websocket, whose connection is ``asterisk-ai``; 0: none.
    :param entry: the packaged dialplan file that extensions.conf includes.
    :param modules: further modules to load.
    :param files: further configuration files, name to text.
    """

    def __init__(
        self, installation: Installation, server: str, *, globals_: Mapping[str, str] | None = None, dialplan: str = "",
        entry: str = "asterisk_ai.conf", options: str = "", ari_password: str = "", websocket_port: int = 0,
        ami_secret: str = "",
        modules: Iterable[str] = (), files: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.installation = installation
        self.folder = Path(tempfile.gettempdir()) / f"asterisk-ai-{os.getpid()}-{secrets.token_hex(3)}"
        """Everything of it. Short, as a socket's name may have 107 characters."""
        self.globals = {"AI_SERVER": server, "AI_FALLBACK": "extension:landed,fallback,1", **(globals_ or {})}
        self.dialplan, self.entry, self.options = dialplan, entry, options
        self.ari_password, self.websocket_port = ari_password, websocket_port
        self.ami_secret = ami_secret
        self.http_port, self.ami_port = free_port(), free_port()
        self.ari_url = f"http://127.0.0.1:{self.http_port}/ari"
        self.process: subprocess.Popen[bytes] | None = None
        self._modules, self._files = tuple(modules), dict(files or {})

    # ---- its life ---------------------------------------------------------------

    def __enter__(self) -> PrivateAsterisk:
        """Running, and booted.

        :raises AsteriskAIError: it does not start; with what it said.
        """
        self._configure()
        self._start()
        return self

    def _start(self) -> None:
        with (self.folder / "console").open("wb") as console:
            self.process = subprocess.Popen(
                [*self.command(), "-f"], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=console,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls one C function
            )  # fmt: skip
        try:
            until(lambda: (self.folder / "run/asterisk.ctl").exists() or self._dead(), START_SECONDS, "control socket")
            until(lambda: "fully booted" in self.rx("core waitfullybooted") or self._dead(), START_SECONDS, "booted")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._kill()
        if not os.environ.get("ASTERISK_AI_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def _dead(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            said = (self.folder / "console").read_text("utf-8", "replace").strip()
            raise AsteriskAIError(f"{self.installation.program[-1]} did not start:\n{said[-2000:]}")
        return False

    def _configure(self) -> None:
        self.folder.mkdir(0o755)
        for name in private_config.FOLDERS:
            (self.folder / name).mkdir(parents=True)
        private_config.link_data(self.installation, self.folder / "data")
        if self.installation.sounds is not None and (self.installation.sounds / "demo-congrats.wav").exists():
            shutil.copy(self.installation.sounds / "demo-congrats.wav", self.folder / "moh/music.wav")
        for name in {"asterisk_ai.conf", self.entry}:
            shutil.copy(share_path("dialplan") / name, self.folder / "etc")  # unchanged, that is the point
        written = private_config.settings(
            self.installation,
            self.folder,
            globals_=self.globals,
            dialplan=self.dialplan,
            entry=self.entry,
            options=self.options,
            modules=self._modules,
            http_port=self.http_port,
            ari_password=self.ari_password,
            websocket_port=self.websocket_port,
            ami_port=self.ami_port,
            ami_secret=self.ami_secret,
            rtp_port=20000 + 200 * secrets.randbelow(150),
        )
        for name, text in {**written, **self._files}.items():
            (self.folder / "etc" / name).write_text(text, "utf-8")

    def install_program(self, name: str, program: str, *options: str) -> None:
        """Make ``AGI(name,...)`` run ``asterisk_ai.agi.<program>`` with ``options`` before its arguments."""
        script = self.folder / "lib" / name
        words = " ".join(f"'{option}'" for option in options)
        script.write_text(_PROGRAM.format(package=PACKAGE, python=sys.executable, program=program, options=words))
        script.chmod(0o755)

    # ---- what it is asked -------------------------------------------------------------

    def command(self) -> list[str]:
        """The words before ``-rx`` for this Asterisk's console."""
        return [*self.installation.program, "-C", str(self.folder / "etc/asterisk.conf")]

    def rx(self, command: str) -> str:
        done = subprocess.run(
            [*self.command(), "-rx", command],
            capture_output=True, text=True, errors="replace", timeout=30, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def channels(self) -> list[str]:
        """The names of the channels that are up now."""
        lines = self.rx("core show channels concise").splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]

    def bridges(self) -> list[str]:
        """The bridges that are there now, a line for each."""
        lines = self.rx("bridge show all").splitlines()
        return [line for line in lines[1:] if line.strip()]

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log/full").read_text("utf-8", "replace")
        return ""

    def executed(self, channel: str = "") -> list[dialplan_log.Executed]:
        """What the dialplan did so far, in order; ``channel`` picks one by the beginning of its name."""
        return dialplan_log.executed(self.log(), channel)

    def landed(self, channel: str = "") -> list[str]:
        """The extensions of context [landed] that calls came to."""
        return dialplan_log.landed(self.log(), channel)

    # ---- calls ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def call(
        self, to: str = "asterisk-ai,s,1", *, record: bool = True, variables: Mapping[str, str] | None = None,
        caller_id: str = '"Ann Example" <5551234>', seconds: float = 15, wide: bool = False,
    ) -> Iterator[Telephone]:  # fmt: skip
        """Let somebody call ``to``; leaving the block hangs up.

        :param wide: the telephone speaks and records at 16 kHz.
        :raises TimeoutError: the caller's channel does not come up within ``seconds``.
        """
        token = secrets.token_hex(4)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(seconds)
            context, exten, priority = to.split(",")
            lines = [
                f"Channel: Local/{token}@caller/n", f"Context: {context}", f"Extension: {exten}",
                f"Priority: {priority}", "MaxRetries: 0", "WaitTime: 20", f"CallerID: {caller_id}",
                f"Setvar: __CALLER_PORT={listener.getsockname()[1]}", f"Codecs: {'slin16' if wide else 'slin'}",
                *(f"Setvar: {name}={value}" for name, value in (variables or {}).items()),
            ]  # fmt: skip
            draft = self.folder / "spool/tmp" / token
            draft.write_text("\n".join(lines) + "\n", "utf-8")
            draft.rename(self.folder / "spool/outgoing" / token)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise TimeoutError(f"the caller's channel never came up; log ends:\n{self.log()[-3000:]}") from None
        caller = Telephone(self, token, connection, wide=wide)
        try:
            if record:
                caller.record()
            yield caller
        finally:
            caller.hangup()
