"""The user's own configuration file: checked on reading, and kept as it is on writing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core import user_config
from engine.core.errors import UserError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "icemaze").mkdir()
    return user_config.path()


def test_without_a_file_everything_is_as_shipped(file: Path) -> None:
    assert user_config.load() == user_config.UserConfig()


def test_a_written_key_is_read_and_comments_stay(file: Path) -> None:
    file.write_text('# mine\n[keys]\n"run.step" = "s"  # one step\n')
    user_config.write("keys", "run.pause", "p")
    assert user_config.load().keys == {"run.step": "s", "run.pause": "p"}
    assert file.read_text().startswith('# mine\n[keys]\n"run.step" = "s"  # one step\n')
    user_config.write("keys", "run.pause", None)
    assert user_config.load().keys == {"run.step": "s"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kees]\n", "Unknown key 'kees' .* Did you mean 'keys'"),
        ("[app]\nnonsense = 1\n", r"Unknown key 'nonsense' in \[app\]"),
        ("[keys]\na = 1\n", "Expected `str`, got `int`"),
        ("keys = ", "is not TOML"),
        ("[" * 5000, "is not TOML"),
    ],
)
def test_a_mistake_is_one_sentence_and_never_written_over(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        user_config.load()
    with pytest.raises(UserError, match=said):
        user_config.write("keys", "a", "b")
    assert file.read_text() == text


def test_a_linked_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text("")
    file.symlink_to(tmp_path / "dotfiles.toml")
    user_config.write("keys", "a", "b")
    assert file.is_symlink() or (tmp_path / "icemaze" / "config.toml").is_symlink()
    assert user_config.load().keys == {"a": "b"}


def test_ids_of_keys_without_quotes_are_the_same(file: Path) -> None:
    file.write_text('[keys]\nrun.step = "s"\nrun.pause = "p"\n')
    assert user_config.load().keys == {"run.step": "s", "run.pause": "p"}
    user_config.write("keys", "run.pause", "P")
    user_config.write("keys", "run.stop", "X")
    assert user_config.load().keys == {"run.step": "s", "run.pause": "P", "run.stop": "X"}
    file.write_text('[keys]\nrun.step = "s"\n"run.step" = "p"\n')
    with pytest.raises(UserError, match="stands twice"):
        user_config.load()


def test_a_layout_is_kept_by_kind_of_run(file: Path) -> None:
    user_config.write("layout", "value", {"alone": True, "panel": "log"})
    user_config.write("app", "theme", "light")
    assert user_config.load().layout == {"value": user_config.Layout(alone=True, panel="log")}
    user_config.write("layout", "value", None)
    assert user_config.load().layout == {}
