"""The page's addresses, and who may go to each."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from asterisk_ai.server.web import history, live, overview, setup
from asterisk_ai.server.web.guard import Guard
from asterisk_ai.server.web.login import Login
from asterisk_ai.server.web.site import HERE, Site
from asterisk_ai.server.web.users import Right

PUBLIC = ("/login", "/static", "/favicon.ico")
"""What is there without logging in. All else goes through :meth:`Site.page`."""


def application(site: Site) -> Starlette:
    """The ASGI application of the page."""
    login, page = Login(site), site.page
    call = "/calls/{call_id}"
    routes = [
        Route("/", page(live.live, Right.SEE)),
        Route("/live/events", page(live.events, Right.SEE)),
        Route("/live/{call_id}/{what}", page(live.act, Right.ACT), methods=["POST"]),
        Route("/calls", page(history.calls, Right.SEE)),
        Route(call, page(history.call, Right.SEE)),
        Route(f"{call}/picture.svg", page(history.picture, Right.WORDS)),
        Route(f"{call}/recording", page(history.sound, Right.WORDS)),
        Route("/overview", page(overview.overview, Right.SEE)),
        Route("/agents", page(setup.agents, Right.SEE)),
        Route("/configuration", page(setup.configuration, Right.SETTINGS)),
        Route("/login", login.page),
        Route("/login", login.send, methods=["POST"]),
        Route("/logout", page(login.leave, Right.SEE), methods=["POST"]),
        Route("/favicon.ico", _icon),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, hosts=site.hosts)])


async def _icon(request: Request) -> Response:
    return RedirectResponse("/static/icon.svg", 301)
