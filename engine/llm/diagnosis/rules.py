"""What is wrong with a run, and what to change: one rule for each thing that goes wrong.

A rule looks at one update and says "triggered", "cleared", or neither; whether its note is due is
for `engine.llm.diagnosis.monitor` to decide. No torch, no clock, no random numbers: the same
metrics give the same notes.
"""

from __future__ import annotations

import math
from typing import Literal

from engine.config.llm import GroupSettings
from engine.learning.events import Note
from engine.llm.diagnosis.evidence import SIDE_REWARDS, WINDOW, Rule, UpdateView
from engine.llm.diagnosis.mismatch import MISMATCH

N_ACTIONS = 4
"""Moves of a maze. In Gymnasium's worlds it may be another number; its logarithm hardly differs."""
COLLAPSED = 0.05
"""Share of log A: entropy below means that one move has about 99 % everywhere."""
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


def _note(
    view: UpdateView, level: Literal["info", "warning"], term: str, text: str, remedy: str = ""
) -> Note:
    return Note(step=view.step, level=level, text=text, remedy=remedy, term=term)


def _half_the_rate(view: UpdateView) -> str:
    return view.to("learning_rate", view.settings.learning_rate, lambda rate: rate / 2)


def _more_chance(view: UpdateView) -> str:
    """What keeps the policy from settling."""
    if improvement := view.algorithm.improvement(view.settings):
        return view.to("floor", improvement.floor, lambda f: min(max(2 * f, 0.06), 0.5))
    least = 0.1 if view.routes else 0.02
    return view.to("entropy", view.settings.entropy, lambda e: max(2 * e, least))


def _not_finite(view: UpdateView) -> bool:
    return any(
        not math.isfinite(view.metrics[name])
        for name in ("loss", "warmup_loss", "gradient_norm")
        if name in view.metrics
    )


def _finite_again(view: UpdateView) -> bool:
    return "gradient_norm" in view.metrics and not _not_finite(view)


def _not_finite_note(view: UpdateView) -> Note:
    half = _half_the_rate(view)
    if view.warming_up:
        rate = view.preset.warmup.learning_rate if view.preset.warmup else 0.0
        half = f"warmup.learning_rate to {rate / 2:.3g} (it is {rate:.3g})"
    return _note(
        view, "warning", "gradient-clipping",
        "The loss or its gradient is not a finite number: this update changed nothing. Usually a "
        "step was too large, or a number left the range of the format that is computed in.",
        f"Set {half}; if it stays, set model.quantization to 'none' or model.device to 'cpu', "
        "which computes in float32.",
    )  # fmt: skip


def _gradient_gone(view: UpdateView) -> bool:
    # Where all returns are the same there is nothing to learn: that has a note of its own.
    return view["gradient_norm"] < NO_GRADIENT and not view.same_returns >= 1.0


def _gradient_back(view: UpdateView) -> bool:
    return view["gradient_norm"] >= NO_GRADIENT


def _gradient_gone_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "gradient-clipping",
        "The gradient is 0 although episodes differ: the adapters no longer learn. Either every "
        "term is clipped, or the policy is so certain that its log-probabilities do not move.",
        f"Set {_more_chance(view)} and start again; if it is so from the first update on, set "
        "model.quantization to 'none'.",
    )  # fmt: skip


def _collapsed(view: UpdateView) -> bool:
    return view["entropy"] < COLLAPSED * math.log(N_ACTIONS) and view.low_success()


def _collapsed_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "entropy",
        f"Entropy has collapsed to {view['entropy']:.2g} of at most {math.log(N_ACTIONS):.2f} "
        f"while success is {view.success:.2f}: the model is certain of a policy that is not good, "
        "tries nothing else, and so cannot learn better.",
        f"Set {_more_chance(view)}, or {_half_the_rate(view)}, and start again: what "
        "has collapsed seldom recovers.",
    )  # fmt: skip


def _far(view: UpdateView) -> bool:
    kl = view["reference_kl"]
    return kl > FAR and (kl > 2 * FAR or view.low_success())


def _held_back(view: UpdateView) -> str:
    """What holds the policy nearer to the reference."""
    settings = view.settings
    estimator = settings.estimator(moves_known=not view.routes and view.preset.text is None)
    if settings.kl and estimator == "k1" and settings.kl_in == "loss":
        return "algorithm.kl_in to 'reward' (k1 in the loss pulls nowhere on average)"
    return view.to("kl", settings.kl, lambda kl: max(2 * kl, 0.02))


def _far_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "reference-policy",
        f"KL to the reference is {view['reference_kl']:.3g} nats: the model has moved very far "
        "from what it was before training, further than good policies usually need to.",
        f"Set {_held_back(view)}, or {_half_the_rate(view)}.",
    )  # fmt: skip


def _too_large(view: UpdateView) -> bool:
    # MPO's is the distance that is still to go to its table, not the length of the step.
    return view["approx_kl"] > TOO_FAR_AT_ONCE and not view.algorithm.fits_table


def _too_large_note(view: UpdateView) -> Note:
    passes = view.settings.epochs
    fewer = f" or algorithm.epochs to {passes // 2} (it is {passes})" if passes > 1 else ""
    return _note(
        view, "warning", "approx-kl",
        f"An update moves the policy {view['approx_kl']:.2g} nats at once: its later passes learn "
        "from moves that the policy would hardly make any more.",
        f"Set {_half_the_rate(view)}{fewer}.",
    )  # fmt: skip


def _equal_note(view: UpdateView) -> Note:
    share = f"In {view.same_returns:.0%} of the groups all episodes earned the same, so"
    if not isinstance(view.settings, GroupSettings):
        share = "All episodes of an update earned the same, so"
    if not view.low_success():
        return _note(
            view, "info", "all-equal-group",
            f"{share} there is hardly a gradient any more: the task is solved (success "
            f"{view.success:.2f}).",
            "Stop the run, or set budget.success_rate so that it ends by itself.",
        )  # fmt: skip
    return _note(
        view, "warning", "all-equal-group",
        f"{share} there is hardly a gradient: nothing was done better than the rest (success "
        f"{view.success:.2f}).",
        f"To make a difference appear, set {_easier(view)}.",
    )  # fmt: skip


def _easier(view: UpdateView) -> str:
    """What makes some episodes succeed where all fail alike."""
    settings, progress = view.settings, view.preset.reward.progress
    if view.routes:
        ways = f"reward.progress to {max(2 * progress, 0.2):.3g} (it is {progress:.3g}), which "
        ways += "pays for part of the way"
        if view.preset.warmup is None:
            ways += "; or add a [warmup] table of 10 updates"
    elif settings.random_starts < 0.5:
        ways = view.to("random_starts", settings.random_starts, lambda _: 0.5)
        ways += ", so that some begin near the prize"
    else:
        ways = view.to("temperature", view.settings.temperature, lambda t: 1.5 * t)
    if isinstance(settings, GroupSettings) and settings.episodes % (2 * settings.group_size) == 0:
        ways += f"; or {view.to('group_size', settings.group_size, lambda size: 2 * size)}"
    return ways


def _cut_off_note(view: UpdateView) -> Note:
    most = view.preset.model.max_tokens
    return _note(
        view, "warning", "truncated-completion",
        f"{view['cut_off_share']:.0%} of the completions ran into the limit of {most} tokens: the "
        "model does not end its routes, and what it would have written behind is not rewarded.",
        f"Set model.max_tokens to {min(2 * most, 4096)}; if the routes then only get longer, set "
        f"reward.format to {max(2 * view.preset.reward.format, 0.2):.3g} (it is "
        f"{view.preset.reward.format:.3g}) or reward.steps to "
        f"{max(2 * view.preset.reward.steps, 0.1):.3g}.",
    )  # fmt: skip


def _unreadable_note(view: UpdateView) -> Note:
    model, weight = view.preset.model, view.preset.reward.format
    what = "model.words to 'moves', so that nothing but moves can be written"
    if model.words == "moves":  # then it ends before the first move
        what = f"reward.format to {max(2 * weight, 0.2):.3g} (it is {weight:.3g})"
    warm = "more warmup.updates" if view.preset.warmup else "a [warmup] table of 10 updates"
    return _note(
        view, "warning", "unreadable-completion",
        f"In {view['unreadable_share']:.0%} of the completions not one move can be read: they earn "
        "next to nothing whatever they say, so there is little to learn from.",
        f"Set {what}, or give the model {warm}.",
    )  # fmt: skip


def _hacked(view: UpdateView) -> bool:
    reward, gained = view.trend("reward")
    success, lost = view.trend("success")
    return reward > CERTAIN and gained > 0 and success < -CERTAIN and lost <= -FELL_BY


def _honest(view: UpdateView) -> bool:
    return view.trend("success")[0] > -CERTAIN / 3 or view.trend("reward")[0] < CERTAIN / 3


def _hacked_note(view: UpdateView) -> Note:
    rewards = view.preset.maze.rewards
    if view.routes:
        rises = {name: view.trend(name)[1] for name in SIDE_REWARDS}
        part = max(rises, key=lambda name: rises[name]).removeprefix("reward_")
        weight = getattr(view.preset.reward, part)
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
        view, "warning", "reward-design",
        f"The reward rises while success falls (by {-view.trend('success')[1]:.2f} within {WINDOW} "
        "updates): the model has found something that pays and is not the prize.",
        remedy,
    )  # fmt: skip


def _dropped(view: UpdateView) -> bool:
    best, newest = view.memory.best, view.memory.windows.get("evaluated", [])[-2:]
    return best >= 0.3 and len(newest) == 2 and max(newest) < 0.5 * best


def _dropped_note(view: UpdateView) -> Note:
    return _note(
        view, "info", "best-adapters",
        f"Success has dropped to {view.success:.2f}, from {view.memory.best:.2f} at its best. "
        "Training language models is jumpy; the best adapters are kept and will be the result.",
        f"If it does not come back within ten updates, set {_half_the_rate(view)}.",
    )  # fmt: skip


def _first_pass(view: UpdateView) -> bool:
    if view.algorithm.clip(view.settings) is None:
        return False
    warmup = view.preset.warmup
    first = view.step == (warmup.updates if warmup else 0) + 1
    return view.settings.epochs == 1 or (first and view["clip_fraction"] == 0.0)


def _first_pass_note(view: UpdateView) -> Note:
    passes = view.settings.epochs
    when = (
        "With algorithm.epochs = 1 that is so at every update."
        if passes == 1
        else f"Later passes of an update ({passes} here) move both; these metrics are the last's."
    )
    cancels = view.algorithm.group_centred
    what = "A clip fraction of 0 and a loss near 0 are" if cancels else "A clip fraction of 0 is"
    loss = "advantages cancel out. The gradient is not 0."
    if not cancels:
        surrogate = view.algorithm.surrogate(view.settings)
        loss = f"the loss is no more than {surrogate.at_first}: it says nothing about progress."
    return _note(
        view, "info", "clip",
        f"{what} right here: on the first pass over a batch the policy is still the one that "
        f"played, so every ratio is 1 and {loss} {when}",
    )  # fmt: skip


def _warmed_up(view: UpdateView) -> bool:
    warmup = view.preset.warmup
    return warmup is not None and (view.step >= warmup.updates or not view.warming_up)


def _warmed_up_note(view: UpdateView) -> Note:
    assert view.preset.warmup is not None
    updates = view.preset.warmup.updates
    reached = "" if math.isnan(view.success) else f" It has brought success to {view.success:.2f}."
    return _note(
        view, "info", "warm-start",
        f"The warm start of {updates} supervised updates is over.{reached} From here on the model "
        "learns from its own episodes.",
    )  # fmt: skip


def memory_note(view: UpdateView, name: str) -> Note:
    """A note that the memory whose use is metric `name` is nearly used up."""
    used, limit = view[name], view.limits[name]
    device = "cuda" if "gpu_memory_gib" in view.metrics else "cpu"
    budget = view.preset.model.tokens_at_once(device)
    where = "GPU memory" if name.startswith("gpu") else "memory"
    smaller = f"Set model.token_budget to {max(64, budget // 2)} (it is {budget}), which does not "
    smaller += "change the result"
    if view.preset.model.gradient_checkpointing != "on":
        smaller += ", nor does model.gradient_checkpointing = 'on'"
    if view.preset.model.quantization != "nf4":
        smaller += ", or model.quantization to 'nf4'"
    return _note(
        view, "warning", "micro-batch",
        f"The run has used {used:.1f} of {limit:.1f} GiB of {where}: a longer prompt or another "
        "program could end it.",
        f"{smaller}.",
    )  # fmt: skip


def _never(view: UpdateView) -> bool:
    return False


RULES = (
    Rule("warmed-up", 1, _warmed_up, _never, _warmed_up_note, warming_up=True),
    Rule("first-pass", 1, _first_pass, _never, _first_pass_note),
    Rule("not-finite", 1, _not_finite, _finite_again, _not_finite_note, warming_up=True),
    Rule("no-gradient", 2, _gradient_gone, _gradient_back, _gradient_gone_note),
    Rule(
        "equal", 5, lambda u: u.same_returns >= MOSTLY, lambda u: u.same_returns < 0.7, _equal_note
    ),
    Rule(
        "collapsed", 5, _collapsed,
        lambda u: u["entropy"] > 2 * COLLAPSED * math.log(N_ACTIONS) or not u.low_success(),
        _collapsed_note,
    ),
    Rule(
        "far", 3, _far, lambda u: u["reference_kl"] < 0.7 * FAR,
        _far_note,
    ),
    Rule(
        "too-large", 3, _too_large, lambda u: u["approx_kl"] < 0.5 * TOO_FAR_AT_ONCE,
        _too_large_note,
    ),
    MISMATCH,
    Rule(
        "cut-off", 3, lambda u: u["cut_off_share"] >= MOSTLY, lambda u: u["cut_off_share"] < 0.6,
        _cut_off_note,
    ),
    Rule(
        "unreadable", 3, lambda u: u["unreadable_share"] >= 0.5,
        lambda u: u["unreadable_share"] < 0.3, _unreadable_note,
    ),
    Rule("hacked", 1, _hacked, _honest, _hacked_note),
    Rule("dropped", 1, _dropped, lambda u: u.success >= 0.8 * u.memory.best, _dropped_note),
)  # fmt: skip
