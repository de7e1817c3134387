"""`icemaze play`: the screen one walks on, the episode for scripts, and the walk behind both."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import icemaze, objects
from home_tools import shown
from patience import eventually
from textual.pilot import Pilot
from textual.widgets import Static

from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.walk import Walk
from engine.exact.evaluate import evaluate
from engine.runs.evaluation import PlayedWorld, played_worlds
from engine.runs.reader import RunReader
from tui.features.help.screen import HelpScreen
from tui.features.play.screen import MAP_LAYER, POLICY_LAYER, PlayScreen
from tui.maze.maze_view import MazeView
from tui.play_app import PlayApp

pytestmark = pytest.mark.slow

LEFT, DOWN, RIGHT, UP = range(4)
ROUTE = ("down", "down", "right", "right", "j", "l")  # arrows, and vi's letters for them


def played(path: Path, *overrides: str) -> PlayApp:
    """The app on a recorded run, everything it draws seeded."""
    with RunReader(path) as reader:
        return PlayApp(reader.info(), played_worlds(reader, list(overrides)), seed=0)


def text(pilot: Pilot[Any], id_: str = "beside") -> str:
    return str(pilot.app.screen.query_one(f"#{id_}", Static).content)


async def opened(pilot: Pilot[Any]) -> PlayScreen:
    await eventually(pilot, lambda: isinstance(pilot.app.screen, PlayScreen))
    await pilot.pause()
    assert isinstance(pilot.app.screen, PlayScreen)
    return pilot.app.screen


# ---------------------------------------------------------------- on the screen


async def test_a_move_that_the_shield_replaces_is_told(recording: Path, unicode_look: None) -> None:
    app = played(recording, "maze.shield={max_fall = 0.0}")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("right", "down")  # into a hole
        assert "You chose down" in text(pilot)
        assert "The shield" in text(pilot) and "You moved" not in text(pilot)
        await pilot.press("right")
        assert "You moved right" in text(pilot) and "The shield" not in text(pilot)


async def test_you_walk_to_the_prize_with_arrows_and_letters(
    recording: Path, unicode_look: None
) -> None:
    app = played(recording, "maze.rewards={goal = 1.0}")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert "The policy here" in text(pilot) and "←" in text(pilot)
        for key in ROUTE[:-1]:
            await pilot.press(key)
        assert not screen.walk.over and "Step 5 of at most" in text(pilot)
        await pilot.press(ROUTE[-1])
        assert screen.walk.success and screen.tally == {"you": (1, 1)}
        assert "The prize!" in text(pilot, "told") and "you: 1 of 1" in text(pilot)
        assert screen.walk.total_return == pytest.approx(0.95**5)
        await pilot.press("left", "space")  # nothing moves any more, and nothing counts twice
        assert len(screen.walk.steps) == 6 and screen.tally == {"you": (1, 1)}
        await pilot.press("r")
        assert screen.walk.steps == [] and screen.walk.state == 0


async def test_the_policy_moves_and_turns_can_be_taken(recording: Path) -> None:
    app = played(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("space")
        assert screen.walk.steps[0].by_policy and "The policy moved" in text(pilot)
        await pilot.press("left")
        assert not screen.walk.steps[1].by_policy and "You moved left" in text(pilot)
        while not screen.walk.over:
            await pilot.press("space")
        assert list(screen.tally) == ["both"]


async def test_the_policy_walks_on_by_itself_until_it_is_stopped(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.features.play.screen.MOVES_PER_SECOND", 200.0)
    app = played(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("p")
        await eventually(pilot, lambda: screen.walk.over)
        assert list(screen.tally) == ["policy"] and all(s.by_policy for s in screen.walk.steps)
        await pilot.press("p")  # from the start again
        await pilot.press("p")
        steps = len(screen.walk.steps)
        await pilot.pause(0.05)
        assert len(screen.walk.steps) == steps


async def test_figures_and_probabilities_are_those_of_the_run(
    recording: Path, unicode_look: None
) -> None:
    app = played(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        world = screen.world
        exact = evaluate(world.mdp, world.policy, screen.gamma)
        assert float(screen.exact.success_rate) == float(exact.success_rate)
        here = world.policy[0]
        best = int(here.argmax())
        (line,) = [x for x in text(pilot).splitlines() if world.maze.actions[best] in x]
        assert line.endswith("█" * round(10 * float(here[best]))) and "100%" in line
        assert screen.best.optimal_return >= float(exact.expected_return) - 1e-9


async def test_arrows_on_the_map_and_all_keys_in_the_help(
    recording: Path, ascii_look: None
) -> None:
    app = played(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        grid = screen.query_one(MazeView)
        await pilot.press("v")
        assert grid.layer_number == POLICY_LAYER
        await pilot.press("v")
        assert grid.layer_number == MAP_LAYER
        seen = shown(app)
        assert (
            seen.isascii() and "<v^> Move" in seen and "q Quit" in seen and "Next maze" not in seen
        )
        assert len(seen.splitlines()) == 24
        await pilot.press("question_mark")
        await eventually(pilot, lambda: isinstance(app.screen, HelpScreen))
        names = {k.name: k.keys for _, keys in app.screen.sections for k in keys}  # type: ignore[attr-defined]
        assert names["Left"] == "< h" and {"Policy moves", "Watch", "Restart"} <= set(names)
        await pilot.press("escape", "q")
    assert app.return_code == 0


async def test_the_mazes_of_a_set_are_played_one_after_the_other(recording: Path) -> None:
    with RunReader(recording) as reader:
        (first,) = played_worlds(reader, [])
        info = reader.info()
    other = Maze(rows=("SF", "FG"))
    second = PlayedWorld(
        maze=other, mdp=build_mdp(other), policy=np.full((4, 4), 0.25), held_out=True
    )
    app = PlayApp(info, [first, second], seed=0)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert "maze 1 of 2 (trained on)" in text(pilot, "told")
        await pilot.press("down", "n")
        assert screen.world is second and screen.walk.steps == []
        assert "maze 2 of 2 (held out)" in text(pilot, "told")
        await pilot.press("4", "1", "3", "2")  # actions by number: up, left, right, down
        assert [step.action for step in screen.walk.steps] == [UP, LEFT, RIGHT, DOWN]
        assert screen.walk.success
        await pilot.press("n")
        assert screen.world is first


async def test_likeliest_moves_instead_of_drawn_ones(recording: Path) -> None:
    app = played(recording)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot)
        assert "draws its move" in text(pilot)
        await pilot.press("g")
        assert screen.greedy and "likeliest move" in text(pilot)


# ---------------------------------------------------------------- for scripts


def test_an_episode_as_json_lines_repeats_with_its_seed(recording: Path) -> None:
    runs, run = recording.parent, recording.name
    once, again = (
        objects(
            icemaze(runs, "play", run, "--json", "--seed", "5", "--set", "maze.slip=0.5").stdout
        )
        for _ in range(2)
    )
    assert once == again
    first, *steps, last = once
    assert (first["event"], first["run"], first["slip"]) == ("started", run, 0.5)
    assert [step["step"] for step in steps] == list(range(1, last["length"] + 1))
    assert all(sum(step["probabilities"].values()) == pytest.approx(1) for step in steps)
    assert last["score"] == pytest.approx(sum(step["reward"] for step in steps))
    discounted = sum(0.95**t * step["reward"] for t, step in enumerate(steps))
    assert last["return"] == pytest.approx(discounted)
    assert last["event"] == "finished" and last["terminated"] is not last["truncated"]
    for before, after in pairwise(steps):
        assert before["next"]["state"] == after["state"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Playing needs a terminal"),
        (["--json", "--set", "algorithm.gamma=0.5"], "changes only the maze"),
    ],
)
def test_play_says_what_it_needs(recording: Path, arguments: list[str], said: str) -> None:
    done = icemaze(recording.parent, "play", recording.name, *arguments)
    assert done.returncode == 2 and said in done.stderr + done.stdout


# ---------------------------------------------------------------- the walk


def lake(slip: float = 0.0, max_steps: int = 100) -> MDP:
    return build_mdp(Maze(rows=("SFFF", "FHFH", "FFFH", "HFFG"), slip=slip, max_steps=max_steps))


def test_a_walk_is_truncated_when_its_time_is_up() -> None:
    walk = Walk(lake(max_steps=2), 0.9)
    walk.move(LEFT)
    assert not walk.over
    walk.move(LEFT)
    assert walk.truncated and not walk.terminated
    with pytest.raises(ValueError, match="over"):
        walk.move(LEFT)


def test_a_hole_ends_a_walk_without_success() -> None:
    walk = Walk(lake(), 0.9)
    walk.move(RIGHT)
    assert walk.move(DOWN).chance == 1.0
    assert walk.terminated and not walk.success and not walk.truncated


def test_what_happens_on_slippery_ice_is_as_likely_as_the_mdp_says() -> None:
    """A thousand first moves: each landing within four standard errors of its probability."""
    walk, landed = Walk(lake(slip=2 / 3), 0.9, seed=3), []
    for _ in range(1000):
        step = walk.move(RIGHT)
        landed.append((step.next_state, step.chance))
        walk.restart()
    assert [chance for _, chance in landed] == pytest.approx([1 / 3] * 1000)
    for cell in (0, 1, 4):
        share = np.mean([state == cell for state, _ in landed])
        assert abs(share - 1 / 3) < 4 * np.sqrt(2 / 9 / 1000)


def test_episodes_of_a_policy_reach_what_is_exactly_expected() -> None:
    mdp = lake(slip=0.2)
    policy = np.full((16, 4), 0.25)
    walk, returns = Walk(mdp, 0.9, seed=1), []
    for _ in range(4000):
        while not walk.over:
            walk.move(walk.choose(policy), by_policy=True)
        returns.append(walk.total_return)
        walk.restart()
    exact = float(evaluate(mdp, policy, 0.9).expected_return)
    assert abs(np.mean(returns) - exact) < 4 * np.std(returns) / np.sqrt(len(returns))
