"""The learner of `policy = "action"`: one packed pass is the whole policy, episodes cost nothing.

An update is: look (a forward pass over every state's prompt gives π), play (episodes sampled from
that table), judge (advantages), learn (gradient passes), look again. The last look's graph is kept:
the first pass of the next update needs no forward pass of its own.

Shapes: `W` worlds of the batch, `O` observations, `A` actions, `N` prompts (rows), `B` episodes of
`T` steps.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config.preset import LlmPreset
from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Evaluation, Metric, Note, Policy
from engine.learning.learner import State
from engine.learning.summary import summarise
from engine.llm import judging, loading
from engine.llm.action_policy import TOLERANCE, ActionPolicy, PutOffError
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.estimates import Estimates, no_estimates
from engine.llm.judging import Played
from engine.llm.learner import LlmLearner
from engine.llm.look import Look, at_observations
from engine.llm.losses import Sums, metrics
from engine.llm.optimizer import Optimizer, named
from engine.llm.prompts import NO_PROMPT, ActionPrompts, action_prompts
from engine.llm.schedule import EVERY, is_due
from engine.llm.telling import action_groups, told_episode, told_policy
from engine.llm.value_head import ValueHead
from engine.llm.worlds import SPLITS, WorldSet, mean_of

VERIFIED_PROMPTS = 4
"""How many prompts are computed the long way before the first update, to be compared."""


class ActionLearner(LlmLearner):
    """See `engine.learning.learner.Learner`."""

    policy: ActionPolicy
    prompts: ActionPrompts

    def __init__(self, preset: LlmPreset, algorithm: LlmAlgorithm) -> None:
        super().__init__(preset, algorithm)
        mazes = preset.maze.train
        self.per_update = (mazes.per_update or len(self.train)) if mazes else 1
        self.batch = tuple(range(self.per_update))
        """The training worlds the next update plays; of maps that follow one another the newest,
        then those that are rehearsed."""
        self.estimates = no_estimates(judging.worlds_of(self.train, range(len(self.train))))
        self.halved = False
        self._look: Look | None = None

    # ------------------------------------------------------------ the model

    def ready(self) -> None:
        self._write_prompts()
        self.policy = ActionPolicy(
            self.on.model, temperature=self.settings.temperature, token_budget=self.token_budget
        )
        self.value_head = None
        if self.algorithm.has_critic:
            self.value_head = ValueHead(self.on.model, self.on.device)
            parameters = named(list(self.value_head.named_parameters()))
            self.value_optimizer = Optimizer(parameters, self.settings.value_learning_rate)
        self._verify()

    def _write_prompts(self) -> None:
        mazes = [*zip(self.train.mazes, self.train.mdps, strict=True)]
        if self.test is not None:
            mazes += zip(self.test.mazes, self.test.mdps, strict=True)
        self.prompts = action_prompts(mazes, self.on.tokenizer, self.preset.model.observation_text)
        self._forget_reference()

    def _forget_reference(self) -> None:
        self.reference = torch.full((len(self.prompts), self.n_actions), math.nan)

    def _verify(self) -> None:
        """Refuse to train when the packed pass does not say what the model says."""
        if not self.policy.packed:
            return
        rows = np.linspace(0, len(self.prompts) - 1, VERIFIED_PROMPTS).astype(int)
        off = self.policy.verify(self.prompts, sorted({int(row) for row in rows}))
        limit = TOLERANCE if self.on.dtype == torch.float32 else 0.25
        if off > limit:
            raise UserError(
                f"{self.preset.model.name}: the packed pass differs from the model's own forward "
                f"pass by up to {off:.2g} in log π (allowed {limit:g}), so training would follow "
                "wrong gradients; choose another model, or model.quantization = 'none'."
            )

    @property
    def n_actions(self) -> int:
        return self.train.mdps[0].n_actions

    def shrink(self) -> bool:
        self._look = None
        if self.halved:
            return False
        self.halved = True
        # Halves of what one pass really holds, whatever the budget allows beyond it.
        held = len({token for row in self.prompts.tokens for token in enumerate(row)})
        self.policy.token_budget = max(64, min(self.policy.token_budget, held) // 2)
        return True

    # ------------------------------------------------------------ looking

    def look(
        self,
        worlds: tuple[int, ...],
        split: WorldSet,
        keep_graph: bool,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Look:
        """π in some worlds of a split; ids of the test split's prompts follow the training ones.

        Raises PutOffError, see `ActionPolicy.table`.
        """
        place_of = self.prompts.row[[split.first + w for w in worlds]]
        rows = tuple(int(row) for row in np.unique(place_of[place_of != NO_PROMPT]))
        place = np.where(place_of == NO_PROMPT, NO_PROMPT, np.searchsorted(rows, place_of))
        graph = None
        # With dropout the policy that plays (without it) is not the one of a training pass.
        keep_graph = keep_graph and not self.on.lora.dropout
        if keep_graph and len(self.policy.split(self.prompts, rows)) == 1:
            table = self.policy.forward(self.prompts, rows)
            graph = (table.log_probs, table.hidden)
        else:
            table = self.policy.table(self.prompts, rows, interrupted)
        self.tokens += sum(len(self.prompts.tokens[row]) for row in rows)
        logits = table.logits.detach().double().cpu() * self.settings.temperature
        pi = torch.softmax(logits, -1).numpy()
        policy = at_observations(place, pi, 1.0 / self.n_actions)
        values = torch.zeros(len(rows))
        if self.value_head is not None:
            with torch.no_grad():
                values = self.value_head(table.hidden.detach()).cpu()
        log_pi = torch.log_softmax(logits / self.settings.temperature, -1)
        return Look(worlds, rows, place, log_pi, policy, values, graph)

    def _reference(self, look: Look) -> Tensor:
        """[N, A] log π of the reference policy, computed once a prompt. It is the base model, or
        the adapters as they were when the map last changed. Where nothing pulls towards it and it
        is only told, one maze of an update has to do, and all others are NaN."""
        rows = look.rows
        if self.settings.kl:
            wanted = rows
        else:
            first = look.place[0]
            wanted = tuple(rows[n] for n in np.unique(first[first != NO_PROMPT]))
        missing = [row for row in wanted if bool(self.reference[row].isnan().any())]
        if missing and self.frozen:
            with loading.exchanged(self.on.model, self.frozen):
                self.reference[missing] = self.policy.log_probs(self.prompts, missing).cpu()
        elif missing:
            self.reference[missing] = self.policy.reference_log_probs(self.prompts, missing).cpu()
        known = self.reference[list(rows)].double()
        known[[n for n, row in enumerate(rows) if row not in wanted]] = math.nan
        return known

    # ------------------------------------------------------------ an update

    def first_look(self) -> list[AnyEvent]:
        self._choose_batch()
        notes = self._look_again()
        if self.policy.note:
            notes.append(Note(step=0, level="info", text=self.policy.note, term="packed-pass"))
        if text := self._on_sets():
            notes.append(Note(step=0, level="info", text=text, term="held-out-mazes"))
        return [*notes, *self._evaluations(), self._shown(None)]

    def _on_sets(self) -> str:
        """What is to be known about evaluations that take long, or nothing."""
        parts = [
            f"the {len(split)} {name} every {EVERY[split.split]} updates"
            for split, name in ((self.train, "training mazes"), (self.test, "held-out mazes"))
            if split is not None and len(split) > 1 and not split.from_steps
        ]
        if not parts:
            return ""
        return f"Exact figures: {' and '.join(parts)}. Each look takes as long as several updates."

    def update(self, started: float) -> list[AnyEvent]:
        if self._look is None:
            self._look = self.look(self.batch, self.train, keep_graph=True)
        look, before = self._look, self._kept()
        played = None if self.warming_up else judging.play(self, look)
        sampled = time.perf_counter()
        try:
            told = self._learn(look, played)
        except torch.cuda.OutOfMemoryError:
            self._put_back(before)
            raise
        if told is None:
            self._put_back(before)
            self.yielded = True
            return []
        trained = time.perf_counter()
        self.clock += 1
        if self.train.from_steps and self.train.current(self.clock) != look.worlds[0]:
            self.map_changed()
        self._choose_batch()
        events: list[AnyEvent] = self._look_again()
        if played is not None:
            self.episodes += played.drawn.episodes
            self.env_steps += played.drawn.steps
            told |= played.metrics
        told["seconds_sampling"] = sampled - started
        told["seconds_training"] = trained - sampled
        events.append(self.update_event(told, started))
        evaluations = self._evaluations()
        events += evaluations
        events.append(self._shown(played))
        events += self._told(look, played)
        success = _success(evaluations)
        events += self.diagnosed(told, success)
        return events

    def _choose_batch(self) -> None:
        """Which training mazes the next update plays."""
        if self.train.from_steps:
            now = self.train.current(self.clock)
            earlier = self.train.met(self.clock) if self.rehearses else []
            self.batch = (now, *(w for w in earlier if w != now))
        elif self.per_update < len(self.train):
            chosen = self.rng.choice(len(self.train), self.per_update, replace=False)
            self.batch = tuple(sorted(int(w) for w in chosen))

    def _learn(self, look: Look, played: Played | None) -> dict[str, float] | None:
        """The gradient passes of one update, and their metrics; None when put off."""
        reference = self._reference(look)
        objective: Any = judging.expert(self, look)
        if played is not None:
            objective = judging.objective(
                self, look, played, reference if self.settings.kl else None
            )
        critic = None if played is None else played.critic
        parts = self.policy.split(self.prompts, look.rows)
        first = {row: n for n, row in enumerate(look.rows)}
        epochs = 1 if played is None else self.settings.epochs
        pieces: list[Sums] = []
        loss = norm = value_loss = 0.0
        for epoch in range(epochs):
            pieces, loss, value_loss = [], 0.0, 0.0
            for n_part, part in enumerate(parts):
                self.seed_dropout(epoch, n_part)
                if (epoch or len(parts) > 1) and self.interrupted():
                    return None
                rows = [first[row] for row in part]
                log_pi, hidden = self._with_graph(look, part, reuse=epoch == 0)
                share = objective.loss(log_pi.double().cpu(), rows)
                total = share.loss
                if critic is not None and self.value_head is not None:
                    judged = critic.loss(self.value_head(hidden.detach()).cpu(), rows)
                    total, value_loss = total + judged, value_loss + float(judged.detach())
                total.backward()
                self.tokens += 2 * sum(len(self.prompts.tokens[row]) for row in part)
                loss += float(share.loss.detach())
                pieces.append(share.sums)
            norm = self.optimizer.step(self.rate, self.settings.max_grad_norm)
            if self.value_head is not None:
                self.value_optimizer.step(self.settings.value_learning_rate, math.inf)
        told = {"gradient_norm": norm, **judging.spread(look, played, reference)}
        if played is None:
            return {**told, "warmup_loss": loss}
        if self.value_head is not None:
            told["value_loss"] = value_loss
        return {"loss": loss, **metrics(pieces), **told}

    def _with_graph(self, look: Look, part: list[int], reuse: bool) -> tuple[Tensor, Tensor]:
        """log π [n, A] and hidden states [n, H] of a part of the rows, with gradients."""
        if reuse and look.graph is not None:
            return look.graph
        table = self.policy.forward(self.prompts, part)
        self.tokens += sum(len(self.prompts.tokens[row]) for row in part)
        return table.log_probs, table.hidden

    def _look_again(self) -> list[AnyEvent]:
        """Look at what the update made of the policy. It is done: only the look can be repeated."""
        try:
            self._look = self.look(self.batch, self.train, keep_graph=True)
        except torch.cuda.OutOfMemoryError as error:
            note = self.make_room(error)
            self._look = self.look(self.batch, self.train, keep_graph=False)
            return [note]
        return []

    def _kept(self) -> dict[str, Any]:
        """What an update that is put off or fails has to give back.

        With one pass over one micro-batch the weights change at the very end, and need no copy.
        """
        assert self._look is not None
        kept = {"rng": copy.deepcopy(self.rng.bit_generator.state), "estimates": self.estimates}
        if self.settings.epochs > 1 or len(self.policy.split(self.prompts, self._look.rows)) > 1:
            kept["state"] = self.state()
        return kept

    def _put_back(self, kept: dict[str, Any]) -> None:
        self.optimizer.zero()
        if self.value_head is not None:
            self.value_optimizer.zero()
        if "state" in kept:
            self.load(kept["state"])
        self.rng.bit_generator.state, self.estimates = kept["rng"], kept["estimates"]
        self._look = None

    # ------------------------------------------------------------ saying what happened

    def _evaluations(self) -> list[Evaluation]:
        """The exact figures of one maze, at every update. Those of sets are owed when due."""
        assert self._look is not None
        alone = len(self.here) == 1
        self.owed = [
            split
            for split in SPLITS
            if is_due(self.clock, split)
            and (not alone if split == "train" else self.test is not None)
        ]
        if not alone:
            return []
        figures = self.here.figures(self._look.policy[:1])
        return [self.judged(self.here, figures, more=self._on_all_maps(self._look))]

    def pay(self) -> list[AnyEvent]:
        split = self.owed[0]
        worlds = self.train if split == "train" else self.test
        assert worlds is not None
        try:
            figures = self._whole(worlds, self.interrupted)
        except PutOffError:
            self.yielded = True
            return []
        self.owed.pop(0)
        if split == "test":
            return [worlds.evaluation(self.clock, figures)]
        self.diagnosis.evaluated(mean_of(figures, "success_rate"))
        return [self.judged(worlds, figures)]

    def _on_all_maps(self, look: Look) -> dict[str, Metric]:
        """Success on every map met so far, where there was more than one: what is forgotten."""
        met = self.train.met(self.clock) if self.train.from_steps else []
        if len(met) < 2:
            return {}
        known = dict(zip(look.worlds, look.policy, strict=True))
        missing = tuple(w for w in met if w not in known)
        if missing:
            again = self.look(missing, self.train, keep_graph=False)
            known |= zip(again.worlds, again.policy, strict=True)
        return {
            f"success_rate_map_{n}": summarise(
                self.train.only(w).figures(known[w][None])["success_rate"]
            )
            for n, w in enumerate(met)
        }

    def _whole(
        self, split: WorldSet, interrupted: Callable[[], bool] = lambda: False
    ) -> dict[str, Array]:
        """The exact figures [W] in all worlds of a split. Raises PutOffError."""
        everywhere = tuple(range(len(split)))
        return split.figures(self.look(everywhere, split, False, interrupted).policy)

    def _shown(self, played: Played | None) -> Policy:
        assert self._look is not None
        self._live_policy = told_policy(self, self._look, played)
        return self._live_policy

    def _told(self, before: Look, played: Played | None) -> list[AnyEvent]:
        """The update's groups, and one whole episode with what became of its moves."""
        assert self._look is not None
        if played is None:
            return []
        after = self._look if self._look.worlds == before.worlds else None
        episode = told_episode(self, before, played, after)
        self._live_steps = episode.steps
        return [*action_groups(self, played), episode]

    def last_look(self) -> list[AnyEvent]:
        good = self.good_in_a_row
        look = self._look = self.look(self.batch, self.train, keep_graph=False)
        alone = len(self.here) == 1
        figures = self.here.figures(look.policy[:1]) if alone else self._whole(self.train)
        final = self.judged(self.here, figures, more=self._on_all_maps(look))
        self.good_in_a_row = good
        held_out = [] if self.test is None else [self._held_out(self.test)]
        return [final, *held_out, self._shown(None)]

    def _held_out(self, test: WorldSet) -> Evaluation:
        """The held-out mazes with the final adapters and with those that are kept: the best on the
        training mazes."""
        final = self._whole(test)
        if loading.holds(self.on.model, self.best):
            best = final
        else:
            with self.with_best():
                best = self._whole(test)
        shown = {f"best_{name}": values for name, values in best.items()}
        return test.evaluation(self.clock, {**final, **shown})

    # ------------------------------------------------------------ other mazes

    @property
    def rehearses(self) -> bool:
        """Whether a share of the episodes is played on maps met earlier."""
        return self.preset.maze.revisit > 0 and bool(self.train.from_steps)

    def map_changed(self) -> list[AnyEvent]:
        events = super().map_changed()
        if len(self.train) > len(self.estimates.total):  # a new world, by an edit
            self.estimates = self.estimates.extended(len(self.train))
            self._write_prompts()
            self._choose_batch()
            self._look = self.look(self.batch, self.train, keep_graph=True)
            return [*events, self._shown(None)]
        self._forget_reference()
        return events

    def use_worlds(self) -> None:
        super().use_worlds()
        if self.loaded is not None:
            self._write_prompts()

    # ------------------------------------------------------------ saving

    def own_state(self) -> State:
        state: State = {
            "batch": np.array(self.batch, np.int64),
            "estimates.total": self.estimates.total,
            "estimates.tries": self.estimates.tries,
        }
        return state | (self.value_optimizer.state("value") if self.value_head is not None else {})

    def load_own_state(self, state: State) -> None:
        self.batch = tuple(int(w) for w in state["batch"])
        self.estimates = Estimates(state["estimates.total"].copy(), state["estimates.tries"].copy())
        if self.value_head is not None:
            self.value_optimizer.load(state, "value")
        self._forget_reference()  # the frozen adapters may be others
        self._look = None


def _success(evaluations: list[Evaluation]) -> float | None:
    trained = [e.figures["success_rate"].mean for e in evaluations if e.split == "train"]
    return trained[-1] if trained else None
