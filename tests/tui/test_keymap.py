"""The table of all keys, and what is refused of the user's own."""

from __future__ import annotations

import pytest

from engine.core.errors import UserError
from tui import keymap


def test_every_id_is_there_once_with_its_words() -> None:
    rows = keymap.rows()
    assert {"app.help", "app.jump", "run.pause", "log.explain", "grid.layer-1"} <= set(rows)
    assert all(row.name and row.tooltip and row.keys for row in rows.values())
    assert rows["run.tune"].keys == ("t", "c")  # the trainer's, and that of the rating


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"run.pause": "P,f5", "app.help": "f1"},
        {"run.pause": "x", "run.stop": "space"},  # each takes the other's
        {"run.explain": "enter"},  # as shipped, where the log has the same key
        {"run.pause": "alt+p, é"},
    ],
)
def test_good_keys(keys: dict[str, str]) -> None:
    keymap.check(keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"run.puase": "P"}, "'run.puase'.* Did you mean 'run.pause'"),
        ({"run.pause": "spcae"}, "no such key. Did you mean 'space'"),
        ({"run.pause": "crtl+f"}, "run.pause = 'crtl.f': there is no such key. Expected"),
        ({"run.pause": ""}, "expected keys with commas"),
        ({"run.pause": "ctrl+c"}, "the terminal's way to interrupt"),
        ({"run.pause": "ctrl+m"}, "send as another key"),
        ({"run.pause": "x"}, r"gives x to run.pause, but it is the key of run.stop \(Stop\)"),
        ({"run.pause": "?"}, r"the key of app.help \(Help\)"),
        ({"run.pause": "left"}, "the same screen"),  # of the maze, the log, the curves
        ({"run.pause": "P", "run.step": "P"}, "gives P to run.step, but .* run.pause"),
        ({"home.lab": "a"}, "the key of app.algorithms"),
        ({"run.pause\x1b[2J": "P"}, "no key of the app does"),
        ({"run.pause": "\x1b]0;x\x07"}, "no such key"),
    ],
)
def test_what_is_wrong_is_one_sentence(keys: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        keymap.check(keys)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_keys_are_spelled_as_they_may_be_written() -> None:
    written = {id: ",".join(map(keymap.spelled, row.keys)) for id, row in keymap.rows().items()}
    assert keymap.normal(written) == {id: ",".join(row.keys) for id, row in keymap.rows().items()}
    assert keymap.spelled("question_mark") == "?" and keymap.spelled("space") == "space"
