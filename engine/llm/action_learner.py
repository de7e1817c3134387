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
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import UserError
from engine.evaluate import state_values
from engine.events import AnyEvent, Evaluation, Note, Policy
from engine.learner import State
from engine.llm import judging, loading
from engine.llm.action_policy import TOLERANCE, ActionPolicy
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.estimates import no_estimates
from engine.llm.judging import Played
from engine.llm.learner import LlmLearner
from engine.llm.losses import Sums, metrics
from engine.llm.optimizer import Optimizer, named
from engine.llm.prompts import NO_PROMPT, ActionPrompts, action_prompts
from engine.llm.routes import expert_policy
from engine.llm.telling import action_groups, told_episode
from engine.llm.value_head import ValueHead
from engine.llm.worlds import Array, WorldSet
from engine.presets import LlmPreset

VERIFIED_PROMPTS = 4
"""How many prompts are computed the long way before the first update, to be compared."""
SET_EVERY, HELD_OUT_EVERY = 10, 20
"""How many updates lie between evaluations of all training mazes, and of all held-out ones."""


@dataclass(frozen=True, eq=False)
class Look:
    """What the model says of the prompts of some worlds."""

    worlds: tuple[int, ...]  # [W] which training worlds
    rows: tuple[int, ...]  # [N] which prompts
    place: Array  # [W, O] the row of each observation in `rows`, or NO_PROMPT
    log_pi: Tensor  # [N, A] at the sampling temperature, float64, detached
    policy: Array  # [W, O, A] π at temperature 1
    values: Tensor  # [N] of the value head, zeros without one
    graph: tuple[Tensor, Tensor] | None
    """log π [N, A] and hidden states [N, H] with their graph, where one pass holds all prompts."""


class ActionLearner(LlmLearner):
    """See `engine.learner.Learner`."""

    policy: ActionPolicy
    prompts: ActionPrompts

    def __init__(self, preset: LlmPreset, algorithm: LlmAlgorithm) -> None:
        super().__init__(preset, algorithm)
        wanted = preset.maze.train.per_update if preset.maze.train else None
        self.per_update = wanted or len(self.train)
        self.batch = tuple(range(self.per_update))
        self.estimates = no_estimates(judging.worlds_of(self.train, range(len(self.train))))
        self.halved = False
        self._look: Look | None = None

    # ------------------------------------------------------------ the model

    def ready(self) -> None:
        model = self.preset.model
        mazes = [*zip(self.train.mazes, self.train.mdps, strict=True)]
        if self.test is not None:
            mazes += zip(self.test.mazes, self.test.mdps, strict=True)
        self.prompts = action_prompts(mazes, self.on.tokenizer, model.observation_text)
        self.policy = ActionPolicy(
            self.on.model, temperature=self.settings.temperature, token_budget=self.token_budget
        )
        self.value_head = None
        if self.algorithm.has_critic:
            self.value_head = ValueHead(self.on.model, self.on.device)
            parameters = named(list(self.value_head.named_parameters()))
            self.value_optimizer = Optimizer(parameters, self.settings.value_learning_rate)
        self.reference = torch.full((len(self.prompts), self.n_actions), math.nan)
        self._verify()

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

    def look(self, worlds: tuple[int, ...], split: WorldSet, keep_graph: bool) -> Look:
        """π in some worlds of a split; ids of the test split's prompts follow the training ones."""
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
            table = self.policy.table(self.prompts, rows)
        self.tokens += sum(len(self.prompts.tokens[row]) for row in rows)
        logits = table.logits.detach().double().cpu() * self.settings.temperature
        pi = torch.softmax(logits, -1).numpy()
        policy = np.full((*place.shape, self.n_actions), 1.0 / self.n_actions)
        policy[place != NO_PROMPT] = pi[place[place != NO_PROMPT]]
        values = torch.zeros(len(rows))
        if self.value_head is not None:
            with torch.no_grad():
                values = self.value_head(table.hidden.detach()).cpu()
        log_pi = torch.log_softmax(logits / self.settings.temperature, -1)
        return Look(worlds, rows, place, log_pi, policy, values, graph)

    def _reference(self, rows: tuple[int, ...]) -> Tensor | None:
        """[N, A] log π of the base model, computed once a prompt; None where it would cost much."""
        if not self.settings.kl and self.per_update > 1:
            return None
        missing = [row for row in rows if bool(self.reference[row].isnan().any())]
        if missing:
            self.reference[missing] = self.policy.reference_log_probs(self.prompts, missing).cpu()
        return self.reference[list(rows)].double()

    # ------------------------------------------------------------ an update

    def first_look(self) -> list[AnyEvent]:
        self._choose_batch()
        self._look = self.look(self.batch, self.train, keep_graph=True)
        notes: list[AnyEvent] = []
        if self.policy.note:
            notes.append(Note(step=0, level="info", text=self.policy.note, term="packed-pass"))
        return [*notes, *self._evaluations(), self._policy(None)]

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
        self._choose_batch()
        events: list[AnyEvent] = self._look_again()
        if played is not None:
            self.episodes += len(played.rollouts.length)
            self.env_steps += int(played.rollouts.length.sum())
            told |= played.metrics
        told["seconds_sampling"] = sampled - started
        told["seconds_training"] = trained - sampled
        events.append(self.update_event(told, started))
        evaluations = self._evaluations()
        events += evaluations
        events.append(self._policy(played))
        events += self._told(look, played)
        success = _success(evaluations)
        events += self.diagnosed(told, success)
        return events

    def _choose_batch(self) -> None:
        """Which training mazes the next update plays."""
        if self.per_update < len(self.train):
            chosen = self.rng.choice(len(self.train), self.per_update, replace=False)
            self.batch = tuple(sorted(int(w) for w in chosen))

    def _learn(self, look: Look, played: Played | None) -> dict[str, float] | None:
        """The gradient passes of one update, and their metrics; None when put off."""
        expert = self._expert(look) if played is None else None
        reference = self._reference(look.rows)
        objective = expert or judging.objective(self, look, played, reference)
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
        told = {"gradient_norm": norm, **self._spread(look, played, reference)}
        if played is None:
            return {**told, "warmup_loss": loss}
        if self.value_head is not None:
            told["value_loss"] = value_loss
        return {"loss": loss, **metrics(pieces), **told}

    def _spread(
        self, look: Look, played: Played | None, reference: Tensor | None
    ) -> dict[str, float]:
        """Entropy and KL to the reference of the policy that played, exact in every state, averaged
        over the moves made (in the warm start over the states)."""
        visits: Array = np.ones(len(look.rows))
        if played is not None:
            here = look.place != NO_PROMPT
            visits = np.bincount(look.place[here], played.visits.sum(-1)[here], len(look.rows))
        weights = torch.from_numpy(visits / visits.sum())
        pi = look.log_pi.exp()
        spread = {"entropy": float(-(weights * (pi * look.log_pi).sum(-1)).sum())}
        if reference is not None:
            away = (pi * (look.log_pi - reference)).sum(-1)
            spread["reference_kl"] = float((weights * away).sum())
        else:
            spread["reference_kl"] = math.nan
        return spread

    def _with_graph(self, look: Look, part: list[int], reuse: bool) -> tuple[Tensor, Tensor]:
        """log π [n, A] and hidden states [n, H] of a part of the rows, with gradients."""
        if reuse and look.graph is not None:
            return look.graph
        table = self.policy.forward(self.prompts, part)
        self.tokens += sum(len(self.prompts.tokens[row]) for row in part)
        return table.log_probs, table.hidden

    def _expert(self, look: Look) -> Any:
        """The warm start's objective: the optimal moves of every state, all states alike."""
        from engine.llm.objectives import Fit

        target = np.zeros((len(look.rows), self.n_actions))
        for w, world in enumerate(look.worlds):
            best = expert_policy(self.train.mdps[world], self.settings.gamma)
            here = look.place[w] != NO_PROMPT
            np.add.at(target, look.place[w][here], best[here])
        known = target.sum(-1, keepdims=True)
        decided = known[:, 0] > 0
        target = np.where(known > 0, target / np.where(known > 0, known, 1.0), 1.0 / self.n_actions)
        weights = decided / max(1, decided.sum())
        return Fit(torch.from_numpy(target), torch.from_numpy(weights))

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
        """The exact figures that are due: of one maze at every update, of sets now and then."""
        assert self._look is not None
        events: list[Evaluation] = []
        if len(self.train) == 1:
            events.append(self.judged(self.train, self.train.figures(self._look.policy)))
        elif self.clock % SET_EVERY == 0:
            events.append(self.judged(self.train, self.train.figures(self._whole(self.train))))
        if self.test is not None and self.clock % HELD_OUT_EVERY == 0:
            figures = self.test.figures(self._whole(self.test))
            events.append(self.test.evaluation(self.clock, figures))
        return events

    def _whole(self, split: WorldSet) -> Array:
        """π [W, O, A] in all worlds of a split."""
        return self.look(tuple(range(len(split))), split, keep_graph=False).policy

    def _policy(self, played: Played | None) -> Policy:
        """What the model would do in the world that is shown, and what that is really worth."""
        assert self._look is not None
        world = self._look.worlds[0]
        mdp, pi = self.train.mdps[world], self._look.policy[0]
        try:
            values = state_values(mdp, pi, self.settings.gamma)
        except UserError:  # γ = 1 and a policy that may never end
            values = np.zeros(mdp.n_states)
        by_observation = np.zeros(mdp.n_observations)
        by_observation[mdp.observation] = values
        visits = np.zeros((mdp.n_observations, mdp.n_actions), np.int64)
        layers = {}
        if played is not None and played.worlds[0] == world:
            visits = played.visits[0]
            layers = {"advantage": played.mean_advantages[0].astype(np.float32)}
        event = Policy(
            step=self.clock,
            world_id=world,
            target=pi.astype(np.float32),
            behaviour=judging.behaviour(self, self._look)[0].astype(np.float32),
            q=None,
            values=by_observation.astype(np.float32),
            visits=visits,
            layers=layers,
        )
        self._live_policy = event
        return event

    def _told(self, before: Look, played: Played | None) -> list[AnyEvent]:
        """The update's groups, and one whole episode with what became of its moves."""
        assert self._look is not None
        if played is None:
            return []
        after = self._look if self._look.worlds == before.worlds else None
        episode = told_episode(self, before, played, after)
        self._live_steps = episode.steps
        return [*action_groups(self, played), episode]

    def conclude(self) -> list[AnyEvent]:
        good = self.good_in_a_row
        self._look = self.look(self.batch, self.train, keep_graph=False)
        final = self.judged(self.train, self.train.figures(self._whole(self.train)))
        self.good_in_a_row = good
        held_out = [] if self.test is None else [self._held_out(self.test)]
        return [final, *held_out, self._policy(None)]

    def _held_out(self, test: WorldSet) -> Evaluation:
        """The held-out mazes with the final adapters and with those that are kept: the best on the
        training mazes."""
        final = test.figures(self._whole(test))
        if loading.holds(self.on.model, self.best):
            best = final
        else:
            with self.with_best():
                best = test.figures(self._whole(test))
        shown = {f"best_{name}": values for name, values in best.items()}
        return test.evaluation(self.clock, {**final, **shown})

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
        self.estimates = type(self.estimates)(
            state["estimates.total"].copy(), state["estimates.tries"].copy()
        )
        if self.value_head is not None:
            self.value_optimizer.load(state, "value")
        self._look = None


def _success(evaluations: list[Evaluation]) -> float | None:
    trained = [e.figures["success_rate"].mean for e in evaluations if e.split == "train"]
    return trained[-1] if trained else None
