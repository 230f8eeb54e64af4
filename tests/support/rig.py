"""A private, real Asterisk for tests, and a caller whose words are human recordings.

The tree that ``scripts/get_asterisk.sh`` made is shared and never written to,
except for one folder a rig below its ``/tmp``: configuration, run files, log,
spool and recordings are there, and ports are free ones, so several rigs live
side by side. Asterisk runs in the foreground as our child in a session of its
own, dies with us, and is killed for certain at the end.

The caller is the far half of a Local channel: its dialplan hands itself to a
FastAGI conversation with :class:`Caller`, so a test makes it speak a prompt of
Asterisk's sound package, dial digits, listen, or hang up, step by step. The
near half arrives in the dialplan under test like any other call.
"""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from ports import free_port

from asterisk_ai.config import share_path

_T = TypeVar("_T")

CACHE = Path(os.environ.get("ASTERISK_AI_CACHE", "/var/cache/asterisk-ai"))
TREE = CACHE / "asterisk"
SOUNDS = TREE / "usr/share/asterisk/sounds/en_US_f_Allison"
WORDING = TREE / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
RUNS = "tmp/asterisk-ai-tests"

# What the rig needs besides the modules that etc-asterisk/modules.conf names for the product.
RIG_MODULES = """
    app_mixmonitor func_callerid func_channel func_speex func_uuid pbx_spool app_verbose app_senddtmf app_waitforsilence
    app_stack app_dial app_record app_read app_echo bridge_simple bridge_native_rtp bridge_softmix
    format_sln format_gsm codec_gsm
    res_pjproject res_pjsip_pubsub res_sorcery_config res_sorcery_memory res_sorcery_astdb res_rtp_asterisk res_pjsip
    res_pjsip_session res_pjsip_sdp_rtp res_pjsip_endpoint_identifier_ip res_pjsip_caller_id res_pjsip_dtmf_info
    res_pjsip_logger res_pjsip_rfc3326 res_pjsip_nat chan_pjsip
""".split()

ARI_MODULES = """
    res_http_websocket res_websocket_client res_stasis res_stasis_answer res_stasis_playback res_stasis_recording
    res_stasis_snoop
    res_ari res_ari_model res_ari_events res_ari_channels res_ari_bridges res_ari_applications app_stasis
    res_rtp_multicast chan_rtp
""".split()


def why_not() -> str:
    """Why no real Asterisk can be started here; empty where it can."""
    if not (TREE / "usr/sbin/asterisk").exists() or not WORDING.exists():
        return f"no Asterisk in {TREE}: run scripts/get_asterisk.sh"
    if os.geteuid() != 0:
        return "chroot needs root"
    return ""


def wording() -> dict[str, str]:
    """The prompts that are 8 kHz recordings here: name -> words as spoken, without ``[tones]``."""
    found: dict[str, str] = {}
    with gzip.open(WORDING, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, colon, words = line.partition(":")
            text = " ".join(words.split())
            if colon and text and not name.startswith(";") and "[" not in text and (SOUNDS / f"{name}.wav").exists():
                found[name] = text
    return found


@dataclass(frozen=True)
class Sentence:
    """One prompt as something a caller may say."""

    prompt: str
    words: str
    seconds: float


def sentences(prompts: Mapping[str, str]) -> list[Sentence]:
    """The prompts fit to be a caller's turn, in an order that is always the same and mixes all subjects.

    Three to twelve words that are in the recogniser's dictionary, no digits,
    said in one breath (no pause of 0.4 s), no two of the same wording.
    """
    import pocketsphinx  # not there for every Python

    dictionary = {
        line.split()[0]
        for line in (Path(pocketsphinx.get_model_path()) / "en-us/cmudict-en-us.dict").read_text().splitlines()
    }
    found: dict[str, Sentence] = {}
    for name, wording_ in prompts.items():
        words = " ".join(re.sub(r"[^a-z' ]", " ", wording_.lower()).split())
        count = len(words.split())
        if re.search(r"[^A-Za-z' ,.!?-]", wording_) or not 3 <= count <= 12 or not dictionary.issuperset(words.split()):
            continue
        samples, rate = soundfile.read(SOUNDS / f"{name}.wav", dtype="int16")
        if rate == 8000 and len(speech(samples)) == 1 and len(samples) < 6 * rate:
            found.setdefault(words, Sentence(name, words, len(samples) / rate))
    return sorted(found.values(), key=lambda sentence: hashlib.sha256(sentence.words.encode()).digest())


def until(condition: Callable[[], _T], seconds: float, what: str) -> _T:
    """Poll until ``condition`` gives something true; the time limit is the failure."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def die_with_parent() -> None:
    """In the child, before exec: SIGKILL when the thread that started it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Hangup(Exception):
    """The caller's channel is gone."""


@dataclass(frozen=True)
class Executed:
    """One line ``Executing [exten@context:priority] App("channel", "data")`` of the log."""

    context: str
    exten: str
    priority: int
    application: str
    channel: str
    data: str


class Asterisk:
    """One private Asterisk. Use as a context manager.

    :param server: host:port for AI_SERVER, the FastAGI that the sample dialplan calls.
    :param globals_: further global variables, e.g. ``AI_FALLBACK``.
    :param dialplan: further contexts, as text.
    :param options: further lines of asterisk.conf's [options].
    :param ari_password: of ARI's user ``asterisk-ai``; ARI is at :attr:`ari_url`. Empty: there is no ARI.
    :param entry: the packaged dialplan file that extensions.conf includes.
    """

    def __init__(
        self, server: str, globals_: Mapping[str, str] | None = None, dialplan: str = "",
        entry: str = "asterisk_ai.conf", options: str = "", ari_password: str = "",
    ) -> None:  # fmt: skip
        self.name = f"{os.getpid()}-{secrets.token_hex(3)}"
        self.inside = Path("/") / RUNS / self.name
        self.outside = TREE / RUNS / self.name
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.globals = {"AI_SERVER": server, "AI_FALLBACK": "extension:landed,fallback,1", **(globals_ or {})}
        self.dialplan, self.entry, self.options = dialplan, entry, options
        self.ari_password = ari_password
        self.http_port = free_port()
        self.ari_url = f"http://127.0.0.1:{self.http_port}/ari"
        self.process: subprocess.Popen[bytes] | None = None

    # -- its life

    def __enter__(self) -> Asterisk:
        self._configure()
        self._start()
        return self

    def restart(self) -> None:
        """As after a change of asterisk.conf."""
        self._kill()
        (self.outside / "run/asterisk.ctl").unlink(missing_ok=True)
        self._start()

    def _start(self) -> None:
        with (self.outside / "console").open("wb") as console:
            self.process = subprocess.Popen(
                ["chroot", str(TREE), "/usr/sbin/asterisk", "-f", "-C", str(self.inside / "etc/asterisk.conf")],
                stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls one C function
            )  # fmt: skip
        try:
            until(lambda: (self.outside / "run/asterisk.ctl").exists() or self._dead(), 30, "Asterisk's control socket")
            until(lambda: "fully booted" in self.rx("core waitfullybooted") or self._dead(), 30, "Asterisk booted")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if kind is not None:
            print(f"Asterisk's log ends:\n{self.log()[-6000:]}")
        self._kill()
        if not os.environ.get("ASTERISK_AI_KEEP"):
            shutil.rmtree(self.outside, ignore_errors=True)

    def _kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def _dead(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError("Asterisk did not start:\n" + (self.outside / "console").read_text(errors="replace"))
        return False

    def _configure(self) -> None:
        for folder in "etc run log lib/keys cache moh rec spool/monitor spool/outgoing spool/tmp".split():
            (self.outside / folder).mkdir(parents=True)
        os.chmod(self.outside, 0o755)
        shutil.copy(SOUNDS / "demo-congrats.wav", self.outside / "moh/music.wav")
        for name in {"asterisk_ai.conf", self.entry}:
            shutil.copy(share_path("dialplan") / name, self.outside / "etc")  # unchanged, that is the point
        here = self.inside
        product = (share_path("etc-asterisk") / "modules.conf").read_text()
        rig = "".join(f"load => {name}.so\n" for name in [*RIG_MODULES, *(ARI_MODULES if self.ari_password else ())])
        ari = "yes" if self.ari_password else "no"
        rtp = 20000 + 200 * secrets.randbelow(150)
        variables = "".join(f"{name}={value}\n" for name, value in self.globals.items())
        for name, text in {
            "asterisk.conf": (
                f"[directories]\nastetcdir => {here}/etc\nastmoddir => /usr/lib/x86_64-linux-gnu/asterisk/modules\n"
                f"astvarlibdir => {here}/lib\nastdbdir => {here}/lib\nastkeydir => {here}/lib\n"
                f"astdatadir => /usr/share/asterisk\nastagidir => {here}/lib\nastcachedir => {here}/cache\n"
                f"astspooldir => {here}/spool\nastrundir => {here}/run\nastlogdir => {here}/log\n"
                f"astsbindir => /usr/sbin\n[options]\nverbose = 4\nhideconnect = yes\n{self.options}"
            ),
            "modules.conf": product.replace("\n[modules]\n", "\n[modules]\nautoload=no\n") + rig,
            "logger.conf": "[general]\n[logfiles]\nfull => notice,warning,error,verbose(4),dtmf\n",
            "extensions.conf": (
                f"[general]\nstatic=yes\nwriteprotect=yes\n[globals]\n{variables}{DIALPLAN}\n{self.dialplan}\n"
                f"#include {self.entry}\n"
            ),
            "pjsip.conf": PJSIP.format(port=self.sip_port),
            "rtp.conf": f"[general]\nrtpstart={rtp}\nrtpend={rtp + 198}\nicesupport=no\n",
            "musiconhold.conf": f"[default]\nmode=files\ndirectory={here}/moh\n",
            "voicemail.conf": "[general]\nformat=wav\nmaxsilence=2\n[default]\n100 => 1234,Test Box\n",
            "queues.conf": "[general]\n[support]\nmusicclass=default\nstrategy=ringall\njoinempty=yes\n",
            "http.conf": f"[general]\nenabled={ari}\nbindaddr=127.0.0.1\nbindport={self.http_port}\n",
            "ari.conf": (
                f"[general]\nenabled={ari}\n[asterisk-ai]\ntype=user\nread_only=no\npassword={self.ari_password}\n"
            ),
            "cdr.conf": "[general]\nenable=no\n",
            "indications.conf": (
                "[general]\ncountry=us\n[us]\ndescription = United States\nringcadence = 2000,4000\n"
                "dial = 350+440\nbusy = 480+620/500,0/500\nring = 440+480/2000,0/4000\n"
                "congestion = 480+620/250,0/250\n"
            ),
            # Nothing to set there, but Asterisk complains where they are missing.
            **dict.fromkeys(("cel.conf", "features.conf", "acl.conf", "udptl.conf", "pjproject.conf", "ccss.conf"), ""),
        }.items():
            (self.outside / "etc" / name).write_text(text)

    # -- what it is asked

    def command(self) -> list[str]:
        """The words before ``-rx`` for this Asterisk's console."""
        return ["chroot", str(TREE), "/usr/sbin/asterisk", "-C", str(self.inside / "etc/asterisk.conf")]

    def rx(self, command: str) -> str:
        done = run_quietly([*self.command(), "-rx", command], 30)
        return done.stdout + done.stderr

    def channels(self) -> list[str]:
        """The names of the channels that are up now."""
        lines = self.rx("core show channels concise").splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.outside / "log/full").read_text(errors="replace")
        return ""

    def executed(self, channel: str = "") -> list[Executed]:
        """What the dialplan did so far, in order; ``channel`` picks one by the beginning of its name."""
        return [
            Executed(m["context"], m["exten"], int(m["priority"]), m["application"], m["channel"], m["data"])
            for m in EXECUTING.finditer(self.log())
            if m["channel"].startswith(channel)
        ]

    def landed(self, channel: str = "") -> list[str]:
        """The extensions of context [landed] that calls came to."""
        return [step.exten for step in self.executed(channel) if step.context == "landed" and step.priority == 1]

    # -- calls

    @contextlib.contextmanager
    def call(
        self, to: str = "asterisk-ai,s,1", *, record: bool = True, variables: Mapping[str, str] | None = None,
        caller_id: str = '"Ann Example" <5551234>', seconds: float = 15,
    ) -> Iterator[Caller]:  # fmt: skip
        """Let somebody call ``to``; leaving the block hangs up."""
        token = secrets.token_hex(4)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(seconds)
            context, exten, priority = to.split(",")
            lines = [
                f"Channel: Local/{token}@caller/n", f"Context: {context}", f"Extension: {exten}",
                f"Priority: {priority}", "MaxRetries: 0", "WaitTime: 20", f"CallerID: {caller_id}",
                f"Setvar: __CALLER_PORT={listener.getsockname()[1]}",
                *(f"Setvar: {name}={value}" for name, value in (variables or {}).items()),
            ]  # fmt: skip
            draft = self.outside / "spool/tmp" / token
            draft.write_text("\n".join(lines) + "\n")
            draft.rename(self.outside / "spool/outgoing" / token)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise TimeoutError(f"the caller's channel never came up; log ends:\n{self.log()[-3000:]}") from None
        caller = Caller(self, token, connection)
        try:
            if record:
                caller.record()
            yield caller
        finally:
            caller.hangup()


class Caller:
    """The person who calls: speaks, dials, listens and hangs up, through AGI on the far half of a Local channel."""

    def __init__(self, asterisk: Asterisk, token: str, connection: socket.socket) -> None:
        self.asterisk, self.token, self._socket = asterisk, token, connection
        connection.settimeout(60)
        self._lines = connection.makefile("r", encoding="utf-8", newline="\n")
        self.environment: dict[str, str] = {}
        for line in iter(self._lines.readline, "\n"):
            name, _, value = line.rstrip("\n").partition(": ")
            if not line:
                raise Hangup("before it began")
            self.environment[name] = value
        # Local/token@caller-00000001;2 is this half; ;1 is the half in the dialplan under test.
        self.channel = self.environment["agi_channel"]
        self.near = self.channel.removesuffix("2") + "1"

    def agi(self, command: str) -> str:
        """One AGI command; the reply after ``200``. Raises :class:`Hangup` when the channel is gone."""
        try:
            self._socket.sendall(command.encode() + b"\n")
            line = self._lines.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = ""
        if not line or line.startswith(("HANGUP", "511")) or "result=-1" in line:
            raise Hangup(f"during {command!r}")
        if not line.startswith("200 "):
            raise AssertionError(f"{command!r} gave {line!r}")
        return line[4:].strip()

    def exec(self, application: str, data: str = "") -> None:
        self.agi(f'EXEC {application} "{data}"')

    def say(self, *prompts: str) -> None:
        """Speak prompts one after the other, as one breath."""
        self.exec("Playback", "&".join(prompts))

    def dial(self, digits: str) -> None:
        self.exec("SendDTMF", f"{digits},120,100")

    def wait(self, seconds: float) -> None:
        self.exec("Wait", f"{seconds:g}")

    def hear(self, *, start: float = 25, quiet_ms: int = 900, end: float = 30) -> None:
        """Listen until the agent has spoken: begun within ``start`` seconds, then quiet for ``quiet_ms``."""
        self.exec("WaitForNoise", f"120,1,{start:g}")
        status = self.agi("GET VARIABLE WAITSTATUS")
        if "NOISE" not in status:
            raise AssertionError(f"the agent said nothing within {start:g} s ({status})")
        self.listen(quiet_ms, end)

    def listen(self, quiet_ms: int = 900, end: float = 30) -> None:
        """Wait until the agent is quiet for ``quiet_ms``."""
        self.exec("WaitForSilence", f"{quiet_ms},1,{end:g}")

    def record(self) -> None:
        """Both sides from here on, in step: see :meth:`heard` and :meth:`spoken`."""
        base = self.asterisk.inside / "rec" / self.token
        self.exec("MixMonitor", f"{base}.wav,r({base}-agent.wav)t({base}-caller.wav)")

    def stop_recording(self) -> None:
        self.exec("StopMixMonitor")
        time.sleep(0.2)

    def hangup(self) -> None:
        """Hang up and wait until both halves are gone."""
        with contextlib.suppress(Hangup, OSError, ValueError):
            self.agi("HANGUP")
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # Asterisk waits for more commands until it sees the end
        self._lines.close()
        self._socket.close()
        until(lambda: not any(self.token in name for name in self.asterisk.channels()), 15, "the call's channels gone")

    def heard(self) -> np.ndarray:
        """What the caller heard (the agent), 8 kHz int16. After the hang-up or :meth:`stop_recording`."""
        return self._track("agent")

    def spoken(self) -> np.ndarray:
        """What the caller said, in step with :meth:`heard`."""
        return self._track("caller")

    def _track(self, which: str) -> np.ndarray:
        file = self.asterisk.outside / "rec" / f"{self.token}-{which}.wav"
        until(file.exists, 5, f"the recording {file.name}")
        samples, rate = soundfile.read(file, dtype="int16")
        assert rate == 8000
        return np.asarray(samples, dtype=np.int16)

    def steps(self) -> list[Executed]:
        """What the dialplan under test did with this call."""
        return self.asterisk.executed(self.near)

    def landed(self) -> list[str]:
        return self.asterisk.landed(self.near)


def speech(track: np.ndarray, floor: int = 200, frame: int = 160, gap: float = 0.4) -> list[tuple[float, float]]:
    """Stretches of speech in an 8 kHz track, in seconds; gaps under ``gap`` seconds belong to the speech."""
    whole = track[: len(track) // frame * frame].astype(np.float64).reshape(-1, frame)
    loud = np.flatnonzero(np.sqrt((whole**2).mean(axis=1)) > floor)
    found: list[list[float]] = []
    for index in loud:
        at = index * frame / 8000
        if found and at - found[-1][1] < gap:
            found[-1][1] = at + frame / 8000
        else:
            found.append([at, at + frame / 8000])
    return [(a, b) for a, b in found]


def run_quietly(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False
    )


EXECUTING = re.compile(
    r"Executing \[(?P<exten>[^@\]]+)@(?P<context>[^:\]]+):(?P<priority>\d+)\] "
    r'(?P<application>\w+)\("(?P<channel>[^"]*)", "(?P<data>.*)"\)'
)

DIALPLAN = """
[caller]
exten => _[0-9a-f].,1,Answer()
 same => n,AGI(agi://127.0.0.1:${CALLER_PORT}/)
 same => n,Hangup()

[from-sip]
exten => _X!,1,Goto(asterisk-ai,s,1)

[landed]
exten => _X!,1,NoOp(landed ${EXTEN})
 same => n,Answer()
 same => n,Playback(beep)
 same => n,Wait(2)
 same => n,Hangup()
exten => fallback,1,NoOp(landed in the fallback)
 same => n,Answer()
 same => n,Playback(beep)
 same => n,Wait(2)
 same => n,Hangup()
"""

PJSIP = """
[global]
type=global
user_agent=asterisk-ai-tests

[udp]
type=transport
protocol=udp
bind=127.0.0.1:{port}

[phone]
type=endpoint
transport=udp
context=from-sip
disallow=all
allow=ulaw,alaw
direct_media=no
dtmf_mode=rfc4733

[phone]
type=identify
endpoint=phone
match=127.0.0.1
"""
