"""The explanation of a step where the algorithm is the user's own, and its file is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from home_tools import shown
from trainer_tools import app_on, opened

from engine import presets
from engine.config import shipped
from engine.factory import make_learner
from engine.runs import launch
from engine.runs.session import Session
from engine.runs.store import RunWriter
from tui.features.trainer.explain_dialog import ExplainScreen

pytestmark = [pytest.mark.usefixtures("unicode_look", "own_code_is_trusted"), pytest.mark.slow]
EXAMPLES = shipped.FOLDER / "examples"
CODE = (EXAMPLES / "my_q.py").read_text("utf-8")
BODY = "        return explain_update(\n"
LINE = CODE.count("\n", 0, CODE.index(BODY)) + 1


def record_own(folder: Path, body: str) -> Path:
    """A finished run of the worked example, whose `explain` does something else first."""
    assert CODE.count(BODY) == 1
    folder.mkdir()
    (folder / "my_q.py").write_text(CODE.replace(BODY, f"        {body}\n{BODY}"), "utf-8")
    (folder / "my-q.toml").write_text((EXAMPLES / "my-q.toml").read_text("utf-8"), "utf-8")
    preset = presets.load(str(folder / "my-q.toml"), ["budget.env_steps=300", "run.agents=2"])
    path = launch.create_run(preset, "my-q", runs_dir=folder / "runs")
    writer = RunWriter(path)
    try:
        assert Session(writer, make_learner).run()
    finally:
        writer.close()
    return path


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('out of \\x1b[31mwords')", f"line {LINE}: ValueError: out of words"),
        ("raise SystemExit(3)", f"line {LINE}: SystemExit: 3"),
        ("return None", "TypeError: it gave None; expected an Explanation"),
    ],
)
async def test_an_explanation_that_fails_says_so_and_the_app_goes_on(
    tmp_path: Path, body: str, says: str
) -> None:
    app = app_on(record_own(tmp_path / "mine", body))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot)
        await pilot.press("up", "enter")
        await pilot.pause()
        assert isinstance(app.screen, ExplainScreen)
        box = app.screen.query_one(".box").content_region
        rows = shown(app).splitlines()[box.y : box.bottom]
        text = " ".join(" ".join(row[box.x : box.right] for row in rows).split())
        assert "could not explain this update: my_q.py" in text and says in text
        assert "Mend your file and start a new run" in text
        assert "time step" in text and "TD error δ" in text  # what does not come from the file
        await pilot.press("escape")
        assert app.screen is screen
