"""The grid of mazes whose cells have several states: keys, doors, memory; the new tiles."""

from __future__ import annotations

import numpy as np
import pytest
from rich.cells import cell_len

from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.maze import LEFT, RIGHT, Maze
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings
from engine.exact.solve import optimal_path, solve
from engine.learning.by_cell import shown_states
from engine.learning.events import Policy, Step
from tui.maze.maze_layers import Layer, Marks, layers, marks_of, picture
from tui.maze.maze_legend import GAP, describe, fitted, legend
from tui.model.steps import result, went
from tui.ui import glyphs


def maze_of(text: str, **rules: object) -> Maze:
    return build_mazes(MazeSettings(map=text, **rules))[0][1]  # type: ignore[arg-type]


KEYED = maze_of("kSFDG\nFFFgF")
CELLS = 10


def policy_of(mdp: MDP, values: np.ndarray, visits: np.ndarray | None = None) -> Policy:
    """What was learned: `values` [O]; the policy is uniform."""
    shape = (mdp.n_observations, mdp.n_actions)
    visits = np.zeros(shape[0], np.int64) if visits is None else visits
    return Policy(
        step=1, target=np.full(shape, 0.25), behaviour=np.full(shape, 0.25),
        q=np.repeat(values[:, None], 4, axis=1), values=values,
        visits=np.repeat(visits[:, None], 4, axis=1),
    )  # fmt: skip


def step(mdp: MDP, state: int, action: int, t: int = 0) -> Step:
    landing = int(mdp.next_state[state, action, 0])
    return Step(
        step=t, episode=0, t=t, state=state, observation=int(mdp.observation[state]),
        action=action, reward=0, next_state=landing, next_observation=int(mdp.observation[landing]),
        terminated=bool(mdp.terminal[state, action, 0]), before=0, target=0, error=0, after=0,
        step_size=0.1, gamma=0.9,
    )  # fmt: skip


def layer_named(maze: Maze, mdp: MDP, policy: Policy, name: str) -> Layer:
    return next(layer for layer in layers(maze, mdp, policy) if layer.name == name)


def test_the_layer_with_the_keys_held_is_shown() -> None:
    mdp = build_mdp(KEYED)
    values = np.arange(mdp.n_observations, dtype=np.float64)
    policy = policy_of(mdp, values)
    layer = layer_named(KEYED, mdp, policy, "state value")

    def drawn(*steps: Step) -> tuple[tuple[str, ...], list[float]]:
        marks = marks_of(steps, mdp, None, ())
        shown = picture(layer, KEYED, policy, mdp, None, marks, beside=False, compare=False)
        assert shown.numbers is not None and shown.heat.shape == (CELLS,)
        return shown.tiles, shown.numbers.tolist()

    tiles, numbers = drawn()
    assert tiles[:5] == ("k", "S", "F", "D", "G")
    assert numbers[1] == 1 and np.isnan([numbers[0], numbers[3], numbers[4]]).all()
    tiles, numbers = drawn(step(mdp, 1, LEFT))
    assert tiles[:5] == ("F", "S", "F", "d", "G")
    assert numbers[:4] == [10, 11, 12, 13]


def test_marks_are_cells_and_the_route_fits_the_keys() -> None:
    mdp = build_mdp(KEYED)
    best = solve(mdp, 0.9)
    path = optimal_path(mdp, best)
    before, after = marks_of((), mdp, best, path), marks_of((step(mdp, 1, LEFT),), mdp, best, path)
    assert (before.agent, before.state, before.route) == (1, 1, {1: LEFT})
    assert (after.agent, after.state) == (0, 10) and after.trail.keys() == {1}
    assert after.route == {0: RIGHT, 1: RIGHT, 2: RIGHT, 3: RIGHT}


def test_words_say_which_keys_are_held() -> None:
    mdp = build_mdp(KEYED)
    policy = policy_of(mdp, np.zeros(mdp.n_observations))
    layer = layer_named(KEYED, mdp, policy, "map")
    for moves, keys, door, here in (
        ((), "0/1", "door", "no key held"),
        ((step(mdp, 1, LEFT),), "1/1", "open door", "the key held"),
    ):
        marks = marks_of(moves, mdp, None, ())
        shown = picture(layer, KEYED, policy, mdp, None, marks, beside=False, compare=False)
        key = legend(shown, 1, glyphs.UNICODE, dots=False, compare=False)
        words = "".join(text for text, _, _ in key)
        assert f"keys {keys}" in words and f" {door}" in words and "lesser prize" in words
        assert {"key", "door", "lesser-prize"} <= {term for _, _, term in key}
        said = describe(shown, mdp, policy, None, 1, glyphs.UNICODE)
        assert said[0].startswith("(1,2) start") and said[-1].endswith(here)


def test_with_memory_the_most_visited_state_of_a_cell_is_shown() -> None:
    maze = maze_of("SFFG", observation="neighbourhood", memory=2)
    mdp = build_mdp(maze)
    moves = [step(mdp, int(mdp.start.argmax()), RIGHT)]
    moves += [step(mdp, moves[-1].next_state, RIGHT, 1)]
    agent = moves[-1].next_state
    of_start = [s for s in np.flatnonzero(mdp.cell == 0) if mdp.observation[s] != 0]
    loved = int(of_start[-1])
    visits = np.zeros(mdp.n_observations, np.int64)
    visits[mdp.observation[loved]] = 9
    shown = shown_states(mdp, policy_of(mdp, np.zeros(mdp.n_observations), visits), agent)
    assert shown[2] == agent and mdp.observation[shown[0]] == mdp.observation[loved]
    assert (mdp.cell[shown[shown >= 0]] == np.flatnonzero(shown >= 0)).all()
    assert marks_of(moves, mdp, None, ()).trail.keys() == {0, 1}


def test_without_keys_and_memory_states_are_cells() -> None:
    mdp = build_mdp(maze_of("SFH\nFFG"))
    assert shown_states(mdp, None, 4).tolist() == list(range(6))
    assert Marks().by_row(3) == {-1: [(-1, False)]}


def test_steps_are_told_by_their_cells() -> None:
    mdp = build_mdp(KEYED)
    assert went(KEYED, step(mdp, 2, RIGHT)) == -1  # the door is shut
    assert result(KEYED, step(mdp, 2, RIGHT)) == "did not move"
    assert result(KEYED, step(mdp, 1, LEFT)) == "went as meant"  # into another layer
    assert result(KEYED, step(mdp, 7, RIGHT)) == "reached the lesser prize"
    maze = maze_of("SFFG", observation="neighbourhood", memory=3)
    blocked = step(build_mdp(maze), int(build_mdp(maze).start.argmax()), LEFT)
    assert blocked.state != blocked.next_state and went(maze, blocked) == -1


@pytest.mark.parametrize("shapes", [glyphs.UNICODE, glyphs.ASCII])
def test_every_tile_has_a_glyph_of_its_own_one_cell_wide(shapes: glyphs.Glyphs) -> None:
    symbols = [symbol for tile, symbol in shapes.tiles.items() if tile != "."]
    assert len(set(symbols)) == len(symbols) == 10
    assert all(cell_len(symbol) == 1 for symbol in symbols)
    assert not shapes.ascii or all(symbol.isascii() for symbol in symbols)


def test_a_legend_without_room_loses_whole_parts() -> None:
    ramp = [
        ("-0.594", "legend", ""),
        (" ", "", ""),
        *[(" ", f"heat:{i / 8}", "") for i in range(8)],
    ]
    ramp += [(" ", "", ""), ("0.594", "legend", "")]
    whole = [("3 ", "muted", ""), ("action value", "term", ""), GAP, *ramp, GAP, ("words", "", "")]

    def text(width: int) -> str:
        return "".join(piece[0] for piece in fitted(whole, width, str))

    assert text(80).endswith("0.594  words")
    assert text(40).startswith("3 action value  -0.594") and text(40).endswith("0.594")
    assert text(33).endswith("0.594") and len(text(33)) <= 33
    assert text(30) == "3 action value"
