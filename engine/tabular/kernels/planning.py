"""What the methods have in common that plan with the known model and never move.

S states, A actions, K outcomes. The kernel of each method stands in its own file.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.core.errors import UserError
from engine.env.mdp import reachable
from engine.exact.evaluate import greedy
from engine.learning.algorithm import Algorithm

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.env.mdp import MDP


class Model(NamedTuple):
    """The rules of one world, as the planner knows them."""

    next_state: Array  # [S,A,K] int32
    probability: Array  # [S,A,K] float64
    reward: Array  # [S,A,K] float64
    terminal: Array  # [S,A,K] bool
    states: Array  # [n] int64: those an episode can be in, ascending: what a sweep goes over


class PlanTables(NamedTuple):
    """What is computed."""

    values: Array  # [S] float64
    q: Array  # [S,A] float64: the action values as the newest backup of each state saw them
    visits: Array  # [S] int64: how often each state was backed up


class SweepTrace(NamedTuple):
    """The newest backup of every state."""

    sweep: Array  # [S] int64
    before: Array  # [S] float64
    target: Array  # [S] float64
    step_size: Array  # [S] float64: 1, or 0 for a backup that leaves V as it is


def make_model(mdp: MDP) -> Model:
    """The arrays of an MDP a sweep needs.

    States no episode can be in are left out: nothing depends on them, and without discounting
    their values may have no bound.
    """
    states = np.flatnonzero(reachable(mdp))
    return Model(mdp.next_state, mdp.probability, mdp.reward, mdp.terminal, states)


def make_trace(states: int) -> SweepTrace:
    """An empty trace."""
    return SweepTrace(
        np.zeros(states, np.int64), np.zeros(states), np.zeros(states), np.zeros(states)
    )


@kernel
def expected_values(model: Model, values: Array, gamma: float, s: int, q: Array) -> None:
    """q[a] = Σ_k p(k|s,a) (r + γ V(s')) for every action of a state; nothing follows an end."""
    for a in range(q.size):
        total = 0.0
        for k in range(model.probability.shape[2]):
            future = 0.0 if model.terminal[s, a, k] else values[model.next_state[s, a, k]]
            total += model.probability[s, a, k] * (model.reward[s, a, k] + gamma * future)
        q[a] = total


@kernel
def note_backup(
    trace: SweepTrace, s: int, before: float, target: float, step_size: float, sweep: int
) -> None:
    """Note the backup of one state, before it is applied."""
    trace.sweep[s] = sweep
    trace.before[s] = before
    trace.target[s] = target
    trace.step_size[s] = step_size


class PlanningAlgorithm(Algorithm):
    """A method that computes from the model, sweep by sweep."""

    family = "planning"
    model_based = True
    policy_type = "none"
    behaviour_policy = "none: it never moves, it computes from the rules"

    def check(self, preset: Preset) -> None:
        if preset.maze.observation != "cell":
            raise UserError(
                "maze.observation: a planner computes from the states themselves, so "
                f"'neighbourhood' does not fit {self.name}; use 'cell' or an algorithm that learns "
                "from what it sees."
            )
        if preset.budget.updates is None and preset.budget.seconds is None:
            raise UserError(
                "budget: a planner takes no steps and plays no episodes; expected updates "
                f"({self.update_name}s)."
            )

    def make_tables(self, states: int, actions: int) -> Any:
        """Tables before the first sweep: `values`, `q` and `visits` as in PlanTables, and more."""
        return PlanTables(
            values=np.zeros(states),
            q=np.zeros((states, actions)),
            visits=np.zeros(states, np.int64),
        )

    @abstractmethod
    def sweep(
        self, model: Model, tables: Any, settings: Any, trace: SweepTrace, number: int
    ) -> float:
        """One sweep over the model's states, in place; returns the largest change."""

    def settled(self, tables: Any, settings: Any, change: float) -> bool:
        """Whether another sweep of the same world would change nothing."""
        return bool(change <= settings.tolerance)

    def restart(self, tables: Any) -> None:
        """Another world begins: what was computed stays, but is not settled any more."""

    def updates(self, tables: Any, sweeps: int) -> int:
        """How many updates that many sweeps were."""
        return sweeps

    def milestone(self, tables: Any) -> bool:
        """Whether the newest sweep is to be recorded in any case."""
        return False

    def policy(self, tables: Any, q: Array) -> Array:
        """π_target [S,A]; `q` [S,A] are the action values of the values as they are now."""
        return greedy(q)

    def metrics(self, tables: Any) -> dict[str, float]:
        """The method's own figures at a recording point, for the curves."""
        return {}
