"""The person who calls through a private Asterisk, and what is to be heard on the recordings of the call."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from asterisk_ai.simulator import dialplan_log
from asterisk_ai.simulator.waiting import until

NOISE_MS = 120
"""So much sound is somebody who speaks."""

Track = npt.NDArray[np.int16]


class Hangup(Exception):
    """The caller's channel is gone."""


class Exchange(Protocol):
    """The Asterisk that a telephone calls through."""

    @property
    def folder(self) -> Path:
        """Below it are the recordings, in ``rec``."""

    def channels(self) -> list[str]:
        """The names of the channels that are up now."""

    def log(self) -> str: ...


class Telephone:
    """Speaks, dials, listens and hangs up, through AGI on the far half of a Local channel.

    Its methods raise :class:`Hangup` when the channel is gone.
    """

    def __init__(self, asterisk: Exchange, token: str, connection: socket.socket, *, wide: bool = False) -> None:
        self.asterisk, self.token, self._socket = asterisk, token, connection
        self._rate, self._ending = (16_000, "wav16") if wide else (8000, "wav")
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
        """Listen until the agent has spoken: begun within ``start`` seconds, then quiet for ``quiet_ms``.

        :raises AssertionError: it has not.
        """
        self.noise(start)
        self.listen(quiet_ms, end)

    def noise(self, start: float = 25) -> None:
        """Wait until the agent has spoken for :data:`NOISE_MS`.

        :raises AssertionError: it has not within ``start`` seconds.
        """
        self.exec("WaitForNoise", f"{NOISE_MS},1,{start:g}")
        status = self.agi("GET VARIABLE WAITSTATUS")
        if "NOISE" not in status:
            raise AssertionError(f"the agent said nothing within {start:g} s ({status})")

    def listen(self, quiet_ms: int = 900, end: float = 30) -> None:
        """Wait until the agent is quiet for ``quiet_ms``."""
        self.exec("WaitForSilence", f"{quiet_ms},1,{end:g}")

    def record(self) -> None:
        """Both sides from here on, in step: see :meth:`heard` and :meth:`spoken`."""
        base = self.asterisk.folder / "rec" / self.token
        ending = self._ending
        self.exec("MixMonitor", f"{base}.{ending},Sr({base}-agent.{ending})t({base}-caller.{ending})")

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

    def heard(self) -> Track:
        """What the caller heard (the agent), at its telephone's rate. After the hang-up or :meth:`stop_recording`."""
        return self._track("agent")

    def spoken(self) -> Track:
        """What the caller said, in step with :meth:`heard`."""
        return self._track("caller")

    def _track(self, which: str) -> Track:
        file = self.recording(which)
        samples, rate = soundfile.read(file, dtype="int16")
        if rate != self._rate:
            raise AssertionError(f"{file} has {rate} Hz")
        return np.asarray(samples, dtype=np.int16)

    def recording(self, which: str) -> Path:
        """The file of the ``agent`` or the ``caller``. Raises TimeoutError where there is none."""
        file = self.asterisk.folder / "rec" / f"{self.token}-{which}.{self._ending}"
        until(file.exists, 5, f"the recording {file.name}")
        return file

    def steps(self) -> list[dialplan_log.Executed]:
        """What the dialplan under test did with this call."""
        return dialplan_log.executed(self.asterisk.log(), self.near)

    def landed(self) -> list[str]:
        """The extensions of context [landed] that this call came to."""
        return dialplan_log.landed(self.asterisk.log(), self.near)


def speech(track: Track, floor: int = 200, frame: int = 160, gap: float = 0.4) -> list[tuple[float, float]]:
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
