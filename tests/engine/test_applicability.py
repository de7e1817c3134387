"""The table of which settings apply to which kind of run: its keys exist, form and checks agree."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine import presets
from engine.algorithms import registry
from engine.algorithms.registry import algorithm_of
from engine.config.llm import ModelSettings, Warmup
from engine.config.preset import Budget, LlmPreset, LlmRun
from engine.config.rewards import PlanRewards
from engine.core.errors import UserError
from engine.env.settings import MazeSet, MazeSettings
from engine.presets.applicability import MODELS, RULES, TABLES, Rule, applies, kind_of

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "budget": Budget,
    "maze": MazeSettings,
    "maze.test": MazeSet,
    "model": ModelSettings,
    "reward": PlanRewards,
    "run": LlmRun,
    "warmup": Warmup,
}
PRESETS = {
    "control": "q-learning",
    "prediction": "td-0",
    "planning": "value-iteration",
    "action": "llm-grpo-maze",
    "plan": "llm-plan-grpo",
    "text": "scripted-reward",
}


def exists(key: str) -> bool:
    """Whether some preset may have this setting, or this section."""
    section, _, name = key.rpartition(".")
    if not section:
        return key in LlmPreset.__struct_fields__
    if section == "algorithm":
        every = [*registry.TABLES.all(), *registry.LANGUAGE_MODELS.all()]
        return any(name in algorithm.settings.__struct_fields__ for algorithm in every)
    return not name or name in SECTIONS[section].__struct_fields__


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.keys[0])
def test_a_rule_is_about_settings_that_exist(rule: Rule) -> None:
    assert all(map(exists, rule.keys)) and set(rule.kinds) <= {*TABLES, *MODELS}
    assert rule.why or rule.hidden  # else it would do nothing
    assert rule.why.format(key="a.b", value=1, algorithm="x").endswith(".") == bool(rule.why)


@pytest.mark.parametrize("kind", PRESETS)
def test_every_kind_of_run_has_a_preset(kind: str) -> None:
    preset = presets.load(PRESETS[kind])
    assert kind_of(preset, algorithm_of(preset)) == kind


@pytest.mark.parametrize(
    ("kind", "key", "shown"),
    [
        ("control", "run.agents", True),
        ("planning", "run.agents", False),
        ("action", "run.agents", False),
        ("action", "algorithm.uniform", True),
        ("plan", "algorithm.uniform", False),
        ("plan", "algorithm.uniform.start", False),
        ("text", "algorithm.uniform", False),
        ("action", "reward.prize", False),
        ("plan", "reward.prize", True),
        ("text", "reward.prize", False),
        ("text", "maze.slip", False),
        ("action", "model.max_tokens", False),
        ("text", "model.max_tokens", True),
        ("plan", "maze.test.per_update", False),
        ("plan", "maze.test.count", True),
    ],
)
def test_forms_ask_for_what_can_have_an_effect(kind: str, key: str, shown: bool) -> None:
    preset = presets.load(PRESETS[kind])
    assert applies(preset, algorithm_of(preset), key) is shown


@pytest.mark.parametrize(
    ("kind", "override", "says"),
    [
        ("control", "budget.success_rate=0.5", "budget.success_rate is for language models; expec"),
        ("planning", "maze.memory=2", "maze.memory: value-iteration computes from the states"),
        ("planning", "maze.shaping={}", "maze.shaping does not go with value-iteration: value-it"),
        ("prediction", "maze.revisit=0.5", "td-0 judges a policy by the true rewards of one world"),
        (
            "action",
            "maze.randomize={slip=[0.1,0.5]}",
            "maze.randomize is for tables; remove it, or the [model]",
        ),
        ("action", "run.agents=2", "run.agents is 2; a language model is trained once: set it to"),
        ("action", "budget.episodes=9", "budget: language models count updates; expected updates"),
        (
            "plan",
            "algorithm.uniform=0.2",
            "algorithm.uniform is for action policies: remove it, or",
        ),
        ("plan", "algorithm.credit=state", 'algorithm.credit = "state" compares moves made in the'),
        ("text", "reward={prize=2.0}", "reward pays for routes; here preferences do: remove [rewa"),
        ("text", "warmup={updates=2}", "warmup shows shortest routes, and free text has none; re"),
    ],
)
def test_who_gives_another_one_is_told_why(kind: str, override: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        presets.load(PRESETS[kind], [override])
    assert says in str(error.value)


def test_a_value_that_says_nothing_is_no_mistake() -> None:
    unchanged: dict[str, Any] = {"plan": "algorithm.kl_reference=base", "action": "run.agents=1"}
    for kind, override in unchanged.items():
        assert presets.load(PRESETS[kind], [override])
