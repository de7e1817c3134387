"""The worlds a tabular run meets, and the exact figures of policies in them.

N agents, O observations, A actions, W worlds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import msgspec
import numpy as np

from engine.config.deploy import Deploy, deployed_maze
from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.env.build_maze import build_mazes, edit_map
from engine.env.build_mdp import build_mdps, vetoed_moves
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.env.random_sets import held_out_mazes, train_mazes
from engine.env.settings import MazeSettings
from engine.exact.evaluate import OptimalFigures, optimal_figures
from engine.exact.evaluate_compiled import ExactFigures
from engine.exact.memoryless_optimum import find_best
from engine.exact.shaping import shaped
from engine.learning.events import Evaluation, World
from engine.learning.summary import summarise
from engine.tabular.metrics import NEAR, moves_away

Split = Literal["train", "test", "deploy"]

SMALL = 50_000
"""States times time limit up to which the best policy for what is seen is looked for,"""
EXAMINED = 1_000
"""and partial policies after which that search gives up: together a second or so, once a run."""


class Place(msgspec.Struct, frozen=True):
    """One world: its id, the step from which it holds, and which rules hold there."""

    id: int
    split: Split
    from_step: int
    maze: Maze

    def event(self) -> World:
        """The world as an event."""
        return World(step=self.from_step, id=self.id, split=self.split, maze=self.maze)


class Worlds:
    """The worlds of a run, with one shared numbering of observations.

    Those it learns in are numbered as kernels number them: `mdps[w]`, `from_steps[w]`. Either a
    world holds from its step on until the next one's (of two with the same step the newer), or, if
    `drawn`, each episode draws its world from all of them and figures are means over them. Held-out
    mazes and the deployed one are only for being judged in.
    """

    def __init__(self, settings: MazeSettings, gamma: float, deploy: Deploy | None = None) -> None:
        self.gamma = gamma
        self.deploy = deploy
        self.drawn = settings.randomize is not None or settings.train is not None
        self.planned = 1 + len(settings.changes)
        if settings.train is None:
            timed: Iterable[tuple[int, Maze]] = build_mazes(settings)
        else:
            timed = [(0, maze) for maze in train_mazes(settings)]
        found: list[tuple[Split, int, Maze]] = [("train", step, maze) for step, maze in timed]
        found += [("test", 0, maze) for maze in held_out_mazes(settings)]
        if deploy is not None:
            found.append(("deploy", 0, deployed_maze(found[0][2], deploy)))
        self._set([Place(i, *rest) for i, rest in enumerate(found)])

    def _set(self, places: Sequence[Place]) -> None:
        """Take over these worlds; raises UserError if one policy cannot be asked about all."""
        mdps = build_mdps([place.maze for place in places])
        self.places = [place for place in places if place.split == "train"]
        self.mdps: list[MDP] = []
        self._outside: dict[Split, list[tuple[Place, MDP]]] = {"test": [], "deploy": []}
        for place, mdp in zip(places, mdps, strict=True):
            if place.split == "train":
                self.mdps.append(shaped(mdp, place.maze.shaping, self.gamma))
            else:
                self._outside[place.split].append((place, mdp))
        self.from_steps = [place.from_step for place in self.places]
        self._optimum: dict[int, OptimalFigures] = {}
        self._exact: dict[tuple[str, int], ExactFigures] = {}
        self._needed: dict[int, float] = {}
        self._observable: dict[int, float | None] = {}
        self._away: tuple[list[int], Array] | None = None

    @property
    def mazes(self) -> list[Maze]:
        """[W] the mazes it learns in."""
        return [place.maze for place in self.places]

    @property
    def all_places(self) -> list[Place]:
        """The worlds it learns in, and those it is only judged in, by id."""
        outside = [place for pairs in self._outside.values() for place, _ in pairs]
        return sorted([*self.places, *outside], key=lambda place: place.id)

    def events(self) -> list[World]:
        """All worlds as events."""
        return [place.event() for place in self.all_places]

    def current(self, step: int) -> int:
        """The world that holds at a step count; the first one where each episode draws its own."""
        if self.drawn:
            return 0
        return max((start, w) for w, start in enumerate(self.from_steps) if start <= step)[1]

    def id_at(self, step: int) -> int:
        """The id of `current`."""
        return self.places[self.current(step)].id

    def judged(self, step: int) -> list[int]:
        """The worlds whose mean the figures at a step count are."""
        return list(range(len(self.mdps))) if self.drawn else [self.current(step)]

    def changed_at(self, step: int) -> int:
        """The step of the newest change of the map until `step`, 0 if there was none."""
        return 0 if self.drawn else self.from_steps[self.current(step)]

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
        places = self.all_places
        edited = edit_map(self.places[self.current(step)].maze, rows)
        new = [Place(places[-1].id + 1, "train", step, edited)]
        if self.deploy is not None and self.deploy.map is None:
            places = [place for place in places if place.split != "deploy"]
            maze = deployed_maze(edited, self.deploy)
            new.append(Place(new[0].id + 1, "deploy", step, maze))
        mdp = build_mdps([place.maze for place in [*places, *new]])[0]
        if (mdp.n_states, mdp.n_observations) != (before.n_states, before.n_observations):
            raise UserError(
                "maze.map: the edited map has other states or observations than the agent's table "
                "has rows for; keep the number of keys, and what can be seen."
            )
        self._set([*places, *new])
        return [place.event() for place in new]

    def save(self) -> Array:
        """All worlds as bytes [B] uint8."""
        data = msgspec.to_builtins(self.all_places)
        return np.frombuffer(json.dumps(data).encode(), np.uint8)

    def load(self, data: Array) -> None:
        """The inverse of `save`."""
        self._set(msgspec.convert(json.loads(data.tobytes()), list[Place]))

    # ------------------------------------------------------------ how good policies are

    def optimum(self, world: int) -> OptimalFigures:
        """The figures of π* and the horizon optimum of a world it learns in, solved once."""
        return self._optimal(self.places[world].id, self.mdps[world])

    def _optimal(self, id_: int, mdp: MDP) -> OptimalFigures:
        if id_ not in self._optimum:
            self._optimum[id_] = optimal_figures(mdp, self.gamma)
        return self._optimum[id_]

    def optimal_return(self, step: int) -> float:
        """The expected discounted return of π* in the worlds that are played at `step`."""
        judged = self.judged(step)
        return sum(self.optimum(w).optimal_return for w in judged) / len(judged)

    def prepare(self, policy: Array) -> None:
        """Compile the exact figures with a policy [N,O,A]; the result is not kept."""
        ExactFigures(self.mdps[0], self.gamma).of(policy)

    def figures(self, name: str, world: int, policy: Array) -> dict[str, Array]:
        """The exact figures [N] of policies [N,O,A] in a world it learns in.

        Policies of the same `name` are compared with the last ones, so that only agents whose
        policy has changed are followed.
        """
        return self._figures(name, self.places[world].id, self.mdps[world], policy)

    def _figures(self, name: str, id_: int, mdp: MDP, policy: Array) -> dict[str, Array]:
        if (name, id_) not in self._exact:
            self._exact[name, id_] = ExactFigures(mdp, self.gamma)
        return self._exact[name, id_].of(policy)

    def judge(self, step: int, target: Array, greedy: Array) -> dict[str, Array]:
        """The exact figures [N] of target policies [N,O,A] in the world that holds at `step`."""
        pairs = [(self.places[w], self.mdps[w]) for w in self.judged(step)]
        return self._judge(pairs, target, greedy)

    def _judge(
        self, pairs: Sequence[tuple[Place, MDP]], target: Array, greedy: Array
    ) -> dict[str, Array]:
        """The mean over worlds of the exact figures of target policies, [N] each."""
        exact = _mean([self._figures("target", place.id, mdp, target) for place, mdp in pairs])
        # Off-policy methods and planners have a greedy target: its figures are known already.
        alone = exact
        if not np.array_equal(target, greedy):
            alone = _mean([self._figures("greedy", place.id, mdp, greedy) for place, mdp in pairs])
        return {**exact, "greedy_success_rate": alone["success_rate"]}

    def evaluation(self, step: int, figures: dict[str, Array]) -> Evaluation:
        """What `judge` found, as an event."""
        optima = [self.optimum(w) for w in self.judged(step)]
        return _evaluation(step, self.id_at(step), "train", figures, optima)

    def held_out(self, step: int, target: Array, greedy: Array) -> tuple[Evaluation, Array] | None:
        """The evaluation on held-out mazes and the success [N] there; None without such."""
        pairs = self._outside["test"]
        if not pairs:
            return None
        figures = self._judge(pairs, target, greedy)
        optima = [self._optimal(place.id, mdp) for place, mdp in pairs]
        event = _evaluation(step, pairs[0][0].id, "test", figures, optima)
        return event, figures["success_rate"]

    def elsewhere(self, step: int, target: Array) -> dict[str, Array]:
        """Exact figures [N] of target policies [N,O,A] where they are not judged at `step`: in the
        deployed world, and in every planned map that was met; with the best for what is seen."""
        found: dict[str, Array] = {}
        for place, mdp in self._outside["deploy"]:
            exact = self._figures("target", place.id, mdp, target)
            best = self._optimal(place.id, mdp).optimal_return
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
        id_, mdp = self.places[w].id, self.mdps[w]
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
        for w in self.judged(step):
            key = ("vetoed", self.places[w].id)
            if key not in self._exact:
                mdp = self.mdps[w]
                veto = vetoed_moves(self.places[w].maze, mdp)
                counted = np.broadcast_to(veto[..., None], mdp.reward.shape).astype(np.float64)
                self._exact[key] = ExactFigures(replace(mdp, reward=counted), self.gamma)
            figures = self._exact[key].of(behaviour)
            shares.append(figures["expected_score"] / figures["expected_length"])
        share: Array = np.mean(shares, axis=0)
        return share

    def nearly_optimal(self, step: int, returns: Array) -> Array:
        """[N] whether expected returns lack at most `NEAR` of the gap between moving at random and
        the optimum, in the world that holds at `step`."""
        judged = self.judged(step)
        needed = sum(self._least(w) for w in judged) / len(judged)
        enough: Array = returns >= needed
        return enough

    def _least(self, world: int) -> float:
        """The expected return that counts as nearly optimal in a world."""
        id_ = self.places[world].id
        if id_ not in self._needed:
            mdp = self.mdps[world]
            shape = (1, mdp.n_observations, mdp.n_actions)
            chance = np.full(shape, 1.0 / mdp.n_actions)
            random = float(ExactFigures(mdp, self.gamma).of(chance)["expected_return"][0])
            best = self.optimum(world).optimal_return
            self._needed[id_] = best - NEAR * max(best - random, 0.0) - 1e-12
        return self._needed[id_]

    def away(self, step: int) -> Array:
        """[O] see `moves_away`, of the worlds that are judged at `step`."""
        judged = self.judged(step)
        if self._away is None or self._away[0] != judged:
            self._away = (judged, moves_away([self.mdps[w] for w in judged]))
        return self._away[1]


def _mean(figures: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Figure by figure the mean [N] over worlds."""
    if len(figures) == 1:
        return figures[0]
    return {name: np.mean([each[name] for each in figures], axis=0) for name in figures[0]}


def _evaluation(
    step: int, id_: int, split: Split, figures: dict[str, Array], optima: Sequence[OptimalFigures]
) -> Evaluation:
    return Evaluation(
        step=step,
        world_id=id_,
        split=split,
        figures={name: summarise(values) for name, values in figures.items()},
        optimal_return=float(np.mean([best.optimal_return for best in optima])),
        horizon_optimum=float(np.mean([best.horizon_optimum for best in optima])),
    )
