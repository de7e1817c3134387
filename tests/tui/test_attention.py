"""The terminal rings where a person follows, as the user wants it; nothing else ever does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from cli_tools import icemaze

from tui.ui.terminal_notice import sequences

sys.path.insert(0, str(Path(__file__).parents[1] / "security"))

from real_terminal import Terminal

from engine.external.record import Described, ExternalRun

HOSTILE = "a\x1b]0;EVIL\x07;b\x07c\n\x9dd"


def test_foreign_text_stays_in_its_field() -> None:
    said = sequences(["bell", "osc9", "osc777", "bell"], HOSTILE, HOSTILE)
    assert re.fullmatch(
        r"\x07\x1b\]9;[^\x00-\x1f\x7f-\x9f;]*\x07\x1b\]777;notify;[^\x00-\x1f\x7f-\x9f;]*;"
        r"[^\x00-\x1f\x7f-\x9f;]*\x07",
        said,
    )


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user who wants everything, and a run that waits for somebody to look."""
    (tmp_path / "icemaze").mkdir()
    asked = '[notify]\nterminal = ["bell", "osc9"]\n'
    (tmp_path / "icemaze" / "config.toml").write_text(asked)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return {"ICEMAZE_RUNS_DIR": str(tmp_path / "runs"), "XDG_CONFIG_HOME": str(tmp_path)}


@pytest.mark.slow
def test_a_real_terminal_rings_once_from_command_and_app(
    environment: dict[str, str], tmp_path: Path
) -> None:
    run = ExternalRun.create(Described(name="ours", trainer="t"), tmp_path / "runs")
    run.metrics(1, {"reward": 1.0})
    run.commit()
    with (
        Terminal("-m", "tui.start", "watch", run.run_dir.name, "--plain", **environment) as lines,
        Terminal("-m", "tui.start", "open", run.run_dir.name, **environment) as app,
    ):
        lines.wait_for("reward +1")
        app.wait_for("reward +1")
        run.end("finished")
        said = lines.end()
        app.wait_for("\x1b]9;ours: finished\x07")
        app.press("q", "Presets")
        app.press("q", "\x1b[?1049l")
        seen = app.end()
    for output in (said, seen):
        assert output.count(b"\x1b]9;ours: finished\x07") == 1
        assert output.count(b"\x07\x1b]9;") == 1
    again = icemaze(tmp_path / "runs", "watch", run.run_dir.name)
    assert again.returncode == 0 and "\x07" not in again.stdout + again.stderr
