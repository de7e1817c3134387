"""Which settings go together when a language model writes free text."""

from __future__ import annotations

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.config.llm import GroupSettings, LlmSettings
from engine.config.preset import LlmPreset
from engine.config.rewards import PlanRewards
from engine.core.errors import UserError
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.tasks.text.features import words


def check_text(preset: LlmPreset, algorithm: LlmAlgorithm[LlmSettings]) -> None:
    """Raise UserError, naming the key, for settings that cannot go together."""
    task, settings = preset.text, preset.algorithm
    assert task is not None and isinstance(settings, LlmSettings)
    if "text" not in algorithm.policies:
        able = [one.name for one in LANGUAGE_MODELS.all() if "text" in one.policies]
        raise UserError(
            f"algorithm.name: {algorithm.name} does not train on preferences; expected one of "
            f"{', '.join(able)}."
        )
    for key in ("random_starts", "uniform"):
        if getattr(settings, key):
            raise UserError(f"algorithm.{key} is for mazes; remove it from a preset with [text].")
    if isinstance(settings, GroupSettings) and settings.credit != "episode":
        raise UserError('algorithm.credit compares moves; with [text] expected "episode".')
    if preset.warmup is not None:
        raise UserError("warmup shows shortest routes, and free text has none; remove [warmup].")
    if preset.reward != PlanRewards():
        raise UserError("reward pays for routes; here preferences do: remove [reward].")
    if settings.kl_reference != "base":
        raise UserError('algorithm.kl_reference: with [text] expected "base": there is no map.')
    if preset.budget.success_rate is not None:
        raise UserError(
            "budget.success_rate: free text has no success; expected updates or seconds."
        )
    if task.rule == "word" and words(task.word) != [task.word.lower()]:
        raise UserError(f"text.word is {task.word!r}; expected one word, without spaces or marks.")
