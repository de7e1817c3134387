"""What curves can be drawn over: counters of recording points, and what updates took."""

from __future__ import annotations

import numpy as np
import pytest

from engine.runs.curves import Curve
from engine.runs.progress import progress, spent


def curve(steps: list[float], values: list[float]) -> Curve:
    x, y = np.array(steps), np.array(values)
    return Curve(x=x, mean=y, low=y, high=y)


def test_the_last_counters_of_a_step_count_and_none_ever_falls() -> None:
    known = progress([(1, 0, 0, 16), (4, 0, 1, 64), (4, 1, 2, 64), (9, 2, 1, 144)])
    assert known.step.tolist() == [1, 4, 9]
    assert known.updates.tolist() == [0, 1, 2]
    assert known.episodes.tolist() == [0, 2, 2], "a record that was tampered with"
    assert known.total_env_steps.tolist() == [16, 64, 144]
    assert progress([]).step.size == 0


def test_time_and_tokens_are_sums_over_every_update() -> None:
    taken = spent(
        {
            "seconds_per_update": curve([1, 2, 3], [2.0, 1.0, 4.0]),
            "tokens_per_second": curve([1, 2, 3], [10.0, 30.0, 5.0]),
        }
    )
    assert taken is not None
    assert taken.seconds.tolist() == [2.0, 3.0, 7.0]
    assert taken.tokens.tolist() == [20.0, 50.0, 70.0]


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [([1, 2, 4], [1.0, 1, 1]), ([1, 2, 3], [1, np.nan, 1]), ([1, 2, 3], [1, -1, 1]), ([], [])],
)
def test_what_was_not_recorded_of_every_update_is_not_made_up(
    steps: list[float], seconds: list[float]
) -> None:
    curves = {
        "seconds_per_update": curve(steps, seconds),
        "tokens_per_second": curve(steps, [1.0] * len(steps)),
    }
    assert spent(curves) is None and spent({}) is None
