"""Which reply answers which command on one AGI connection, also after a command that nobody waits for any more.

Asterisk carries out one command after the other and answers in that order, but not always: STREAM FILE and its like
are stopped by a further command and then have no reply at all, while other commands go on to their end and have one.
So what follows a command that was given up is a *marker*: a command whose reply is known by its text. All replies
before it are nobody's; with it, both sides are in step again.

Source: ``res_agi.c``; that a stopped command has no reply was seen on Asterisk 22.10.1.
"""

from __future__ import annotations

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import command_line
from asterisk_ai.protocol.agi.reader import AgiReply

#: Asterisk reads through a buffer and waits on the socket: the second of two commands that it reads at once is stuck
#: until more comes (seen on 22.10.1). No marker is sent sooner than this behind the command that it stops, seconds.
APART_SECONDS = 0.1


class CommandSequence:
    """Who owes whom a reply. Tell it each command that is sent and each reply that comes."""

    def __init__(self) -> None:
        self._owed = 0
        self._stale = 0
        self._marker = ""
        self._sent_at = 0.0

    @property
    def owed(self) -> bool:
        """True where a command is in flight that somebody waits for."""
        return self._owed > 0

    @property
    def in_step(self) -> bool:
        """False from a marker until its reply: no command may be sent then."""
        return not self._marker

    def sent(self, now: float) -> None:
        """A command goes out.

        :raises LocalProtocolError: where a marker waits for its reply.
        """
        if self._marker:
            raise LocalProtocolError("a command before the marker's reply")
        self._owed += 1
        self._sent_at = now

    def give_up(self, token: str) -> tuple[bytes, float] | None:
        """Nobody waits for the commands in flight any more.

        :param token: text that nobody can guess, so that no reply is taken for the marker's.
        :returns: the marker's line and the time from which on it may be sent; None where no reply is owed.
        """
        if not self._owed:
            return None
        self._stale, self._owed = self._owed, 0
        self._marker = f"in-step-{token}"
        return command_line("GET FULL VARIABLE", self._marker), self._sent_at + APART_SECONDS

    def received(self, reply: AgiReply) -> bool:
        """Whether a reply is for who waits; False where it belongs to what was given up.

        :raises RemoteProtocolError: for a reply to no command.
        """
        if self._marker:
            if reply.data == self._marker:
                self._marker, self._stale = "", 0
                return False
            self._stale -= 1
            if self._stale < 0:
                raise RemoteProtocolError("a reply to no command")
            return False
        if not self._owed:
            raise RemoteProtocolError("a reply to no command")
        self._owed -= 1
        return True
