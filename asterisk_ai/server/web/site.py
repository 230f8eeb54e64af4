"""What all pages share: the configuration, the users, the sessions, the templates; and who may see a page."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import anyio.to_thread
from jinja2 import Environment, FileSystemLoader
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from asterisk_ai import __version__
from asterisk_ai.config import Config, find, load_part
from asterisk_ai.errors import ConfigError, StoreError
from asterisk_ai.server.web import words
from asterisk_ai.server.web.guard import SAFE
from asterisk_ai.server.web.hub import LiveHub
from asterisk_ai.server.web.sessions import Attempts, By, Session, Sessions, same
from asterisk_ai.server.web.users import FILE_NAME, Right, User, Users
from asterisk_ai.session.backends.sqlite import SqliteReader

HERE = Path(__file__).parent
COOKIE = "asterisk-ai"
R = TypeVar("R")


@dataclass(slots=True)
class Visit:
    """One request of somebody who may make it."""

    site: Site
    request: Request
    session: Session
    form: FormData = field(default_factory=FormData)

    @property
    def user(self) -> User:
        return self.session.user

    def may(self, right: str) -> bool:
        return self.user.may(Right(right))

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "").strip()[:200]

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """The answer made of a template."""
        return self.site.render(template, status=status, visit=self, **values)


Handler = Callable[[Visit], Awaitable[Response]]


class Site:
    """The page's parts that last as long as its process.

    :param config: its ``web``, ``http``, ``server``, ``store`` and ``recordings`` are what matters.
    :param file: the configuration file as it was named, to be read again for what is shown of it.
    """

    def __init__(self, config: Config, file: str | None = None) -> None:
        self.config = config
        self.file = file
        self.users = Users(config.store_path().with_name(FILE_NAME))
        self.sessions = Sessions(config.web.session_hours * 3600)
        self.attempts = Attempts()
        self.key = secrets.token_urlsafe(24)
        """Who has it may log in as long as there are no users."""
        self.live = LiveHub(config)
        self._agents: tuple[int, list[str]] = (0, [])
        self._hashing = anyio.CapacityLimiter(1)  # a hash takes much memory, on purpose
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            finalize=words.visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(version=__version__, loaded=int(time.time()))
        self._templates.filters.update(words.FILTERS)

    # ---- names and peers ------------------------------------------------------------

    def hosts(self) -> frozenset[str]:
        """Names that browsers may know us by; empty where any is right, as there are passwords."""
        web = self.config.web
        if not loopback(web.host) and not web.hosts:
            return frozenset()
        return frozenset(("localhost", "127.0.0.1", "::1", web.host.lower(), *(name.lower() for name in web.hosts)))

    def _by_proxy(self, request: Request) -> bool:
        peer = request.client.host if request.client else ""
        return bool(self.config.web.proxy_header) and peer in self.config.web.proxy_addresses

    def address(self, request: Request) -> str:
        """Whose wrong passwords are counted."""
        forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return forwarded if forwarded and self._by_proxy(request) else request.client.host if request.client else ""

    # ---- who it is --------------------------------------------------------------------

    def session(self, request: Request) -> Session | None:
        """Of the browser that has sent this; None where it is not logged in (any more). Raises StoreError."""
        session = self.sessions.find(request.cookies.get(COOKIE, ""))
        if self._by_proxy(request) and (name := request.headers.get(self.config.web.proxy_header, "")[:200]):
            if session is None or session.by is not By.PROXY or session.user.name != name:
                request.state.cookie = self.sessions.begin(User(name, ""), By.PROXY)
                session = self.sessions.find(request.state.cookie)
            if session is not None:
                session.user = self.users.get(name) or User(name, self.config.web.proxy_role)
            return session
        if session is None or session.by is By.PROXY:  # which has not sent this
            return None
        if session.by is By.LINK:
            return None if self.users.all() else session
        user = self.users.get(session.user.name)
        if user is None or self.users.stamp(user.name) != session.stamp:
            return None
        session.user = user  # with the rights that it has now
        return session

    async def log_in(self, request: Request, name: str, password: str) -> str | None:
        """The cookie's value, None where the password is wrong. Raises StoreError."""
        user = await anyio.to_thread.run_sync(self.users.check, name, password, limiter=self._hashing)
        return self.sessions.begin(user, By.PASSWORD, self.users.stamp(name)) if user else None

    def log_in_by_key(self, key: str) -> str | None:
        """The same for who has the link that the command printed."""
        if self.users.all() or not same(key, self.key):
            return None
        return self.sessions.begin(User("local", "admin"), By.LINK)

    def set_cookie(self, request: Request, response: Response, value: str) -> None:
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"
        response.set_cookie(COOKIE, value, httponly=True, samesite="lax", secure=secure, path="/")

    def page(self, handler: Handler, right: Right) -> Callable[[Request], Awaitable[Response]]:
        """``handler`` for those who are logged in and have the right."""

        async def endpoint(request: Request) -> Response:
            try:
                session = self.session(request)
                if session is None:
                    return self._ask_to_log_in(request)
                visit = Visit(self, request, session)
                if not session.user.may(right):
                    return visit.page("refused.html", status=403, right=right)
                if request.method not in SAFE:
                    visit.form = await request.form(max_files=0, max_fields=50)
                    if not same(str(visit.form.get("form_key", "")), session.form_key):
                        return PlainTextResponse("This form is too old: go back, load the page again, try again.", 403)
                response = await handler(visit)
            except StoreError as error:
                return self.render("trouble.html", status=503, visit=None, text=str(error))
            if value := getattr(request.state, "cookie", ""):
                self.set_cookie(request, response, value)
            return response

        return endpoint

    def _ask_to_log_in(self, request: Request) -> Response:
        if request.method not in SAFE or "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse("Log in first.", 401)
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(path, safe='')}", 303)

    # ---- what pages are made of ------------------------------------------------------------

    def render(self, template: str, *, status: int = 200, visit: Visit | None, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(visit=visit, **values), status)

    def fragment(self, template: str, **values: Any) -> str:
        """A part of a page."""
        return self._templates.get_template(template).render(**values)

    async def agent_names(self) -> list[str]:
        """Of the configuration as it is now; none where they cannot be read."""
        return await anyio.to_thread.run_sync(self._agent_names)

    def _agent_names(self) -> list[str]:
        try:
            changed = find(self.file).stat().st_mtime_ns
            if changed != self._agents[0]:
                self._agents = changed, list(load_part(self.file, "agents.*.language").agents)
        except (ConfigError, OSError):
            return []
        return self._agents[1]

    async def read(self, query: Callable[[SqliteReader], R]) -> R:
        """What ``query`` finds in the store, beside the loop. Raises StoreError."""
        return await anyio.to_thread.run_sync(self._read, query)

    def _read(self, query: Callable[[SqliteReader], R]) -> R:
        if self.config.store.backend != "sqlite":
            raise StoreError("store.backend is memory: nothing is kept of the calls. sqlite keeps them.")
        reader = SqliteReader(self.config.store_path())
        try:
            return query(reader)
        finally:
            reader.close()


def loopback(host: str) -> bool:
    """Whether an address is this machine's own alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
