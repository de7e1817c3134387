"""Runs side by side, without a screen: the common clock, what is read at the cursor, the table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainer_tools import LEARNING, ON_POLICY, PLANNING, record

from engine import presets
from engine.core.errors import UserError
from engine.experiments import intervals
from engine.experiments.ends import FigureEnds
from engine.experiments.intervals import SHARE, of_group
from engine.runs.curves import Curve, Reached
from engine.runs.reader import RunReader
from tui.features.compare import figures, seeds
from tui.features.compare.clock import SharedClock, moved
from tui.features.compare.curves import series
from tui.features.compare.figures import metrics_of
from tui.features.compare.intervals import of_difference, told
from tui.features.compare.seeds import Line, banded
from tui.features.compare.watch import CompareWatch, Comparison, Side, Watch
from tui.library.differences import differences
from tui.model.replay import Replay
from tui.model.run_watch import News, Notice

pytestmark = pytest.mark.slow

TIMELINE = np.array([0.0, 10.0, 20.0, 40.0, 80.0, 160.0])


# ---------------------------------------------------------------- the clock


def test_runs_that_count_the_same_are_shown_at_the_same_count() -> None:
    clock = SharedClock.of([presets.parse(LEARNING), presets.parse(ON_POLICY)])
    assert (clock.unit, clock.relative) == ("step", False)
    assert clock.positions(TIMELINE, 160).tolist() == TIMELINE.tolist()
    assert clock.step(40.0, 1_000) == 40
    assert clock.told(12_345) == "step 12,345"


def test_steps_and_sweeps_share_a_relative_clock() -> None:
    clock = SharedClock.of([presets.parse(LEARNING), presets.parse(PLANNING)])
    assert clock.relative
    assert clock.positions(TIMELINE, 160).tolist() == [0, 6.25, 12.5, 25, 50, 100]
    assert [clock.step(25.0, length) for length in (160, 600)] == [40, 150]
    assert clock.told(25) == "25% of each run"


@pytest.mark.parametrize(
    ("cursor", "cells", "expected"),
    [
        (None, -1, 160.0),  # the runs are at 200 now
        (None, 1, None),
        (160.0, 1, None),
        (160.0, -1, 80.0),
        (10.0, -1, 0.0),
        (0.0, -1, 0.0),
        (0.0, 1, 10.0),
        (0.0, 25, 40.0),  # a column is 200 / 120 steps
        (160.0, -60, 40.0),
    ],
)
def test_the_cursor_moves_from_one_recorded_point_to_another(
    cursor: float | None, cells: int, expected: float | None
) -> None:
    assert moved(TIMELINE, cursor, cells, edge=200.0) == expected


def test_on_a_logarithmic_axis_a_column_is_worth_more_later() -> None:
    assert moved(TIMELINE, 80.0, 15, edge=160.0, log=False) is None
    assert moved(np.arange(1000.0), 10.0, 10, edge=1000.0, log=True) == pytest.approx(18, abs=2)
    assert moved(np.arange(1000.0), 500.0, 10, edge=1000.0, log=True) is not None
    later = moved(np.arange(1000.0), 400.0, 10, edge=1000.0, log=True)
    assert later is not None and later - 400 > 8 * 10


def test_without_points_there_is_nowhere_to_go() -> None:
    assert moved(np.empty(0), None, -1, edge=0.0) is None


# ---------------------------------------------------------------- the runs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Q-learning for 600 steps, SARSA for 300."""
    folder = tmp_path_factory.mktemp("pair")
    shorter = ON_POLICY.replace("env_steps = 600", "env_steps = 300")
    return [record(folder, LEARNING, "long"), record(folder, shorter, "short")]


def look(watch: CompareWatch, cursor: float | None) -> Comparison:
    watch.cursor = cursor
    comparison, _ = watch.look()
    assert comparison is not None
    return comparison


def test_a_run_with_less_data_shows_its_last(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        shown = look(watch, None)
        assert [side.length for side in shown.sides] == [600, 300]
        assert shown.edge == 600
        shown = look(watch, 450.0)
        shots = [side.snapshot for side in shown.sides]
        assert [shot.at for shot in shots if shot] == [450, 300]
        newest = figures.reading(shown.sides[1], "success_rate", shown)
        assert newest == figures.reading(shown.sides[1], "success_rate", look(watch, None))
    finally:
        watch.close()


def test_figures_and_tables_are_those_of_the_cursor(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        last = look(watch, None).sides[0].snapshot
        assert last is not None and last.policy is not None and last.policy.step == 600
        for step in (0, 1, 7, 100, 599):
            shown = look(watch, float(step))
            shot = shown.sides[0].snapshot
            assert shot is not None and shot.policy is not None
            assert shot.at == step
            assert shot.policy.step <= step
            assert all(move.step <= step for move in shot.steps)
            curve = shot.curves["success_rate"]
            expected = curve.mean[curve.x <= step][-1]
            assert figures.reading(shown.sides[0], "success_rate", shown).mean == expected
        assert look(watch, None).sides[0].snapshot is not None
    finally:
        watch.close()


def test_nothing_new_is_nothing_to_draw(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        assert watch.asked is False
        look(watch, None)
        assert watch.look() == (None, ())
        watch.cursor = 100.0
        assert watch.asked
        look(watch, 100.0)
        assert not watch.asked
        assert watch.look() == (None, ())
    finally:
        watch.close()


def test_what_is_newest_does_not_depend_on_the_cursor(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        at_end = figures.newest(look(watch, None).sides[0])
        assert figures.newest(look(watch, 10.0).sides[0]) == pytest.approx(at_end, nan_ok=True)
        assert at_end["env_steps"] == 600
        assert at_end["optimal_success_rate"] == pytest.approx(1.0)
        assert 0.0 <= at_end["success_rate"] <= 1.0
    finally:
        watch.close()


def test_a_planner_beside_a_learner(pair: list[Path], tmp_path: Path) -> None:
    watch = CompareWatch([pair[0], record(tmp_path, PLANNING, "planner")])
    try:
        assert look(watch, None).edge == 100
        shown = look(watch, 50.0)
        assert [side.snapshot.at for side in shown.sides if side.snapshot] == [
            300,
            round(shown.sides[1].length / 2),
        ]
        assert len(shown.remarks) == 3  # another clock, other ice, another discount
        assert shown.timeline[0] == 0
        assert shown.timeline[-1] == 100
    finally:
        watch.close()


@pytest.mark.parametrize("places", [[0], [0, 0], [0, 1, 0], [0, 1, 0, 1, 0]])
def test_two_to_four_different_runs(pair: list[Path], places: list[int]) -> None:
    with pytest.raises(UserError, match=r"Two to four|named twice"):
        CompareWatch([pair[i] for i in places])


def test_a_folder_without_a_run(pair: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run here"):
        CompareWatch([pair[0], tmp_path])


# ---------------------------------------------------------------- a run that is not there


class FakeWatch:
    """Says what it is told to say, the last of it from then on."""

    def __init__(self, *news: News) -> None:
        self.news = list(news)
        self.asked = False
        self.done: list[str] = []

    def go(self, move: Callable[[Replay], bool], failing: str = "") -> None:
        self.done.append("go")

    def command(self, name: str, said: str = "", **args: Any) -> None:
        self.done.append(name)

    def look(self) -> News:
        return self.news.pop(0) if len(self.news) > 1 else self.news[0]

    def close(self) -> None:
        self.done.append("close")


def test_a_run_that_begins_late_and_one_that_goes_away(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    starting = News(state="starting", preparing="Compiling once \x1b[31m…")
    deleted = News(unreadable="The run has been deleted.")
    fakes: list[Watch] = [FakeWatch(starting, News(state="failed")), FakeWatch(starting, deleted)]
    watch.close()
    watch.watches = fakes
    shown, notices = watch.look()
    assert shown is not None and notices == ()
    assert [side.words for side in shown.sides] == ["Compiling once …"] * 2
    shown, notices = watch.look()
    assert shown is not None
    assert shown.sides[0].words == "The worker ended before it began."
    assert shown.sides[1].words == "The run has been deleted."
    assert notices == (Notice("The run has been deleted.", "error", "B cannot be read"),)
    assert watch.look() == (None, ())
    assert shown.timeline.size == 0
    watch.close()
    assert all(isinstance(fake, FakeWatch) and fake.done == ["close"] for fake in fakes)


# ---------------------------------------------------------------- names and settings


def test_settings_that_differ() -> None:
    one = presets.parse(LEARNING)
    other = presets.parse(
        ON_POLICY.replace(
            "learning_rate = 0.5", "learning_rate = {start = 0.5, end = 0.1, steps = 100}"
        ).replace("pace = 8", "pace = 9")
    )
    found = {each.key: each.told for each in differences([one, other])}
    assert found["algorithm.name"] == ("q-learning", "sarsa")
    assert found["algorithm.learning_rate"][0] == "0.5"
    assert found["algorithm.learning_rate"][1].startswith("0.5 0.1")
    assert "run.pace" not in found
    assert "title" not in found


def test_what_is_only_written_in_another_way_is_no_difference() -> None:
    """A default that is written out, and a schedule that stays where it is."""
    plain = ON_POLICY.replace("rewards", "# rewards")
    plain = "\n".join(line for line in plain.splitlines() if "slip" not in line)
    said = plain.replace("[maze]", "[maze]\nslip = 0.0\nrewards = {goal = 1.0}\nfall = 'end'")
    assert said != plain
    same = said.replace(
        "learning_rate = 0.5", "learning_rate = {start = 0.5, end = 0.5, steps = 7}"
    )
    assert differences([presets.parse(plain), presets.parse(same)]) == []
    falls = said.replace("'end'", "'restart'")
    assert [each.told for each in differences([presets.parse(plain), presets.parse(falls)])] == [
        ("end", "restart")
    ]


@pytest.mark.parametrize(
    ("change", "signs"),
    [
        (
            ("learning_rate = 0.5", "learning_rate = 0.25"),
            ["learning_rate 0.5", "learning_rate 0.25"],
        ),
        (("seed = 1", "seed = 2"), ["seed 1", "seed 2"]),
    ],
)
def test_runs_of_one_title_are_told_apart(
    tmp_path: Path, change: tuple[str, str], signs: list[str]
) -> None:
    watch = CompareWatch(
        [record(tmp_path, LEARNING, "one"), record(tmp_path, LEARNING.replace(*change), "two")]
    )
    watch.close()
    assert [side.title for side in watch.sides] == [f"Across the ice ({sign})" for sign in signs]


# ---------------------------------------------------------------- the figures


def test_the_figures_of_a_challenge_come_first(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        sides = look(watch, None).sides
        usual = [metric.name for metric in figures.metrics_of(sides)]
        assert usual[:2] == ["success_rate", "expected_return"]
        first = figures.metrics_of(sides, ["exploring_share", "no_such_figure"])
        assert first[0].name == "exploring_share"
        assert {metric.name for metric in first} == set(usual)
    finally:
        watch.close()


def test_the_greedy_policy_of_two_off_policy_runs_is_no_figure_of_its_own(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        q_learning, sarsa = look(watch, None).sides
        name = "greedy_success_rate"
        assert name in {m.name for m in figures.metrics_of([q_learning, sarsa])}
        assert name not in {m.name for m in figures.metrics_of([q_learning])}
    finally:
        watch.close()


def test_rows_tell_the_difference_to_the_first_run() -> None:
    metric = figures.Metric("success_rate", "success", "success-rate")
    row = figures.row_of(metric, [0.5, 0.75, math.nan])
    assert row.values == ("0.5000", "0.7500", "-")
    assert row.differences == ("+0.250", "")


def test_how_sure_the_differences_are_is_said_at_the_end_of_all_runs(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    shown = look(watch, None)
    metrics = figures.metrics_of(shown.sides)
    title, *rows = figures.interval_rows(shown, metrics)
    assert title.label == "95 % interval of the difference" and not title.values
    (success,) = (row for row in rows if row.label == "success")
    agents = [RunReader(path).per_agent()["success_rate"] for path in pair]
    ends = [FigureEnds.of_preset(side.preset)["success_rate"] for side in shown.sides]
    found = intervals.compare(agents[1], agents[0], ends=(ends[1], ends[0]))
    assert success.values == ("", told(found))
    # At an earlier moment they are of other figures, and of those that were not all counted.
    assert figures.interval_rows(look(watch, 100.0), metrics) == []
    other = of_difference(found, found.value + 0.1)
    assert other is not None and not other.known and "still moved" in other.why
    watch.close()


def test_a_figure_nobody_has_makes_no_row(pair: list[Path]) -> None:
    watch = CompareWatch(pair)
    try:
        shown = look(watch, None)
        nothing = figures.Metric("no_such_figure", "nothing", "")
        known = figures.FIRST[0]
        rows = figures.figure_rows(shown, [nothing, known])
        assert [row.label for row in rows] == ["success"]
    finally:
        watch.close()


def test_a_held_out_figure_is_read_from_its_own_curves(pair: list[Path]) -> None:
    from dataclasses import replace

    watch = CompareWatch(pair)
    try:
        shown = look(watch, None)
    finally:
        watch.close()
    shot = shown.sides[0].snapshot
    assert shot is not None
    steps = np.array([0.0, 600.0])
    curve = Curve(x=steps, mean=np.array([0.1, 0.4]), low=steps * 0, high=steps * 0 + 1)
    taught = replace(shot, held_out_curves={"success_rate": curve})
    side: Side = replace(shown.sides[0], snapshot=taught)
    assert figures.reading(side, "held_out_success_rate", shown) == (0.4, 0.0, 1.0)
    assert "held_out_success_rate" in {m.name for m in figures.metrics_of([side])}
    assert figures.newest(side)["held_out_success_rate"] == 0.4
    assert math.isnan(figures.optimum(taught, "held_out_success_rate"))


def test_a_mean_over_few_agents_says_so_and_is_not_subtracted(pair: list[Path]) -> None:
    from dataclasses import replace

    watch = CompareWatch(pair)
    try:
        shown = look(watch, None)
    finally:
        watch.close()
    shots = [side.snapshot for side in shown.sides]
    assert shots[0] is not None and shots[1] is not None
    assert set(shots[0].reached) == {"first_optimal_step", "first_optimal_episode"}
    some = {"first_optimal_step": Reached((0, 100, 400), (0, 1, 2))}
    every = {"first_optimal_step": Reached((0, 100), (0, 4))}
    steps = np.array([0.0, 100.0, 400.0])
    curve = Curve(x=steps, mean=np.array([math.nan, 44.0, 44.0]), low=steps, high=steps)
    metric = figures.Metric("first_optimal_step", "first optimal step", "")

    def row(first: dict[str, Reached], second: dict[str, Reached]) -> figures.Row:
        taught = [
            replace(side, snapshot=replace(shot, reached=reached, curves={metric.name: curve}))
            for side, shot, reached in zip(shown.sides, shots, (first, second), strict=True)
            if shot is not None
        ]
        return figures.figure_rows(replace(shown, sides=tuple(taught)), [metric])[0]

    assert row(some, every).values == ("44.00 (2 of 4)", "44.00")
    assert row(some, every).differences == ("",)
    assert row(every, every).differences == ("0",)
    assert some["first_optimal_step"].at(150) == 1


def test_the_maps_of_a_run_are_told_apart_by_the_first_word() -> None:
    labels = [figures.named(f"success_rate_map_{n}").label for n in (0, 1)]
    assert labels == ["map 0 success", "map 1 success"]


# ---------------------------------------------------------------- seeds, and other units


def test_several_seeds_are_one_line_with_the_interval_of_their_mean() -> None:
    steps = np.array([1.0, 2, 4, 8])
    lines = [Line(steps, np.array([0.0, 0.1, 0.5, level])) for level in (0.6, 0.8, 1.0)]
    lines[2] = Line(np.array([1.0, 4, 8, 16]), np.array([0.0, 0.5, 1.0, 1.0]))
    found = banded("mean of 3 seeds", lines, SHARE)
    assert found.x.tolist() == [1, 2, 4, 8], "as far as all of them have come"
    assert found.y.tolist() == pytest.approx([0, 0.2 / 3, 0.5, 0.8])
    end = of_group(np.array([0.6, 0.8, 1.0]), "mean", SHARE).estimate
    assert found.low is not None and found.high is not None
    assert (found.low[-1], found.high[-1]) == (end.low, end.high)
    assert found.band == "95% of the mean of 3 seeds"
    pair = banded("ice", lines[:2], SHARE)
    assert pair.low is None and pair.name == "ice (mean of 2 seeds)"


def test_runs_of_three_seeds_become_one_curve_over_steps_or_episodes(tmp_path: Path) -> None:
    paths = [
        record(tmp_path, LEARNING.replace("seed = 1", f"seed = {seed}"), f"s{seed}")
        for seed in range(3)
    ]
    watch = CompareWatch(paths)
    try:
        found = look(watch, None)
        metric = next(m for m in metrics_of(found.sides) if m.name == "expected_return")
        (together,) = series(found, metric, together=True)
        assert together.name == "mean of 3 seeds" and len(series(found, metric, False)) == 3
        assert [axis.unit for axis in found.units] == ["step", "episode"]
        watch.axis = found.units[1]
        assert watch.asked
        over = look(watch, None)
        assert over.clock.told(over.edge).startswith("episode ")
        assert over.edge == max(
            s.snapshot.progress.episodes[-1]
            for s in over.sides
            if s.snapshot is not None and s.snapshot.progress is not None
        )
        half = look(watch, over.edge / 2)
        for side in half.sides:
            known = side.snapshot.progress if side.snapshot else None
            assert known is not None and side.snapshot is not None
            done = np.interp(side.snapshot.at, known.step, known.episodes)
            assert done <= over.edge / 2 + 1e-9
    finally:
        watch.close()


def test_a_run_of_a_sweep_brings_the_other_seeds_of_its_setting(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").touch()
    cells = {"a0": (0, 0), "b0": (1, 0), "a1": (0, 1), "b1": (1, 1), "a2": (0, 2)}
    rows = [{"setting": i, "seed": seed, "run": run} for run, (i, seed) in cells.items()]
    (tmp_path / "runs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for run in cells:
        (tmp_path / run).mkdir()
    found = seeds.others([tmp_path / "a0", tmp_path / "b0"])
    assert [[run.name for run in runs] for runs in found] == [["a1", "a2"], ["b1"]]
    assert seeds.others([tmp_path / "a0", tmp_path / "a1"])[0] == [tmp_path / "a2"]
    reader = seeds.Seeds([tmp_path / "a1"])
    assert reader.look() == (), "an empty folder is left out"
    reader.close()
