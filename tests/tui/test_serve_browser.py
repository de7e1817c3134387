"""`icemaze serve` in a real Chromium: the home screen appears, a key has an effect.

Where there is no browser the test is skipped; with ICEMAZE_NEEDS_BROWSER=1, as in `.ci/run`, it
fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import command, environment
from patience import DEADLINE

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
TOKEN = "a-token-of-the-browser-test-0123"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing = "There is no Chromium here: apt-get install chromium."
        if os.environ.get("ICEMAZE_NEEDS_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    # To import it takes a moment, and only this test needs it.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server and its link, with room for one tab."""
    process = subprocess.Popen(
        command("serve", "--port", "0", "--tabs", "1"),
        env=environment(tmp_path) | {"ICEMAZE_SERVE_TOKEN": TOKEN},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    link = re.search(r"http://\S+", process.stdout.readline())
    assert link is not None
    yield process, link[0]
    process.kill()
    process.communicate()


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def wait(until: Callable[[], object], turn: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not until():
        assert time.monotonic() < deadline
        turn()


def test_the_app_in_a_browser(browser: Any, served: tuple[subprocess.Popen[str], str]) -> None:
    process, link = served
    page = browser.new_context(viewport={"width": 1200, "height": 700}).new_page()
    received: list[bytes] = []
    asked: list[tuple[str, str]] = []

    def listen(socket: Any) -> None:
        asked.append((socket.url, ""))
        socket.on("framereceived", lambda frame: received.append(_bytes(frame)))

    def shows(text: bytes, since: int = 0) -> bool:
        return text in b"".join(received[since:])

    page.on("websocket", listen)
    page.on("request", lambda each: asked.append((each.url, each.headers.get("referer", ""))))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def turn() -> None:
        page.wait_for_timeout(50)

    page.goto(link)
    assert TOKEN not in page.url and TOKEN not in page.content()
    wait(lambda: shows(b"First steps on the ice") and shows(b"Help"), turn)
    before = len(received)
    page.keyboard.press("?")
    wait(lambda: shows(b"The library.", before), turn)

    base = link.partition("?")[0]
    own = (base, base.replace("http", "ws"), "data:")
    assert all(url.startswith(own) for url, _ in asked), asked
    assert all(TOKEN not in referer for _, referer in asked) and errors == []
    assert all(TOKEN not in url for url, _ in asked[1:])

    (child,) = children(process.pid)
    told = subprocess.run(
        ["ps", "-o", "args=", "-p", str(child)], capture_output=True, text=True, check=True
    )
    assert "tui.cli.serve.child" in told.stdout and TOKEN not in told.stdout
    proc = Path(f"/proc/{child}/environ")
    assert not proc.exists() or TOKEN.encode() not in proc.read_bytes()
    other = page.context.new_page()
    answer = other.goto(base)
    assert answer.status == 503 and "1 tabs are open" in other.content()
    stranger = browser.new_context().new_page()
    assert stranger.goto(base).status == 403
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(base, timeout=DEADLINE)

    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode in (0, 130) and TOKEN not in said
    wait(lambda: not Path(f"/proc/{child}").exists(), lambda: time.sleep(0.05))


def test_tabs_end_with_a_server_that_was_killed(
    browser: Any, served: tuple[subprocess.Popen[str], str]
) -> None:
    process, link = served
    page = browser.new_context().new_page()
    page.goto(link)
    wait(lambda: children(process.pid), lambda: page.wait_for_timeout(50))
    (child,) = children(process.pid)
    process.kill()
    process.wait()
    wait(lambda: not _alive(child), lambda: time.sleep(0.1))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _bytes(frame: str | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else frame.encode()
