"""Which settings apply to which kind of run: one table for the checks and for the forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from engine.config.preset import LlmPreset, Preset
from engine.config.rewards import PlanRewards
from engine.core.errors import UserError
from engine.learning.algorithm import Algorithm

Kind = Literal["control", "prediction", "planning", "action", "route", "text"]
"""Three kinds for tables, by what is asked; three for language models, by what they write."""

TABLES: tuple[Kind, ...] = ("control", "prediction", "planning")
MODELS: tuple[Kind, ...] = ("action", "route", "text")
PLANNING: tuple[Kind, ...] = ("planning",)
PREDICTION: tuple[Kind, ...] = ("prediction",)
ACTION: tuple[Kind, ...] = ("action",)
ROUTE: tuple[Kind, ...] = ("route",)
TEXT: tuple[Kind, ...] = ("text",)


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings that some kinds of run have no use for."""

    kinds: tuple[Kind, ...]
    keys: tuple[str, ...]
    """`section.key`, or `section.` for all of a section; in messages also a section by itself."""
    why: str = ""
    """The message to who gives one of them; empty where it is taken and has no effect."""
    unset: Any = None
    """A value that counts as not given, beside those that say nothing."""
    only: Any = None
    """The one value it is about; None for all."""
    given: tuple[str, Any] | None = None
    """A setting and the value that it must have for the rule to hold; None where it always does."""
    hidden: bool = True
    """Whether forms leave them out."""


TRUE_REWARDS = (
    "maze.shaping", "maze.fall_budget", "maze.randomize", "maze.train", "maze.revisit",
)  # fmt: skip
"""The rules of `[maze]` that change what a learner is paid, or draw a world for each episode."""

RULES = (
    Rule(
        TABLES,
        ("budget.success_rate",),
        "{key} is for language models; expected env_steps, episodes, updates or seconds.",
        hidden=False,
    ),
    Rule(
        PLANNING,
        ("maze.memory",),
        "{key}: {algorithm} computes from the states themselves and needs no memory; remove it, "
        "or choose an algorithm that learns from what it sees.",
        unset=1,
        hidden=False,
    ),
    Rule(
        PLANNING,
        TRUE_REWARDS,
        "{key} does not go with {algorithm}: {algorithm} computes with the true rewards of one "
        "world and never moves; remove {key}, or choose a control method that learns from its own "
        "moves.",
        hidden=False,
    ),
    Rule(
        PREDICTION,
        TRUE_REWARDS,
        "{key} does not go with {algorithm}: {algorithm} judges a policy by the true rewards of "
        "one world; remove {key}, or choose a control method that learns from its own moves.",
        hidden=False,
    ),
    Rule(PLANNING, ("run.agents", "budget.env_steps", "budget.episodes")),  # there is no agent
    Rule(
        MODELS,
        ("maze.shaping", "maze.fall_budget", "maze.randomize"),
        "{key} is for tables; remove it, or the [model] table.",
        hidden=False,
    ),
    Rule(
        MODELS,
        ("deploy",),
        "[deploy] is for tables; try a language model elsewhere with `icemaze eval RUN --set "
        "maze.slip=0.5`, and remove [deploy].",
    ),
    Rule(
        MODELS,
        ("run.agents",),
        "run.agents is {value}; a language model is trained once: set it to 1, and use `icemaze "
        "sweep --seeds` for several.",
        unset=1,
    ),
    Rule(
        MODELS,
        ("budget.env_steps", "budget.episodes"),
        "budget: language models count updates; expected updates or seconds, not env_steps or "
        "episodes.",
    ),
    Rule(MODELS, ("maze.wind", "maze.observation", "maze.test.per_update")),
    Rule(MODELS, ("model.policy",)),  # what the preset is about
    Rule(ACTION, ("model.max_tokens", "model.words", "warmup.routes", "reward.")),
    Rule(
        ACTION,
        ("algorithm.rollout_correction",),
        "{key} is {value!r}, but an action policy plays by the very probabilities that are "
        'trained: no sampler could differ; remove it, or set model.policy to "route".',
        unset="none",
    ),
    Rule(
        ACTION,
        ("algorithm.rollout_cap",),
        "{key} is {value}, but an action policy has no rollout_correction; remove it.",
        unset=2.0,
    ),
    Rule(
        ROUTE,
        ("algorithm.credit",),
        'algorithm.credit = "state" compares moves made in the same state, which only action '
        'policies make; set it to "episode".',
        unset="episode",
    ),
    Rule(
        ROUTE,
        ("maze.gymnasium",),
        'model.policy = "route" writes routes through a map; with maze.gymnasium use "action".',
        hidden=False,
    ),
    Rule(
        ROUTE,
        ("maze.changes",),
        '{key} is for action policies: remove it, or model.policy = "route".',
        hidden=False,
    ),
    Rule(
        ROUTE,
        ("maze.revisit", "algorithm.random_starts", "algorithm.uniform"),
        '{key} is for action policies: remove it, or model.policy = "route".',
    ),
    Rule(
        ROUTE,
        ("algorithm.kl_reference",),
        '{key} is {value!r}, but the map of a route policy never changes; expected "base".',
        unset="base",
    ),
    Rule(
        (*ROUTE, *TEXT),
        ("algorithm.kl_estimator",),
        '{key} is "exact", but a completion has more endings than can be added up: only the tokens '
        'drawn are known; expected "k1", "k2", "k3" or "auto".',
        only="exact",
        hidden=False,
    ),
    Rule(
        ("control", *ACTION),
        ("algorithm.kl_estimator",),
        '{key} is "exact", which is the same for all actions of a state: in the reward it cannot '
        'say which of them led away; expected "k1" (the same KL, from the action taken), or '
        'algorithm.kl_in = "loss".',
        only="exact",
        given=("algorithm.kl_in", "reward"),
        hidden=False,
    ),
    Rule(
        TEXT,
        ("algorithm.random_starts", "algorithm.uniform"),
        "{key} is for mazes; remove it from a preset with [text].",
    ),
    Rule(
        TEXT,
        ("algorithm.credit",),
        'algorithm.credit compares moves; with [text] expected "episode".',
        unset="episode",
    ),
    Rule(
        TEXT,
        ("warmup",),
        "warmup shows shortest routes, and free text has none; remove [warmup].",
    ),
    Rule(
        TEXT,
        ("reward",),
        "reward pays for routes; here preferences do: remove [reward].",
        unset=PlanRewards(),
    ),
    Rule(
        TEXT,
        ("algorithm.kl_reference",),
        'algorithm.kl_reference: with [text] expected "base": there is no map.',
        unset="base",
    ),
    Rule(
        TEXT,
        ("budget.success_rate",),
        "budget.success_rate: free text has no success; expected updates or seconds.",
    ),
    Rule(
        TEXT,
        ("maze.", "model.words", "model.observation_text", "algorithm.gamma", "algorithm.decay"),
    ),
)
"""In the order in which they are told."""


def kind_of(preset: Preset, algorithm: Algorithm) -> Kind:
    """The kind of run a preset makes."""
    if isinstance(preset, LlmPreset):
        return "text" if preset.text is not None else preset.model.policy
    if algorithm.family == "planning" or algorithm.family == "prediction":
        return algorithm.family
    return "control"


def applies(preset: Preset, algorithm: Algorithm, key: str) -> bool:
    """Whether a form asks for a setting, `section.key`: changing it can have an effect, and is not
    what the preset is about."""
    if isinstance(preset, LlmPreset) and preset.maze.train is not None and key == "maze.revisit":
        return False
    return not any(
        rule.hidden and any(_covers(name, key) for name in rule.keys)
        for rule in _rules(preset, algorithm)
    )


def check_applicable(preset: Preset, algorithm: Algorithm) -> None:
    """Raise UserError for the first setting that such a run has no use for."""
    for rule in _rules(preset, algorithm):
        for key in rule.keys if rule.why else ():
            value = _value(preset, key)
            if value and value != rule.unset and rule.only in (None, value):
                raise UserError(rule.why.format(key=key, value=value, algorithm=algorithm.name))


def _rules(preset: Preset, algorithm: Algorithm) -> Iterator[Rule]:
    kind = kind_of(preset, algorithm)
    return (
        rule
        for rule in RULES
        if kind in rule.kinds
        and (rule.given is None or _value(preset, rule.given[0]) == rule.given[1])
    )


def _covers(name: str, key: str) -> bool:
    """Whether a rule's name means a key, by itself, by its section or by the setting it is in."""
    return key == name or key.startswith(name if name.endswith(".") else f"{name}.")


def _value(preset: Preset, key: str) -> Any:
    """The value of a key in a preset; None where such a preset has no such key."""
    found: Any = preset
    for name in key.split("."):
        found = getattr(found, name, None)
    return found
