"""Being told: by a command, by a server; once, safely, and never in the way of the run."""

from __future__ import annotations

import http.server
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_tools import DEADLINE

from engine import factory, presets
from engine.core import user_config
from engine.core.errors import UserError
from engine.external.record import Described, ExternalRun
from engine.learning.events import Note
from engine.runs import launch
from engine.runs.notify import send
from engine.runs.notify.notifier import FAILURES, Message, Notifier
from engine.runs.session import Session
from engine.runs.store import RunWriter

pytestmark = pytest.mark.slow

HOSTILE = "$(touch owned); `touch owned` \x1b]0;EVIL\x07 \ud800 'x' \"y\"\nnext"
PLANNING = """
title = "The answer"
[maze]
map = "SFG"
[algorithm]
name = "value-iteration"
[budget]
updates = 3
[run]
agents = 1
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "icemaze").mkdir(parents=True)
    return tmp_path


def configure(**notify: Any) -> None:
    for key, value in notify.items():
        user_config.write("notify", key, value)


class Server:
    """A local server that keeps what is posted to it."""

    def __init__(self) -> None:
        got: list[dict[str, Any]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                got.append(json.loads(self.rfile.read(length)))
                self.send_response(302 if self.path == "/moved" else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.got = got
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.server.shutdown()
    one.server.server_close()


def until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_finished_run_tells_command_and_server_though_nobody_watches(
    home: Path, server: Server
) -> None:
    code = (
        "import os, json, sys; open(sys.argv[1], 'a').write(json.dumps(dict(os.environ)) + '\\n')"
    )
    configure(on_end=f"{sys.executable} -c {json.dumps(code)} {home / 'told'}", webhook=server.url)
    run_dir = launch.create_run(presets.parse(PLANNING), "answer", runs_dir=home / "runs")
    writer = RunWriter(run_dir)
    assert Session(writer, factory.make_learner).run()
    writer.close()
    until(lambda: server.got and (home / "told").exists() and (home / "told").read_text())
    (posted,) = server.got
    assert (posted["event"], posted["run"], posted["title"]) == (
        "finished", run_dir.name, "The answer",
    )  # fmt: skip
    (line,) = (home / "told").read_text().splitlines()
    told = json.loads(line)
    assert (told["ICEMAZE_EVENT"], told["ICEMAZE_PATH"]) == ("finished", str(run_dir))
    assert (run_dir / FAILURES).read_text() == ""


def test_foreign_text_is_never_a_command(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    configure(on_end="sh -c 'printf %s \"$ICEMAZE_TEXT\" > told'", webhook=server.url)
    run = ExternalRun.create(Described(name=HOSTILE, trainer=HOSTILE), home / "runs")
    run.end("failed", HOSTILE)
    until(lambda: server.got and (home / "told").exists() and (home / "told").read_text())
    assert "$(touch owned)" in (home / "told").read_text() and not (home / "owned").exists()
    (posted,) = server.got
    assert posted["event"] == "failed" and "\x1b" not in posted["text"] + posted["title"]


def test_a_warning_is_told_once_also_after_a_resume(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(Notifier, "tell", lambda self, event, step, *_: told.append((event, step)))
    run_dir = launch.create_run(presets.parse(PLANNING), "answer", runs_dir=home / "runs")

    def made(preset: Any) -> Any:
        learner = factory.make_learner(preset)
        advance = learner.advance

        def warned(limit: int) -> Any:
            events = advance(1)
            return [*events, Note(step=learner.counters.step, level="warning", text="look")]

        learner.advance = warned  # type: ignore[method-assign]
        return learner

    writer = RunWriter(run_dir)
    assert Session(writer, made).run()
    assert told == [("diagnosis", 1), ("diagnosis", 2), ("diagnosis", 3), ("finished", 3)]
    told.clear()
    writer.connection.execute("DELETE FROM checkpoints WHERE id != 0")  # killed before the second
    writer.set_meta(state="running")
    writer.commit()
    assert Session(writer, made).run()
    writer.close()
    assert told == [("finished", 3)]


def test_what_fails_or_hangs_is_said_and_is_not_waited_for(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = Message(event="failed", run="r", path="p", title="t", step=1, text="x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "did not take it" in send.post(url, message, seconds=0.2)
        configure(webhook=url)
        began = time.monotonic()
        notifier = Notifier(home, "t")
        notifier.tell("finished", 1, "x")
        assert time.monotonic() - began < send.SERVER_SECONDS / 2
        for process in notifier._sending:
            process.kill()
            process.wait()
    assert "302" in send.post(f"{server.url}/moved", message)
    assert len(server.got) == 1  # it was not followed
    monkeypatch.setattr(send, "COMMAND_SECONDS", 0.2)
    assert "was ended" in send.run(["sleep", "30"], message)
    assert "could not be run" in send.run(["/no/such/program"], message)
    assert "status 3: because" in send.run(["sh", "-c", "echo because >&2; exit 3"], message)


def test_nothing_is_started_unless_it_is_asked_for(home: Path) -> None:
    notifier = Notifier(home, "t")
    notifier.tell("finished", 1, "x")
    configure(on_end="true", terminal=["bell"])
    notifier.tell("diagnosis", 1, "x")
    assert not notifier._sending and not (home / FAILURES).exists()
    user_config.path().write_text("[notify]\nnonsense = 1\n")
    notifier.tell("finished", 1, "x")  # the user's mistake is not the run's


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('on_end = "say \'x"', "on_end is no command"),
        ('webhook = "file:///etc/passwd"', "webhook is no address"),
        ('webhook = "http://a b"', "webhook is no address"),
        ('terminal = ["beep"]', "beep"),
        ("ring = true", "Unknown key 'ring'"),
    ],
)
def test_a_wrong_setting_is_said(home: Path, text: str, words: str) -> None:
    user_config.path().write_text(f"[notify]\n{text}\n")
    with pytest.raises(UserError, match=words):
        user_config.load()
