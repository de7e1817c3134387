"""The learner of `policy = "plan"`: the model writes whole routes, and is paid for where they lead.

An update is: write (sample completions), walk them and pay them, judge (advantages), learn (several
passes over all tokens), write again. What is written after an update is at once the sample that
tells how good the policy has become and, at temperature 1, what the next update learns from.

Every batch draws from random numbers of its own (`plan_judging.stream`, by seed and clock), so a
resumed run writes the same routes, and evaluations shift nothing.

Shapes: `B` completions, `T` tokens of the longest one, `W` worlds.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor

from engine.config.preset import LlmPreset
from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Evaluation, Note
from engine.learning.learner import State
from engine.llm import loading
from engine.llm.action_policy import TOLERANCE
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.learner import LlmLearner
from engine.llm.losses import metrics
from engine.llm.optimizer import Optimizer, named, scheduled
from engine.llm.packing import TokenTree
from engine.llm.plan_figures import figures_of
from engine.llm.plan_judging import Batch, RouteWriter, batch_metrics, draw_batch, stream
from engine.llm.plan_objective import PlanObjective, Share
from engine.llm.plan_policy import PlanPolicy, move_words
from engine.llm.plan_telling import made_policy, plan_groups, told_route
from engine.llm.routes import sample_route, shortest_actions
from engine.llm.sampling import end_tokens
from engine.llm.schedule import is_due
from engine.llm.value_head import ValueHead
from engine.llm.worlds import WorldSet

SAMPLE = 64
"""Fewest completions an evaluation looks at."""
LAST_SAMPLE = 128
"""Fewest of the last evaluation: the best adapters were chosen for a sample they did well on."""
BATCH, WARMUP, TRAIN, TEST = range(4)
"""What random numbers are for."""

Learned = tuple[Batch | None, dict[str, float], Tensor]
"""What an update learned from (None: shown routes), its figures, and advantages [B] or [B, T]."""


class PlanLearner(LlmLearner):
    """See `engine.learning.learner.Learner`."""

    policy: PlanPolicy
    target: PlanPolicy
    """The policy the figures are about: π at temperature 1."""
    writers: dict[int, RouteWriter]
    """For the training mazes, and the held-out ones if there are any; by what they are for."""

    def __init__(self, preset: LlmPreset, algorithm: LlmAlgorithm) -> None:
        super().__init__(preset, algorithm)
        wanted = preset.maze.train.per_update if preset.maze.train else None
        self.per_update = wanted or len(self.train)
        self.halved = False
        self._batch: Batch | None = None
        """What the next update learns from, where it is written already."""
        self._kept: State | None = None
        """What an update put off has to give back; None while nothing has changed."""
        self._learned: Learned | None = None
        """What an update has learned from, of which nothing has been said yet."""

    # ------------------------------------------------------------ the model

    def ready(self) -> None:
        model, on = self.preset.model, self.on
        ends = end_tokens(on.model, on.tokenizer)
        weights = self.preset.reward
        splits = {TRAIN: self.train} | ({TEST: self.test} if self.test is not None else {})
        self.writers = {
            purpose: RouteWriter(split, on.tokenizer, weights, ends, model.observation_text)
            for purpose, split in splits.items()
        }
        prompt = self.writer.prompt(*self.writer.all_asks([0])[0])
        words = move_words(prompt, ends) if model.words == "moves" else None

        def policy(temperature: float) -> PlanPolicy:
            return PlanPolicy(
                on.model, on.tokenizer, temperature=temperature, max_tokens=model.max_tokens,
                words=words, token_budget=self.token_budget,
            )  # fmt: skip

        self.policy = policy(self.settings.temperature)
        self.target = self.policy if self.settings.temperature == 1 else policy(1.0)
        turn_end = on.tokenizer.eos_token_id
        self.end = turn_end if turn_end in ends else ends[0]
        self.value_head = None
        if self.algorithm.has_critic:
            self.value_head = ValueHead(on.model, on.device)
            parameters = named(list(self.value_head.named_parameters()))
            self.value_optimizer = Optimizer(parameters, self.settings.value_learning_rate)
        self._check_limit()
        self._verify()

    @property
    def writer(self) -> RouteWriter:
        """Of routes through the training mazes."""
        return self.writers[TRAIN]

    def _check_limit(self) -> None:
        """Refuse a token limit under which no route can reach the prize."""
        for w, start in self.writer.all_asks(range(len(self.train))):
            moves = self.writer.distance(w)[start]
            word = min(len(tokens) for tokens in self.writer.prompt(w, start).word_tokens)
            if np.isfinite(moves) and moves * word > self.preset.model.max_tokens:
                raise UserError(
                    f"model.max_tokens is {self.preset.model.max_tokens}, but the shortest route "
                    f"from cell {start} of training maze {w} takes {moves:.0f} moves; expected at "
                    f"least {moves * word + 1:.0f}, one token for the end included."
                )

    def _verify(self) -> None:
        """Refuse to train when the packed pass does not say what the model says."""
        if not self.policy.packed:
            return
        prompt = self.writer.prompt(*self.writer.all_asks([0])[0])
        routes = [list(range(len(prompt.words))), [0, *range(len(prompt.words))]]
        written = [prompt.completion(r, self.end)[-self.policy.max_tokens :] for r in routes]
        off = self.policy.verify([prompt.tokens] * 2, written)
        limit = TOLERANCE if self.on.dtype == torch.float32 else 0.25
        if off > limit:
            raise UserError(
                f"{self.preset.model.name}: the packed pass differs from the model's own forward "
                f"pass by up to {off:.2g} in log π (allowed {limit:g}), so training would follow "
                "wrong gradients; choose another model, or model.quantization = 'none'."
            )

    def shrink(self) -> bool:
        self._undo()
        if self.halved:
            return False
        self.halved = True
        # Halves of what one pass really holds, whatever the budget allows beyond it.
        longest = max(len(self.writer.prompt(*ask).tokens) for ask in self.writer.all_asks([0]))
        held = longest + self.settings.episodes * self.policy.max_tokens
        if self._batch is not None:
            inputs = [[*r.prompt.tokens, *r.tokens] for r in self._batch.routes]
            held = len(TokenTree.build(inputs))
        half = max(64, min(self.policy.token_budget, held) // 2)
        for policy in (self.policy, self.target):
            policy.token_budget = half
            policy.cache_budget = policy.cache_budget // 2
        return True

    # ------------------------------------------------------------ an update

    def first_look(self) -> list[AnyEvent]:
        notes: list[AnyEvent] = []
        if self.policy.note:
            notes.append(Note(step=0, level="info", text=self.policy.note, term="packed-pass"))
        events = [*notes, *self._evaluations()]
        return [*events, *self._shown(self._batch)]

    def update(self, started: float) -> list[AnyEvent]:
        drawn = time.perf_counter()
        if self._learned is None:
            self._kept = self.state() if self.settings.epochs > 1 else None
            if self._batch is None and not self.warming_up:
                self._batch = self._draw()
            drawn = time.perf_counter()
            told = self._warm_up() if self.warming_up else self._learn()
            if told is None:
                self._undo()
                self.yielded = True
                return []
            self._kept, self._batch, self._learned = None, None, told
            self.clock += 1
        trained = time.perf_counter()
        evaluations = self._evaluations()  # nothing is learned twice if the memory ends here
        (batch, told_metrics, advantages), self._learned = self._learned, None
        if batch is not None:
            self.episodes += batch.drawn
            self.env_steps += batch.moves
        told_metrics["seconds_sampling"] = time.perf_counter() - trained + drawn - started
        told_metrics["seconds_training"] = trained - drawn
        events: list[AnyEvent] = [self.update_event(told_metrics, started), *evaluations]
        events += self._shown(self._batch or batch)
        if batch is not None:
            events += plan_groups(self, batch, advantages)
            episode = told_route(self, batch, advantages)
            if episode is not None:
                self._live_steps = episode.steps
                events.append(episode)
        success = [e.figures["success_rate"].mean for e in evaluations if e.split == "train"]
        return events + self.diagnosed(told_metrics, success[-1] if success else None)

    def _draw(self) -> Batch:
        """The routes that update number `clock + 1` learns from."""
        numbers = stream(self.preset.run.seed, self.clock, BATCH)
        batch = draw_batch(
            self.writer, self.policy, self.algorithm, self.settings, self.per_update, numbers
        )
        self.tokens += batch.tokens + sum({len(r.prompt.tokens) for r in batch.routes})
        return batch

    def _learn(self) -> Learned | None:
        """The gradient passes of an update, and what is to be said of it; None when put off."""
        batch = self._batch
        assert batch is not None
        objective = PlanObjective(
            batch,
            self.algorithm,
            self.settings,
            self.policy,
            self.value_head,
            scheduled(self.settings.entropy, self.clock),
        )
        terms = objective.terms(self.interrupted)
        if terms is None:
            return None
        parts = objective.split()
        shares: list[Share] = []
        norm = 0.0
        for epoch in range(self.settings.epochs):
            shares = []
            for n, part in enumerate(parts):
                self.seed_dropout(epoch, n)
                if (epoch or n) and self.interrupted():
                    return None
                shares.append(objective.backward(terms, part))
            self.tokens += 3 * int(batch.lengths.sum())
            norm = self.optimizer.step(self.rate, self.settings.max_grad_norm)
            if self.value_head is not None:
                self.value_optimizer.step(self.settings.value_learning_rate, math.inf)
        told = {
            "loss": sum(share.loss for share in shares),
            "gradient_norm": norm,
            **metrics([share.sums for share in shares]),
            **batch_metrics(batch, terms.advantages),
        }
        if terms.log_p_ref is None:
            told["reference_kl"] = objective.sampled_kl(terms)
        if self.value_head is not None:
            told["value_loss"] = sum(share.value_loss for share in shares)
        return batch, told, terms.advantages

    def _warm_up(self) -> Learned | None:
        """A supervised update on shortest routes: −log π of their tokens, the mean over all."""
        assert self.preset.warmup is not None
        numbers = stream(self.preset.run.seed, self.clock, WARMUP)
        count = self.preset.warmup.routes
        worlds = numbers.moves.permutation(len(self.train))[: self.per_update]
        asks = self.writer.asks([int(worlds[i % len(worlds)]) for i in range(count)], numbers.moves)
        best = {w: shortest_actions(self.train.mdps[w]) for w in {w for w, _ in asks}}
        prompts, written = [], []
        for w, start in sorted(asks):  # routes of one maze side by side share its prompt
            route = sample_route(self.train.mdps[w], start, numbers.moves, best[w])
            prompt = self.writer.prompt(w, start)
            prompts.append(prompt.tokens)
            written.append(prompt.completion(route, self.end))
        n_tokens = sum(len(tokens) for tokens in written)
        loss = entropy = 0.0
        for n, part in enumerate(self.target.split(prompts, written)):
            self.seed_dropout(0, n)
            if n and self.interrupted():
                return None
            scores = self.target.forward([prompts[b] for b in part], [written[b] for b in part])
            share = -scores.log_probs.sum() / n_tokens
            share.backward()  # type: ignore[no-untyped-call]
            loss += float(share.detach())
            entropy += float(scores.entropy.detach().sum()) / n_tokens
            self.tokens += 3 * sum(len(written[b]) for b in part)
        norm = self.optimizer.step(self.rate, self.settings.max_grad_norm)
        told = {"warmup_loss": loss, "gradient_norm": norm, "entropy": entropy}
        return None, told, torch.zeros(0)

    def _undo(self) -> None:
        """Give up an update that was begun; what was written for it stays."""
        self.optimizer.zero()
        if self.value_head is not None:
            self.value_optimizer.zero()
        if self._kept is not None:
            batch, kept, self._kept = self._batch, self._kept, None
            self.load(kept)
            self._batch = batch

    # ------------------------------------------------------------ saying what happened

    def _evaluations(self) -> list[Evaluation]:
        """The figures that are due: at every update where the next one's routes are a fair sample
        of the target policy, now and then where they are not."""
        events: list[Evaluation] = []
        due = is_due(self.clock, "train")
        if self._fair and (due or not self.warming_up):
            self._batch = self._batch or self._draw()
        if due or self._batch is not None:
            figures, stderr = self._figures(TRAIN)
            events.append(self.judged(self.train, figures, "sampled", stderr))
        if self.test is not None and is_due(self.clock, "test"):
            figures, stderr = self._figures(TEST)
            events.append(self.test.evaluation(self.clock, figures, None, "sampled", stderr))
        return events

    @property
    def _fair(self) -> bool:
        """Whether the routes an update learns from are a fair sample of the target policy."""
        return self.target is self.policy and self._one_question

    @property
    def _one_question(self) -> bool:
        """Whether the model is only ever asked for one route: all completions answer that."""
        return len(self.train) == 1 and len(self.writer.all_asks([0])) == 1

    def _figures(self, purpose: int) -> tuple[dict[str, Array], float]:
        """The figures of the training or the held-out mazes, and the error of their success; where
        the next update's routes are written already, from those."""
        batch = self._batch if purpose == TRAIN and self._one_question else None
        known = batch.first if batch else ()
        greedy = (batch.greedy,) if batch and batch.greedy else ()
        numbers = stream(self.preset.run.seed, self.clock, purpose)
        return figures_of(self.writers[purpose], self.target, SAMPLE, numbers, known, greedy)

    def _last_figures(self, purpose: int) -> tuple[dict[str, Array], float]:
        """The same from more routes, all of them new."""
        numbers = stream(self.preset.run.seed, self.clock, purpose, LAST_SAMPLE)
        return figures_of(self.writers[purpose], self.target, LAST_SAMPLE, numbers)

    def _shown(self, batch: Batch | None) -> list[AnyEvent]:
        if batch is None:
            return []
        self._live_policy = made_policy(self, batch, self.clock)
        return [self._live_policy]

    def last_look(self) -> list[AnyEvent]:
        """The last adapters and the best ones, both judged by routes they were not chosen for. The
        last are a choice too, where the schedule has passed them over."""
        if not is_due(self.clock, "train") and (self.warming_up or not self._fair):
            good = self.good_in_a_row
            self.judged(self.train, self._figures(TRAIN)[0], "sampled")
            self.good_in_a_row = good
        last = best = {purpose: self._last_figures(purpose) for purpose in self.writers}
        if not loading.holds(self.on.model, self.best):
            with self.with_best():
                best = {purpose: self._last_figures(purpose) for purpose in self.writers}
        events: list[AnyEvent] = []
        for purpose, (figures, _) in last.items():
            best_figures, stderr = best[purpose]  # the headline figure is that of the best ones
            of_best = {f"best_{name}": values for name, values in best_figures.items()}
            split: WorldSet = self.writers[purpose].split
            shown = {**figures, **of_best}
            events.append(split.evaluation(self.clock, shown, None, "sampled", stderr))
        return [*events, *self._shown(self._batch)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        raise UserError(
            "The maze of a plan policy cannot be edited while it runs: whole routes are written "
            "for one map. Start another run with --set maze.map=…, or use model.policy = 'action'."
        )

    # ------------------------------------------------------------ saving

    def own_state(self) -> State:
        return self.value_optimizer.state("value") if self.value_head is not None else {}

    def load_own_state(self, state: State) -> None:
        if self.value_head is not None:
            self.value_optimizer.load(state, "value")
        self._batch = None
