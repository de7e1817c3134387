"""The task of writing routes (`policy = "route"`): a whole route in one completion, paid for where
it leads.

What is written after an update is at once the sample that tells how good the policy has become and,
at temperature 1, what the next update learns from. Every batch draws from random numbers of its own
(`streams`).

Shapes: `B` completions, `T` tokens of the longest one, `W` worlds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.errors import UserError
from engine.learning.events import AnyEvent
from engine.learning.learner import State
from engine.llm.forward.agreement import Agreement
from engine.llm.forward.attention import evaluating
from engine.llm.forward.completion_policy import CompletionPolicy, move_words
from engine.llm.forward.sampling import end_tokens
from engine.llm.forward.value_head import ValueHead
from engine.llm.models.loading import Loaded
from engine.llm.passes import Extent
from engine.llm.tasks.base import Measured, Objective, RunState, Task, finite
from engine.llm.tasks.completions import (
    CompletionObjective,
    Reference,
    TokenTerms,
    asked_of,
    extent_of_batch,
    kl_penalty,
    mask_of,
    split_of,
)
from engine.llm.tasks.evaluation_schedule import is_due
from engine.llm.tasks.routes.batch import RouteBatch, batch_metrics, by_critic, collect
from engine.llm.tasks.routes.events import episode_event, group_events, policy_event
from engine.llm.tasks.routes.figures import figures_of
from engine.llm.tasks.routes.warm_start import RouteImitation
from engine.llm.tasks.routes.writer import RouteWriter
from engine.llm.tasks.streams import Stream, stream
from engine.llm.worlds import Split

SAMPLE = 64
"""Fewest completions an evaluation samples."""
LAST_SAMPLE = 128
"""Fewest of the last evaluation: the best adapters were chosen for a sample they did well on."""
KL_SAMPLE = 4
"""How many routes of an update have to do for a KL that is only told."""
BATCH, WARMUP, TRAIN, TEST = range(4)
"""What random numbers are for."""
PURPOSE: dict[Split, int] = {"train": TRAIN, "test": TEST}


class RoutesTask(Task[RouteBatch, Objective[RouteBatch]]):
    """Whole routes are written, walked and paid for."""

    policy: CompletionPolicy
    target: CompletionPolicy
    """The policy the figures are about: π at temperature 1."""
    writers: dict[Split, RouteWriter]

    def __init__(self, run: RunState) -> None:
        super().__init__(run)
        wanted = run.preset.maze.train.per_update if run.preset.maze.train else None
        self.per_update = wanted or len(run.train)
        self.batch: RouteBatch | None = None
        """What the next update learns from, where it is written already."""

    # ------------------------------------------------------------ the model

    def ready(self, loaded: Loaded, value_head: ValueHead | None) -> None:
        self.value_head = value_head
        model, tokenizer, preset = loaded.model, loaded.tokenizer, self.run.preset
        ends = end_tokens(model, tokenizer)
        sets = [self.run.train] if self.run.test is None else [self.run.train, self.run.test]
        self.writers = {
            mazes.split: RouteWriter(
                mazes, tokenizer, preset.reward, ends, preset.model.observation_text
            )
            for mazes in sets
        }
        for writer in self.writers.values():
            writer.check(loaded.limits, preset.model.max_tokens)
        prompt = self.writer.prompt(*self.writer.all_asks([0])[0])
        words = move_words(prompt, ends) if preset.model.words == "moves" else None

        def policy(temperature: float) -> CompletionPolicy:
            return CompletionPolicy(
                model,
                tokenizer,
                temperature=temperature,
                max_tokens=preset.model.max_tokens,
                words=words,
                token_budget=preset.model.tokens_at_once(loaded.device.type),
            )

        temperature = self.run.settings.temperature
        self.policy = policy(temperature)
        self.target = self.policy if temperature == 1 else policy(1.0)
        self.note = self.policy.note
        turn_end = tokenizer.eos_token_id
        self.end = turn_end if turn_end in ends else ends[0]
        self._check_limit()

    @property
    def writer(self) -> RouteWriter:
        """The writer of routes through the training mazes."""
        return self.writers["train"]

    def _check_limit(self) -> None:
        """Refuse a token limit under which no route can reach the prize."""
        limit = self.run.preset.model.max_tokens
        for w, start in self.writer.all_asks(range(len(self.run.train))):
            moves = self.writer.distance(w)[start]
            word = min(len(tokens) for tokens in self.writer.prompt(w, start).word_tokens)
            if np.isfinite(moves) and moves * word > limit:
                raise UserError(
                    f"model.max_tokens is {limit}, but the shortest route from cell {start} of "
                    f"training maze {w} takes {moves:.0f} moves; expected at least "
                    f"{moves * word + 1:.0f}, one token for the end included."
                )

    def agreement(self) -> Agreement:
        prompt = self.writer.prompt(*self.writer.all_asks([0])[0])
        routes = [list(range(len(prompt.words))), [0, *range(len(prompt.words))]]
        written = [prompt.completion(r, self.end)[-self.policy.max_tokens :] for r in routes]
        if not self.policy.packed:
            return finite(self.policy.log_probs([prompt.tokens] * 2, written))
        return self.policy.agreement([prompt.tokens] * 2, written)

    def asked(self) -> dict[str, Any]:
        prompts = [self.writer.prompt(*ask) for ask in self.writer.all_asks([0])]
        return asked_of(self.policy, "route", [(p.text, p.tokens) for p in prompts])

    @property
    def policies(self) -> list[CompletionPolicy]:
        return [self.policy] if self.target is self.policy else [self.policy, self.target]

    def extent(self, training: bool = False) -> Extent:
        asks = self.writer.all_asks(range(self.per_update))
        prompts = [self.writer.prompt(*ask).tokens for ask in asks]
        return extent_of_batch(self.policy, prompts, self.batch, self.run.settings.episodes)

    # ------------------------------------------------------------ an update

    def _numbers(self, *purpose: int) -> Stream:
        return stream(self.run.seed, self.run.clock, *purpose)

    def collect(self) -> RouteBatch:
        if self.batch is None:
            run = self.run
            with run.sampling():
                self.batch = collect(
                    self.writer,
                    self.policy,
                    run.algorithm,
                    run.settings,
                    self.per_update,
                    self._numbers(BATCH),
                )
            prompts = {len(route.prompt.tokens) for route in self.batch.routes}
            run.tokens += self.batch.tokens + sum(prompts)
        return self.batch

    def score(self, batch: RouteBatch) -> CompletionObjective[RouteBatch]:
        run, settings = self.run, self.run.settings
        log_p_ref = told_ref = values_old = targets = penalty = None
        critic, totals = run.algorithm.critic(settings), batch.totals
        in_reward = settings.kl > 0 and settings.kl_in == "reward"
        if settings.kl:
            log_p_ref = self.policy.reference_log_probs(*split_of(batch.routes))
            run.give_way()
        if critic or in_reward:
            log_p, values = self._beforehand(batch)
        if in_reward:
            assert log_p_ref is not None
            penalty = kl_penalty(settings, log_p, log_p_ref, mask_of(batch.routes))
            totals = totals - penalty.sum(1)
        if critic:
            values_old, gamma, lambda_ = values, settings.gamma, critic.gae_lambda
            advantages, targets = by_critic(batch, values, gamma, lambda_, penalty)
        else:
            grouped = totals.reshape(-1, batch.group_size)
            compared = run.algorithm.advantages(grouped, settings).reshape(-1)
            advantages = torch.from_numpy(compared).float()
        if log_p_ref is None:
            told_ref = self._told_reference(batch)
        terms = TokenTerms(advantages, log_p_ref, values_old, targets, told_ref)
        told = batch_metrics(batch, advantages)
        return CompletionObjective(run, self.policy, self.value_head, batch, totals, terms, told)

    def _beforehand(self, batch: RouteBatch) -> tuple[Tensor, Tensor]:
        """[B, T] log π of the tokens and [B, T] what the value head, if there is one, expects where
        each was drawn: what is to be known before the first pass of the update. 0 behind the ends.
        Raises PutOffError."""
        prompts, written = split_of(batch.routes)
        mask = mask_of(batch.routes)
        log_p, values = torch.zeros(mask.shape), torch.zeros(mask.shape)
        with evaluating(self.policy.model):
            for part in self.policy.split(prompts, written):
                asked, answers = [prompts[b] for b in part], [written[b] for b in part]
                scores = self.policy.forward(asked, answers, keep_hidden=bool(self.value_head))
                longest = scores.mask.shape[1]
                log_p[part, :longest] = scores.log_probs.cpu()
                if self.value_head is not None:
                    assert scores.hidden is not None
                    values[part, :longest] = self.value_head(scores.hidden).cpu()
                self.run.give_way()
        return log_p, torch.where(mask, values, 0.0)

    def _told_reference(self, batch: RouteBatch) -> Reference:
        """The reference policy on a few routes, for a KL that is told where nothing pulls."""
        few = np.unique(np.linspace(0, len(batch.routes) - 1, KL_SAMPLE).astype(int)).tolist()
        found = self.policy.reference_log_probs(*split_of([batch.routes[b] for b in few]))
        log_p = torch.zeros(mask_of(batch.routes).shape)[few]
        log_p[:, : found.shape[1]] = found
        return Reference(few, log_p)

    def warm_start(self) -> RouteImitation:
        numbers = self._numbers(WARMUP)
        return RouteImitation(
            self.run, self.target, self.writer, self.per_update, self.end, numbers
        )

    def accept(self, objective: Objective[RouteBatch]) -> None:
        self.batch = None

    # ------------------------------------------------------------ what is said

    def initial_events(self) -> list[AnyEvent]:
        return self._policy_events(self.batch)

    def events(self, objective: Objective[RouteBatch]) -> list[AnyEvent]:
        events = self._policy_events(self.batch or objective.batch)
        if isinstance(objective, CompletionObjective):
            events += group_events(self.run, self.writer, objective)
            episode = episode_event(self.run, self.writer, objective)
            events += [] if episode is None else [episode]
        return events

    def _policy_events(self, batch: RouteBatch | None) -> list[AnyEvent]:
        return [] if batch is None else [policy_event(self.run, batch)]

    def final_events(self) -> list[AnyEvent]:
        return self.initial_events()

    # ------------------------------------------------------------ evaluating

    @property
    def _one_question(self) -> bool:
        """Whether the model is only ever asked for one route: all completions answer that."""
        return len(self.run.train) == 1 and len(self.writer.all_asks([0])) == 1

    @property
    def _fair(self) -> bool:
        """Whether the routes an update learns from are a fair sample of the target policy."""
        return self.target is self.policy and self._one_question

    def evaluate_now(self) -> list[Measured]:
        """At every update where the next one's routes are a fair sample of the target policy, now
        and then where they are not."""
        measured = []
        due = is_due(self.run.clock, "train")
        if self._fair and (due or not self.run.warming_up):
            self.collect()
        if due or self.batch is not None:
            measured.append(self._measured("train"))
        if self.run.test is not None and is_due(self.run.clock, "test"):
            measured.append(self._measured("test"))
        return measured

    def _measured(self, split: Split) -> Measured:
        """The figures of a set; where the next update's routes are written already, from those."""
        batch = self.batch if split == "train" and self._one_question else None
        known = batch.first if batch else ()
        greedy = (batch.greedy,) if batch and batch.greedy else ()
        writer, numbers = self.writers[split], self._numbers(PURPOSE[split])
        with self.run.sampling():
            figures, stderr = figures_of(writer, self.target, SAMPLE, numbers, known, greedy)
        return Measured(writer.split, figures, "sampled", stderr)

    def final_choice(self) -> Measured | None:
        """The newest adapters are a choice too, where the schedule has passed them over."""
        if not is_due(self.run.clock, "train") and (self.run.warming_up or not self._fair):
            return self._measured("train")
        return None

    @property
    def final_splits(self) -> tuple[Split, ...]:
        return tuple(self.writers)

    def final_figures(self, split: Split) -> Measured:
        """From more routes, all of them new: none they were chosen for."""
        writer, numbers = self.writers[split], self._numbers(PURPOSE[split], LAST_SAMPLE)
        figures, stderr = figures_of(writer, self.target, LAST_SAMPLE, numbers)
        return Measured(writer.split, figures, "sampled", stderr)

    # ------------------------------------------------------------ changing and saving

    def check_edit(self) -> None:
        raise UserError(
            "The maze of a route policy cannot be edited while it runs: whole routes are written "
            "for one map. Start another run with --set maze.map=…, or use model.policy = 'action'."
        )

    def load(self, state: State) -> None:
        self.batch = None
