"""What runs came to, judged by hand-made figures of single agents."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from challenge_tools import CHALLENGE, COMPARE, GROWTH, ended, make_lab, small

from engine.config import shipped
from engine.config.shipped import find_preset
from engine.experiments.intervals import Estimate
from engine.experiments.lab.challenge import Claimed
from engine.experiments.lab.compare import Result, results, within
from engine.experiments.lab.runner import LabJob

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(3)
NAN = math.nan


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    make_lab(tmp_path)
    return tmp_path


def judged(text: str, failing: Any, remedy: Any, metric: str = "value") -> Result:
    jobs = [
        ended("small-failing", **{metric: failing}),
        ended("small-remedy", **{metric: remedy}),
    ]
    return results(small(CHALLENGE + text), jobs)


def test_a_claim_is_kept_by_the_near_end_of_the_interval() -> None:
    failing, remedy = RANDOM.normal(0.0, 1.0, 64), RANDOM.normal(1.0, 1.0, 64)
    result = judged(COMPARE, failing, remedy)
    (one,) = result.compared
    assert one.found.value == pytest.approx(remedy.mean() - failing.mean())
    assert one.of and one.of.estimate.value == pytest.approx(remedy.mean())
    assert one.kept == (one.found.low >= 0.5)
    nearer = COMPARE.replace("0.5", f"{one.found.low - 1e-6}")
    further = COMPARE.replace("0.5", f"{one.found.low + 1e-6}")
    assert judged(nearer, failing, remedy).kept
    assert not judged(further, failing, remedy).kept


@pytest.mark.parametrize(
    ("claim", "low", "high", "kept"),
    [
        ({"at_least": 1.0}, 1.0, 2.0, True),
        ({"at_least": 1.0}, 0.9, 2.0, False),
        ({"at_most": 2.0}, 1.0, 2.0, True),
        ({"at_most": 2.0}, 1.0, 2.1, False),
        ({"at_least": 1.0, "at_most": 2.0}, 1.2, 1.8, True),
        ({"at_most": 0.5}, 0.0, math.inf, False),
    ],
)
def test_both_ends_count(claim: dict[str, float], low: float, high: float, kept: bool) -> None:
    assert within(Claimed(**claim), Estimate(value=1.5, low=low, high=high)) == kept
    assert not within(Claimed(**claim), Estimate(value=NAN, low=low, high=high))


def test_one_agent_is_judged_by_its_figure() -> None:
    (one,) = judged(COMPARE, [0.0], [1.0]).compared
    assert one.kept and not one.found.known


def test_agents_that_never_got_there_make_a_median_late() -> None:
    text = COMPARE.replace("value", "first_optimal_step").replace("at_least", "at_most")
    text += 'kind = "ratio"'
    failing = [500, 600, *[NAN] * 14]
    remedy = RANDOM.normal(100, 5, 16)
    (one,) = judged(text, failing, remedy, "first_optimal_step").compared
    assert one.kept and one.found.value == 0.0
    assert one.against and (one.against.reached, one.against.n) == (2, 16)
    (other,) = judged(text, failing, failing, "first_optimal_step").compared
    assert not other.kept and "never got there" in other.problem


def test_a_mean_with_a_hole_in_it_is_not_taken() -> None:
    (one,) = judged(COMPARE, [0.0, NAN, 0.0], [1.0, 1.0, 1.0]).compared
    assert not one.kept
    assert "1 of 3 agents of small-failing have no value" in one.problem


def test_a_ratio_of_losses_is_refused() -> None:
    (one,) = judged(COMPARE + 'kind = "ratio"', [-1.0, -2.0], [1.0, 2.0]).compared
    assert not one.kept and "below 0" in one.problem


def test_a_figure_that_does_not_exist_is_said() -> None:
    result = judged(COMPARE.replace('"value"', '"valu"'), [0.0, 1.0], [1.0, 2.0])
    assert not result.kept
    assert "no figure 'valu'. Did you mean 'value'?" in result.compared[0].problem


def test_a_run_that_failed_keeps_no_claim() -> None:
    jobs = [ended("small-failing", status="failed"), ended("small-remedy", value=[1.0, 1.0])]
    result = results(small(), jobs)
    assert not result.kept and not result.runs[0].kept
    assert result.compared[0].problem == "the run of small-failing failed."


def test_presets_that_were_not_run_are_left_out_with_their_claims() -> None:
    text = CHALLENGE.replace("failing =", 'llm = ["small-llm"]\nfailing =')
    claim = COMPARE.replace('of = "small-remedy"', 'of = "small-llm"')
    path = shipped.FOLDER / "lab" / "small" / "small-llm.toml"
    path.write_text(find_preset("small-remedy").read_text("utf-8"), "utf-8")
    jobs = [ended("small-failing", value=[0.1, 0.2]), ended("small-remedy", value=[1.1, 1.2])]
    result = results(small(text + COMPARE + claim), jobs)
    assert result.skipped == ("small-llm",) and len(result.compared) == 1 and result.kept


# ---------------------------------------------------------------- growth


def grown(exponents: tuple[float, float]) -> list[LabJob]:
    jobs = [ended("small-failing"), ended("small-remedy")]
    for name, exponent in zip(("small-failing", "small-remedy"), exponents, strict=True):
        for size in (4, 6, 8):
            steps = size ** (2 * exponent) * RANDOM.lognormal(0.0, 0.1, 32)
            jobs.append(ended(name, f"maze.size={size}", value=steps))
    return jobs


def test_growth_is_fitted_against_cells_and_compared() -> None:
    result = results(small(CHALLENGE + GROWTH), grown((2.0, 1.0)))
    steep, flat = result.grown
    assert steep.curve and [point.size.cells for point in steep.curve.points] == [16, 36, 64]
    assert [point.size.table for point in steep.curve.points] == [64, 144, 256]
    assert steep.found.low < 2.0 < steep.found.high and flat.found.low < 1.0 < flat.found.high
    assert steep.curve.table_exponent == pytest.approx(1.0)
    (pair,) = result.grown_compared
    assert pair.found.value == pytest.approx(steep.found.value - flat.found.value)
    assert pair.kept and result.kept
    assert not results(small(CHALLENGE + GROWTH), grown((1.2, 1.0))).kept


def test_growth_against_the_varied_value_has_twice_the_exponent() -> None:
    jobs = grown((2.0, 1.0))
    text = CHALLENGE + GROWTH
    against = text.replace('metric = "value"', 'metric = "value"\nagainst = "value"')
    cells, side = results(small(text), jobs), results(small(against), jobs)
    assert side.grown[0].found.value == pytest.approx(2 * cells.grown[0].found.value)


def test_growth_with_a_size_nobody_solved_has_no_exponent() -> None:
    jobs = grown((2.0, 1.0))
    jobs[4].per_agent["value"][:] = NAN
    text = CHALLENGE + GROWTH.replace('metric = "value"', 'metric = "value"\nstatistic = "median"')
    result = results(small(text), jobs)
    assert not result.grown[0].kept and "no power law fits" in result.grown[0].problem
    assert not result.grown_compared[0].kept and result.grown_compared[0].problem


def test_growth_of_a_run_that_failed_says_which() -> None:
    jobs = grown((2.0, 1.0))
    jobs[3].status = "failed"
    result = results(small(CHALLENGE + GROWTH), jobs)
    assert result.grown[0].problem == "the run of small-failing with maze.size=6 failed."
    assert result.grown_compared[0].problem == result.grown[0].problem
