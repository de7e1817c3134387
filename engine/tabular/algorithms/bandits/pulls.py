"""What the bandit methods share: where they can be used, and how one pull is told."""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.preset import Preset, algorithm_name
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps
from engine.env.mdp import reachable
from engine.learning.events import Step


def check_one_move(preset: Preset) -> None:
    """Raise UserError where an episode can go on after a move: a bandit would not look there."""
    for mdp in build_mdps([maze for _, maze in build_mazes(preset.maze)]):
        onward = (mdp.probability > 0) & ~mdp.terminal
        if onward[reachable(mdp)].any():
            name = algorithm_name(preset)
            raise UserError(
                f"algorithm.name: {name} learns what one action pays at once, and in this maze the "
                "episode goes on after it; set maze.gymnasium to 'Bandit-v0', or take an algorithm "
                "that looks ahead, such as q-learning."
            )


def pulled(step: Step, actions: Sequence[str]) -> str:
    """The pull in words, without how the arm was chosen: `arm 3, which paid 1.2.`"""
    return f"arm {actions[step.action]}, which paid {step.paid:.4g}."
