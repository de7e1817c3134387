"""What the command line says of runs that write text: there is no success."""

from __future__ import annotations

import math
from typing import Any

from tui.ui.text import clean, number, percent, signed


def writes_text(figures: dict[str, Any]) -> bool:
    """Whether these last figures are those of such a run."""
    return "distinct_2" in figures["metrics"] or told_by_others(figures)


def told_by_others(figures: dict[str, Any]) -> bool:
    """Whether they are what another trainer has told."""
    return bool(figures.get("external"))


def reward_words(figures: dict[str, Any]) -> str:
    """How a run of another trainer stands, in a few words."""
    metrics: dict[str, float] = figures["metrics"]
    said = [f"reward {signed(metrics.get('reward', math.nan))}"]
    for name, words in (("reference_kl", "KL"), ("entropy", "entropy"), ("loss", "loss")):
        if name in metrics:
            said.append(f"{words} {number(metrics[name])}")
    return "  ".join(said)


def score_words(figures: dict[str, Any]) -> str:
    """How it stands, in a few words for a line of progress."""
    if told_by_others(figures):
        return reward_words(figures)
    metrics: dict[str, float] = figures["metrics"]
    score = signed(metrics.get("reward_model_score", math.nan))
    agreed = percent(metrics.get("judge_agreement", math.nan))
    return f"score {score}  right about new pairs {agreed}"


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """The last figures, a line each."""
    if told_by_others(figures):
        return [f"  {clean(name):<40} {number(v):>9}" for name, v in figures["metrics"].items()]
    metrics: dict[str, float] = figures["metrics"]
    nan = math.nan
    lines = [
        f"  preferences      {metrics.get('preferences', 0.0):>8.0f}   (answers it is made from)",
        f"  score            {signed(metrics.get('reward_model_score', nan)):>8}   (by the reward "
        "model; 0 is the untouched model)",
        f"  right about      {percent(metrics.get('judge_agreement', nan)):>8}   (of the newest "
        "pairs, before it knew the answers)",
        f"  words            {number(metrics.get('words', nan)):>8}   (at first "
        f"{number(metrics.get('base_words', nan))})",
        f"  distinct-2       {number(metrics.get('distinct_2', nan)):>8}   (at first "
        f"{number(metrics.get('base_distinct_2', nan))})",
    ]
    if "true_score" in metrics:
        lines.append(
            f"  by the rule      {number(metrics['true_score']):>8}   (at first "
            f"{number(metrics.get('base_true_score', nan))})"
        )
    return lines
