"""`icemaze config`: what is chosen once, shown, changed and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_tools import icemaze, objects

from engine.core import user_config


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return user_config.path()


def test_values_are_shown_set_and_unset(tmp_path: Path, file: Path) -> None:
    said = icemaze(tmp_path, "config").stdout
    assert f"{file} (not there yet" in said and "app.theme" in said
    assert icemaze(tmp_path, "config", "set", "app.theme", "light").returncode == 0
    assert icemaze(tmp_path, "config", "set", "keys.run.pause", "P, f5").returncode == 0
    (told,) = objects(icemaze(tmp_path, "config", "--json").stdout)
    assert told["path"] == str(file) and told["values"]["app.theme"] == "light"
    assert told["keys"] == {"run.pause": "P, f5"}
    rows = {row["id"]: row for row in objects(icemaze(tmp_path, "config", "keys", "--json").stdout)}
    assert rows["run.pause"]["keys"] == ["P", "f5"]
    assert rows["run.pause"]["shipped"] == ["space"] and rows["app.help"]["what"]
    assert "P, f5" in icemaze(tmp_path, "config", "keys").stdout
    for key in ("app.theme", "keys.run.pause"):
        assert icemaze(tmp_path, "config", "unset", key).returncode == 0
    assert user_config.load() == user_config.UserConfig()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("set", "app.theme", "drak"), "expected 'auto', 'dark'"),
        (("set", "app.them", "dark"), "There is no value 'app.them'. Did you mean 'theme'?"),
        (("set", "apps.theme", "dark"), "expected a table, a point and a name"),
        (("set", "theme", "dark"), "expected a table, a point and a name"),
        (("set", "layout.value", "1"), "expected a table, a point and a name"),
        (("set", "keys.run.pause", "x"), "the key of run.stop"),
        (("set", "keys.run.puase", "P"), "Did you mean 'run.pause'?"),
        (("set", "app.theme", "\x1b[2J"), "expected 'auto'"),
        (("unset", "keys.run.pause"), "is as shipped"),
        (("unset", "\x1b[2J.\n"), "There is no value"),
    ],
)
def test_mistakes_are_one_sentence_and_change_nothing(
    tmp_path: Path, file: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = icemaze(tmp_path, "config", *arguments)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr and not file.exists()


def test_the_editor_of_the_user(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", 'sh -c \'printf "[keys]\\nrun.pause = \\"x\\"\\n" > "$0"\'')
    done = icemaze(tmp_path, "config", "edit")
    assert done.returncode == 2 and "the key of run.stop" in done.stderr
    assert user_config.load().keys == {"run.pause": "x"}  # an id without quotes is the same
    monkeypatch.setenv("VISUAL", "false")
    assert "ended with status 1" in icemaze(tmp_path, "config", "edit").stderr
    monkeypatch.setenv("VISUAL", "/nowhere/at/all")
    assert "did not start" in icemaze(tmp_path, "config", "edit").stderr
