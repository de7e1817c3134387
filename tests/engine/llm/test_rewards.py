"""Reading routes out of completions, walking them, and what they earn."""

import numpy as np
import pytest

from engine.config.rewards import PlanRewards
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.settings import Rewards
from engine.llm.tasks.route_search import distances
from engine.llm.tasks.routes import rewards
from engine.llm.tasks.routes.rewards import parse_moves

LEFT, DOWN, RIGHT, UP = range(4)
LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
MDP = build_mdp(Maze(rows=LAKE, rewards=Rewards(step=-0.01), max_steps=10))
WEIGHTS = PlanRewards(prize=1.0, steps=0.5, format=0.25, progress=0.125)
WAY = (DOWN, DOWN, RIGHT, RIGHT, DOWN, RIGHT)


@pytest.mark.parametrize(
    "text", ["right down left up", "  right down left up\n", "right\ndown\nleft up"]
)
@pytest.mark.parametrize("mode", ["exact", "tolerant"])
def test_plain_moves_are_read_in_both_modes(text: str, mode: rewards.Mode) -> None:
    found = parse_moves(text, mode)
    assert found.moves == (RIGHT, DOWN, LEFT, UP)
    assert [text[a:b] for a, b in found.spans] == ["right", "down", "left", "up"]
    assert found.complete and found.stopped == len(text)


@pytest.mark.parametrize(
    "text",
    ["Right, DOWN; left -> up.", "1. right\n2. down\n3. left\n4. up", "→ ↓ ← ↑", "→↓←↑",
     "Move right, then down, and then go left, up", "(right, down, left, up)"],
)  # fmt: skip
def test_the_tolerant_reader_understands_other_spellings(text: str) -> None:
    found = parse_moves(text, "tolerant")
    assert found.moves == (RIGHT, DOWN, LEFT, UP)
    assert found.complete and found.stopped == len(text)
    assert not parse_moves(text, "exact").complete


def test_exact_wants_single_spaces_and_says_where_it_stopped() -> None:
    assert parse_moves("right  down", "exact") == ((RIGHT,), ((0, 5),), 6, False)
    assert parse_moves("right Down", "exact") == ((RIGHT,), ((0, 5),), 6, False)
    assert parse_moves("right, down", "exact") == ((), (), 0, False)


def test_the_tolerant_reader_stops_at_the_first_word_that_is_no_move() -> None:
    text = "down right because left is a hole"
    found = parse_moves(text)
    assert found.moves == (DOWN, RIGHT)
    assert text[found.stopped :] == "because left is a hole"
    assert not found.complete


def test_words_before_the_first_move_are_walked_over_but_not_complete() -> None:
    text = "Sure! The way is: down, down"
    found = parse_moves(text)
    assert found.moves == (DOWN, DOWN) and found.stopped == len(text)
    assert not found.complete


@pytest.mark.parametrize("text", ["", "  ", "I do not know", "leftover", "upright", "42"])
@pytest.mark.parametrize("mode", ["exact", "tolerant"])
def test_a_text_without_moves_is_no_route(text: str, mode: rewards.Mode) -> None:
    found = parse_moves(text, mode)
    assert found.moves == () and not found.complete
    assert found.stopped in (0, len(text))


def test_actions_of_another_world_have_their_own_names() -> None:
    found = parse_moves("north west", "tolerant", ("south", "north", "east", "west"))
    assert found.moves == (1, 3)


def walk(moves: tuple[int, ...], mdp=MDP, start: int = 0, seed: int = 0) -> rewards.Walk:
    return rewards.walk(mdp, moves, start, np.random.default_rng(seed))


def test_a_walk_ends_at_the_prize() -> None:
    found = walk((*WAY, LEFT, LEFT))
    assert found.states == (0, 4, 8, 9, 10, 14, 15)
    assert found.success and found.terminated and not found.truncated and not found.fell
    assert found.rewards == (*(-0.01,) * 5, 0.99)


def test_a_walk_ends_in_a_hole_or_when_the_time_is_up_or_with_the_route() -> None:
    fell = walk((RIGHT, DOWN, DOWN))
    assert fell.states == (0, 1, 5) and fell.fell and fell.terminated and not fell.success
    late = walk((LEFT,) * 30)
    assert len(late.rewards) == MDP.max_steps and late.truncated and not late.terminated
    short = walk((DOWN,))
    assert not short.truncated and not short.terminated and short.states == (0, 4)
    assert walk(()).states == (0,)


def test_slippery_walks_follow_the_transition_table() -> None:
    slippery = build_mdp(Maze(rows=LAKE, slip=0.5))
    rng = np.random.default_rng(0)
    landings = [rewards.walk(slippery, (DOWN,), 9, rng).states[1] for _ in range(4000)]
    shares = np.bincount(landings, minlength=16) / 4000
    np.testing.assert_allclose(shares[[13, 8, 10]], [0.5, 0.25, 0.25], atol=0.03)


def reward(text: str, cut_off: bool = False, mode: rewards.Mode = "exact") -> rewards.RouteReward:
    parsed = parse_moves(text, mode)
    return rewards.reward_route(
        MDP, parsed, walk(parsed.moves), distances(MDP), WEIGHTS, cut_off=cut_off
    )


def test_each_part_is_named_and_they_add_up() -> None:
    found = reward("down down right right down right")
    assert found.parts == {"prize": 1.0, "steps": -0.5 * 6 / 10, "format": 0.25, "progress": 0.125}
    assert found.total == pytest.approx(sum(found.parts.values()))
    assert not found.unparseable and not found.cut_off


def test_half_the_way_is_half_the_progress() -> None:
    assert reward("down down right").parts["progress"] == 0.125 * 3 / 6
    assert reward("left").parts["progress"] == 0.0
    back = rewards.progress(walk((LEFT,), start=9), distances(MDP))
    assert back == pytest.approx((3 - 4) / 3)  # from cell 9 to cell 8


def test_a_fall_counts_the_progress_before_it() -> None:
    assert reward("down right").parts["progress"] == pytest.approx(0.125 / 6)


def test_progress_where_there_is_no_way() -> None:
    cut = build_mdp(Maze(rows=("SFF", "HHH", "FFG"), max_steps=5))
    assert rewards.progress(walk((RIGHT,), cut), distances(cut)) == 0.0
    one_way = np.array([3.0, np.inf])
    assert rewards.progress(rewards.Walk((0, 1), (0.0,), False, False, False, False), one_way) == -1


def test_flags_are_raised_and_nothing_is_dropped() -> None:
    nonsense = reward("I love mazes")
    assert nonsense.unparseable
    assert nonsense.parts == {"prize": 0.0, "steps": 0.0, "format": 0.0, "progress": 0.0}
    cut = reward("down down right right down right", cut_off=True)
    assert cut.cut_off and cut.parts["format"] == 0.0 and cut.parts["prize"] == 1.0
    assert not reward("down, down", mode="tolerant").unparseable
