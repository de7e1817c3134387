"""Checks of presets for language models that types cannot make: which settings go together."""

from __future__ import annotations

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.config.llm import GroupSettings, LlmSettings
from engine.config.preset import LlmPreset
from engine.config.text import TextTask
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.mdp import MDP
from engine.env.random_sets import held_out_mazes, train_mazes
from engine.learning.algorithm import Algorithm
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.tasks.route_search import is_deterministic
from engine.llm.tasks.text.features import words
from engine.presets.applicability import check_applicable


def check_together(preset: LlmPreset, algorithm: Algorithm) -> None:
    """Raise UserError, naming the key, for settings that cannot go together."""
    assert isinstance(algorithm, LlmAlgorithm)
    settings, model, maze = preset.algorithm, preset.model, preset.maze
    assert isinstance(settings, LlmSettings)
    if (preset.text is None) == (model.policy == "text"):
        raise UserError(
            f"model.policy is {model.policy!r}; with a [text] table (and without [maze]) expected "
            '"text", without one "action" or "route".'
        )
    if isinstance(settings, GroupSettings) and settings.episodes % settings.group_size:
        raise UserError(
            f"algorithm.episodes is {settings.episodes}; expected a multiple of "
            f"algorithm.group_size, {settings.group_size}."
        )
    if preset.text is not None:
        _check_algorithm_of_text(algorithm)
    elif model.policy not in algorithm.policies:
        why = f": {algorithm.why_not}" if algorithm.why_not else ""
        raise UserError(
            f"model.policy: {algorithm.name} trains {' and '.join(algorithm.policies)} policies "
            f"only, not {model.policy!r}{why}."
        )
    check_applicable(preset, algorithm)
    if preset.text is not None:
        _check_text(preset.text)
    elif model.policy == "route":
        _check_routes_can_be_shown(preset)
    if maze.gymnasium is not None and _mdps(preset)[0].noise:
        raise UserError(
            f"maze.gymnasium: {maze.gymnasium} adds noise to its rewards, which only tables learn "
            "from here; remove the [model] table."
        )
    if maze.train is not None:
        _check_training_mazes(preset, settings, algorithm)


def _check_training_mazes(
    preset: LlmPreset, settings: LlmSettings, algorithm: LlmAlgorithm[LlmSettings]
) -> None:
    maze = preset.maze
    assert maze.train is not None
    if maze.revisit:
        raise UserError(
            "maze.revisit is for maps that follow one another (maze.changes); the mazes of "
            "maze.train are all played anyway: remove it."
        )
    count = len(train_mazes(maze))
    held_out_mazes(maze)
    per_update = maze.train.per_update or count
    if per_update > count:
        raise UserError(
            f"maze.train.per_update is {per_update}, but there are {count} training mazes."
        )
    groups = settings.episodes // algorithm.group_size(settings)
    if groups % per_update and groups != 1:
        raise UserError(
            f"algorithm.episodes makes {groups} groups, which {per_update} mazes an update "
            "cannot share evenly; expected a multiple of maze.train.per_update × group_size."
        )
    if groups < per_update and isinstance(settings, GroupSettings):
        raise UserError(
            f"algorithm.episodes makes {groups} groups for {per_update} mazes an update; "
            "expected at least one group a maze."
        )


def _check_algorithm_of_text(algorithm: LlmAlgorithm[LlmSettings]) -> None:
    if "text" not in algorithm.policies:
        able = [one.name for one in LANGUAGE_MODELS.all() if "text" in one.policies]
        raise UserError(
            f"algorithm.name: {algorithm.name} does not train on preferences; expected one of "
            f"{', '.join(able)}."
        )


def _check_text(task: TextTask) -> None:
    if task.rule == "word" and words(task.word) != [task.word.lower()]:
        raise UserError(f"text.word is {task.word!r}; expected one word, without spaces or marks.")


def _check_routes_can_be_shown(preset: LlmPreset) -> None:
    if preset.warmup is not None and not all(is_deterministic(mdp) for mdp in _mdps(preset)):
        raise UserError(
            "warmup: a route policy is shown shortest routes, which there are only where every "
            "move does what it says; set maze.slip to 0, or remove [warmup]."
        )


def _mdps(preset: LlmPreset) -> list[MDP]:
    maze = preset.maze
    mazes = train_mazes(maze) if maze.train is not None else [build_mazes(maze)[0][1]]
    return [build_mdp(maze) for maze in mazes]
