"""``asterisk-ai-eagi``: a whole conversation for a PBX without AudioSocket.

In the dialplan: ``EAGI(asterisk-ai-eagi,reception)``. The server's route
``call/eagi`` drives the channel through the relayed AGI connection and plays
its replies with STREAM FILE. The caller's audio, which Asterisk writes to file
descriptor 3 (8 kHz signed 16-bit, one way), goes to the server's AudioSocket
port, under the call that the route announces with AI_CALL_ID and
AI_AUDIOSOCKET. What comes back on that connection is dropped.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import stat
import sys
import uuid
from collections import deque
from collections.abc import Sequence

from asterisk_ai.agi.agi import Job, Parser, UsageError, agent_query, run
from asterisk_ai.agi.asterisk import Asterisk
from asterisk_ai.agi.relay import Relay, ServerLost, connect
from asterisk_ai.protocol.agi.commands import split_command
from asterisk_ai.protocol.audiosocket import audio_message, uuid_message

AUDIO_FD = 3
RATE = 8000
#: 20 ms, as Asterisk itself sends it.
FRAME_BYTES = 320
#: A second of audio may wait for the server; beyond that the oldest frame is dropped.
MAX_FRAMES = 50
_READ_BYTES = 65536


class AudioPump:
    """From file descriptor 3 to the AudioSocket, without ever blocking the relay.

    The pipe is always read, connected or not: Asterisk drops what does not fit into it, and what would stay in it
    would come late.
    """

    def __init__(self, selector: selectors.BaseSelector, fd: int) -> None:
        self.dropped_frames = 0
        self._selector = selector
        self._fd = fd
        self._pcm = bytearray()
        self._frames: deque[bytes] = deque()
        self._unsent = b""
        self._socket: socket.socket | None = None
        os.set_blocking(fd, False)
        selector.register(fd, selectors.EVENT_READ, self._from_asterisk)

    def open(self, host: str, port: int, call_id: uuid.UUID) -> None:
        """Send the audio from now on.

        :raises ServerLost: where nobody answers.
        """
        self.close()
        self._frames.clear()
        self._socket = connect(host, port)
        self._socket.setblocking(False)
        self._unsent = uuid_message(call_id)
        self._selector.register(self._socket, selectors.EVENT_READ, self._from_server)
        self._send()

    def close(self) -> None:
        """Send no more."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _from_asterisk(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:  # the channel is gone
            self._selector.unregister(self._fd)
            self.close()
            return
        self._pcm += data
        while len(self._pcm) >= FRAME_BYTES:
            if self._socket is not None:
                self._frames.append(audio_message(RATE, bytes(self._pcm[:FRAME_BYTES])))
            del self._pcm[:FRAME_BYTES]
        while len(self._frames) > MAX_FRAMES:
            self._frames.popleft()
            self.dropped_frames += 1
        self._send()

    def _from_server(self) -> None:
        """Our own voice, which the channel gets as files; and, where writing stopped, the time to go on with it."""
        if self._socket is None:
            return
        try:
            if not self._socket.recv(_READ_BYTES):
                self.close()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _send(self) -> None:
        """Send what the socket takes. The rest goes with the next frame: that is never more than 20 ms away."""
        if self._socket is None:
            return
        try:
            while self._unsent or self._frames:
                # Whole messages only are dropped, never a part: so one at a time
                self._unsent = self._unsent or self._frames.popleft()
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()


class EagiRelay(Relay):
    """The relay, with the caller's audio beside it."""

    def __init__(self, asterisk: Asterisk, server: socket.socket, fd: int = AUDIO_FD) -> None:
        super().__init__(asterisk, server)
        self.pump = AudioPump(self.selector, fd)
        self._announced: dict[str, str] = {}

    def close(self) -> None:
        """As the relay's, and the audio connection too."""
        self.pump.close()
        super().close()

    def on_command(self, text: str) -> None:
        """Look out for the call and the address that the server announces."""
        words = split_command(text)
        if [word.upper() for word in words[:2]] != ["SET", "VARIABLE"] or len(words) != 4:
            return
        if words[2] not in ("AI_CALL_ID", "AI_AUDIOSOCKET"):
            return
        self._announced[words[2]] = words[3]
        if len(self._announced) == 2:
            self._open(self._announced["AI_CALL_ID"], self._announced["AI_AUDIOSOCKET"])
            self._announced.clear()

    def _open(self, call_id: str, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            call, number = uuid.UUID(call_id), int(port)
        except ValueError:
            raise ServerLost(f"the server announced {call_id!r} at {address!r}") from None
        self.pump.open(host.strip("[]"), number, call)


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status."""
    has_audio = _is_pipe(AUDIO_FD)  # asked first, as a pipe of our own may get that number where Asterisk gave none
    parser = Parser("asterisk-ai-eagi", "To be run by Asterisk: EAGI(asterisk-ai-eagi,AGENT)")
    parser.add_argument("agent", nargs="?", default="", help="the agent's name; without it, the default agent")

    def job(options: argparse.Namespace) -> Job:
        if not has_audio:
            raise UsageError("no audio: the dialplan has to say EAGI(), not AGI()")
        return Job(f"call/eagi{agent_query(options.agent)}", unavailable={"AI_STATUS": "UNAVAILABLE"})

    return run(parser, job, sys.argv[1:] if argv is None else argv, EagiRelay)


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
