"""The door of `icemaze serve`: nobody without the token, nobody from elsewhere."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import CookieJar, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from cli_tools import icemaze
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.cli.serve.guard import Guard
from tui.cli.serve.server import FULL, MazeServer, TabService

TOKEN = "a-token-of-the-tests-0123456789"
Client = TestClient[web.Request, web.Application]
DOORS = ("/", "/ws", "/static/js/textual.js", "/static/", "/download/x", "/nowhere")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[MazeServer]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield MazeServer(bound, Guard(TOKEN, frozenset({"gpu-box"})), tabs=1)


@pytest_asyncio.fixture
async def client(server: MazeServer) -> AsyncIterator[Client]:
    jar = CookieJar(unsafe=True)  # which keeps cookies of addresses, as browsers do
    async with TestClient(TestServer(await server._make_app()), cookie_jar=jar) as client:
        yield client


async def let_in(client: Client) -> None:
    """The cookie, by the link."""
    answer = await client.get(f"/?token={TOKEN}", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_without_the_token_nothing_is_served(client: Client) -> None:
    for door in DOORS:
        for query in ("", "?token=", "?token=wrong", "?token=%ff%00", f"?token={TOKEN}x"):
            origin = {"Origin": str(client.make_url("/")).rstrip("/")}
            answer = await client.get(door + query, headers=origin)
            assert answer.status == 403, (door, query)
            assert TOKEN not in await answer.text()
    assert (await client.get("/static/js/textual.js", params={"token": TOKEN})).status == 403
    assert (await client.get("/", cookies={client_cookie(client): TOKEN})).status == 403


def client_cookie(client: Client) -> str:
    return f"icemaze-{client.port}"


async def test_the_token_gives_a_cookie_and_a_page_of_our_own(client: Client) -> None:
    answer = await client.get(f"/?token={TOKEN}", allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    assert answer.headers["Referrer-Policy"] == "no-referrer"

    page = await client.get("/")
    text = await page.text()
    assert page.status == 200 and page.headers["Cache-Control"] == "no-store"
    assert TOKEN not in text
    assert re.findall(r"(?:https?|wss?)://[^\s\"']+", text) == [f"ws://127.0.0.1:{client.port}/ws"]
    policy = page.headers["Content-Security-Policy"]
    nonces = re.findall(r'nonce="([^"]+)"', text)
    assert f"script-src 'nonce-{nonces[0]}';" in policy and len(set(nonces)) == 1
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    again = await (await client.get("/")).text()
    assert nonces[0] not in again
    for file in ("js/textual.js", "css/xterm.css", "fonts/RobotoMono-VariableFont_wght.ttf"):
        assert (await client.get(f"/static/{file}")).status == 200
    assert (await client.get("/nowhere")).headers["X-Content-Type-Options"] == "nosniff"
    strange = await (await client.get("/?fontsize=9999999%22%3E%3Cscript%3E")).text()
    assert 'data-font-size="16"' in strange


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "evil.example"),
        ("Host", "evil.example:8000"),
        ("Host", "127.0.0.1.evil.example"),
        ("Host", "localhost.evil.example"),
        ("Host", "[::1"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Origin", "http://127.0.0.1"),
        ("Origin", "http://["),
        ("Origin", ""),
    ],
)
async def test_other_pages_and_rebound_names_are_refused(
    client: Client, name: str, value: str
) -> None:
    await let_in(client)
    cookies = {c.key: c.value for c in client.session.cookie_jar}
    for door in ("/", f"/?token={TOKEN}", "/ws", "/static/js/textual.js"):
        answer = await client.get(
            door, headers={name: value}, cookies=cookies, allow_redirects=False
        )
        assert answer.status == 403, door
    for method in ("post", "put", "delete", "options"):
        assert (await getattr(client, method)("/")).status in (403, 405)


@pytest.mark.parametrize("host", ["localhost:80", "gpu-box:8000", "[::1]:8000", "192.0.2.7"])
async def test_our_own_names_are_ours(client: Client, host: str) -> None:
    answer = await client.get(f"/?token={TOKEN}", headers={"Host": host}, allow_redirects=False)
    assert answer.status == 303


async def test_a_socket_says_where_it_comes_from_and_tabs_are_counted(
    client: Client, server: MazeServer
) -> None:
    await let_in(client)
    with pytest.raises(WSServerHandshakeError, match="403"):
        await client.ws_connect("/ws")
    server._open.add(web.WebSocketResponse())
    own = {"Origin": f"http://127.0.0.1:{client.port}"}
    with pytest.raises(WSServerHandshakeError, match="503"):
        await client.ws_connect("/ws", headers=own)
    full = await client.get("/")
    assert full.status == 503 and await full.text() == FULL.format(n=1)
    server._open.clear()


NAMES = st.text(max_size=30).map(lambda text: "".join(c for c in text if c.isprintable()))


@settings(max_examples=60, deadline=None)
@given(host=NAMES, origin=NAMES, cookie=NAMES, token=NAMES)
def test_nobody_gets_in_by_strange_words(host: str, origin: str, cookie: str, token: str) -> None:
    guard = Guard(TOKEN)
    headers = {"Host": host, "Origin": origin, "Cookie": f"icemaze-80={cookie}"}
    request = make_mocked_request("GET", "/", headers=headers)
    assert not guard.is_known(request) and not guard.has_token(request)
    assert guard.is_meant_for_us(request) in (False, True)
    assert guard.is_from_us(request) in (False, True)
    asked = make_mocked_request("GET", "/")
    asked = asked.clone(rel_url=asked.rel_url.with_query(token=token))
    assert not guard.has_token(asked)


def test_what_a_tab_inherits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEMAZE_SERVE_TOKEN", TOKEN)
    monkeypatch.setenv("TERM", "linux")
    environment = TabService._build_environment(object.__new__(_Quiet), 100, 30)
    assert TOKEN not in environment.values() and environment["TERM"] == "xterm-256color"
    assert environment["COLUMNS"] == "100"


class _Quiet(TabService):
    debug = False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--token", "short"), "expected 16 to 200 letters"),
        (("--token", "x" * 15 + "\x1b"), "expected 16 to 200 letters"),
        (("--host", "no.such.host.invalid"), "--host no.such.host.invalid"),
        (("--host", "\x1b[2J" + "é" * 70), "Expected an address"),
        (("--port", "99999999"), "port"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: tuple[str, str], said: str) -> None:
    done = icemaze(tmp_path, "serve", *arguments)
    assert done.returncode == 2 and said in done.stderr and "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = icemaze(tmp_path, "serve", "--port", port)
    assert done.returncode == 2 and "--port 0 takes a free one" in done.stderr
