"""Logging in and out."""

from __future__ import annotations

import logging
import math

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from asterisk_ai.errors import StoreError
from asterisk_ai.server.web.site import COOKIE, Site, Visit

logger = logging.getLogger(__name__)


class Login:
    """The page before all others."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def page(self, request: Request) -> Response:
        """The form; or, with the key of the link that the command printed, no need for it."""
        target = _local(request.query_params.get("next", "/"))
        try:
            if (key := request.query_params.get("key")) and (value := self._site.log_in_by_key(key)):
                return self._welcome(request, value, target)
            if self._site.session(request) is not None:
                return RedirectResponse(target, 303)
            return self._form(target, problem="That link is no longer valid." if key else "")
        except StoreError as error:
            return self._site.render("trouble.html", status=503, visit=None, text=str(error))

    async def send(self, request: Request) -> Response:
        """Name and password."""
        form = await request.form(max_files=0, max_fields=10)
        name, password = str(form.get("name", ""))[:200], str(form.get("password", ""))
        target, address = _local(str(form.get("next", "/"))), self._site.address(request)
        if wait := self._site.attempts.wait_seconds(address):
            return self._too_often(target, wait)
        self._site.attempts.failed(address)  # counted before it is known, so that many at once are no more
        try:
            value = await self._site.log_in(request, name, password)
        except StoreError as error:
            return self._site.render("trouble.html", status=503, visit=None, text=str(error))
        if value is None:
            logger.warning("login from %s refused: wrong name or password", address)
            return self._form(target, problem="Name or password is wrong.", name=name, status=401)
        self._site.attempts.succeeded(address)
        return self._welcome(request, value, target)

    async def leave(self, visit: Visit) -> Response:
        """Log out."""
        self._site.sessions.end(visit.request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, path="/")
        return response

    def _welcome(self, request: Request, value: str, target: str) -> Response:
        response = RedirectResponse(target, 303)
        self._site.set_cookie(request, response, value)
        return response

    def _form(self, target: str, *, problem: str = "", name: str = "", status: int = 200) -> Response:
        return self._site.render(
            "login.html", status=status, visit=None, target=target, problem=problem, name=name,
            users=bool(self._site.users.all()),
        )  # fmt: skip

    def _too_often(self, target: str, wait: float) -> Response:
        problem = f"Too many wrong passwords. Try again in {math.ceil(wait / 60)} min."
        response = self._form(target, problem=problem, status=429)
        response.headers["Retry-After"] = str(math.ceil(wait))
        return response


def _local(target: str) -> str:
    """A page of ours, whatever the address says."""
    fine = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if fine else "/"
