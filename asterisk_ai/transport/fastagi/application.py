"""panoramisk's FastAGI application, behind our codec: all that this package uses of it, in one place.

panoramisk keeps the table of routes, hands a connection to the route's
handler, and sends one command and waits for its reply. It reads from
:class:`_Checked` instead of the socket, which gives it nothing but what our
codec has read and found good. So none of these defects of panoramisk 1.4 can
be met (each is shown in tests/wire/test_transport_fastagi.py):

- it loops for ever, and with it the event loop, over a connection that ends inside the environment;
- it sets no limit to the environment's size or time;
- it takes ``HANGUP`` for a reply and is off by one from then on, and reads two lines of a usage whatever its length;
- it sends CR and LF in a command, so that a second one can be smuggled in (:class:`AgiSession` refuses them);
- it looks the route up with its query;
- it wraps a handler that is no ``async def`` with ``asyncio.coroutine``, gone since Python 3.11, and finds
  out with a function of asyncio that Python 3.14 warns of and 3.16 has no more;
- it swallows cancellation, and logs callers' data.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Mapping

from panoramisk import fast_agi

from asterisk_ai.transport.fastagi.session import AgiSession, Handler


class _Checked:
    """What panoramisk reads in place of the socket: the route's name, and one stand-in for each reply."""

    def __init__(self, session: AgiSession, run: Callable[[Handler, AgiSession], Awaitable[None]]) -> None:
        self.session, self.run = session, run
        self.found = self.cancelled = False

    async def read(self, _: int) -> bytes:
        return f"agi_network_script: {self.session.request.script}\n\n".encode()

    async def readline(self) -> bytes:
        await self.session.reply_is_there()
        return b"200 result=0\n"  # the session keeps the true one


class Application:
    """Handlers by route. To be made where an event loop runs.

    :param run: runs a handler for a session, and lets no error out.
    """

    def __init__(self, routes: Mapping[str, Handler], run: Callable[[Handler, AgiSession], Awaitable[None]]) -> None:
        self._run = run
        self._table = fast_agi.Application(loop=asyncio.get_running_loop())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it asks asyncio what it should ask inspect
            for path, handler in routes.items():
                self._table.add_route(path.strip("/"), _endpoint(handler))

    async def handle(self, session: AgiSession, writer: asyncio.StreamWriter) -> bool:
        """One connection, from its environment on to its handler's end; False where there is no such route."""
        if not session.request.script.isprintable():
            return False  # a line break would make it another route
        checked = _Checked(session, self._run)
        await self._table.handler(checked, writer)
        if checked.cancelled:
            raise asyncio.CancelledError
        return checked.found


def _endpoint(handler: Handler) -> Callable[[fast_agi.Request], Awaitable[None]]:
    async def endpoint(request: fast_agi.Request) -> None:
        checked: _Checked = request.reader
        checked.found = True
        checked.session.send = request.send_command
        try:
            await checked.run(handler, checked.session)
        except asyncio.CancelledError:
            checked.cancelled = True

    return endpoint
