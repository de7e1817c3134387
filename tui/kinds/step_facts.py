"""Facts about what one step taught a method for tables, and where its target ends."""

from __future__ import annotations

import math
from typing import NamedTuple

from engine.config.algorithm import KlEstimator, KlPlace
from engine.config.llm import LlmSettings
from engine.config.preset import LlmPreset, Preset
from engine.learning.algorithm import Algorithm
from engine.learning.events import Step
from tui.model.steps import ending, not_learned_from
from tui.ui.fact import Fact
from tui.ui.glyphs import Glyphs
from tui.ui.text import number, signed

WHOLE_RETURNS = ("monte-carlo", "off-policy-monte-carlo", "off-policy-prediction")
"""Methods that learn values from whole episodes."""

# ---------------------------------------------------------------- methods that learn values


def td_learned(step: Step, algorithm: Algorithm) -> list[Fact]:
    """The TD error, how much of it was corrected, and the advantage of the action."""
    if _waits(algorithm) and not_learned_from(step):
        text = "not known: it is not learned from, or only once later rewards have come in"
        return [Fact("TD error δ", "td-error", text)]
    if not math.isnan(step.importance_ratio):
        text = (
            f"{number(step.importance_ratio)}: how much likelier the target policy was to go on so"
        )
        ratio = [Fact("ratio ρ", "importance-sampling", text)]
    else:
        ratio = []
    corrected = f"{number(step.step_size)} of that error is corrected"
    if algorithm.name == "dqn":
        corrected = "of this move nothing is corrected now: it goes into the memory"
    facts = [
        *ratio,
        Fact("TD error δ", "td-error", f"{signed(step.error)} = target - estimate"),
        Fact("step size α", "learning-rate", corrected),
    ]
    if not math.isnan(step.advantage):
        better = "the best known action" if step.advantage == 0 else "worse than the best known"
        facts.append(Fact("advantage A(s,a)", "advantage", f"{number(step.advantage)}: {better}"))
    return facts


def td_ended(step: Step, algorithm: Algorithm, glyphs: Glyphs) -> Fact:
    """Whether the episode ended here, how, and what that does to the TD target."""
    if _waits(algorithm) and not (step.terminated or step.truncated or _looked_ahead_once(step)):
        return _ended_later(step, algorithm)
    if step.terminated:
        symbol, word = ending(step, glyphs)
        text = f"{symbol} {word}: nothing follows, so the target is the reward alone"
        return Fact("terminated", "terminated", text)
    if step.truncated:
        text = (
            "only the time limit stopped it; more could have followed, so the target still "
            f"looks ahead ({number(step.bootstrap)})"
        )
        return Fact("truncated", "truncated", text)
    text = f"the episode goes on: the target adds γ × {number(step.bootstrap)}, itself an estimate"
    return Fact("bootstrapping", "bootstrap", text)


def _waits(algorithm: Algorithm) -> bool:
    """Whether its targets are returns: many rewards, and at most their end is an estimate."""
    return algorithm.name in WHOLE_RETURNS or "n" in algorithm.settings.__struct_fields__


def _looked_ahead_once(step: Step) -> bool:
    """Whether its target is r + γ × an estimate: n = 1, or n rewards that come to the same."""
    return bool(step.bootstrap) and math.isclose(
        step.target, step.paid + step.gamma * step.bootstrap, rel_tol=1e-12
    )


def _ended_later(step: Step, algorithm: Algorithm) -> Fact:
    """Where the return ends that a step in the middle of an episode is learned from."""
    if not_learned_from(step):
        return Fact("return-to-go", "return-to-go", "the episode goes on: what follows counts too")
    if algorithm.name in WHOLE_RETURNS:
        text = "the target is what was really paid from here to the end of the episode"
        if step.bootstrap:  # only where the time limit cut it
            text += f", and an estimate, {number(step.bootstrap)}, of what the time limit cut off"
        return Fact("return-to-go", "return-to-go", text)
    if algorithm.name == "tree-backup":
        text = (
            "the target mixes what came with estimates of the moves that were not made, each by "
            "the chance the target policy gives it"
        )
        return Fact("return-to-go", "return-to-go", text)
    if not step.bootstrap:
        text = (
            "the target is the rewards that came, up to n of them; nothing is added for what "
            "follows (the episode ended, or what follows is still estimated as 0)"
        )
        return Fact("return-to-go", "return-to-go", text)
    text = (
        f"the target is the n rewards that came and then γⁿ × {number(step.bootstrap)}, itself an "
        "estimate (fewer than n where the time limit came first)"
    )
    return Fact("bootstrapping", "bootstrap", text)


# ---------------------------------------------------------------- methods that learn a policy


def policy_learned(step: Step) -> list[Fact]:
    """The advantage, and the chances before and after the update."""
    chances = ", ".join(number(chance, 3) for chance in step.probabilities)
    if not step.probabilities_after:
        return [Fact("π(·|s)", "policy", f"{chances}: not learned from yet")]
    after = ", ".join(number(chance, 3) for chance in step.probabilities_after)
    better = "better" if step.advantage > 0 else "worse" if step.advantage < 0 else "no better"
    than = "than" if step.advantage else "and no worse than"
    judged = f"{signed(step.advantage)}: {better} {than} usual here"
    facts = [
        Fact("advantage A(s,a)", "advantage", judged),
        Fact("π(·|s)", "policy", f"{chances} when it moved, {after} once it had learned"),
    ]
    if step.step_size:
        values = f"{number(step.before)}, then {number(step.after)}"
        facts.append(Fact("state value V(s)", "state-value", values))
    return facts


def policy_ended(step: Step, glyphs: Glyphs) -> Fact:
    """Whether the episode ended here, for a method that may judge by returns alone."""
    ahead = f"V(s′) = {number(step.bootstrap)} stands for what was still to come"
    if step.terminated:
        symbol, word = ending(step, glyphs)
        return Fact("terminated", "terminated", f"{symbol} {word}: nothing follows")
    if step.truncated:
        known = ahead if step.bootstrap else "only what was paid by then counts"
        return Fact("truncated", "truncated", f"only the time limit stopped it; {known}")
    if step.bootstrap:
        text = f"the episode went on: {ahead}, itself an estimate"
        return Fact("bootstrapping", "bootstrap", text)
    return Fact("return-to-go", "return-to-go", "the episode went on: what followed counts too")


# ---------------------------------------------------------------- the pull to a reference policy

PULLS = {
    ("exact", "loss"): "by ∇KL(π‖π_ref), over all moves of a state",
    ("k1", "loss"): "nowhere on average: E[∇k1] = 0",
    ("k2", "loss"): "on average by ∇KL(π‖π_ref)",
    ("k3", "loss"): "on average by ∇KL(π_ref‖π), the KL the other way round",
    ("k1", "reward"): "on average by ∇KL(π‖π_ref), later moves included",
    ("k2", "reward"): "with a bias: next to nothing while π is near π_ref",
    ("k3", "reward"): "on average by ∇KL(π‖π_ref) - ∇KL(π_ref‖π): next to nothing near π_ref",
}
"""What the KL term does to the gradient, over actions drawn from π; see
`engine.llm.algorithms.losses.kl_estimate`."""


class KlPull(NamedTuple):
    """How a run is pulled to its reference policy."""

    beta: float
    estimator: KlEstimator
    place: KlPlace

    @property
    def words(self) -> str:
        """What that does to the gradient."""
        return f"it pulls {PULLS[self.estimator, self.place]}"


def kl_pull(preset: Preset) -> KlPull | None:
    """How a run is pulled to its reference policy; None where it is not."""
    settings = preset.algorithm
    beta: float = getattr(settings, "kl", 0.0)
    place: KlPlace | None = getattr(settings, "kl_in", None)
    if not beta or place is None:
        return None
    if isinstance(preset, LlmPreset) and isinstance(settings, LlmSettings):
        known = preset.model.policy == "action"
        return KlPull(beta, settings.estimator(moves_known=known), place)
    estimator: KlEstimator = getattr(settings, "estimator", "k3")  # GRPO on tables
    return KlPull(beta, estimator, place)


def pulled(preset: Preset) -> list[Fact]:
    """The fact how a run is pulled to its reference policy, where it is."""
    pull = kl_pull(preset)
    if pull is None:
        return []
    how = f"β = {pull.beta:g}, {pull.estimator} in the {pull.place}"
    less = "; the returns compared are less by it" if pull.place == "reward" else ""
    return [Fact("KL to π_ref", "kl-estimator", f"{how}: {pull.words}{less}")]
