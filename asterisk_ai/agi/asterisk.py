"""Asterisk on stdin and stdout of a program that it started: pyst2 behind our codec, and nothing of it elsewhere.

pyst2 reads the environment and writes commands. It gets files of our own, and
nothing of it is overridden: see :class:`_Files` and :class:`Asterisk`. So none
of these defects of pyst2 0.5.1 can be met (each is shown in
tests/wire/test_cli_agi.py):

- it writes the environment, caller ID included, every command and every reply to stderr;
- it reads the environment without a limit, and takes the end of the stream for its end;
- it takes ``HANGUP`` and the end of the stream for replies and raises ValueError, and an error on every ``result=-1``;
- it quotes by putting ``"`` around, and escapes nothing (:mod:`asterisk_ai.protocol.agi.commands` does);
- after SIGHUP it refuses every command, although Asterisk still sets variables then.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import time
from collections.abc import Callable

from asterisk import agi as pyst2

from asterisk_ai.errors import CallHungUp, RemoteProtocolError
from asterisk_ai.protocol.agi.reader import MAX_ENVIRONMENT_LINES, AgiHangUp, AgiReader, AgiReply, LineBuffer
from asterisk_ai.protocol.agi.sequence import CommandSequence

#: Limit for the environment, and for the answer to a command of our own.
STEP_SECONDS = 5.0
READ_BYTES = 65536


class _Files:
    """stdin, stdout and stderr as pyst2 gets them. Text is bytes with surrogates, whatever Asterisk's locale is."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self.lines = LineBuffer()
        self._stdin, self._stdout = stdin, stdout
        self._line_count = 0

    def readline(self) -> str:
        """A line of the environment."""
        while (line := self.lines.next_line()) is None:
            data = self.read(STEP_SECONDS)
            if data is None:
                raise RemoteProtocolError("no whole environment in time")
            self.lines.feed(data)
        self._line_count += 1
        if self._line_count > MAX_ENVIRONMENT_LINES:
            raise RemoteProtocolError("an environment without an end")
        return line.decode("utf-8", "surrogateescape")

    def read(self, seconds: float) -> bytes | None:
        """Bytes from Asterisk, None where none come in time. No second buffer keeps any back.

        :raises CallHungUp: Asterisk closed its side.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        data = os.read(self._stdin, READ_BYTES)
        if not data:
            raise CallHungUp("Asterisk closed the connection")
        return data

    def write(self, text: str) -> None:
        """A command."""
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(self._stdout, data) :]

    def flush(self) -> None:
        """Nothing is held back."""


class _Silence:
    """stderr."""

    def write(self, text: str) -> None:
        """Say nothing."""


class Asterisk:
    """The channel that the program was started for. To be made on the main thread: it installs a signal handler.

    :ivar environment: what Asterisk said about the call, without the blanks around it.
    :ivar hung_up: the caller is gone; Asterisk still sets variables.
    :raises CallHungUp: in the constructor too, where Asterisk is gone.
    :raises RemoteProtocolError: for what is no AGI.
    """

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self.stdin = stdin
        self.hung_up = False
        self._sequence = CommandSequence()
        self._replies = AgiReader(environment=False)
        # A signal ends a select() by a byte in this pipe, whenever it comes
        self.wake, self._wake_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._wake_end, False)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        self._files = _Files(stdin, stdout)
        self._pyst2 = pyst2.AGI(self._files, self._files, _Silence())
        try:
            signal.signal(signal.SIGHUP, self._on_sighup)  # instead of pyst2's, by which its commands fail
            self._pyst2.test_hangup()
        except pyst2.AGIHangup:
            self.hung_up = True
        self.environment: dict[str, str] = self._pyst2.env
        # What came behind the environment belongs to the replies
        self._replies.receive_data(self._files.lines.take_rest())

    def _on_sighup(self, *_: object) -> None:
        self.hung_up = True

    @property
    def between_replies(self) -> bool:
        """True where no reply of several lines is half read."""
        return self._replies.between_messages

    def send(self, line: str) -> None:
        """Send a command line that is quoted already.

        :raises CallHungUp: Asterisk is gone.
        """
        self._sequence.sent(time.monotonic())
        self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._pyst2.send_command(line)
        except OSError as error:
            raise CallHungUp(f"Asterisk is gone: {error}") from None

    def events(self, seconds: float = 0.0) -> list[AgiReply | AgiHangUp]:
        """What Asterisk has sent, at once or within that time.

        :raises CallHungUp: Asterisk is gone.
        :raises RemoteProtocolError: for what is no reply.
        """
        self._replies.receive_data(self._files.read(seconds) or b"")
        return self.events_read()

    def events_read(self) -> list[AgiReply | AgiHangUp]:
        """The events in what is read already."""
        events: list[AgiReply | AgiHangUp] = []
        while (event := self._replies.next_event()) is not None:
            if isinstance(event, AgiHangUp) or (isinstance(event, AgiReply) and self._sequence.received(event)):
                events.append(event)
        return events

    def get_in_step(self) -> None:
        """Stop what is in flight, such as a file that plays, and read up to where nothing is owed."""
        marker = self._sequence.give_up(secrets.token_hex(8))
        if marker is not None:
            line, at = marker
            time.sleep(max(0.0, at - time.monotonic()))
            self._write(line.decode())
            self._wait(lambda: self._sequence.in_step)

    def command(self, line: bytes) -> None:
        """Have Asterisk carry out a line of ``protocol.agi.commands``, and wait until it has.

        :raises CallHungUp: Asterisk is gone, or does not answer.
        """
        self.send(line.decode())
        self._wait(lambda: not self._sequence.owed)

    def _wait(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + STEP_SECONDS
        while not done():
            seconds = until - time.monotonic()
            if seconds <= 0:
                raise CallHungUp("Asterisk does not answer")
            self.events(seconds)
