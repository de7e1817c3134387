"""What the command line says and exits with when the user's own algorithm is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_tools import icemaze

from engine.config import shipped

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_code_is_trusted")]

EXAMPLES = shipped.FOLDER / "examples"
CODE = (EXAMPLES / "my_q.py").read_text("utf-8")
HOOK = "    def make_hyperparameters(self, settings: Any) -> Any:\n"
LINE = CODE.count("\n", 0, CODE.index(HOOK)) + 2
"""The number of the line after it."""


def preset_with(folder: Path, old: str, new: str) -> str:
    """The worked example with one change."""
    assert CODE.count(old) == 1
    shutil.copy(EXAMPLES / "my-q.toml", folder)
    (folder / "my_q.py").write_text(CODE.replace(old, new), "utf-8")
    return str(folder / "my-q.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ALGORITHM = MyQ()", "raise KeyboardInterrupt", "KeyboardInterrupt. Mend the file"),
        (
            HOOK,
            f"    def check(self, preset):\n        1 / 0\n{HOOK}",
            f"my_q.py, line {LINE}: Ze",
        ),
        (
            "    bad_news: Annotated[",
            "    w: Flaot = 1\n    bad_news: Annotated[",
            "name 'Flaot' is",
        ),
    ],
)
def test_a_mistake_in_the_file_is_wrong_input(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    done = icemaze(tmp_path / "runs", "train", preset_with(tmp_path, old, new))
    assert done.returncode == 2 and says in done.stderr
    assert "should not happen" not in done.stderr and done.stderr.count("\n") == 1


def test_a_run_that_fails_in_the_file_says_to_mend_it(tmp_path: Path) -> None:
    name = preset_with(tmp_path, HOOK, f"{HOOK}        settings.nothing\n")
    done = icemaze(tmp_path / "runs", "train", name)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"Error: my_q.py, line {LINE}: AttributeError: " in done.stderr
    assert done.stdout.count(f"Mend {tmp_path / 'my_q.py'} and start a new run") == 1
    assert "--resume" not in said
