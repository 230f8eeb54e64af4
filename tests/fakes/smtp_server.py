"""A mail server as far as a client that hands one message over sees it (RFC 5321), or one that fails as it was told."""

from __future__ import annotations

import contextlib
import email
import socketserver
import threading
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from email.policy import default
from typing import cast


class SmtpServer:
    """Keeps what it has taken; ``fails`` is what it answers to the first messages."""

    def __init__(self, fails: Sequence[str] = ()) -> None:
        self.taken: list[tuple[list[str], bytes]] = []
        self.fails = list(fails)

    @property
    def messages(self) -> list[EmailMessage]:
        return [cast(EmailMessage, email.message_from_bytes(raw, policy=default)) for _, raw in self.taken]

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Its port."""
        mails = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mails.converse(self)

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()

    def converse(self, peer: socketserver.StreamRequestHandler) -> None:
        def say(line: str) -> None:
            peer.wfile.write(f"{line}\r\n".encode())

        say("220 here")
        recipients: list[str] = []
        while line := peer.rfile.readline().strip().decode():
            match line.partition(" ")[0].upper():
                case "EHLO" | "HELO":
                    say("250 here")
                case "MAIL" | "RSET":
                    recipients = []
                    say("250 ok")
                case "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                    say("250 ok")
                case "DATA":
                    say("354 go on")
                    raw = b""
                    while (part := peer.rfile.readline()) != b".\r\n":
                        raw += part.removeprefix(b".")
                    failure = self.fails.pop(0) if self.fails else ""
                    if not failure:
                        self.taken.append((recipients, raw))
                    say(failure or "250 taken")
                case "QUIT":
                    say("221 bye")
                    return
                case _:
                    say("502 what?")
