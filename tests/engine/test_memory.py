"""Memory of the last observations: states, their numbering, in words, several worlds."""

import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp, build_mdps, observation_text
from engine.env.maze import LEFT, RIGHT, Maze
from engine.env.mdp import MDP, reachable
from engine.env.settings import MazeSettings
from engine.exact.evaluate import evaluate
from engine.exact.solve import solve


def maze_of(text: str, **rules) -> Maze:
    return build_mazes(MazeSettings(map=text, **rules))[0][1]


SLIPPERY = "SFFB\nFHFF\nkFFF\nHFDG"


def met(mdp: MDP) -> np.ndarray:
    """The states episodes can be in."""
    return np.flatnonzero(reachable(mdp))


def test_a_state_is_a_cell_and_what_was_seen():
    maze = maze_of("SFG", observation="cell", memory=2)
    mdp = build_mdp(maze)
    seen = {
        observation_text(maze, mdp, int(mdp.observation[s])): int(mdp.cell[s]) for s in met(mdp)
    }
    assert seen == {
        "row 1, column 1; before: nothing": 0,
        "row 1, column 1; before: row 1, column 1": 0,
        "row 1, column 1; before: row 1, column 2": 0,
        "row 1, column 2; before: row 1, column 1": 1,
        "row 1, column 2; before: row 1, column 2": 1,
    }
    assert (mdp.n_cells, mdp.n_states) == (3, 9) and maze.cell(mdp.n_states - 1) == (0, 2)
    assert (mdp.cell == np.arange(9) % 3).all()
    assert np.flatnonzero(mdp.start).tolist() == [0]  # slot 0 of its cell


def test_windows_move_on_step_by_step():
    maze = maze_of("#####\nFFSFG\n#####", observation="neighbourhood", memory=3)
    mdp = build_mdp(maze)
    state = int(mdp.start.argmax())
    assert mdp.pattern is not None
    history = [int(mdp.pattern[mdp.observation[state]][-1])]
    for action in (LEFT, LEFT, LEFT, RIGHT, RIGHT, RIGHT):
        state = int(mdp.next_state[state, action, 0])
        pattern = mdp.pattern[mdp.observation[state]].tolist()
        history.append(pattern[-1])
        assert pattern == [-1, -1, *history][-3:]
    assert mdp.cell[state] == 8


@pytest.mark.parametrize("fall", ["end", "restart"])
@pytest.mark.parametrize("observation", ["cell", "neighbourhood", "neighbourhood+prize"])
def test_memory_changes_what_is_known_not_what_can_be_reached(observation, fall):
    """What the best that sees its state can earn is the same in the world with memory."""
    rules = {"slip": 0.2, "fall": fall, "observation": observation}
    plain = build_mdp(maze_of(SLIPPERY, **rules))
    mdp = build_mdp(maze_of(SLIPPERY, **rules, memory=2))
    assert np.allclose(mdp.probability.sum(axis=2), 1.0, atol=1e-12)
    one, other = solve(plain, 0.95), solve(mdp, 0.95)
    assert mdp.start @ other.values == pytest.approx(plain.start @ one.values, abs=1e-9)
    assert set(mdp.cell[met(mdp)]) == set(plain.cell[met(plain)])
    assert set(mdp.held[met(mdp)]) == {0, 1}
    # A policy that does not use its memory does what it does without.
    rng = np.random.default_rng(5)
    by_code = rng.dirichlet(np.ones(4), size=plain.n_observations)
    if plain.pattern is None:
        table = by_code[mdp.pattern[:, -1]]
    else:
        row = {int(code): o for o, (code,) in enumerate(plain.pattern)}
        table = by_code[[row[code] for code in mdp.pattern[:, -1].tolist()]]
    figures = evaluate(plain, by_code, 0.95), evaluate(mdp, table, 0.95)
    assert figures[0].success_rate == pytest.approx(figures[1].success_rate, abs=1e-12)
    assert figures[0].expected_return == pytest.approx(figures[1].expected_return, abs=1e-12)
    assert figures[0].expected_length == pytest.approx(figures[1].expected_length, abs=1e-10)


def test_a_fall_does_not_wipe_the_memory():
    maze = maze_of("SHG\nFFF", fall="restart", memory=2)
    mdp = build_mdp(maze)
    back = int(mdp.next_state[int(mdp.start.argmax()), RIGHT, 0])
    words = observation_text(maze, mdp, int(mdp.observation[back]))
    assert words == "row 1, column 1; before: row 1, column 1"


def test_states_of_a_cell_take_its_slots():
    mdp = build_mdp(maze_of("SFF\nFFF\nFFG", observation="neighbourhood", memory=3, slip=0.1))
    assert (mdp.cell == np.arange(mdp.n_states) % 9).all()
    idle = ~reachable(mdp)
    own = np.arange(mdp.n_states)[:, None]
    assert (mdp.next_state[idle, :, 0] == own[idle]).all() and mdp.terminal[idle, :, 0].all()
    assert (mdp.reward[idle] == 0).all() and not mdp.success[idle].any()
    assert mdp.observation.min() >= 0 and mdp.observation.max() < mdp.n_observations


@pytest.mark.parametrize("memory", [1, 2])
def test_further_worlds_add_observations_and_renumber_none(memory):
    rules = {"observation": "neighbourhood", "memory": memory}
    mazes = [maze_of("SFFG", **rules), maze_of("SF\nHG", **rules), maze_of("SFkDG", **rules)]
    alone, two = build_mdps(mazes[:1])[0], build_mdps(mazes[:2])
    three = build_mdps(mazes)
    assert alone.n_observations < two[0].n_observations < three[0].n_observations
    assert len({mdp.n_states for mdp in three}) == 1
    for mdps in (two, three):
        n = alone.n_states
        assert (
            mdps[0].observation[:n][reachable(alone)] == alone.observation[reachable(alone)]
        ).all()
        assert (mdps[0].pattern[: alone.n_observations] == alone.pattern).all()
    known = {row.tobytes() for row in three[0].pattern}
    assert len(known) == three[0].n_observations


def test_only_what_can_occur_is_numbered():
    mdp = build_mdp(maze_of("SFG#\n##HF", observation="neighbourhood"))
    assert sorted(mdp.observation[:3].tolist()) == [0, 1, 2] and mdp.n_observations == 3


def test_the_direction_of_the_prize_is_seen():
    maze = maze_of("FSF\nFGF\nFFF", observation="neighbourhood+prize")
    mdp = build_mdp(maze)

    def words(state: int) -> str:
        return observation_text(maze, mdp, int(mdp.observation[state])).split(", the prize is ")[1]

    assert [words(state) for state in range(9)] == [
        "below right", "below", "below left",
        "right", "here", "left",
        "above right", "above", "above left",
    ]  # fmt: skip
    nearest = maze_of("GFFSG", observation="neighbourhood+prize")
    numbers = build_mdp(nearest).observation
    assert "prize is right" in observation_text(nearest, build_mdp(nearest), int(numbers[3]))
    assert "prize is left" in observation_text(nearest, build_mdp(nearest), int(numbers[1]))


REFUSED = {
    "too many": ({"size": 12, "memory": 16, "slip": 0.5}, ["maze.memory = 16 makes more than"]),
    "gymnasium": ({"gymnasium": "Taxi-v4", "memory": 2}, ["maze.memory = 2 needs a map"]),
    "sight": (
        {"gymnasium": "Taxi-v4", "observation": "neighbourhood+prize"},
        ["maze.observation = 'neighbourhood+prize' needs a map"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(keys, words):
    with pytest.raises(UserError) as error:
        build_mazes(MazeSettings(**keys))
    for word in words:
        assert word in str(error.value)
