"""Live calls, as browsers see them: who talks with whom, what is said, and what an operator does with a call."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse

from asterisk_ai.server.web.hub import LiveHub
from asterisk_ai.server.web.site import Visit

logger = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
GATHER_SECONDS, MANY_SECONDS, MANY_CALLS = 0.05, 0.2, 20
"""What changes within it is told together; with many calls it is more of it."""


async def live(visit: Visit) -> Response:
    """Who is talking with whom; filled by :func:`events`."""
    return visit.page("live.html", http=visit.site.live.places())


async def events(visit: Visit) -> Response:
    """Server-sent events: ``call`` for each call that has changed, ``state`` for all else."""
    hub = visit.site.live
    if hub.full:
        return PlainTextResponse("Too many look on.", 503)
    return StreamingResponse(_events(visit, hub), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(visit: Visit, hub: LiveHub) -> AsyncIterator[str]:
    subscriber = hub.subscribe()
    agents = await visit.site.agent_names()
    try:
        for call_id in ("", *hub.calls):
            subscriber.note(call_id)
        yield "retry: 2000\n\n"
        while visit.site.session(visit.request) is not None:  # logged out, or the rights are others: asked for again
            changed, subscriber.changed = subscriber.changed, {}
            subscriber.wake.clear()
            for call_id in changed:
                if call_id:
                    told = _shown(visit, hub.calls.get(call_id), call_id, agents, whole=call_id not in subscriber.seen)
                    yield _event("call", told)
                    (subscriber.seen.discard if told["gone"] else subscriber.seen.add)(call_id)
            running = sum(not call["ended"] for call in hub.calls.values())
            reached, places = len(hub.reached), len(hub.places())
            yield _event("state", {"calls": running, "reached": reached, "places": places})
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await subscriber.wake.wait()
                    await asyncio.sleep(MANY_SECONDS if running > MANY_CALLS else GATHER_SECONDS)
    finally:
        hub.unsubscribe(subscriber)


def _event(kind: str, data: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


STATES = {
    "listening": ("listening", "live"),
    "thinking": ("thinking", "wait"),
    "speaking": ("speaking", "good"),
    "greeting": ("speaking", "good"),
    "closing": ("speaking", "good"),
    "interrupted": ("interrupted", "bad"),
}


def _shown(
    visit: Visit, call: dict[str, Any] | None, call_id: str, agents: list[str], *, whole: bool
) -> dict[str, Any]:
    """What the browser puts into its page: the changing part of the call's card, or the ``whole`` card around it."""
    if call is None:
        return {"id": call_id, "gone": True}
    state = STATES.get(call["phase"], ("connecting", "plain"))
    if call["away"] or not call["connected"]:
        state = ("with the dialplan" if call["turns"] else "connecting", "plain")
    answered = [turn["answered"] for turn in call["turns"] if turn["answered"]]
    values = {"call": call, "state": state, "answered": answered[-1] if answered else 0.0, "visit": visit}
    now = visit.site.fragment("live_now.html", **values, lasted=max(0.0, time.time() - call["started_at"]))
    told = {"id": call_id, "gone": False, "ended": call["ended"], "now": now}
    return {**told, "card": visit.site.fragment("live_call.html", **values, now=now, agents=agents)} if whole else told


async def act(visit: Visit) -> Response:
    """Hang up, transfer, or give to another agent."""
    what = str(visit.request.path_params["what"])
    fields = {name: str(visit.form.get(name, "")).strip()[:200] for name in ("exten", "context", "agent")}
    wanted = {"hangup": (), "transfer": ("exten", "context"), "agent": ("agent",)}.get(what)
    if wanted is None:
        return PlainTextResponse("There is no such thing to do.", 404)
    call_id = str(visit.request.path_params["call_id"])
    problem = await visit.site.live.act(call_id, what, {name: fields[name] for name in wanted})
    logger.info("%s: %s of call %s %s", visit.user.name, what, call_id, f"failed: {problem}" if problem else "done")
    if "text/html" in visit.request.headers.get("accept", ""):
        return RedirectResponse("/", 303)
    return PlainTextResponse(f"Not done: {problem}" if problem else "Done.")
