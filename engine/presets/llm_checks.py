"""What types cannot say about a preset for language models: which settings go together."""

from __future__ import annotations

from engine.config.llm import GroupSettings, LlmSettings
from engine.config.preset import LlmPreset
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.mdp import MDP
from engine.env.random_sets import held_out_mazes, train_mazes
from engine.learning.algorithm import Algorithm
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.tasks.route_search import is_deterministic
from engine.presets.text_checks import check_text


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
    if preset.run.agents != 1:
        raise UserError(
            f"run.agents is {preset.run.agents}; a language model is trained once: set it to 1, "
            "and use `icemaze sweep --seeds` for several."
        )
    if isinstance(settings, GroupSettings):
        if settings.episodes % settings.group_size:
            raise UserError(
                f"algorithm.episodes is {settings.episodes}; expected a multiple of "
                f"algorithm.group_size, {settings.group_size}."
            )
        if settings.credit == "state" and model.policy == "route":
            raise UserError(
                'algorithm.credit = "state" compares moves made in the same state, which only '
                'action policies make; set it to "episode".'
            )
    if preset.text is not None:
        check_text(preset, algorithm)
    elif model.policy not in algorithm.policies:
        why = f": {algorithm.why_not}" if algorithm.why_not else ""
        raise UserError(
            f"model.policy: {algorithm.name} trains {' and '.join(algorithm.policies)} policies "
            f"only, not {model.policy!r}{why}."
        )
    if model.policy == "route":
        _check_plan(preset, settings)
    if maze.revisit and maze.train is not None:
        raise UserError(
            "maze.revisit is for maps that follow one another (maze.changes); the mazes of "
            "maze.train are all played anyway: remove it."
        )
    if maze.train is not None:
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
    if preset.budget.env_steps is not None or preset.budget.episodes is not None:
        raise UserError(
            "budget: language models count updates; expected updates or seconds, not env_steps or "
            "episodes."
        )


def _check_plan(preset: LlmPreset, settings: LlmSettings) -> None:
    if preset.maze.gymnasium is not None:
        raise UserError(
            'model.policy = "route" writes routes through a map; with maze.gymnasium use "action".'
        )
    if preset.maze.changes or preset.maze.revisit:
        key = "changes" if preset.maze.changes else "revisit"
        raise UserError(f'maze.{key} is for action policies: remove it, or model.policy = "route".')
    if settings.kl_reference != "base":
        raise UserError(
            f"algorithm.kl_reference is {settings.kl_reference!r}, but the map of a route policy "
            'never changes; expected "base".'
        )
    for key in ("random_starts", "uniform"):
        if getattr(settings, key):
            raise UserError(
                f'algorithm.{key} is for action policies: remove it, or model.policy = "route".'
            )
    if preset.warmup is not None and not all(is_deterministic(mdp) for mdp in _mdps(preset)):
        raise UserError(
            "warmup: a route policy is shown shortest routes, which there are only where every "
            "move does what it says; set maze.slip to 0, or remove [warmup]."
        )


def _mdps(preset: LlmPreset) -> list[MDP]:
    maze = preset.maze
    mazes = train_mazes(maze) if maze.train is not None else [build_mazes(maze)[0][1]]
    return [build_mdp(maze) for maze in mazes]
