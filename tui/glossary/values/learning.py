"""Live values of the update, and of exploring and acting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.config.algorithm import EpsilonGreedy, Schedule, Softmax, UpperConfidenceBound
from tui import kinds
from tui.glossary.values.words import (
    Value,
    action,
    latest,
    number,
    per_action,
    place,
    plural,
    real_step,
    real_steps,
    share,
    shown_observation,
    shown_state,
)
from tui.kinds.llm_words import rank

if TYPE_CHECKING:
    from engine.learning.events import Step
    from tui.model.snapshot import Snapshot


LEVELS: dict[type, str] = {Softmax: "τ", UpperConfidenceBound: "c"}
"""The number of an exploration rule that is not ε-greedy."""
GIVEN = "none: the policy is given and only judged"


def described(setting: object) -> str:
    """A setting that may be a number, a schedule or "1/n", in words."""
    if isinstance(setting, UpperConfidenceBound):
        return f"always {number(setting.c)}"
    if isinstance(setting, Schedule | EpsilonGreedy | Softmax):
        end = setting.start if setting.end is None else setting.end
        if end == setting.start:
            return f"always {number(end)}"
        shape = "" if setting.shape == "linear" else ", exponentially"
        return f"{setting.start:g} → {end:g} over {setting.steps:,} steps{shape}"
    if isinstance(setting, float | int):
        return f"always {number(setting)}"
    return "one over the visits of the pair" if setting == "1/n" else str(setting)


def algorithm(snapshot: Snapshot) -> str:
    kind = snapshot.algorithm.policy_type
    model = "model-based" if snapshot.algorithm.model_based else "model-free"
    words = model if kind == "none" else f"{kind}, {model}"
    return f"{snapshot.algorithm.title} ({words})"


def used(name: str) -> Value:
    """Whether this run uses the algorithm of that name."""

    def value(snapshot: Snapshot) -> str:
        title = snapshot.algorithm.title
        mine = snapshot.algorithm.name == name
        return "yes: this run's algorithm" if mine else f"not in this run, which uses {title}"

    return value


def q_table(snapshot: Snapshot) -> str | None:
    if snapshot.policy is None or snapshot.policy.q is None:
        return None
    q = snapshot.policy.q
    tried = int((snapshot.policy.visits > 0).sum())
    return (
        f"{q.shape[0]:,} × {q.shape[1]} entries, {tried:,} of them ever updated; "
        f"from {number(float(q.min()))} to {number(float(q.max()))}"
    )


def tabular(snapshot: Snapshot) -> str:
    entries = snapshot.mdp.n_observations * snapshot.mdp.n_actions
    return f"{entries:,} entries, none shared"


def update(snapshot: Snapshot) -> str:
    name = snapshot.algorithm.update_name
    done = plural(snapshot.counts.updates, name)
    if not kinds.of(snapshot.preset).plans:
        done += " per agent"
    step = snapshot.step
    if step is None:
        return done
    return f"{number(step.before)} → {number(step.after)} on this step; {done}"


def td_learning(snapshot: Snapshot) -> str:
    if kinds.of(snapshot.preset).plans:
        return f"not in this run: {snapshot.algorithm.title} computes from the model"
    return f"this run: {snapshot.algorithm.formula}"


def td_target(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    if step.kind == "backup":
        return f"{number(step.target)}: the best of {per_action(snapshot, step.values)}"
    if step.terminated:
        return f"{number(step.target)} = the reward alone: nothing follows"
    return (
        f"{number(step.target)} = {number(step.paid)} + {number(step.gamma)} × "
        f"{number(step.bootstrap)}"
    )


def td_error(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    return f"{number(step.error)} = target {number(step.target)} − estimate {number(step.before)}"


def step_size(snapshot: Snapshot) -> str | None:
    setting = getattr(snapshot.preset.algorithm, "learning_rate", None)
    step = real_step(snapshot)
    if setting is None:
        return None
    now = f"{number(step.step_size)} now" if step else ""
    return f"{now} ({described(setting)})" if now else described(setting)


def bootstrap(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None:
        return None
    if step.terminated:
        return "nothing on this step: the episode ended"
    return f"{number(step.bootstrap)} of this step's target was believed, not earned"


def convergence(snapshot: Snapshot) -> str | None:
    if snapshot.evaluation is None or "expected_return" not in snapshot.evaluation.figures:
        return None
    now = snapshot.evaluation.figures["expected_return"].mean
    best = snapshot.optimal_figures.optimal_return
    return f"expected return {number(now)}, optimal return {number(best)}"


# ---------------------------------------------------------------- exploring and acting


def behaviour_policy(snapshot: Snapshot) -> str:
    return snapshot.algorithm.behaviour_policy


def target_policy(snapshot: Snapshot) -> str:
    return snapshot.algorithm.target_policy


def policy_type(snapshot: Snapshot) -> str:
    told = snapshot.algorithm
    if told.policy_type == "none":
        return f"{told.title} has no policy to move by: neither on- nor off-policy"
    return (
        f"{told.title}: behaviour {told.behaviour_policy}, target {told.target_policy}: "
        f"{told.policy_type}"
    )


def exploration(snapshot: Snapshot) -> str | None:
    step, steps = real_step(snapshot), real_steps(snapshot)
    if step is None:
        return None
    if kinds.of(snapshot.preset).policy_given:
        return GIVEN
    seen = share(sum(explored(snapshot, s) for s in steps), len(steps))
    here = "this step" if explored(snapshot, step) else "not this step"
    return f"{here}; of the steps shown {seen} {explored_means(snapshot)}"


def explored(snapshot: Snapshot, step: Step) -> bool:
    """Whether a step is marked as exploring, as the log has it."""
    return rank(step) > 1 if kinds.of(snapshot.preset).llm else step.explored


def explored_means(snapshot: Snapshot) -> str:
    """What the mark of an exploring step says in this run, by its rule of exploring."""
    if isinstance(exploration_rule(snapshot), Softmax | UpperConfidenceBound):
        return "took an action that did not look best"
    if kinds.of(snapshot.preset).learns_policy:
        return "took an action that was not the likeliest"
    return "were drawn at random"


def exploitation(snapshot: Snapshot) -> str | None:
    step, steps = real_step(snapshot), real_steps(snapshot)
    if step is None:
        return None
    if kinds.of(snapshot.preset).policy_given:
        return GIVEN
    here = "not this step" if step.explored else "this step"
    seen = share(sum(not s.explored for s in steps), len(steps))
    return f"{here}; of the steps shown: {seen}"


def greedy(snapshot: Snapshot) -> str | None:
    values = snapshot.step.values if snapshot.step else ()
    if not values and snapshot.policy is not None and snapshot.policy.q is not None:
        values = tuple(snapshot.policy.q[shown_observation(snapshot)].tolist())
    if not values:
        return None
    best = [a for a, value in enumerate(values) if value == max(values)]
    names = " or ".join(action(snapshot, a) for a in best)
    return f"{names} at {place(snapshot, shown_state(snapshot))}"


def exploration_rule(snapshot: Snapshot) -> object:
    """How this run explores on its table, by the preset; None for a method without a rule."""
    return getattr(snapshot.preset.algorithm, "exploration", None)


def current_epsilon(snapshot: Snapshot) -> float | None:
    """ε now; None where the run explores by another rule, or not at all."""
    if isinstance(exploration_rule(snapshot), Softmax | UpperConfidenceBound):
        return None
    return current_level(snapshot, "epsilon")


def current_level(snapshot: Snapshot, metric: str) -> float | None:
    """ε, τ or c of the step shown, else of the newest recording point."""
    step = real_step(snapshot)
    if step is not None and not math.isnan(step.exploration):
        return step.exploration
    return latest(snapshot, metric)


def told_level(snapshot: Snapshot, metric: str) -> str:
    """The same in words, with what the setting says."""
    now, setting = current_level(snapshot, metric), described(exploration_rule(snapshot))
    return setting if now is None else f"{number(now)} now ({setting})"


def other_rule(snapshot: Snapshot) -> str | None:
    """By what the run explores, where somebody asks for another rule."""
    match exploration_rule(snapshot):
        case EpsilonGreedy():
            return "not in this run: it explores ε-greedily"
        case Softmax():
            return "not in this run: it explores by softmax"
        case UpperConfidenceBound():
            return "not in this run: it explores by upper confidence bounds"
    return None


def epsilon(snapshot: Snapshot) -> str | None:
    rule = exploration_rule(snapshot)
    if rule is None or isinstance(rule, Softmax | UpperConfidenceBound):
        return other_rule(snapshot)
    return told_level(snapshot, "epsilon")


def epsilon_greedy(snapshot: Snapshot) -> str | None:
    if isinstance(exploration_rule(snapshot), Softmax | UpperConfidenceBound):
        return other_rule(snapshot)
    now = current_epsilon(snapshot)
    if now is None:
        return None
    each = now / snapshot.mdp.n_actions
    return (
        f"now a single best action with probability {number(1 - now + each)}, "
        f"each other with {number(each)}"
    )


def temperature(snapshot: Snapshot) -> str | None:
    if not isinstance(exploration_rule(snapshot), Softmax):
        return None
    return f"τ = {told_level(snapshot, 'temperature').removeprefix('always ')}"


def softmax_exploration(snapshot: Snapshot) -> str | None:
    return temperature(snapshot) or other_rule(snapshot)


def upper_confidence(snapshot: Snapshot) -> str | None:
    rule = exploration_rule(snapshot)
    if not isinstance(rule, UpperConfidenceBound):
        return other_rule(snapshot)
    told = f"c = {told_level(snapshot, 'ucb_c').removeprefix('always ')}"
    if snapshot.policy is None:
        return told
    visits = snapshot.policy.visits[shown_observation(snapshot)]
    if not visits.all():
        names = [action(snapshot, a) for a, tried in enumerate(visits) if not tried]
        return f"{told}; not tried yet here: {', '.join(names)}"
    c = current_level(snapshot, "ucb_c") or rule.c
    bonus = c * np.sqrt(np.log(visits.sum()) / visits)
    return f"{told}; its bonus here: {per_action(snapshot, bonus)}"


def schedule(snapshot: Snapshot) -> str | None:
    settings = snapshot.preset.algorithm
    level = LEVELS.get(type(exploration_rule(snapshot)), "ε")
    named = ((level, "exploration"), ("α", "learning_rate"))
    parts = [
        f"{symbol} {described(getattr(settings, field))}"
        for symbol, field in named
        if getattr(settings, field, None) is not None
    ]
    return "; ".join(parts) or None


def optimistic_start(snapshot: Snapshot) -> str | None:
    initial = getattr(snapshot.preset.algorithm, "initial_value", None)
    if initial is None:
        return None
    best = float(snapshot.optimum.values.max())
    verdict = "above" if initial > best else "not above"
    return f"Q starts at {number(initial)}, {verdict} the largest V* ({number(best)})"


VALUES: dict[str, Value] = {
    "algorithm": algorithm,
    "value-iteration": used("value-iteration"),
    "q-learning": used("q-learning"),
    "sarsa": used("sarsa"),
    "q-table": q_table,
    "tabular": tabular,
    "update": update,
    "td-learning": td_learning,
    "td-target": td_target,
    "td-error": td_error,
    "learning-rate": step_size,
    "bootstrap": bootstrap,
    "convergence": convergence,
    "behaviour-policy": behaviour_policy,
    "target-policy": target_policy,
    "on-policy": policy_type,
    "off-policy": policy_type,
    "exploration": exploration,
    "exploitation": exploitation,
    "greedy": greedy,
    "epsilon-greedy": epsilon_greedy,
    "epsilon": epsilon,
    "softmax-exploration": softmax_exploration,
    "ucb": upper_confidence,
    "schedule": schedule,
    "optimistic-start": optimistic_start,
}
