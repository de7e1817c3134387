"""What goes wrong with runs of other trainers, by the metrics whose meaning is known.

The conditions are those of Ice Maze's own runs; the remedies speak of settings in words, with the
name that TRL gives them. Success is not known here, so rules that need it are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from engine.learning.events import Note
from engine.llm.diagnosis.evidence import Rule, UpdateView
from engine.llm.diagnosis.mismatch import MISMATCH
from engine.llm.diagnosis.preferences import TEXT_RULES

CERTAIN = 0.02
"""Nats of entropy per token: the likeliest token has about 99.7 % nearly everywhere."""

METRICS = (
    "loss",
    "gradient_norm",
    "equal_groups",
    "entropy",
    "reference_kl",
    "approx_kl",
    "cut_off_share",
    "mismatch",
)
"""What the rules look at."""

SMALLER_RATE = "Halve the learning rate (TRL: learning_rate)"
MORE_KL = "raise the weight of the KL to the reference (TRL: beta)"


def _note(
    view: UpdateView, level: Literal["info", "warning"], term: str, text: str, remedy: str
) -> Note:
    return Note(step=view.step, level=level, text=text, remedy=remedy, term=term)


def _not_finite_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "gradient-clipping",
        "The loss or the norm of the gradient is not a finite number. Usually a step was too "
        "large, or a number left the range of the format that is computed in.",
        f"{SMALLER_RATE}, shorten gradients (max_grad_norm), or compute in bfloat16 or float32 "
        "instead of float16.",
    )  # fmt: skip


def _no_gradient_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "gradient-clipping",
        "The gradient is 0 although completions of a group earned different rewards: the weights "
        "no longer change. Every term is clipped, or no weight is trained.",
        "See that the parameters (or the adapter) need gradients, and that the learning rate's "
        "schedule has not reached 0.",
    )  # fmt: skip


def _equal_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "all-equal-group",
        f"In {view['equal_groups']:.0%} of the groups all completions earned the same reward, so "
        "there is hardly a gradient: the task is too hard or too easy, or all completions are the "
        "same.",
        "Mix in prompts of another difficulty, compare more completions of a prompt (TRL: "
        "num_generations), sample at a higher temperature, or pay for part of an answer.",
    )  # fmt: skip


def _certain_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "entropy",
        f"Entropy has fallen to {view['entropy']:.2g} nats per token: the model is all but certain "
        "of every token, tries nothing else, and learns little more.",
        f"If the reward is not yet what you want: {SMALLER_RATE[0].lower()}{SMALLER_RATE[1:]}, "
        f"{MORE_KL}, or clip higher upwards (epsilon_high), and start again.",
    )  # fmt: skip


def _far_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "reference-policy",
        f"KL to the reference is {view['reference_kl']:.2g} nats per token: what is written now, "
        "the model would hardly ever have written before training.",
        f"{SMALLER_RATE}, or {MORE_KL}; read some completions: is that what the reward should "
        "pay for?",
    )  # fmt: skip


def _too_large_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "approx-kl",
        f"An update moves the policy {view['approx_kl']:.2g} nats at once: its later passes learn "
        "from completions that the policy would hardly write any more.",
        f"{SMALLER_RATE}, or learn less often from the same batch (TRL: num_iterations).",
    )  # fmt: skip


def _cut_off_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "truncated-completion",
        f"{view['cut_off_share']:.0%} of the completions ran into the token limit: what the model "
        "would have written behind it is not rewarded.",
        "Raise the limit (TRL: max_completion_length), ask for shorter answers, or leave "
        "completions that were cut off out of the loss (mask_truncated_completions).",
    )  # fmt: skip


def _mismatched_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "training-inference-mismatch",
        f"Sampler and training pass differ by {view['mismatch']:.2g} in log π of a token on "
        "average: what is learned from was drawn from another policy.",
        "Correct it by importance sampling (TRL: vllm_importance_sampling_correction), or have "
        "both compute in the same precision.",
    )  # fmt: skip


_NOTES = {
    "not-finite": _not_finite_note,
    "no-gradient": _no_gradient_note,
    "equal": _equal_note,
    "far": _far_note,
    "too-large": _too_large_note,
    "cut-off": _cut_off_note,
    MISMATCH.name: _mismatched_note,
}

FOREIGN_RULES = (
    *(replace(rule, note=_NOTES[rule.name]) for rule in TEXT_RULES if rule.name in _NOTES),
    Rule(
        "certain", 5, lambda u: u["entropy"] < CERTAIN, lambda u: u["entropy"] > 2 * CERTAIN,
        _certain_note,
    ),
)  # fmt: skip
"""The rules for text, with words of their own, and one about entropy."""
