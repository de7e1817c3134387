"""What goes wrong when text is paid for by a reward model: causes and remedies.

The reward model is a stand-in for whoever judges. Pushed far enough, a policy finds completions
that the stand-in likes and the judge does not: over-optimisation (Gao, Schulman and Hilton 2023),
Goodhart's law at work. It shows only where the judge is asked about what is written now.
"""

from __future__ import annotations

from typing import Literal

from engine.learning.events import Note
from engine.llm.diagnosis.evidence import Rule, UpdateView
from engine.llm.diagnosis.rules import RULES

GENERAL = ("first-pass", "not-finite", "no-gradient", "too-large", "mismatch")
"""Rules that hold for every policy."""
FAR = 0.75
"""Nats of KL per token: e^(0.75 · 20) is a factor of three million for a sentence."""
ALIKE = 0.5
"""Share of the distinct word pairs the untouched model writes."""
CHANCE = 0.5
"""Agreement of a model that knows nothing."""
FEWEST = 4
"""Answers below which agreement says nothing."""
RISEN = 0.5
"""Units of reward: a preference of 62 %."""


def overoptimised(
    step: int, agreed: int, judged: int, before: float, now: float, kl: float
) -> Note | None:
    """A note when the score has risen between two rounds of questions while the reward model is
    right about the new pairs no more often than a coin.

    `agreed` of `judged` answers; `before` and `now`: mean score at the first and the last update
    between the rounds, by the same reward model.
    """
    if judged < FEWEST or agreed > CHANCE * judged or not now - before >= RISEN:
        return None
    return Note(
        step=step,
        level="warning",
        text=f"Reward hacking: the reward model's score rose from {before:+.2f} to {now:+.2f}, but "
        f"on new pairs it was right about only {agreed} of {judged} answers. The policy has found "
        "what the model likes, which is no longer what the judge likes.",
        remedy="Ask more often (text.every), or about more pairs (text.pairs), so that the model "
        f"learns of the trick; or hold on to the base model with algorithm.kl = "
        f"{max(2 * kl, 0.05):.3g} (it is {kl:.3g}).",
        term="over-optimisation",
    )


def _note(
    view: UpdateView, level: Literal["info", "warning"], term: str, text: str, remedy: str
) -> Note:
    return Note(step=view.step, level=level, text=text, remedy=remedy, term=term)


def _more_kl(view: UpdateView) -> str:
    return view.to("kl", view.settings.kl, lambda kl: max(2 * kl, 0.05))


def _more_entropy(view: UpdateView) -> str:
    return view.to("entropy", view.settings.entropy, lambda e: max(2 * e, 0.01))


def _half_the_rate(view: UpdateView) -> str:
    return view.to("learning_rate", view.settings.learning_rate, lambda rate: rate / 2)


def _far_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "reference-policy",
        f"KL to the base model is {view['reference_kl']:.2g} nats per token: what is written now "
        "the base model would hardly ever write, and the reward model has seen little like it.",
        f"Set {_more_kl(view)}, or {_half_the_rate(view)}.",
    )  # fmt: skip


def _alike_note(view: UpdateView) -> Note:
    return _note(
        view, "warning", "distinct-n",
        f"The completions become alike: {view['distinct_2']:.0%} of their word pairs differ, "
        f"{view['base_distinct_2']:.0%} did at the start. Soon there is nothing left to compare.",
        f"Set {_more_kl(view)}, or {_more_entropy(view)}.",
    )  # fmt: skip


def _cut_off_note(view: UpdateView) -> Note:
    return _note(
        view, "info", "truncated-completion",
        f"{view['cut_off_share']:.0%} of the completions run into the limit of "
        f"{view.preset.model.max_tokens} tokens and stop in mid-sentence; who judges sees that.",
        f"Set model.max_tokens to {min(2 * view.preset.model.max_tokens, 4096)}, or ask for "
        "something shorter in text.prompts.",
    )  # fmt: skip


def _equal_note(view: UpdateView) -> Note:
    return _note(
        view, "info", "all-equal-group",
        f"In {view['equal_groups']:.0%} of the groups all completions got the same score, so there "
        "is hardly a gradient: they are the same, or the reward model has no opinion yet.",
        "Answer without ties where you can; if all completions are the same, start again with "
        "a smaller learning rate.",
    )  # fmt: skip


TEXT_RULES = (
    *(rule for rule in RULES if rule.name in GENERAL),
    Rule("far", 2, lambda u: u["reference_kl"] > FAR, lambda u: u["reference_kl"] < 0.7 * FAR,
         _far_note),
    Rule("alike", 2, lambda u: u["distinct_2"] < ALIKE * u["base_distinct_2"],
         lambda u: u["distinct_2"] > 0.7 * u["base_distinct_2"], _alike_note),
    Rule("cut-off", 3, lambda u: u["cut_off_share"] >= 0.9, lambda u: u["cut_off_share"] < 0.6,
         _cut_off_note),
    Rule("equal", 3, lambda u: u["equal_groups"] >= 0.9, lambda u: u["equal_groups"] < 0.7,
         _equal_note),
)  # fmt: skip
