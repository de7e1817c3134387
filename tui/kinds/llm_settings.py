"""Which settings of a preset for a language model a form shows, and which of them first."""

from __future__ import annotations

from engine.config.preset import LlmPreset

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
NEVER = frozenset(
    {
        "run.agents",  # there is one model
        "budget.env_steps",  # its clock is the update
        "budget.episodes",
        "maze.wind",
        "maze.observation",
        "model.policy",  # what the preset is about
    }
)
ACTION_ONLY = frozenset(
    {
        "algorithm.uniform",
        "algorithm.random_starts",
        "algorithm.credit",
        "algorithm.kl_reference",  # the map of a plan policy never changes
        "maze.revisit",
    }
)
PLAN_ONLY = frozenset({"model.max_tokens", "model.words", "warmup.routes"})


NOT_IN_TEXT = (
    "maze.", "reward.", "warmup.", "model.words", "model.observation_text", "budget.success_rate",
    "algorithm.uniform", "algorithm.random_starts", "algorithm.credit", "algorithm.gamma",
    "algorithm.kl_reference", "algorithm.decay",
)  # fmt: skip
"""What free text has no use for."""


def applies(preset: LlmPreset, key: str) -> bool:
    """Whether changing it can have an effect, and is not what the preset is about."""
    if key in NEVER or key == "maze.test.per_update":
        return False
    if preset.text is not None:
        return not key.startswith(NOT_IN_TEXT)
    if key == "maze.revisit" and preset.maze.train is not None:
        return False
    if preset.model.policy == "action":
        return key not in PLAN_ONLY and not key.startswith("reward.")
    return key not in ACTION_ONLY and not key.startswith("algorithm.uniform.")


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
