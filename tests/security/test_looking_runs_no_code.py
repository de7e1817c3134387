"""Whoever looks at a run never runs the code in it; whoever would, is asked, once for each text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import long_form
import pytest
from hostile_runs import CHANGES as CHANGED
from hostile_runs import (
    EXAMPLES,
    NAMES,
    Hostile,
    hostile,
    icemaze,
    rename,
    set_meta,
    trapped,
)

from engine import presets
from engine.algorithms.registry import algorithm_of
from engine.learning.custom_file import sha256_of
from engine.runs.reader import RunReader
from engine.tabular.custom import recorded, trust
from tui import kinds
from tui.forms.setting_spec import settings
from tui.library import shelf
from tui.library.facts_of import method
from tui.model.source import SnapshotSource

pytestmark = [
    pytest.mark.slow,
    # The generator's arithmetic is modulo 2^64, and the kernel is run as plain Python.
    pytest.mark.filterwarnings("ignore:overflow"),
]


def as_it_is(path: Path) -> None:
    """All that the store says fits the attacker's file."""


def without_hash(path: Path) -> None:
    set_meta(path, None)


def without_description(path: Path) -> None:
    (path / recorded.FILE).unlink()


def with_another_name_in_the_store(path: Path) -> None:
    set_meta(path, {"name": "my_q.py", "from": "", "sha256": sha256_of(b"")})


def out_of_the_folder(path: Path) -> None:
    (path / "evil.py").rename(path.parent / "evil.py")
    rename(path, "../evil.py")


CHANGES = (
    as_it_is, without_hash, without_description, with_another_name_in_the_store, out_of_the_folder,
)  # fmt: skip
LOOKS = (
    ("runs",), ("runs", "--json"), ("status",), ("status", "{run}", "--json"), ("trust",),
    ("compare", *NAMES), ("compare", *NAMES, "--json"), ("presets", "show", "{path}/preset.toml"),
)  # fmt: skip
SLOW_LOOKS = (("presets", "schema"), ("presets", "list"), ("doctor",), ("lab",), ("algorithms",))
"""They have nothing to do with these runs, and most take seconds."""
USES = (
    ("eval", "{run}"), ("play", "{run}", "--json"), ("train", "--resume", "{run}"),
    ("train", "{path}/preset.toml"), ("sweep", "{path}/preset.toml"),
    ("presets", "check", "{path}/preset.toml"), ("train", "{path}/preset.toml", "--json"),
)  # fmt: skip


@pytest.fixture(params=CHANGES, ids=lambda change: change.__name__)
def runs(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> Hostile:
    return hostile(whole, tmp_path, request.param)


def call(runs: Hostile, command: tuple[str, ...]) -> tuple[int, str]:
    path = str(runs.paths[0])
    return icemaze(runs.runs, *(word.format(run=NAMES[0], path=path) for word in command))


def test_commands_that_look_run_nothing(runs: Hostile) -> None:
    for command in LOOKS:
        code, said = call(runs, command)
        assert not runs.trap.exists(), command
        assert code == 0 and "Traceback" not in said, (command, said)


def test_commands_that_look_at_all_there_is_run_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui.cli.doctor import machine

    monkeypatch.setattr(machine, "probe", lambda code: {"error": "not asked"})  # slow, no matter
    runs = hostile(whole, tmp_path, as_it_is)
    for command in SLOW_LOOKS[: long_form.count(1, len(SLOW_LOOKS))]:
        code, said = call(runs, command)
        assert not runs.trap.exists(), command
        assert code == 0 or command == ("doctor",), (command, said)


def test_commands_that_would_run_it_refuse_in_a_sentence(runs: Hostile) -> None:
    for command in USES:
        code, said = call(runs, command)
        assert not runs.trap.exists(), command
        assert code == 2 and said.count("\n") == 1, (command, code, said)
        assert "run" in said and "should not happen" not in said, (command, said)


def test_what_screens_show_of_such_a_run_is_data(runs: Hostile) -> None:
    for path in runs.paths:
        detail = shelf.read_detail(path, lambda: False)
        assert detail is not None and detail.preset is not None
        preset = detail.preset
        assert kinds.of(preset).behaviour and method(preset) and settings(preset)
        source = SnapshotSource(path)
        shot = source.read()
        assert shot is not None and shot.steps
        for step in shot.steps:
            assert shot.algorithm.explain(step).words
        source.close()
    assert not runs.trap.exists()


def test_what_is_recorded_tells_the_same_as_the_file(whole: Path) -> None:
    with RunReader(whole) as reader:
        told = algorithm_of(reader.info().preset)
    loaded = algorithm_of(presets.load(str(EXAMPLES / "my-q.toml")))
    words = [name for name in recorded.Description.__struct_fields__ if name != "settings"]
    assert {n: getattr(told, n) for n in words} == {n: getattr(loaded, n) for n in words}
    assert type(told) is not type(loaded) and not hasattr(told, "kernel")
    with RunReader(whole) as reader:
        mine = {s.key: s for s in settings(reader.info().preset)}
    theirs = {s.key: s for s in settings(presets.load(str(EXAMPLES / "my-q.toml")))}
    different = {key for key in theirs if mine.get(key) != theirs[key]}
    assert (
        different == {change.partition("=")[0] for change in CHANGED}
        and mine.keys() == theirs.keys()
    )


def test_steps_keep_the_words_of_the_file(whole: Path) -> None:
    source = SnapshotSource(whole)
    shot = source.read()
    assert shot is not None
    step = shot.steps[-1]
    loaded = algorithm_of(presets.load(str(EXAMPLES / "my-q.toml")))
    assert shot.algorithm.explain(step) == loaded.explain(step)
    source.close()


HOSTILE_TEXTS = {
    "empty": b"", "not JSON": b"{", "a list": b"[]", "deep": b"[" * 100_000,
    "no title": b"{}", "odd family": b'{"title": "x", "family": "../../x"}',
    "title of a wrong type": b'{"title": 7}', "large": b" " * (2 << 20),
    "odd settings": b'{"title": "x", "settings": {"gamma": {"type": "string"}, "__init__": {},'
    b' "class": {}, "learning_rate": {"anyOf": [{"type": "number"}, {"type": "integer"}]},'
    b' "exploration": {"$ref": "#/$defs/Preset"}, "bad_news": {"enum": [[1]]},'
    b' "a b": {"type": {}}, "initial_value": {"type": "number", "minimum": "x"}}}',
    "settings in circles": b'{"title": "x", "settings": {"bad_news": {"$ref": "bad_news"}}}',
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_damaged_description_costs_only_what_it_said(
    whole: Path, tmp_path: Path, text: str
) -> None:
    runs = hostile(whole, tmp_path, lambda path: None)
    for path in runs.paths:
        (path / recorded.FILE).write_bytes(HOSTILE_TEXTS[text])
    for command in (("status",), ("runs",), ("compare", *NAMES)):
        code, said = call(runs, command)
        assert code == 0 or (code == 2 and text == "odd settings"), said
    assert not runs.trap.exists()


# ---------------------------------------------------------------- yes, once for each text


@pytest.fixture
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty list of what is trusted."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setattr(trust, "_for_now", set())
    return tmp_path / "settings" / "icemaze" / trust.NAME


def mine(folder: Path, trap: Path) -> Path:
    """A preset of the user's own with a file beside it."""
    folder.mkdir()
    (folder / "my_q.py").write_text(trapped(trap), "utf-8")
    shutil.copy(EXAMPLES / "my-q.toml", folder)
    return folder / "my-q.toml"


Trusting = Callable[[Path, Path], tuple[int, str]]


def by_file(preset: Path, runs: Path) -> tuple[int, str]:
    return icemaze(runs, "trust", str(preset.with_name("my_q.py")))


def by_preset(preset: Path, runs: Path) -> tuple[int, str]:
    return icemaze(runs, "trust", str(preset))


@pytest.mark.parametrize("how", [by_file, by_preset])
def test_what_is_trusted_is_remembered_by_its_text(
    own_list: Path, tmp_path: Path, how: Trusting
) -> None:
    runs, trap = tmp_path / "runs", tmp_path / "trap"
    preset = mine(tmp_path / "mine", trap)
    assert icemaze(runs, "presets", "show", str(preset), "--json")[0] == 2 and not trap.exists()
    code, said = how(preset, runs)
    assert code == 0 and "may run from now on" in said and not trap.exists()
    assert own_list.stat().st_mode & 0o777 == 0o600
    assert own_list.parent.stat().st_mode & 0o777 == 0o700
    trust._for_now.clear()  # as another process would be
    assert icemaze(runs, "presets", "show", str(preset), "--json")[0] == 0 and trap.exists()
    assert str(preset.parent) in icemaze(runs, "trust")[1]
    trap.unlink()
    with preset.with_name("my_q.py").open("a") as file:
        file.write("# another text\n")
    assert icemaze(runs, "presets", "show", str(preset), "--json")[0] == 2 and not trap.exists()


def test_trust_can_be_taken_back(own_list: Path, tmp_path: Path) -> None:
    preset = mine(tmp_path / "mine", tmp_path / "trap")
    by_file(preset, tmp_path)
    assert icemaze(tmp_path, "trust", str(preset), "--remove")[0] == 0
    assert icemaze(tmp_path, "presets", "show", str(preset), "--json")[0] == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.chmod(0o666),
        lambda file: file.parent.chmod(0o777),
        lambda file: file.rename(file.with_name("x")) and file.symlink_to("x"),
        lambda file: os.chown(file, 12345, -1),
        lambda file: file.write_bytes(b"[" * 100_000 + b"\n\xff\n{}\n"),
    ],
    ids=["written by others", "in an open folder", "a link", "of another user", "damaged"],
)
def test_a_list_that_others_could_write_is_not_believed(
    own_list: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    preset = mine(tmp_path / "mine", tmp_path / "trap")
    by_file(preset, tmp_path)
    trust._for_now.clear()
    try:
        spoil(own_list)
    except PermissionError:
        pytest.skip("only root can give a file away")
    assert icemaze(tmp_path, "presets", "show", str(preset), "--json")[0] == 2
    assert not (tmp_path / "trap").exists()


def test_the_example_that_is_shipped_needs_no_question(own_list: Path, tmp_path: Path) -> None:
    assert icemaze(tmp_path, "presets", "show", str(EXAMPLES / "my-q.toml"), "--json")[0] == 0
    assert not own_list.exists()
