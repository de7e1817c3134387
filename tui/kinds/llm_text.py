"""Runs of a language model that writes free text and learns from preferences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from engine.llm.tasks.text.preference_judge import in_words
from tui.kinds.llm import LlmKind
from tui.kinds.views import Figure, Level, View, from_zero
from tui.model.snapshot import Snapshot
from tui.ui.fact import Fact
from tui.ui.text import clean, duration, percent, si, signed

COIN = 0.5


def _chance(snapshot: Snapshot) -> list[Level]:
    return [Level("a coin", "preference", COIN)]


def _untouched(snapshot: Snapshot) -> list[Level]:
    return [Level("base model", "base-model", 0.0)]


TEXT_VIEWS = (
    View(
        "Score",
        (
            Figure("reward_model_score", "by the reward model", "reward-model"),
            Figure("true_score", "by the rule itself", "preference"),
        ),
        _untouched,
    ),
    View(
        "Agreement",
        (
            Figure("judge_agreement", "on new pairs", "over-optimisation"),
            Figure("fit_agreement", "on the pairs it was fitted to", "bradley-terry"),
            Figure("reward_model_accuracy", "with the rule, all pairs", "reward-model"),
        ),
        _chance,
        (0.0, 1.0),
    ),
    from_zero("Length", Figure("words", "words of a completion", "completion")),
    View(
        "Variety",
        (
            Figure("distinct_2", "distinct-2", "distinct-n"),
            Figure("cut_off_share", "cut off at the token limit", "truncated-completion"),
        ),
        y_range=(0.0, 1.0),
    ),
    from_zero("KL", Figure("reference_kl", "to the base model, per token", "adapter-off")),
    from_zero("Entropy", Figure("entropy", "entropy of π", "entropy")),
    from_zero(
        "Gradient",
        Figure("gradient_norm", "gradient norm", "gradient-clipping"),
        Figure("advantage_std", "spread of advantages", "group-advantage"),
    ),
    from_zero(
        "Seconds",
        Figure("seconds_sampling", "sampling", "tokens-per-second"),
        Figure("seconds_training", "training", "tokens-per-second"),
    ),
)


class TextKind(LlmKind):
    """Free text, judged by a person or a rule in place of a maze."""

    writes = "writes free text"
    views: ClassVar[tuple[View, ...]] = TEXT_VIEWS
    has_maze = False
    asks_preferences = True

    @property
    def waits_for_answers(self) -> bool:
        assert self.preset.text is not None
        return self.preset.text.judge == "you"

    @property
    def judge(self) -> str:
        text = self.preset.text
        assert text is not None
        who = "you prefer" if text.judge == "you" else f"a rule prefers {in_words(text)}"
        return f"{who}; asked: {clean(text.prompts[0])}"

    def final_facts(self, final: Mapping[str, Any]) -> list[Fact]:
        """The reward model beside whoever judges."""
        metrics, nan = final["metrics"], math.nan
        agreed = metrics.get("judge_agreement", nan)
        return [
            Fact("preferences", "preference", f"{metrics.get('preferences', 0):.0f}"),
            Fact("score", "reward-model", signed(metrics.get("reward_model_score", nan))),
            Fact("agreement", "over-optimisation", f"{percent(agreed)} of the newest pairs"),
            Fact("updates", "update", si(final["updates"])),
            Fact("trained", "", duration(final["seconds"])),
        ]
