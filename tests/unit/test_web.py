"""The page: what it shows to whom, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import web_store
from argon2 import PasswordHasher
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from web_store import CALL, HOSTILE_CALL

from asterisk_ai.config import load_part
from asterisk_ai.errors import ConfigError
from asterisk_ai.server.web.app import PUBLIC, application
from asterisk_ai.server.web.live import _shown
from asterisk_ai.server.web.serving import check_open
from asterisk_ai.server.web.sessions import MAX_FAILURES, Attempts, By, Sessions
from asterisk_ai.server.web.setup import without_secrets
from asterisk_ai.server.web.site import COOKIE, Site, Visit
from asterisk_ai.server.web.users import User, Users
from asterisk_ai.session.feed import shown as shown_live
from asterisk_ai.session.model import CallSession

HOST = "http://127.0.0.1:9094"
PASSWORD = "a long password"
USERS = {
    "vera": User("vera", "viewer"),
    "vito": User("vito", "viewer", transcripts=True),
    "otto": User("otto", "operator"),
    "ada": User("ada", "admin"),
}
SENT = {"exten": "200", "context": "from-internal", "agent": "reception"}


def site(file: Path) -> Site:
    made = Site(load_part(str(file), "web", "http", "server", "store", "recordings"), str(file))
    made.users = Users(made.users.path, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = site(web_store.configured(tmp_path_factory.mktemp("web")))
    for user in USERS.values():
        made.users.set(user, PASSWORD)
    return made


@pytest.fixture
def stranger(made: Site) -> Iterator[TestClient]:
    with TestClient(application(made), base_url=HOST, follow_redirects=False) as client:
        yield client


def browser(made: Site, name: str, client: TestClient) -> TestClient:
    """Logged in."""
    client.cookies.set(COOKIE, made.sessions.begin(USERS[name], By.PASSWORD, made.users.stamp(name)))
    return client


def form_key(made: Site, client: TestClient) -> str:
    session = made.sessions.find(client.cookies[COOKIE])
    assert session is not None
    return session.form_key


def addresses(made: Site) -> list[tuple[str, str]]:
    """Method and path of all there is but what is public."""
    found = []
    for route in application(made).routes:
        assert isinstance(route, Route | Mount)
        if route.path in PUBLIC:
            continue
        assert isinstance(route, Route), f"{route.path}: who may go there?"
        path = route.path.format(call_id=CALL, what="hangup")
        found += [(method, path) for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


# ---- who sees what ---------------------------------------------------------------


def test_nothing_is_there_for_who_has_not_logged_in(made: Site, stranger: TestClient) -> None:
    assert len(addresses(made)) >= 8
    for method, path in addresses(made):
        for cookie in ("", "x" * 43):
            stranger.cookies.set(COOKIE, cookie)
            answer = stranger.request(method, path, data=SENT if method == "POST" else None)
            assert answer.status_code == 401, (method, path)
            assert answer.text == "Log in first."
        if method == "GET":
            answer = stranger.get(path, headers={"Accept": "text/html"})
            assert (answer.status_code, answer.text) == (303, "")
            assert answer.headers["location"].startswith("/login?next=%2F")


def test_nothing_is_done_without_the_key_of_the_form(made: Site, stranger: TestClient) -> None:
    client = browser(made, "ada", stranger)
    for method, path in addresses(made):
        if method == "POST":
            for sent in (SENT, {**SENT, "form_key": ""}, {**SENT, "form_key": "x" * 43}):
                answer = client.post(path, data=sent)
                assert answer.status_code == 403, path
                assert "too old" in answer.text


def test_nothing_comes_from_another_sites_page(made: Site, stranger: TestClient) -> None:
    client = browser(made, "ada", stranger)
    others = ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
              {"Sec-Fetch-Site": "same-site"})  # fmt: skip
    for method, path in [*addresses(made), ("POST", "/login")]:
        for headers in others if method == "POST" else ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},):
            sent = {**SENT, "form_key": form_key(made, client)} if method == "POST" else None
            answer = client.request(method, path, data=sent, headers=headers)
            assert answer.status_code == 403, (method, path, headers)
            assert "site" in answer.text


def test_a_name_that_was_pointed_at_us_is_none_of_ours(made: Site, stranger: TestClient) -> None:
    client = browser(made, "ada", stranger)
    for method, path in [*addresses(made), ("GET", "/login"), ("GET", "/static/page.css")]:
        for host in ("evil.example", "evil.example:9094", "127.0.0.1.evil.example", "", "["):
            assert client.request(method, path, headers={"Host": host}).status_code == 421, (path, host)
    assert client.get("/overview", headers={"Host": "localhost:9094"}).status_code == 200
    assert client.get("/overview", headers={"Host": "[::1]:9094"}).status_code == 200


NEEDS = {"/configuration": "ada", "picture.svg": "vito otto ada", "recording": "vito otto ada", "/live/": "otto ada"}
"""What not everybody may open, by a part of its path."""


def test_each_role_goes_where_it_may(made: Site, stranger: TestClient) -> None:
    for name in USERS:
        for method, path in addresses(made):
            client = browser(made, name, stranger)
            sent = {**SENT, "form_key": form_key(made, client)} if method == "POST" else None
            if path.endswith("/events"):
                continue  # does not end; its words are looked at where there is a server
            allowed = next((names.split() for part, names in NEEDS.items() if part in path), list(USERS))
            status = client.request(method, path, data=sent).status_code
            assert (status == 403) == (name not in allowed), (name, method, path, status)


def test_a_viewer_sees_no_words(made: Site, stranger: TestClient) -> None:
    words = ("opening hours", "nine to five", "elephants", "alert(")
    pages = ("/calls", f"/calls/{CALL}", "/overview?span=week", "/calls?text=elephants", f"/calls/{HOSTILE_CALL}")
    for name in ("vera", "vito", "otto"):
        client = browser(made, name, stranger)
        shown = "".join(client.get(page).text for page in pages)
        assert ("nine to five" in shown) is (name != "vera")
        if name == "vera":
            assert [word for word in words if word in shown.replace("alert(2)", "")] in ([], ["alert("])  # the names
    client = browser(made, "vera", stranger)
    assert client.get("/calls?text=elephants").text.count("<tr>") == client.get("/calls?text=nosuch").text.count("<tr>")


def test_a_password_that_changes_ends_what_was_logged_in_with_it(tmp_path: Path) -> None:
    made = site(web_store.configured(tmp_path))
    made.users.set(USERS["ada"], PASSWORD)
    with TestClient(application(made), base_url=HOST, follow_redirects=False) as client:
        browser(made, "ada", client)
        assert client.get("/calls").status_code == 200
        made.users.set(USERS["ada"], "another password")
        assert client.get("/calls").status_code == 401
        browser(made, "ada", client)
        made.users.set(User("ada", "viewer"), "another password")
        browser(made, "ada", client)
        assert client.get("/configuration").status_code == 403
        made.users.remove("ada")
        assert client.get("/calls").status_code == 401


# ---- logging in ------------------------------------------------------------------------


def test_logging_in_and_out(made: Site, stranger: TestClient) -> None:
    answer = stranger.post("/login", data={"name": "otto", "password": PASSWORD, "next": "/calls?agent=x"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/calls?agent=x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert stranger.get("/calls").status_code == 200
    value = stranger.cookies[COOKIE]
    assert stranger.post("/logout", data={"form_key": form_key(made, stranger)}).status_code == 303
    stranger.cookies.set(COOKIE, value)
    assert stranger.get("/calls").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"])
def test_logging_in_leads_to_no_other_site(made: Site, stranger: TestClient, target: str) -> None:
    answer = stranger.post("/login", data={"name": "otto", "password": PASSWORD, "next": target})
    assert answer.headers["location"] == "/"


def test_passwords_are_not_to_be_guessed(made: Site, stranger: TestClient) -> None:
    made.attempts = Attempts()
    for _ in range(MAX_FAILURES):
        answer = stranger.post("/login", data={"name": "otto", "password": "wrong"})
        assert answer.status_code == 401
    answer = stranger.post("/login", data={"name": "otto", "password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 200
    made.attempts = Attempts()


def test_wrong_passwords_are_forgotten_in_time() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(MAX_FAILURES):
        attempts.failed("2001:db8::1")
    assert attempts.wait_seconds("2001:db8::2") > 0  # the same network
    assert attempts.wait_seconds("2001:db8:1::1") == 0
    now = 301.0
    assert attempts.wait_seconds("2001:db8::1") == 0


def test_who_does_nothing_is_logged_out() -> None:
    now = 0.0
    sessions = Sessions(3600, lambda: now)
    value = sessions.begin(USERS["ada"], By.LINK)
    now = 3599.0
    assert sessions.find(value) is not None
    now = 7300.0
    assert sessions.find(value) is None


def test_the_link_opens_it_until_somebody_has_a_password(tmp_path: Path) -> None:
    made = site(web_store.configured(tmp_path))
    with TestClient(application(made), base_url=HOST, follow_redirects=False) as client:
        assert client.get("/login?key=wrong").status_code == 200
        assert client.get("/calls").status_code == 401
        assert client.get(f"/login?key={made.key}").status_code == 303
        assert client.get("/configuration").status_code == 200
        made.users.set(USERS["ada"], PASSWORD)
        assert client.get("/configuration").status_code == 401
        assert client.get(f"/login?key={made.key}").status_code == 200
        assert client.get("/calls").status_code == 401


def test_the_passwords_file_is_its_owners(made: Site) -> None:
    assert made.users.path.stat().st_mode & 0o777 == 0o600
    text = made.users.path.read_text()
    assert PASSWORD not in text
    assert text.count("$argon2id$") == len(USERS)


def test_a_proxy_tells_who_it_is(tmp_path: Path) -> None:
    web = {"proxy_header": "X-User", "proxy_addresses": ["10.0.0.1"], "proxy_role": "viewer", "hosts": ["pbx.example"]}
    made = site(web_store.configured(tmp_path, web=web))
    made.users.set(USERS["ada"], PASSWORD)
    app = application(made)
    with TestClient(app, base_url="http://pbx.example", client=("10.0.0.1", 1), follow_redirects=False) as client:
        assert client.get("/calls").status_code == 401
        assert client.get("/calls", headers={"X-User": "somebody"}).status_code == 200
        assert client.get("/configuration", headers={"X-User": "somebody"}).status_code == 403
        assert client.get("/configuration", headers={"X-User": "ada"}).status_code == 200
        assert client.get("/configuration").status_code == 401  # the cookie alone is not what was trusted
    with TestClient(app, base_url="http://pbx.example", client=("10.0.0.2", 1), follow_redirects=False) as client:
        assert client.get("/calls", headers={"X-User": "ada"}).status_code == 401


# ---- where it may be ------------------------------------------------------------------------


def test_off_loopback_it_needs_passwords(tmp_path: Path) -> None:
    made = site(web_store.configured(tmp_path, web={"host": "0.0.0.0"}))
    with pytest.raises(ConfigError, match="--set-password"):
        check_open(made)
    made.users.set(USERS["ada"], PASSWORD)
    check_open(made)
    check_open(site(web_store.configured(tmp_path, web={"host": "0.0.0.0", "proxy_header": "X-User"})))
    check_open(site(web_store.configured(tmp_path, web={"host": "127.0.0.2"})))


# ---- what is shown ---------------------------------------------------------------------------


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_hostile_words_are_text_everywhere(made: Site, stranger: TestClient) -> None:
    client = browser(made, "ada", stranger)
    hostile = {"caller": web_store.HOSTILE, "text": web_store.HOSTILE, "since": web_store.HOSTILE, "agent": "<script>"}
    pages = [client.get(path).text for path in ("/calls", f"/calls/{HOSTILE_CALL}", "/overview", "/agents")]
    pages += [client.get("/calls", params=hostile).text, client.get(f"/calls/{HOSTILE_CALL}/picture.svg").text]
    pages.append(client.get("/login", params={"next": web_store.HOSTILE}).text)
    for page in pages:
        elements = _Elements()
        elements.feed(page)
        scripts = [attributes for tag, attributes in elements.found if tag == "script"]
        assert all(str(attributes.get("src", "")).startswith("/static/") for attributes in scripts)
        assert not [tag for tag, attributes in elements.found if "onmouseover" in attributes]
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in pages[1]


def test_no_page_has_anything_that_the_policy_forbids(made: Site, stranger: TestClient) -> None:
    client = browser(made, "ada", stranger)
    for method, path in [*addresses(made), ("GET", "/login"), ("GET", "/static/page.js")]:
        if method == "POST" or path.endswith("/events"):
            continue
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        if "text/html" in answer.headers.get("content-type", ""):
            elements = _Elements()
            elements.feed(answer.text)
            for tag, attributes in elements.found:
                assert tag not in ("style", "iframe", "object"), path
                assert not [name for name in attributes if name == "style" or name.startswith("on")], (path, tag)
                for name in ("src", "href", "action"):
                    assert re.match(r"/(?!/)|#|$", str(attributes.get(name) or "")), (path, tag, attributes)


def test_a_call_is_found_by_a_word_that_was_said(made: Site, stranger: TestClient) -> None:
    client = browser(made, "otto", stranger)
    found = client.get("/calls", params={"text": "eleph"}).text
    assert CALL in found
    assert HOSTILE_CALL not in found
    assert "No call fits" in client.get("/calls", params={"text": "giraffe"}).text
    assert CALL in client.get("/calls", params={"caller": "555 123"}).text
    assert "That is no date" in client.get("/calls", params={"since": "soon"}).text


def test_a_call_tells_what_was_said_and_what_it_waited_for(made: Site, stranger: TestClient) -> None:
    page = browser(made, "otto", stranger).get(f"/calls/{CALL}").text
    assert "caller stopped → end of turn 250 ms → words known 12 ms" in page
    assert "not understood" in page
    assert "interrupted" in page
    picture = stranger.get(f"/calls/{CALL}/picture.svg")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    assert "opening hours" in picture.text
    for wrong in ("x", CALL.replace("6", "5"), CALL.upper(), "..%2f..%2fetc%2fpasswd"):
        assert stranger.get(f"/calls/{wrong}").status_code == 404
        assert stranger.get(f"/calls/{wrong}/recording").status_code == 404


def test_who_sees_no_words_sees_none_of_live_calls(made: Site, stranger: TestClient) -> None:
    call = {**shown_live(web_store.calls()[0], {"hearing": "half a sentence", "saying": "an answer"}), "place": "here"}
    for name, words, acts in (("vera", False, False), ("vito", True, False), ("otto", True, True)):
        session = made.sessions.find(browser(made, name, stranger).cookies[COOKIE])
        assert session is not None
        card = _shown(Visit(made, None, session), call, CALL, ["reception"], whole=True)["card"]  # type: ignore[arg-type]
        assert "+15551234567" in card
        for said in ("opening hours", "half a sentence", "an answer"):
            assert (said in card) is words
        assert ("Hang up" in card) is acts


def test_a_call_of_which_nothing_is_known_is_shown(made: Site, stranger: TestClient) -> None:
    page = browser(made, "otto", stranger).get(f"/calls/{web_store.BARE_CALL}")
    assert page.status_code == 200
    assert "Nothing was said in this call." in page.text
    assert "unknown" in stranger.get("/calls").text
    shown = shown_live(CallSession(web_store.BARE_CALL, "reception"), {})
    hub = made.live
    hub.calls[web_store.BARE_CALL] = {**shown, "place": "here"}
    session = made.sessions.find(stranger.cookies[COOKIE])
    assert session is not None
    told = _shown(Visit(made, None, session), hub.calls.pop(web_store.BARE_CALL), "x", [], whole=True)  # type: ignore[arg-type]
    assert "unknown" in told["card"]


def test_what_was_not_understood_comes_with_the_lines_that_help(made: Site, stranger: TestClient) -> None:
    page = browser(made, "otto", stranger).get("/overview?span=week").text
    assert "do you sell elephants" in page
    assert "new_intent:" in page
    assert "3</span> calls" in page


def test_older_calls_are_on_the_next_page(tmp_path: Path) -> None:
    from dataclasses import replace

    file = web_store.configured(tmp_path)
    one = web_store.calls()[0]
    more = [
        replace(one, call_id=f"{n:08x}-9dad-41d1-80b4-00c04fd430c8", started_at=one.started_at - n) for n in range(70)
    ]
    web_store.fill(tmp_path / "sessions.db", more)
    made = site(file)
    with TestClient(application(made), base_url=HOST, follow_redirects=False) as client:
        client.get(f"/login?key={made.key}")
        seen: list[str] = []
        path = "/calls?agent=reception"
        while path:
            page = client.get(path).text
            seen += re.findall(r'href="/calls/([0-9a-f-]{36})"', page)
            older = re.search(r'href="(/calls\?[^"]*before=[^"]*)"', page)
            path = older[1].replace("&amp;", "&") if older else ""
        assert len(seen) == len(set(seen)) == 72


def test_the_configuration_is_shown_without_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "asterisk_ai.yaml"
    file.write_text(
        "ari: {user: pbx, password: hunter2}\n"
        "providers:\n  openai: {api_key: sk-1234, base_url: 'https://me:pw@proxy.example/v1', max_tokens: 50}\n"
        "  deepgram: {api_key: '${DEEPGRAM_API_KEY}'}\n"
        "agents:\n  a:\n    tools: {http: {x: {headers: {Authorization: Bearer abcd, X-Api-Key: efgh}}}}\n"
    )
    shown = without_secrets(file)
    for secret in ("hunter2", "sk-1234", "me:pw", "abcd", "efgh"):
        assert secret not in shown
    assert "${DEEPGRAM_API_KEY}" in shown
    assert "max_tokens: 50" in shown


def test_mistakes_in_the_configuration_are_told_and_the_calls_are_shown(tmp_path: Path) -> None:
    file = web_store.configured(tmp_path, agents={"reception": {"greting": "Hello."}})
    made = site(file)
    with TestClient(application(made), base_url=HOST, follow_redirects=False) as client:
        client.get(f"/login?key={made.key}")
        assert "did you mean &#39;greeting&#39;?" in client.get("/configuration").text
        assert client.get("/agents").status_code == 200
        assert CALL in client.get("/calls").text


def test_no_store_yet_says_what_to_do(tmp_path: Path) -> None:
    file = web_store.configured(tmp_path, store={"path": str(tmp_path / "none.db")})
    made = site(file)
    with TestClient(application(made), base_url=HOST, follow_redirects=False) as client:
        client.get(f"/login?key={made.key}")
        answer = client.get("/calls")
        assert answer.status_code == 503
        assert "asterisk-ai call --serve" in answer.text
