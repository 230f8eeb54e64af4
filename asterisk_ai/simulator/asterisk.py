"""A simulated caller: plays Asterisk's part over FastAGI and AudioSocket, and listens to the agent as a person does."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from asterisk_ai.audio.formats import PTIME_MS, SAMPLE_BYTES, frame_bytes
from asterisk_ai.audio.levels import dbov
from asterisk_ai.protocol import audiosocket
from asterisk_ai.simulator.agi_client import run_agi

RATE = 8000
FRAME = frame_bytes(RATE)
HEARD_DBOV = -50.0
"""What a person hears as the other side talking."""
TURN_SILENCE = 0.8
"""The agent's silence after which the caller speaks; pauses between its sentences are shorter."""

SERVER_LOST = "server lost"
""":attr:`Result.next` of a call that could not ask what comes next."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing the caller does: PCM to say, or digits to dial; ``barge_in``: seconds into the agent's speech."""

    label: str
    pcm: bytes = b""
    digits: str = ""
    barge_in: float | None = None


@dataclass(slots=True)
class Response:
    """How a line was answered: seconds from the caller's last sound to the agent's first, None for no answer."""

    label: str
    seconds: float | None = None


@dataclass(slots=True)
class Result:
    """What came of the call."""

    call_id: str = ""
    status: str = ""
    """AI_STATUS, or UNREACHABLE."""
    next: str = ""
    """AI_NEXT, or what ended the call."""
    variables: dict[str, str] = field(default_factory=dict)
    responses: list[Response] = field(default_factory=list)
    caller: bytearray = field(default_factory=bytearray)
    agent: bytearray = field(default_factory=bytearray)

    def stereo(self) -> npt.NDArray[np.int16]:
        """Both sides, shape (samples, 2): caller left, agent right."""
        length = min(len(self.caller), len(self.agent)) // SAMPLE_BYTES
        sides = [np.frombuffer(bytes(side), dtype="<i2")[:length] for side in (self.caller, self.agent)]
        return np.stack(sides, axis=1)


class Caller:
    """Says its lines in turn, each when the agent has finished, then waits for the agent's end or hangs up."""

    def __init__(
        self,
        lines: Sequence[Line],
        *,
        patience: float = 12.0,
        linger: float = 3.0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``patience``: seconds to wait for an answer; ``linger``: silence after the last one until hanging up."""
        self.result = Result()
        self._lines = list(lines)
        self._patience = patience
        self._linger = linger
        self._tell = tell
        self._speaking: Line | None = None
        self._position = 0
        self._agent_heard_at = 0.0
        self._agent_began_at = 0.0
        self._quiet_since = time.monotonic()
        self._spoke_at = 0.0  # the caller's last sound
        self._waiting: Response | None = None
        self._closed = asyncio.Event()
        self.hung_up = False
        """The caller ended the call, not the agent."""

    async def talk(self, host: str, port: int, call_id: str) -> None:
        """One AudioSocket connection, to its end. Raises OSError where it cannot be made."""
        reader, writer = await asyncio.open_connection(host, port)
        self._closed.clear()
        writer.write(audiosocket.uuid_message(uuid.UUID(call_id)))
        self._quiet_since = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(reader))
                await self._speak(writer)
                listening.cancel()
        finally:
            writer.close()

    async def listen_to(self, file: Path, offset_ms: int) -> str:
        """A reply that the dialplan plays; what the caller has to say meanwhile nobody hears. Returns AI_PLAYED."""
        samples, rate = await asyncio.to_thread(soundfile.read, file, dtype="int16")
        if rate != RATE:
            raise ValueError(f"{file} is not playable: {rate} Hz")
        pcm = samples.tobytes()
        due = time.monotonic()
        for at in range(offset_ms * RATE // 1000 * SAMPLE_BYTES, len(pcm), FRAME):
            due += PTIME_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._hear(pcm[at : at + FRAME].ljust(FRAME, b"\0"))
            self._align()
            if key := self._key(time.monotonic()):
                return f"USERSTOPPED-{at * 1000 // (RATE * SAMPLE_BYTES)}-{key}"
        return f"SUCCESS-{len(pcm) * 1000 // (RATE * SAMPLE_BYTES)}-"

    def _key(self, now: float) -> str:
        """The key that the caller dials now; only one stops what plays."""
        line = self._lines[0] if self._lines else None
        if line is None or not line.digits or line.barge_in is None or now - self._agent_began_at < line.barge_in:
            return ""
        self._tell(line.label)
        self._lines.pop(0)
        self._spoke_at = now
        self._waiting = Response(line.label)
        self.result.responses.append(self._waiting)
        return line.digits[0]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """The agent's audio, put on the recording where it was heard."""
        codec = _AgentAudio()
        try:
            while data := await reader.read(65536):
                for pcm in codec.receive(data):
                    self._hear(pcm)
                if codec.hung_up:
                    break
        except OSError:
            pass
        self._closed.set()

    def _hear(self, pcm: bytes) -> None:
        now = time.monotonic()
        self.result.agent += pcm
        if dbov(pcm) < HEARD_DBOV:
            return
        if now - self._agent_heard_at > TURN_SILENCE:
            self._agent_began_at = now
        self._agent_heard_at = now
        if self._waiting is not None and self._speaking is None:
            self._waiting.seconds = now - self._spoke_at
            self._waiting = None

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        """A frame every 20 ms, on absolute deadlines, speech where a line is due and silence else."""
        due = time.monotonic()
        while not self._closed.is_set():
            due += PTIME_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if writer.is_closing():  # it broke off; where we are late, the reader hears of it after us
                return
            now = time.monotonic()
            if self._speaking is None and not self._begin_line(writer, now):
                self.hung_up = True
                return
            pcm = self._frame(now)
            self._align()
            self.result.caller += pcm
            writer.write(audiosocket.audio_message(RATE, pcm))

    def _align(self) -> None:
        """Keep both sides of the recording on one clock."""
        behind = len(self.result.caller) - len(self.result.agent)
        if behind > 5 * FRAME:
            self.result.agent += bytes(behind - behind % SAMPLE_BYTES)
        elif behind < -5 * FRAME:
            self.result.caller += bytes(-behind + behind % SAMPLE_BYTES)

    def _begin_line(self, writer: asyncio.StreamWriter, now: float) -> bool:
        """Start the next line if it is time for it. False: the caller hangs up."""
        quiet = now - max(self._agent_heard_at, self._spoke_at, self._quiet_since)
        line = self._lines[0] if self._lines else None
        if line is None:
            return quiet < (self._linger if self._waiting is None else self._patience)
        talking = now - self._agent_heard_at < TURN_SILENCE and self._agent_began_at > self._spoke_at
        if line.barge_in is not None:
            ready = talking and now - self._agent_began_at >= line.barge_in
        else:
            answered = self._agent_began_at > self._spoke_at and self._waiting is None
            ready = quiet >= TURN_SILENCE and (answered or quiet >= self._patience)
        if ready:
            self._say(self._lines.pop(0), writer, now)
        return True

    def _say(self, line: Line, writer: asyncio.StreamWriter, now: float) -> None:
        self._tell(line.label)
        self._waiting = Response(line.label)
        self.result.responses.append(self._waiting)
        for digit in line.digits:
            writer.write(audiosocket.dtmf_message(digit))
            self._spoke_at = now
        if line.pcm:
            self._speaking, self._position = line, 0

    def _frame(self, now: float) -> bytes:
        line = self._speaking
        if line is None:
            return bytes(FRAME)
        pcm = line.pcm[self._position : self._position + FRAME]
        self._position += FRAME
        if dbov(pcm) > HEARD_DBOV:
            self._spoke_at = now
        if self._position >= len(line.pcm):
            self._speaking = None
        return pcm.ljust(FRAME, b"\0")


class _AgentAudio:
    """The server's side of the wire, as strict as Asterisk is: nothing but audio of one kind and hang-up."""

    def __init__(self) -> None:
        self._buffer = b""
        self.hung_up = False

    def receive(self, data: bytes) -> list[bytes]:
        """The audio that ``data`` completes. Raises RemoteProtocolError where Asterisk would drop the call."""
        self._buffer += data
        found = []
        while len(self._buffer) >= audiosocket.HEADER_BYTES:
            length = int.from_bytes(self._buffer[1:3], "big")
            if len(self._buffer) < audiosocket.HEADER_BYTES + length:
                break
            kind, payload = self._buffer[0], self._buffer[3 : 3 + length]
            self._buffer = self._buffer[3 + length :]
            if kind == audiosocket.KIND_HANGUP:
                self.hung_up = True
                break
            audiosocket.check_from_server(kind, payload, RATE)
            found.append(payload)
        return found


async def simulate(
    caller: Caller,
    *,
    host: str,
    fastagi_port: int,
    agent: str = "",
    number: str = "5550100",
    on_registered: Callable[[str], None] = lambda _: None,
    downstream: str = "",
) -> Result:
    """A whole call as the sample dialplan would have it: start, talk, next ..., end."""
    result = caller.result
    environment = {"agi_callerid": number, "agi_calleridname": "Simulated Caller", "agi_channel": "Simulator/1"}

    async def ask(script: str, *arguments: str) -> bool:
        # As in the dialplan: after call/start the server may be another address, that of the worker which has the call.
        at, _, port = result.variables.get("AI_SERVER", f"{host}:{fastagi_port}").rpartition(":")
        outcome = await run_agi(
            at.strip("[]"),
            int(port),
            script,
            arguments=arguments,
            environment=environment,
            variables=result.variables,
            timeout=10,
        )
        result.variables.update(outcome.variables)
        return outcome.status == "SUCCESS"

    if not await ask(f"call/start?agent={agent}&downstream={downstream}"):
        result.status = "UNREACHABLE"
        return result
    result.status = result.variables.get("AI_STATUS", "")
    if result.status != "OK":
        return result
    result.call_id = result.variables["AI_CALL_ID"]
    on_registered(result.call_id)
    audio_host, _, audio_port = result.variables["AI_AUDIOSOCKET"].rpartition(":")
    result.next = "talk"
    while result.next in ("talk", "play"):
        played: tuple[str, ...] = ()
        if result.next == "talk":
            await caller.talk(audio_host.strip("[]"), int(audio_port), result.call_id)
            if caller.hung_up:
                result.next = "caller hung up"
                break
        elif result.variables.get("AI_KEYS"):
            file, offset = result.variables["AI_FILE"], result.variables["AI_OFFSET"]
            played = (await caller.listen_to(Path(f"{file}.wav"), int(offset)),)
        if not await ask("call/next", result.call_id, *played):
            result.next = SERVER_LOST
            break
        result.next = result.variables.get("AI_NEXT", "")
    await ask("call/end", result.call_id)
    return result
