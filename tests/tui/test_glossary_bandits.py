"""The live values of bandits and of importance sampling, from real runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from moments import moment

from engine import factory, presets
from tui.glossary.values import bandits, current_value
from tui.model.snapshot import Snapshot

pytestmark = pytest.mark.slow


def after(name: str, steps: int, *overrides: str) -> Snapshot:
    """The snapshot of a preset's run after so many steps."""
    preset = presets.load(name, list(overrides))
    learner: Any = factory.make_learner(preset)
    learner.begin()
    learner.advance(steps)
    live = learner.live(0)
    tag = str(preset.algorithm.__struct_config__.tag)
    snapshot = moment(learner.worlds.mazes[0], steps=live.steps, algorithm=tag)
    return replace(snapshot, preset=preset, policy=live.policy, mdp=learner.worlds.mdps[0])


def test_a_bandit_says_its_arms_and_its_noise() -> None:
    run = after("gradient-bandit", 10)
    assert current_value("bandit", run) == "10 arms"
    assert current_value("reward-noise", run) == "σ = 1"
    assert current_value("gradient-bandit", run) == "yes: this run's algorithm"
    assert current_value("importance-sampling", run) is None
    many = after("bandit-testbed", 10)
    assert current_value("bandit", many) == "10 arms in each of 100 problems"


def test_a_weighed_return_says_its_ratio() -> None:
    run = after("infinite-variance", 60)
    assert current_value("bandit", run) == "not in this run: its episodes go on after a move"
    assert str(current_value("reward-noise", run)).startswith("none")
    learned = next(s for s in run.steps if s.importance_ratio == s.importance_ratio and s.t == 0)
    told = current_value("importance-sampling", replace(run, steps=(learned,)))
    assert told == f"ordinary; ρ = {learned.importance_ratio:g} on this step"
    assert set(bandits.VALUES) == {
        *("bandit", "gradient-bandit", "reward-noise", "importance-sampling"),
        *("off-policy-prediction", "off-policy-monte-carlo"),
    }
