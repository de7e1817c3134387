"""The base of all methods that learn from their own moves, whatever they learn.

N agents, O observations, A actions. A method keeps its tables in a NamedTuple of arrays with N as
first axis, one of them `visits` [N,O,A] int64; a kernel changes them in place.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from engine.core.arrays import Array
from engine.env.maze import Maze
from engine.learning.algorithm import Algorithm
from engine.learning.events import Step


class Size(NamedTuple):
    """How large the tables are."""

    agents: int
    observations: int
    actions: int
    longest: int = 1
    """Steps an episode may take: for methods that keep whole episodes until they learn."""
    mazes: tuple[Maze, ...] = ()
    """The worlds of the run as it begins, by id: for methods that describe what is observed."""

    @property
    def table(self) -> tuple[int, int, int]:
        """[N,O,A]."""
        return (self.agents, self.observations, self.actions)


class MovingAlgorithm(Algorithm):
    """A method that learns from its own moves. `Tables` and `Hyperparameters` are its NamedTuples.

    `kernel(env, agents, tables, hyperparameters, trace, limits)` takes every agent up to
    `limits.steps` steps further, and none beyond its episodes and updates.
    """

    behaviour_policy: ClassVar[str]
    can_diverge: ClassVar[bool] = False
    """Whether its values may grow without bound, so that a run should look out for it."""

    def check_edit(self, settings: Any) -> None:
        """Raise UserError when this method cannot go on after the map has been edited."""

    def divergence_remedy(self, settings: Any) -> str:
        """What to change where values diverge, for methods whose values can."""
        return "Lower algorithm.learning_rate, or take features that share less."

    @abstractmethod
    def make_tables(self, settings: Any, size: Size) -> Any:
        """Tables before the first step."""

    @abstractmethod
    def make_hyperparameters(self, settings: Any) -> Any:
        """The settings as a kernel reads them; made anew when one is tuned."""

    @abstractmethod
    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        """π_behaviour [N,O,A] at a step count."""

    @abstractmethod
    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        """π_target [N,O,A] at a step count: the policy whose exact figures are the headline."""

    @abstractmethod
    def greedy(self, tables: Any) -> Array:
        """The policy [N,O,A] that always takes what looks best; exact ties shared evenly."""

    def action_values(self, tables: Any) -> Array | None:
        """Q [N,O,A], for methods that learn it."""
        return None

    @abstractmethod
    def state_values(self, tables: Any, target: Array) -> Array:
        """V [N,O] of the target policy, as far as it has been learned."""

    def log_prob(self, step: Step, hyperparameters: Any) -> float:
        """log π_behaviour(a|o) as it was when the action of this step was chosen.

        Asked where the kernel chose from `step.values`; one that chooses ahead, before an update,
        notes the chance in `agents.chance`.
        """
        return float("nan")

    def learned_parameters(self, tables: Any) -> list[Array]:
        """The tables of learned numbers, N first: a run in which one is not finite has diverged."""
        q = self.action_values(tables)
        return [] if q is None else [q]

    def layers(self, tables: Any, agent: int) -> dict[str, Array]:
        """Further tables [O] or [O,A] of one agent worth seeing on the grid."""
        return {}

    def hyperparameter_metrics(self, hyperparameters: Any, step: int) -> dict[str, float]:
        """The scheduled settings' values at a step count, for the curves."""
        return {}

    def metrics(self, tables: Any) -> dict[str, Array]:
        """The method's own figures [N] at a recording point, for the curves."""
        return {}
