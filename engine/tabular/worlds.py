"""The worlds a tabular run meets, and the exact figures of policies in them.

N agents, O observations, A actions, W worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from engine.config.deploy import Deploy, deployed_maze
from engine.core.arrays import Array
from engine.core.compiling import compiled
from engine.core.errors import UserError
from engine.core.interpreting import interpreted
from engine.env.build_mdp import build_mdps, vetoed_moves
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings
from engine.exact.evaluate_compiled import ExactFigures
from engine.exact.memoryless_optimum import find_best
from engine.exact.shaping import shaped
from engine.learning.events import Evaluation, World
from engine.learning.worlds import (
    Split,
    WorldRecord,
    WorldSchedule,
    from_bytes,
    initial_records,
    make_evaluation,
    to_bytes,
)
from engine.tabular.metrics import NEAR, moves_away

SMALL = 50_000
"""States times time limit up to which the best policy for what is seen is looked for,"""
EXAMINED = 1_000
"""and partial policies after which that search gives up: together a second or so, once a run."""


class TabularWorlds(WorldSchedule):
    """The worlds of a run, with one shared numbering of observations.

    Those it learns in are numbered as kernels number them. Held-out mazes and the deployed one are
    only for policies to be evaluated in.
    """

    def __init__(self, settings: MazeSettings, gamma: float, deploy: Deploy | None = None) -> None:
        self.gamma, self.deploy = gamma, deploy
        self.drawn = settings.randomize is not None or settings.train is not None
        self.planned = 1 + len(settings.changes)
        self._take(initial_records(settings, deploy))

    def _take(self, records: Sequence[WorldRecord]) -> None:
        """Take over these worlds; raises UserError if one policy cannot be asked about all."""
        train, mdps = [], []
        self._outside: dict[Split, list[tuple[WorldRecord, MDP]]] = {"test": [], "deploy": []}
        for record, mdp in zip(records, build_mdps([r.maze for r in records]), strict=True):
            if record.split == "train":
                train.append(record)
                mdps.append(shaped(mdp, record.maze.shaping, self.gamma))
            else:
                self._outside[record.split].append((record, mdp))
        self._use(train, mdps)
        self._exact: dict[tuple[str, int], ExactFigures] = {}
        self.in_python = False
        """Whether exact figures are computed as plain Python, see `engine.core.interpreting`."""
        self._needed: dict[int, float] = {}
        self._observable: dict[int, float | None] = {}
        self._away: tuple[list[int], Array] | None = None

    @property
    def all_records(self) -> list[WorldRecord]:
        """The worlds it learns in, and those policies are only evaluated in, by id."""
        outside = [record for pairs in self._outside.values() for record, _ in pairs]
        return sorted([*self.records, *outside], key=lambda record: record.id)

    def events(self) -> list[World]:
        """All worlds as events."""
        return [record.event() for record in self.all_records]

    def edit(self, rows: list[str], step: int) -> list[World]:
        """Add a world with another map that holds from `step` on; planned changes after it stay.

        The deployed world follows unless it has a map of its own. Raises UserError.
        """
        if self.drawn:
            raise UserError(
                "This run draws a world for each episode, so there is no one map to be edited; "
                "edit a run of a single maze."
            )
        before = self.mdps[0]
        records = self.all_records
        edited = self.edited_maze(rows, step)
        new = [WorldRecord(records[-1].id + 1, "train", step, edited)]
        if self.deploy is not None and self.deploy.map is None:
            records = [record for record in records if record.split != "deploy"]
            maze = deployed_maze(edited, self.deploy)
            new.append(WorldRecord(new[0].id + 1, "deploy", step, maze))
        mdp = build_mdps([record.maze for record in [*records, *new]])[0]
        if (mdp.n_states, mdp.n_observations) != (before.n_states, before.n_observations):
            raise UserError(
                "maze.map: the edited map has other states or observations than the agent's table "
                "has rows for; keep the number of keys, and what can be seen."
            )
        self._take([*records, *new])
        return [record.event() for record in new]

    def save(self) -> Array:
        """All worlds as bytes [B] uint8."""
        return to_bytes(self.all_records)

    def load(self, data: Array) -> None:
        """The inverse of `save`."""
        self._take(msgspec.convert(from_bytes(data), list[WorldRecord]))

    # ------------------------------------------------------------ how good policies are

    def optimal_return(self, step: int) -> float:
        """The expected discounted return of π* in the worlds that are played at `step`."""
        worlds = self.evaluated(step)
        return sum(self.optimum(w).optimal_return for w in worlds) / len(worlds)

    def prepare(self, policy: Array) -> None:
        """Compile the exact figures with a policy [N,O,A]; the result is not kept."""
        self._figures_of(self.mdps[0]).of(policy)

    def _figures_of(self, mdp: MDP) -> ExactFigures:
        return ExactFigures(mdp, self.gamma, self._code)

    def _code(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return interpreted(function) if self.in_python else compiled(function)

    def figures(self, name: str, world: int, policy: Array) -> dict[str, Array]:
        """The exact figures [N] of policies [N,O,A] in a world it learns in.

        Policies of the same `name` are compared with the last ones, so that only agents whose
        policy has changed are followed.
        """
        return self._figures(name, self.records[world].id, self.mdps[world], policy)

    def _figures(self, name: str, id_: int, mdp: MDP, policy: Array) -> dict[str, Array]:
        if (name, id_) not in self._exact:
            self._exact[name, id_] = self._figures_of(mdp)
        return self._exact[name, id_].of(policy)

    def evaluate(self, step: int, target: Array, greedy: Array) -> dict[str, Array]:
        """The exact figures [N] of target policies [N,O,A] in the world that holds at `step`."""
        pairs = [(self.records[w], self.mdps[w]) for w in self.evaluated(step)]
        return self._mean_figures(pairs, target, greedy)

    def _mean_figures(
        self, pairs: Sequence[tuple[WorldRecord, MDP]], target: Array, greedy: Array
    ) -> dict[str, Array]:
        """The mean over worlds of the exact figures of target policies, [N] each."""
        exact = _mean([self._figures("target", record.id, mdp, target) for record, mdp in pairs])
        # Off-policy methods and planners have a greedy target: its figures are known already.
        alone = exact
        if not np.array_equal(target, greedy):
            alone = _mean(
                [self._figures("greedy", record.id, mdp, greedy) for record, mdp in pairs]
            )
        return {**exact, "greedy_success_rate": alone["success_rate"]}

    def evaluation(self, step: int, figures: dict[str, Array]) -> Evaluation:
        """The figures that `evaluate` found, as an event."""
        optima = [self.optimum(w) for w in self.evaluated(step)]
        return make_evaluation(step, self.records[self.current(step)], figures, optima)

    def held_out(self, step: int, target: Array, greedy: Array) -> tuple[Evaluation, Array] | None:
        """The evaluation on held-out mazes and the success [N] there; None without such."""
        pairs = self._outside["test"]
        if not pairs:
            return None
        figures = self._mean_figures(pairs, target, greedy)
        optima = [self._optimal(record, mdp) for record, mdp in pairs]
        event = make_evaluation(step, pairs[0][0], figures, optima)
        return event, figures["success_rate"]

    def elsewhere(self, step: int, target: Array) -> dict[str, Array]:
        """Exact figures [N] of target policies [N,O,A] beside the evaluation at `step`: in the
        deployed world, and in every planned map that was met; with the best for what is seen."""
        found: dict[str, Array] = {}
        for record, mdp in self._outside["deploy"]:
            exact = self._figures("target", record.id, mdp, target)
            best = self._optimal(record, mdp).optimal_return
            found["deployed_success_rate"] = exact["success_rate"]
            found["deployed_expected_return"] = exact["expected_return"]
            found["deployed_optimal_return"] = np.full(len(target), best)
        if not self.drawn and self.planned > 1:
            for w in range(self.planned):
                if self.from_steps[w] <= step:
                    exact = self.figures("target", w, target)
                    found[f"success_rate_map_{w}"] = exact["success_rate"]
        observable = self.observable_optimum(step)
        if observable is not None:
            found["observable_optimum"] = np.full(len(target), observable)
        return found

    def observable_optimum(self, step: int) -> float | None:
        """The return of the best deterministic policy for what is seen (with memory: the last
        observations) in the world that holds at `step`: exact.

        None where the agent sees its cell, where worlds are drawn, and where it takes too long.
        """
        w = self.current(step)
        id_, mdp = self.records[w].id, self.mdps[w]
        if self.drawn or mdp.pattern is None or mdp.n_states * mdp.max_steps > SMALL:
            return None
        if id_ not in self._observable:
            try:
                best = find_best(mdp, self.gamma, EXAMINED).figures.expected_return
                self._observable[id_] = float(best)
            except UserError:  # too many policies would have to be examined
                self._observable[id_] = None
        return self._observable[id_]

    def shielded_share(self, step: int, behaviour: Array) -> Array:
        """[N] the share of moves of policies [N,O,A] that the shield replaces: exact, within an
        episode from the start in the world that holds at `step`."""
        shares = []
        for w in self.evaluated(step):
            key = ("vetoed", self.records[w].id)
            if key not in self._exact:
                mdp = self.mdps[w]
                veto = vetoed_moves(self.records[w].maze, mdp)
                counted = np.broadcast_to(veto[..., None], mdp.reward.shape).astype(np.float64)
                self._exact[key] = self._figures_of(replace(mdp, reward=counted))
            figures = self._exact[key].of(behaviour)
            shares.append(figures["expected_score"] / figures["expected_length"])
        share: Array = np.mean(shares, axis=0)
        return share

    def nearly_optimal(self, step: int, returns: Array) -> Array:
        """[N] whether expected returns lack at most `NEAR` of the gap between moving at random and
        the optimum, in the world that holds at `step`."""
        worlds = self.evaluated(step)
        needed = sum(self._least(w) for w in worlds) / len(worlds)
        enough: Array = returns >= needed
        return enough

    def _least(self, world: int) -> float:
        """The expected return that counts as nearly optimal in a world."""
        id_ = self.records[world].id
        if id_ not in self._needed:
            mdp = self.mdps[world]
            shape = (1, mdp.n_observations, mdp.n_actions)
            chance = np.full(shape, 1.0 / mdp.n_actions)
            random = float(self._figures_of(mdp).of(chance)["expected_return"][0])
            best = self.optimum(world).optimal_return
            self._needed[id_] = best - NEAR * max(best - random, 0.0) - 1e-12
        return self._needed[id_]

    def away(self, step: int) -> Array:
        """[O] see `moves_away`, of the worlds that are evaluated at `step`."""
        worlds = self.evaluated(step)
        if self._away is None or self._away[0] != worlds:
            self._away = (worlds, moves_away([self.mdps[w] for w in worlds]))
        return self._away[1]


def _mean(figures: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Figure by figure the mean [N] over worlds."""
    if len(figures) == 1:
        return figures[0]
    return {name: np.mean([each[name] for each in figures], axis=0) for name in figures[0]}
