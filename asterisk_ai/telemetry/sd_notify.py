"""Telling systemd how the service is. Source: sd_notify(3)."""

from __future__ import annotations

import socket
import time


class Notifier:
    """Sends state to the socket ``address`` ($NOTIFY_SOCKET); does nothing where it is empty.

    A service manager that does not listen is not our failure: what cannot be
    sent is dropped.
    """

    def __init__(self, address: str = "") -> None:
        # A leading @ is the abstract namespace's, whose addresses begin with NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str = "") -> bool:
        """Start-up, or a reload, is done."""
        return self._send("READY=1", status)

    def reloading(self) -> bool:
        """A reload begins; :meth:`ready` ends it. Type=notify-reload wants the monotonic time with it."""
        return self._send("RELOADING=1", "", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> bool:
        return self._send("STOPPING=1", status)

    def watchdog(self) -> bool:
        """Still alive; to be sent at half the watchdog's interval."""
        return self._send("WATCHDOG=1")

    def main_process(self, pid: int, status: str = "") -> bool:
        """Another process is the service's main one from now on."""
        return self._send("READY=1", status, f"MAINPID={pid}")

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``."""
        return self._send("", text)

    def _send(self, state: str, status: str = "", *more: str) -> bool:
        """True where it was handed to the socket. Never blocks."""
        if not self._address.startswith(("/", "\0")):
            return False
        line = f"STATUS={' '.join(status.split())}" if status else ""
        message = "\n".join(part for part in (state, line, *more) if part)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode(), self._address)
            except OSError:
                return False
        return True
