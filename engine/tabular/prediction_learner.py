"""Prediction: estimating V of a policy that is given, beside the exact V it should become.

N agents, S states, O observations, A actions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.env.mdp import MDP, reachable
from engine.learning.events import AnyEvent, PerAgent, Step
from engine.tabular.given_policy import behaviour_policy, exact_values, followed, given_policy
from engine.tabular.learner import TabularLearner

if TYPE_CHECKING:
    pass


class PredictionLearner(TabularLearner):
    """Drives a prediction method and measures its V against the exact one.

    The policy is that of the first world; after an edit of the map it stays what it was.
    """

    def _use_worlds(self) -> None:
        super()._use_worlds()
        settings, worlds = self.settings, self.worlds
        actions = worlds.mazes[0].actions
        policy = given_policy(settings.policy, worlds.mdps[0], actions, settings.gamma)
        self.tables.policy[...] = policy
        if hasattr(self.tables, "behaviour"):  # of an off-policy method; others follow the policy
            self.tables.behaviour[...] = behaviour_policy(settings, worlds.mdps[0], actions)
        chains = [followed(mdp, policy, settings.random_starts > 0) for mdp in worlds.mdps]
        self.met = [reachable(chain) for chain in chains]
        self.truth = [self._exact(chain) for chain in chains]

    def _exact(self, chain: MDP) -> Array:
        """V^π [S]; NaN where an edit of the map left it without a bound."""
        try:
            return exact_values(chain, self.settings.gamma)
        except UserError:
            return np.full(chain.n_states, np.nan)

    def _errors(self) -> Array:
        """[N,M] how far V is from the truth in each of the M states that π can meet."""
        world = self.worlds.current(self.clock)
        met = self.met[world]
        seen = self.worlds.mdps[world].observation[met]
        errors: Array = self._state_values()[:, seen] - self.truth[world][met]
        return errors

    def value_errors(self) -> Array:
        """[N] root of the mean squared error of V over the states that π can meet."""
        return _root_mean_square(self._errors())

    def _extra_metrics(self) -> dict[str, Array]:
        """The error of V, and what it is made of: mean over agents of RMSE² = bias² + variance.

        The agents are independent learners from the same start, so in each state the error of
        their mean is the bias, and their spread about that mean the variance; both are averaged
        over the states, and are one number.
        """
        errors = self._errors()
        rmse = _root_mean_square(errors)
        return {
            "value_rmse": rmse,
            "rmse": rmse,
            "bias2": np.full(1, (errors.mean(axis=0) ** 2).mean()),
            "variance": np.full(1, errors.var(axis=0).mean()),
        }

    def conclude(self) -> list[AnyEvent]:
        """As every learner; bias² and variance are told as each agent's share of them, so that
        an interval over agents can be had. See `_shares`."""
        events = super().conclude()
        bias2, variance = _shares(self._errors())
        for event in events:
            if isinstance(event, PerAgent):
                event.figures.update(bias2=bias2, variance=variance)
        return events

    def _with_policy(self, step: Step) -> Step:
        """The step with the chance its action had; the kernel notes the policy it
        moves by where others note Q."""
        log_prob = math.log(step.values[step.action])
        return msgspec.structs.replace(step, values=(), next_values=(), log_prob=log_prob)


def _root_mean_square(errors: Array) -> Array:
    """[N] of errors [N,M]."""
    root: Array = np.sqrt((errors**2).mean(axis=1))
    return root


def _shares(errors: Array) -> tuple[Array, Array]:
    """bias² and variance [N] of errors [N,M] as jackknife pseudo-values (Efron & Tibshirani 1993,
    chapter 11): their means are the estimates without the part of the variance that N agents
    leave in the square of their mean, and their spread is that of the estimates. In every agent
    the two add up to its own mean squared error. A single agent's error is all bias.
    """
    n, squared = errors.shape[0], (errors**2).mean(axis=1)
    if n == 1:
        return squared, np.zeros(1)
    mean = errors.mean(axis=0)
    without = (n * mean - errors) / (n - 1)  # the mean of all other agents
    bias2 = (n * mean**2 - (n - 1) * without**2).mean(axis=1)
    return bias2, squared - bias2
