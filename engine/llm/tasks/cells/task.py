"""The task of choosing moves (`policy = "action"`): one packed pass is the whole policy.

A forward pass over the prompts of all states gives π, episodes are sampled from that table at no
cost, and their figures are exact. The graph of that pass is kept: the first pass of the next update
needs no forward pass of its own.

Shapes: `W` worlds of the batch, `O` observations, `A` actions, `N` prompts (rows).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config.llm import scheduled
from engine.core.arrays import Array
from engine.learning.events import AnyEvent, Metric, Note
from engine.learning.learner import State
from engine.learning.summary import summarise
from engine.llm.algorithms.losses import TableBatch, kl_estimate, mpo_target
from engine.llm.forward.agreement import Agreement
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.interruption import Interrupted, never
from engine.llm.forward.prompts import NO_PROMPT
from engine.llm.forward.value_head import ValueHead
from engine.llm.models.loading import Loaded
from engine.llm.passes import Extent
from engine.llm.tasks.base import Measured, RunState, Task
from engine.llm.tasks.cells.batch import RolloutBatch, collect
from engine.llm.tasks.cells.events import episode_event, group_events, policy_event
from engine.llm.tasks.cells.model import CellModel
from engine.llm.tasks.cells.objective import (
    CellObjective,
    FitObjective,
    SurrogateObjective,
    TableObjective,
)
from engine.llm.tasks.cells.policy_table import PolicyTable
from engine.llm.tasks.cells.rollouts import at_steps, stack_mdps
from engine.llm.tasks.cells.scores import Scores, score
from engine.llm.tasks.cells.state_values import Estimates, no_estimates
from engine.llm.tasks.evaluation_schedule import EVERY, is_due
from engine.llm.tasks.route_search import expert_policy
from engine.llm.worlds import SPLITS, Split


class CellsTask(Task[RolloutBatch, CellObjective]):
    """Moves are chosen in every cell, by the probabilities of the action words."""

    model: CellModel

    def __init__(self, run: RunState) -> None:
        super().__init__(run)
        mazes = run.preset.maze.train
        self.per_update = (mazes.per_update or len(run.train)) if mazes else 1
        self.next_worlds = tuple(range(self.per_update))
        """The training worlds the next update plays; of maps that follow one another the newest,
        then those that are rehearsed."""
        self.estimates = no_estimates(stack_mdps(run.train.mdps))
        self.table: PolicyTable | None = None
        """The policy in those worlds, where it is known already."""

    # ------------------------------------------------------------ the model

    def ready(self, loaded: Loaded, value_head: ValueHead | None) -> None:
        self.model = CellModel(self.run, loaded, value_head)
        self.policy = self.model.policy
        self.note = self.policy.note

    def agreement(self) -> Agreement:
        return self.model.agreement()

    def asked(self) -> dict[str, Any]:
        prompts = self.model.prompts
        rows = sorted(set(prompts.row[0].tolist()) - {NO_PROMPT})
        return {
            "policy": "action",
            "answers": list(prompts.words),
            "answer_tokens": list(prompts.action_tokens),
            "prompts": [
                {"text": prompts.texts[row], "tokens": list(prompts.tokens[row])} for row in rows
            ],
        }

    @property
    def policies(self) -> list[CellPolicy]:
        return [self.policy]

    def extent(self, training: bool = False) -> Extent:
        return self.model.extent(self.next_worlds if training else None)

    def forget_passes(self) -> None:
        self.table = None
        self.model.forget_reference()

    # ------------------------------------------------------------ an update

    def begin(self) -> None:
        self.choose_worlds()

    @property
    def rehearsed(self) -> float:
        """The share of the episodes that is played on any of the maps met so far."""
        return self.run.preset.maze.revisit if self.run.train.from_steps else 0.0

    def choose_worlds(self) -> None:
        """Choose the training worlds that the next update plays."""
        run = self.run
        if run.train.from_steps:
            now = run.train.current(run.clock)
            earlier = run.train.met(run.clock) if self.rehearsed else []
            self.next_worlds = (now, *(w for w in earlier if w != now))
        elif self.per_update < len(run.train):
            chosen = run.rng.choice(len(run.train), self.per_update, replace=False)
            self.next_worlds = tuple(sorted(int(w) for w in chosen))

    def refresh(self) -> None:
        self.table = self.model.table_of(self.next_worlds, self.run.train, keep_graph=True)

    def known_table(self) -> PolicyTable:
        """π in the next update's worlds."""
        if self.table is None:
            self.refresh()
        assert self.table is not None
        return self.table

    def collect(self) -> RolloutBatch:
        run, table = self.run, self.known_table()
        with run.sampling():
            mdps = [run.train.mdps[w] for w in table.worlds]
            return collect(
                table, mdps, run.algorithm, run.settings, run.clock, run.rng, self.rehearsed
            )

    def score(self, batch: RolloutBatch) -> CellObjective:
        run, table = self.run, batch.table
        reference = self.model.reference_of(table)
        penalty = self._kl_penalty(batch, reference)
        if penalty is not None:
            batch = batch.penalised(penalty, run.settings.gamma)
        scores = score(batch, self.estimates, run.algorithm, run.settings, penalty)
        visits = table.at_rows(scores.visits.sum(-1), "sum")
        return CellObjective(
            self.model,
            table,
            self._table_objective(batch, scores, reference if run.settings.kl else None),
            spread(table, visits, reference),
            batch,
            scores,
        )

    def _kl_penalty(self, batch: RolloutBatch, reference: Tensor) -> Array | None:
        """[B, T] β times the KL estimated from each move made, where it enters in the reward."""
        settings, table = self.run.settings, batch.table
        if not settings.kl or settings.kl_in != "reward":
            return None
        estimator = settings.estimator(moves_known=True)
        of_rows = settings.kl * kl_estimate(estimator, reference - table.log_pi)
        return at_steps(batch.rollouts, table.at_observations(of_rows.numpy(), 0.0))

    def _table_objective(
        self, batch: RolloutBatch, scores: Scores, reference: Tensor | None
    ) -> TableObjective:
        run, table = self.run, batch.table
        improvement = run.algorithm.improvement(run.settings)
        if improvement is not None:
            assert scores.by_state is not None
            target = mpo_target(
                torch.from_numpy(np.log(table.at_rows(batch.behaviour, "mean"))),
                torch.from_numpy(table.at_rows(scores.by_state, "mean")),
                improvement.eta,
                scheduled(improvement.floor, run.clock),
            )
            n = len(table.rows)
            even = torch.full((n,), 1.0 / n, dtype=torch.float64)
            return FitObjective(target, even, run.settings.kl, reference)

        def rows(of_worlds: Array) -> Tensor:
            return torch.from_numpy(table.at_rows(of_worlds, "sum"))

        gathered = (rows(part) for part in scores.weights)
        steps = TableBatch._make((table.log_pi, table.log_pi, *gathered, reference))
        return SurrogateObjective(steps, run.algorithm, run.settings, run.entropy)

    def warm_start(self) -> CellObjective:
        """The optimal moves of every state, all states alike."""
        run, table = self.run, self.known_table()
        best = [expert_policy(run.train.mdps[w], run.settings.gamma) for w in table.worlds]
        target = table.at_rows(np.stack(best), "sum")
        known = target.sum(-1, keepdims=True)
        decided = known[:, 0] > 0
        even = 1.0 / target.shape[-1]
        target = np.where(known > 0, target / np.where(known > 0, known, 1.0), even)
        weights = decided / max(1, decided.sum())
        fit = FitObjective(torch.from_numpy(target), torch.from_numpy(weights))
        told = spread(table, np.ones(len(table.rows)), self.model.reference_of(table))
        return CellObjective(self.model, table, fit, told)

    def undo(self) -> None:
        self.table = None  # its graph may be used up

    def accept(self, objective: CellObjective) -> None:
        if objective.scores is not None:
            self.estimates = objective.scores.estimates
        self.choose_worlds()

    # ------------------------------------------------------------ what is said

    def notes(self) -> list[AnyEvent]:
        sets = ((self.run.train, "training mazes"), (self.run.test, "held-out mazes"))
        parts = [
            f"the {len(split)} {name} every {EVERY[split.split]} updates"
            for split, name in sets
            if split is not None and len(split) > 1 and not split.from_steps
        ]
        if not parts:
            return []
        text = f"Exact figures: {' and '.join(parts)}. Each look takes as long as several updates."
        return [Note(step=0, level="info", text=text, term="held-out-mazes")]

    def initial_events(self) -> list[AnyEvent]:
        return [policy_event(self.run, self.known_table())]

    def events(self, objective: CellObjective) -> list[AnyEvent]:
        table, batch, scores = self.known_table(), objective.batch, objective.scores
        if batch is None or scores is None:
            return [policy_event(self.run, table)]
        after = table if table.worlds == batch.worlds else None
        return [
            policy_event(self.run, table, batch, scores),
            *group_events(self.run, batch, scores, self.model.prompts),
            episode_event(self.run, batch, scores, after),
        ]

    def final_events(self) -> list[AnyEvent]:
        return self.initial_events()

    # ------------------------------------------------------------ evaluating

    @property
    def one_maze(self) -> bool:
        """Whether the figures are about a single maze: they cost next to nothing."""
        return len(self.run.current_worlds) == 1

    def evaluate_now(self) -> list[Measured]:
        return [self._measured_here()] if self.one_maze else []

    def due(self) -> list[Split]:
        wanted = {"train": not self.one_maze, "test": self.run.test is not None}
        return [s for s in SPLITS if wanted[s] and is_due(self.run.clock, s)]

    def evaluate(self, split: Split) -> Measured:
        return self._measured(split, self.run.interrupted)

    def _measured(self, split: Split, interrupted: Interrupted = never) -> Measured:
        """The exact figures in all worlds of a split. Raises PutOffError."""
        worlds = self.run.train if split == "train" else self.run.test
        assert worlds is not None
        table = self.model.table_of(tuple(range(len(worlds))), worlds, interrupted=interrupted)
        return Measured(worlds, worlds.figures(table.policy))

    def _measured_here(self) -> Measured:
        """The exact figures of the one maze, and success on every map met so far, where there was
        more than one: what is forgotten."""
        run, table = self.run, self.known_table()
        figures = run.current_worlds.figures(table.policy[:1])
        met = run.train.met(run.clock) if run.train.from_steps else []
        if len(met) < 2:
            return Measured(run.current_worlds, figures)
        known = dict(zip(table.worlds, table.policy, strict=True))
        missing = tuple(w for w in met if w not in known)
        if missing:
            again = self.model.table_of(missing, run.train)
            known |= zip(again.worlds, again.policy, strict=True)
        more: dict[str, Metric] = {}
        for n, w in enumerate(met):
            success = run.train.only(w).figures(known[w][None])["success_rate"]
            more[f"success_rate_map_{n}"] = summarise(success)
        return Measured(run.current_worlds, figures, more=more)

    def final_choice(self) -> Measured:
        self.table = self.model.table_of(self.next_worlds, self.run.train)
        return self._measured_here() if self.one_maze else self._measured("train")

    @property
    def final_splits(self) -> tuple[Split, ...]:
        return () if self.run.test is None else ("test",)

    def final_figures(self, split: Split) -> Measured:
        return self._measured(split)

    # ------------------------------------------------------------ changing and saving

    def map_changed(self) -> None:
        if len(self.run.train) == len(self.estimates.total):  # a map that was planned
            self.model.forget_reference()
            return
        self.estimates = self.estimates.extended(len(self.run.train))
        self.model.write_prompts()
        self.choose_worlds()

    def reload_worlds(self) -> None:
        self.model.write_prompts()

    def state(self) -> State:
        return {
            "batch": np.array(self.next_worlds, np.int64),
            "estimates.total": self.estimates.total,
            "estimates.tries": self.estimates.tries,
        }

    def load(self, state: State) -> None:
        self.next_worlds = tuple(int(w) for w in state["batch"])
        self.estimates = Estimates(state["estimates.total"].copy(), state["estimates.tries"].copy())
        self.table = None


def spread(table: PolicyTable, visits: Array, reference: Tensor) -> dict[str, float]:
    """Entropy and KL to the reference of a policy, exact in every state, averaged over the moves
    made there (`visits` [N]); the KL where `reference` [N, A] is known."""
    weights = torch.from_numpy(visits / visits.sum())
    pi = table.log_pi.exp()
    away = (pi * (table.log_pi - reference)).sum(-1)
    known = weights * ~away.isnan()
    return {
        "entropy": float(-(weights * (pi * table.log_pi).sum(-1)).sum()),
        "reference_kl": float((known * away.nan_to_num()).sum() / known.sum()),
    }
