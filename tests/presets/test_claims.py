"""Every shipped tabular preset keeps its claims, on another seed than its own.

In process, without a worker: the same learner and the same judgement as `icemaze presets check`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import factory, presets
from engine.claims import judge
from engine.events import AnyEvent, Evaluation, Update
from engine.presets import Expect

OTHER_SEED = 2
TABULAR = [name for name in presets.shipped_names() if presets.load(name).group != "llm"]


def figures(preset: presets.Preset) -> dict[str, Any]:
    """The last figures of a run, as `RunReader.final` gives them."""
    learner = factory.make_learner(preset)
    learner.prepare()
    events: list[AnyEvent] = learner.begin()
    while not learner.done:
        events += learner.advance(10**9)
    events += learner.conclude()
    metrics = next(e for e in reversed(events) if isinstance(e, Update)).metrics
    evaluations = [e for e in events if isinstance(e, Evaluation) and e.split == "train"]
    last = [e for e in evaluations if e.step == evaluations[-1].step]
    counters = learner.counters
    kept = {
        name.removeprefix("best_"): np.mean([e.figures[name].mean for e in last])
        for name in last[0].figures
        if name.startswith("best_")  # of a language model the best adapters are kept
    }
    return {
        "env_steps": counters.env_steps,
        "total_env_steps": counters.total_env_steps,
        "episodes": counters.episodes,
        "updates": counters.updates,
        **{name: np.mean([e.figures[name].mean for e in last]) for name in last[0].figures},
        **kept,
        "optimal_return": np.mean([e.optimal_return for e in last]),
        "horizon_optimum": np.mean([e.horizon_optimum for e in last]),
        "metrics": {name: metric.mean for name, metric in metrics.items()},
    }


@pytest.mark.parametrize("name", TABULAR)
def test_a_preset_keeps_its_claims_on_another_seed(name: str) -> None:
    own = presets.load(name).run.seed
    assert own != OTHER_SEED
    preset = presets.load(name, [f"run.seed={OTHER_SEED}"])
    assert preset.expect, "a shipped preset says what it achieves"
    found = figures(preset)
    claims = [judge(claim, found) for claim in preset.expect]
    assert [claim for claim in claims if not claim.kept] == []


def test_a_claim_is_judged_by_its_bounds_and_by_nothing_else() -> None:
    known = {
        "success_rate": 0.5,
        "updates": 7,
        "metrics": {"epsilon": 0.1, "td_error": float("nan")},
    }

    def kept(metric: str, low: float | None = None, high: float | None = None) -> bool:
        return judge(Expect(metric=metric, at_least=low, at_most=high), known).kept

    assert kept("success_rate", 0.5) and kept("success_rate", 0.4, 0.6) and kept("updates", high=7)
    assert not kept("success_rate", 0.5001) and not kept("updates", high=6.9)
    assert kept("epsilon", 0.1, 0.1) and not kept("td_error", high=1.0)
    missing = judge(Expect(metric="sucess_rate", at_least=0.0), known)
    assert not missing.kept
    assert "Did you mean 'success_rate'" in missing.problem
