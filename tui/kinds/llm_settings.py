"""Which settings of a preset for a language model a form shows, and which of them first."""

from __future__ import annotations

MAIN = frozenset(
    {
        "model.name",
        "model.quantization",
        "model.observation_text",
        "model.lora.rank",
        "algorithm.learning_rate",
        "algorithm.learning_rate.start",
        "algorithm.learning_rate.end",
        "algorithm.learning_rate.steps",
        "algorithm.episodes",
        "algorithm.group_size",
        "algorithm.kl",
        "algorithm.entropy",
        "text.judge",
        "text.rule",
        "text.word",
        "text.pairs",
        "text.every",
        "model.max_tokens",
        "algorithm.temperature",
        "budget.updates",
        "budget.success_rate",
        "run.seed",
        "maze.slip",
    }
)
"""Those that are not folded away."""


def matters(key: str) -> bool:
    """Whether it is shown at once."""
    return key in MAIN


MEANINGS = {
    "environment steps": "updates",
    "at step 0": "at update 0",
    "from step `steps`": "from update `steps`",
    "steps per second": "updates per second",
    "TD steps, sweeps or optimizer batches": "how often it learns from a batch of episodes",
}
"""What schedules, pace and budget count here, by what their descriptions say of tables."""


def meaning(text: str) -> str:
    """What a setting means for a language model, whose clock is the update."""
    for words, instead in MEANINGS.items():
        text = text.replace(words, instead)
    return text
