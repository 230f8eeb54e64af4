"""Past calls: finding them, and one call with all that is known of it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import anyio.to_thread
from starlette.responses import FileResponse, PlainTextResponse, Response

from asterisk_ai.recording import folder
from asterisk_ai.server.web.guard import PICTURE_POLICY
from asterisk_ai.server.web.site import Visit
from asterisk_ai.server.web.words import OUTCOMES
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.model import CallSession

PAGE = 50
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAMES = ("caller", "text", "agent", "outcome", "since", "until")
_MEDIA = {".flac": "audio/flac", ".ogg": "audio/ogg", ".wav": "audio/wav"}


async def calls(visit: Visit) -> Response:
    """The calls that were looked for, the newest first."""
    asked = {name: visit.query(name) for name in _NAMES}
    if not visit.may("words"):
        asked["text"] = ""  # finding by words tells what was said
    problem = ""
    try:
        wanted = _filter(asked, visit.query("before"))
    except ValueError as error:
        problem, wanted = f"That is no date: {error}", CallFilter(limit=PAGE + 1)
    found = await visit.site.read(lambda reader: reader.search(wanted))
    older = ""
    if len(found) > PAGE:
        found = found[:PAGE]
        given = {name: value for name, value in asked.items() if value}
        older = urlencode({**given, "before": repr(found[-1].started_at)})
    agents = sorted({*(await visit.site.agent_names()), *(one.agent for one in found)})
    return visit.page(
        "calls.html", calls=found, asked=asked, agents=agents, outcomes=OUTCOMES, older=older, problem=problem,
        paged=bool(visit.query("before")),
    )  # fmt: skip


def _filter(asked: dict[str, str], before: str) -> CallFilter:
    """Raises ValueError for what is no date."""
    until = _day(asked["until"], 1)
    if before:
        until = min(float(before), until or float("inf"))
    outcome = asked["outcome"] if asked["outcome"] in OUTCOMES else ""
    return CallFilter(
        since=_day(asked["since"]), until=until, agent=asked["agent"], outcome=outcome, caller=asked["caller"],
        text=asked["text"], limit=PAGE + 1,
    )  # fmt: skip


def _day(text: str, after: int = 0) -> float:
    """Its beginning, or that of a later one; 0 where none is given."""
    return (datetime.fromisoformat(text) + timedelta(days=after)).timestamp() if text else 0.0


async def call(visit: Visit) -> Response:
    """One call."""
    session = await _call(visit)
    if session is None:
        return visit.page("missing.html", status=404)
    recording = _recording(visit, session)
    return visit.page(
        "call.html", call=session, recording=recording, words=visit.may("words"),
        recorded_as=recording.suffix[1:] if recording else "",
    )  # fmt: skip


async def picture(visit: Visit) -> Response:
    """A call's picture, as SVG."""
    session = await _call(visit)
    if session is None:
        return PlainTextResponse("There is no such call.", 404)
    svg = await anyio.to_thread.run_sync(_draw, session, _recording(visit, session))
    return Response(svg, media_type="image/svg+xml", headers={"Content-Security-Policy": PICTURE_POLICY})


def _draw(session: CallSession, recording: Path | None) -> str:
    from asterisk_ai.session.picture import Sound, call_picture  # with numpy: the other pages do without

    if recording is None:
        return call_picture(session)
    import soundfile

    return call_picture(session, Sound(*soundfile.read(recording, dtype="int16", always_2d=True)))


async def sound(visit: Visit) -> Response:
    """A call's recording."""
    session = await _call(visit)
    recording = _recording(visit, session) if session else None
    if recording is None:
        return PlainTextResponse("There is no recording of that call.", 404)
    return FileResponse(
        recording, media_type=_MEDIA[recording.suffix], filename=recording.name, content_disposition_type="inline"
    )


async def _call(visit: Visit) -> CallSession | None:
    """The one that the path names."""
    call_id = visit.request.path_params["call_id"]
    if not _ID.fullmatch(call_id):
        return None
    return await visit.site.read(lambda reader: reader.find(call_id))


def _recording(visit: Visit, session: CallSession) -> Path | None:
    return folder.find(visit.site.config.recordings_path(), session.call_id)
