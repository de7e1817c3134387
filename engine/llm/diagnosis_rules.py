"""What is wrong with a run, and what to change: one rule for each thing that goes wrong.

A rule looks at one update and says "this is bad", "this is over", or neither; whether its note is
due is for `engine.llm.diagnosis` to decide. No torch, no clock, no random numbers: the same metrics
give the same notes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.config.llm import GroupSettings
from engine.learning.events import Note
from engine.llm.algorithms.grpo import LlmGrpoSettings
from engine.llm.evidence import SIDE_REWARDS, WINDOW, Seen

N_ACTIONS = 4
"""Moves of a maze. In Gymnasium's worlds it may be another number; its logarithm hardly differs."""
COLLAPSED = 0.05
"""Of log A: entropy below means that one move has about 99 % everywhere."""
FAR = 5.0
"""Nats of KL to the reference, per token or state: e⁵ is a factor of 150 in probability."""
TOO_FAR_AT_ONCE = 0.5
"""Nats between the policy that sampled and the one an update made of it; usual are 0.01 to 0.1."""
NO_GRADIENT = 1e-12
MOSTLY = 0.9
CERTAIN = 3.0
"""Standard deviations a trend must be away from none (Mann-Kendall)."""
FELL_BY = 0.1
"""Success that must be lost within the window before the reward is suspected."""


@dataclass(frozen=True)
class Rule:
    """`bad` for `patience` updates in a row makes a note; `over` for some more makes it possible
    again."""

    name: str
    patience: int
    bad: Callable[[Seen], bool]
    over: Callable[[Seen], bool]
    say: Callable[[Seen], Note]
    warming_up: bool = False
    """Whether it also holds during the supervised warm start."""


def _note(
    seen: Seen, level: Literal["info", "warning"], term: str, text: str, remedy: str = ""
) -> Note:
    return Note(step=seen.step, level=level, text=text, remedy=remedy, term=term)


def _half(value: float) -> float:
    return value / 2


def _more_chance(seen: Seen) -> str:
    """What keeps the policy from settling."""
    if hasattr(seen.settings, "floor"):
        return seen.to("floor", lambda f: min(max(2 * f, 0.06), 0.5))
    return seen.to("entropy", lambda e: max(2 * e, 0.1 if seen.plan else 0.02))


def _not_finite(seen: Seen) -> bool:
    return any(
        not math.isfinite(seen.metrics[name])
        for name in ("loss", "warmup_loss", "gradient_norm")
        if name in seen.metrics
    )


def _finite_again(seen: Seen) -> bool:
    return "gradient_norm" in seen.metrics and not _not_finite(seen)


def _say_not_finite(seen: Seen) -> Note:
    half = seen.to("learning_rate", _half)
    if seen.warming_up:
        rate = seen.preset.warmup.learning_rate if seen.preset.warmup else 0.0
        half = f"warmup.learning_rate to {rate / 2:.3g} (it is {rate:.3g})"
    return _note(
        seen, "warning", "gradient-clipping",
        "The loss or its gradient is not a finite number: this update changed nothing. Usually a "
        "step was too large, or a number left the range of the format that is computed in.",
        f"Set {half}; if it stays, set model.quantization to 'none' or model.device to 'cpu', "
        "which computes in float32.",
    )  # fmt: skip


def _gradient_gone(seen: Seen) -> bool:
    # Where all returns are the same there is nothing to learn: that has a note of its own.
    return seen["gradient_norm"] < NO_GRADIENT and not seen.same_returns >= 1.0


def _gradient_back(seen: Seen) -> bool:
    return seen["gradient_norm"] >= NO_GRADIENT


def _say_gradient_gone(seen: Seen) -> Note:
    return _note(
        seen, "warning", "gradient-clipping",
        "The gradient is 0 although episodes differ: the adapters no longer learn. Either every "
        "term is clipped, or the policy is so certain that its log-probabilities do not move.",
        f"Set {_more_chance(seen)} and start again; if it is so from the first update on, set "
        "model.quantization to 'none'.",
    )  # fmt: skip


def _collapsed(seen: Seen) -> bool:
    return seen["entropy"] < COLLAPSED * math.log(N_ACTIONS) and seen.low_success()


def _say_collapsed(seen: Seen) -> Note:
    return _note(
        seen, "warning", "entropy",
        f"Entropy has collapsed to {seen['entropy']:.2g} of at most {math.log(N_ACTIONS):.2f} "
        f"while success is {seen.success:.2f}: the model is certain of a policy that is not good, "
        "tries nothing else, and so cannot learn better.",
        f"Set {_more_chance(seen)}, or {seen.to('learning_rate', _half)}, and start again: what "
        "has collapsed seldom recovers.",
    )  # fmt: skip


def _far(seen: Seen) -> bool:
    kl = seen["reference_kl"]
    return kl > FAR and (kl > 2 * FAR or seen.low_success())


def _say_far(seen: Seen) -> Note:
    return _note(
        seen, "warning", "reference-policy",
        f"KL to the reference is {seen['reference_kl']:.3g} nats: the model has moved very far "
        "from what it was before training, further than good policies usually need to.",
        f"Set {seen.to('kl', lambda kl: max(2 * kl, 0.02))}, or "
        f"{seen.to('learning_rate', _half)}.",
    )  # fmt: skip


def _too_large(seen: Seen) -> bool:
    # MPO's is the distance that is still to go to its table, not the length of the step.
    return seen["approx_kl"] > TOO_FAR_AT_ONCE and not hasattr(seen.settings, "eta")


def _say_too_large(seen: Seen) -> Note:
    passes = seen.settings.epochs
    fewer = f" or algorithm.epochs to {passes // 2} (it is {passes})" if passes > 1 else ""
    return _note(
        seen, "warning", "approx-kl",
        f"An update moves the policy {seen['approx_kl']:.2g} nats at once: its later passes learn "
        "from moves that the policy would hardly make any more.",
        f"Set {seen.to('learning_rate', _half)}{fewer}.",
    )  # fmt: skip


def _say_equal(seen: Seen) -> Note:
    share = f"In {seen.same_returns:.0%} of the groups all episodes earned the same, so"
    if not isinstance(seen.settings, GroupSettings):
        share = "All episodes of an update earned the same, so"
    if not seen.low_success():
        return _note(
            seen, "info", "all-equal-group",
            f"{share} there is hardly a gradient any more: the task is solved (success "
            f"{seen.success:.2f}).",
            "Stop the run, or set budget.success_rate so that it ends by itself.",
        )  # fmt: skip
    return _note(
        seen, "warning", "all-equal-group",
        f"{share} there is hardly a gradient: nothing was done better than the rest (success "
        f"{seen.success:.2f}).",
        f"To make a difference appear, set {_easier(seen)}.",
    )  # fmt: skip


def _easier(seen: Seen) -> str:
    """What makes some episodes succeed where all fail alike."""
    settings, progress = seen.settings, seen.preset.reward.progress
    if seen.plan:
        ways = f"reward.progress to {max(2 * progress, 0.2):.3g} (it is {progress:.3g}), which "
        ways += "pays for part of the way"
        if seen.preset.warmup is None:
            ways += "; or add a [warmup] table of 10 updates"
    elif settings.random_starts < 0.5:
        ways = f"{seen.to('random_starts', lambda _: 0.5)}, so that some begin near the prize"
    else:
        ways = seen.to("temperature", lambda t: 1.5 * t)
    if isinstance(settings, GroupSettings) and settings.episodes % (2 * settings.group_size) == 0:
        ways += f"; or {seen.to('group_size', lambda size: 2 * size)}"
    return ways


def _say_cut_off(seen: Seen) -> Note:
    most = seen.preset.model.max_tokens
    return _note(
        seen, "warning", "truncated-completion",
        f"{seen['cut_off_share']:.0%} of the completions ran into the limit of {most} tokens: the "
        "model does not end its routes, and what it would have written behind is not rewarded.",
        f"Set model.max_tokens to {min(2 * most, 4096)}; if the routes then only get longer, set "
        f"reward.format to {max(2 * seen.preset.reward.format, 0.2):.3g} (it is "
        f"{seen.preset.reward.format:.3g}) or reward.steps to "
        f"{max(2 * seen.preset.reward.steps, 0.1):.3g}.",
    )  # fmt: skip


def _say_unreadable(seen: Seen) -> Note:
    model, weight = seen.preset.model, seen.preset.reward.format
    what = "model.words to 'moves', so that nothing but moves can be written"
    if model.words == "moves":  # then it ends before the first move
        what = f"reward.format to {max(2 * weight, 0.2):.3g} (it is {weight:.3g})"
    warm = "more warmup.updates" if seen.preset.warmup else "a [warmup] table of 10 updates"
    return _note(
        seen, "warning", "unreadable-completion",
        f"In {seen['unreadable_share']:.0%} of the completions not one move can be read: they earn "
        "next to nothing whatever they say, so there is little to learn from.",
        f"Set {what}, or give the model {warm}.",
    )  # fmt: skip


def _hacked(seen: Seen) -> bool:
    reward, gained = seen.trend("reward")
    success, lost = seen.trend("success")
    return reward > CERTAIN and gained > 0 and success < -CERTAIN and lost <= -FELL_BY


def _honest(seen: Seen) -> bool:
    return seen.trend("success")[0] > -CERTAIN / 3 or seen.trend("reward")[0] < CERTAIN / 3


def _say_hacked(seen: Seen) -> Note:
    rewards = seen.preset.maze.rewards
    if seen.plan:
        rises = {name: seen.trend(name)[1] for name in SIDE_REWARDS}
        part = max(rises, key=lambda name: rises[name]).removeprefix("reward_")
        weight = getattr(seen.preset.reward, part)
        remedy = f"Set reward.{part} to {weight / 2:.3g} (it is {weight:.3g}): it grew most."
    elif rewards is None:
        remedy = "Look at the episodes that earn most and never reach the prize."
    elif rewards.bonus > 0:
        remedy = f"Set maze.rewards.bonus to {rewards.bonus / 2:.3g} (it is {rewards.bonus:.3g})."
    elif rewards.step < 0:
        remedy = (
            f"Set maze.rewards.step to {rewards.step / 2:.3g} (it is {rewards.step:.3g}), or "
            f"maze.rewards.hole to {rewards.hole - 0.5:.3g}: now it pays to fall early."
        )
    else:
        remedy = f"Set maze.rewards.goal to {2 * rewards.goal:.3g} (it is {rewards.goal:.3g})."
    return _note(
        seen, "warning", "reward-design",
        f"The reward rises while success falls (by {-seen.trend('success')[1]:.2f} within {WINDOW} "
        "updates): the model has found something that pays and is not the prize.",
        remedy,
    )  # fmt: skip


def _dropped(seen: Seen) -> bool:
    best, newest = seen.memory.best, seen.memory.windows.get("evaluated", [])[-2:]
    return best >= 0.3 and len(newest) == 2 and max(newest) < 0.5 * best


def _say_dropped(seen: Seen) -> Note:
    return _note(
        seen, "info", "best-adapters",
        f"Success has dropped to {seen.success:.2f}, from {seen.memory.best:.2f} at its best. "
        "Training language models is jumpy; the best adapters are kept and will be the result.",
        f"If it does not come back within ten updates, set {seen.to('learning_rate', _half)}.",
    )  # fmt: skip


def _first_pass(seen: Seen) -> bool:
    if not hasattr(seen.settings, "clip_low"):
        return False
    warmup = seen.preset.warmup
    first = seen.step == (warmup.updates if warmup else 0) + 1
    return seen.settings.epochs == 1 or (first and seen["clip_fraction"] == 0.0)


def _say_first_pass(seen: Seen) -> Note:
    passes = seen.settings.epochs
    when = (
        "With algorithm.epochs = 1 that is so at every update."
        if passes == 1
        else f"Later passes of an update ({passes} here) move both; these metrics are the last's."
    )
    # Only GRPO weighs its groups so that advantages add up to nothing, whatever the lengths.
    cancels = isinstance(seen.settings, LlmGrpoSettings)
    what = "A clip fraction of 0 and a loss near 0 are" if cancels else "A clip fraction of 0 is"
    loss = (
        "advantages cancel out. The gradient is not 0."
        if cancels
        else "the loss is no more than minus the mean advantage: it says nothing about progress."
    )
    return _note(
        seen, "info", "clip",
        f"{what} right here: on the first pass over a batch the policy is still the one that "
        f"played, so every ratio is 1 and {loss} {when}",
    )  # fmt: skip


def _warmed_up(seen: Seen) -> bool:
    warmup = seen.preset.warmup
    return warmup is not None and (seen.step >= warmup.updates or not seen.warming_up)


def _say_warmed_up(seen: Seen) -> Note:
    assert seen.preset.warmup is not None
    updates = seen.preset.warmup.updates
    reached = "" if math.isnan(seen.success) else f" It has brought success to {seen.success:.2f}."
    return _note(
        seen, "info", "warm-start",
        f"The warm start of {updates} supervised updates is over.{reached} From here on the model "
        "learns from its own episodes.",
    )  # fmt: skip


def memory_note(seen: Seen, name: str) -> Note:
    """That the memory whose use is metric `name` is nearly used up."""
    used, limit = seen[name], seen.limits[name]
    device = "cuda" if "gpu_memory_gib" in seen.metrics else "cpu"
    budget = seen.preset.model.tokens_at_once(device)
    where = "GPU memory" if name.startswith("gpu") else "memory"
    smaller = f"Set model.token_budget to {max(64, budget // 2)} (it is {budget}), which does not "
    smaller += "change the result"
    if seen.preset.model.quantization != "nf4":
        smaller += ", or model.quantization to 'nf4'"
    return _note(
        seen, "warning", "micro-batch",
        f"The run has used {used:.1f} of {limit:.1f} GiB of {where}: a longer prompt or another "
        "program could end it.",
        f"{smaller}.",
    )  # fmt: skip


def _never(seen: Seen) -> bool:
    return False


RULES = (
    Rule("warmed-up", 1, _warmed_up, _never, _say_warmed_up, warming_up=True),
    Rule("first-pass", 1, _first_pass, _never, _say_first_pass),
    Rule("not-finite", 1, _not_finite, _finite_again, _say_not_finite, warming_up=True),
    Rule("no-gradient", 2, _gradient_gone, _gradient_back, _say_gradient_gone),
    Rule(
        "equal", 5, lambda s: s.same_returns >= MOSTLY, lambda s: s.same_returns < 0.7, _say_equal
    ),
    Rule(
        "collapsed", 5, _collapsed,
        lambda s: s["entropy"] > 2 * COLLAPSED * math.log(N_ACTIONS) or not s.low_success(),
        _say_collapsed,
    ),
    Rule(
        "far", 3, _far, lambda s: s["reference_kl"] < 0.7 * FAR,
        _say_far,
    ),
    Rule(
        "too-large", 3, _too_large, lambda s: s["approx_kl"] < 0.5 * TOO_FAR_AT_ONCE,
        _say_too_large,
    ),
    Rule(
        "cut-off", 3, lambda s: s["cut_off_share"] >= MOSTLY, lambda s: s["cut_off_share"] < 0.6,
        _say_cut_off,
    ),
    Rule(
        "unreadable", 3, lambda s: s["unreadable_share"] >= 0.5,
        lambda s: s["unreadable_share"] < 0.3, _say_unreadable,
    ),
    Rule("hacked", 1, _hacked, _honest, _say_hacked),
    Rule("dropped", 1, _dropped, lambda s: s.success >= 0.8 * s.memory.best, _say_dropped),
)  # fmt: skip
