"""The names under which Gymnasium knows our environments.

They are registered by where they stand, as texts: knowing them imports none of them.
"""

from __future__ import annotations

ICE_MAZE = "IceMaze-v0"
MAXIMIZATION_BIAS = "MaximizationBias-v0"
MAXIMIZATION_BIAS_STEPS = 10
"""The time limit there, which is never reached: an episode takes one step or two."""
BAIRD = "BairdCounterexample-v0"
BAIRD_STEPS = 1000
"""Where an episode there is cut: nothing ends it."""

BANDIT = "Bandit-v0"
BANDIT_STEPS = 1
"""An episode there is one pull of one arm."""


def register() -> None:
    """Make our environments known to Gymnasium; calling it again changes nothing."""
    import gymnasium  # start-up time: only mazes of Gymnasium's need it

    if ICE_MAZE not in gymnasium.registry:
        gymnasium.register(id=ICE_MAZE, entry_point="engine.env.gymnasium_env:IceMazeEnv")
    if MAXIMIZATION_BIAS not in gymnasium.registry:
        gymnasium.register(
            id=MAXIMIZATION_BIAS,
            entry_point="engine.env.maximization_bias:MaximizationBiasEnv",
            max_episode_steps=MAXIMIZATION_BIAS_STEPS,
        )
    if BANDIT not in gymnasium.registry:
        gymnasium.register(
            id=BANDIT,
            entry_point="engine.env.bandit:BanditEnv",
            max_episode_steps=BANDIT_STEPS,
        )
    if BAIRD not in gymnasium.registry:
        gymnasium.register(
            id=BAIRD, entry_point="engine.env.baird:BairdEnv", max_episode_steps=BAIRD_STEPS
        )
