"""How far somebody is in the lab: kept in a file that may be damaged."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from engine.core.errors import UserError
from engine.experiments.lab import progress


def test_nothing_is_tried_at_first(tmp_path: Path) -> None:
    found = progress.read(tmp_path / "lab.json")
    assert (found.of("greed"), found.note) == ("not tried", "")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_kept_and_never_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "lab.json"
    progress.mark("greed", "tried", file)
    progress.mark("other", "tried", file)
    progress.mark("greed", "understood", file)
    progress.mark("greed", "tried", file)
    found = progress.read(file)
    assert (found.of("greed"), found.of("other")) == ("understood", "tried")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["lab.json"]


def test_the_file_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.platformdirs, "user_data_dir", lambda app: str(tmp_path / app))
    progress.mark("greed", "tried")
    assert json.loads((tmp_path / "icemaze" / "lab.json").read_text()) == {
        "version": 1,
        "states": {"greed": "tried"},
    }


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b'{"version": 2, "states": {}}',
        b'{"version": 1}',
        b'{"version": 1, "states": {"greed": "mastered"}}',
        b'{"version": 1, "states": {"greed": ["tried"]}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_set_aside_with_a_note(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "lab.json"
    file.write_bytes(damage)
    found = progress.mark("greed", "tried", file)
    assert "set aside" in found.note
    (aside,) = tmp_path.glob("lab-damaged-*.json")
    assert aside.read_bytes() == damage
    assert aside.name in found.note
    again = progress.read(file)
    assert (again.of("greed"), again.note) == ("tried", "")


def test_a_file_that_cannot_be_read_or_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "lab.json").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        progress.read(tmp_path / "lab.json")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"lab\.json"):
        progress.mark("greed", "tried", tmp_path / "file" / "lab.json")
