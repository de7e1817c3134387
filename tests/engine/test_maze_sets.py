"""Sets of random mazes: different, solvable, and none both trained and tested on."""

from __future__ import annotations

import pytest

from engine import presets
from engine.core.errors import UserError
from engine.env.maze import starts_without_a_way
from engine.env.random_sets import held_out_mazes, train_mazes
from engine.env.settings import MazeSet, MazeSettings


def settings(train: MazeSet, test: MazeSet | None = None, **rules: object) -> MazeSettings:
    return MazeSettings(train=train, test=test, max_steps=20, **rules)  # type: ignore[arg-type]


def test_a_set_has_what_was_asked_for() -> None:
    asked = settings(MazeSet(count=50, size=(3, 5), hole_density=0.3), slip=0.25)
    mazes = train_mazes(asked)
    assert len({maze.rows for maze in mazes}) == 50
    for maze in mazes:
        text = "".join(maze.rows)
        assert maze.shape == (3, 5) and maze.slip == 0.25 and maze.max_steps == 20
        assert text.count("S") == text.count("G") == 1
        assert not starts_without_a_way(maze).size
    share = sum("".join(maze.rows).count("H") for maze in mazes) / (50 * 13)
    assert 0.1 < share < 0.3  # a little below what was drawn: only solvable ones are kept


def test_ends_are_in_the_corners_where_they_are_not_drawn() -> None:
    for maze in train_mazes(settings(MazeSet(count=20, random_ends=False))):
        assert maze.rows[0][0] == "S" and maze.rows[-1][-1] == "G"


def test_held_out_mazes_are_never_trained_on() -> None:
    # The same seed would draw the same mazes: the training ones are left out.
    asked = settings(MazeSet(count=30, size=3), MazeSet(count=30, size=3))
    known = {maze.rows for maze in train_mazes(asked)}
    others = {maze.rows for maze in held_out_mazes(asked)}
    assert len(others) == 30 and not known & others


def test_a_set_depends_on_its_seed_alone() -> None:
    one = [m.rows for m in train_mazes(settings(MazeSet(count=9, seed=4)))]
    again = [m.rows for m in train_mazes(settings(MazeSet(count=9, seed=4)))]
    other = [m.rows for m in train_mazes(settings(MazeSet(count=9, seed=5)))]
    longer = [m.rows for m in train_mazes(settings(MazeSet(count=12, seed=4)))]
    assert one == again == longer[:9] != other


@pytest.mark.slow
def test_more_mazes_than_there_are_is_said() -> None:
    with pytest.raises(UserError, match=r"maze.train.count is 500, but only \d+ different"):
        train_mazes(settings(MazeSet(count=500, size=2)))


def test_sizes_must_agree_and_tables_of_cells_have_no_sets() -> None:
    with pytest.raises(UserError, match="the same size"):
        held_out_mazes(settings(MazeSet(count=2, size=3), MazeSet(count=2, size=4)))
    with pytest.raises(UserError, match=r"maze\.test needs maze\.train"):
        held_out_mazes(MazeSettings(size=4, test=MazeSet(count=2)))
    table = ["maze.train={count=4}"]
    with pytest.raises(UserError, match="a table of cells has no rows for mazes"):
        presets.load("q-learning", table)
