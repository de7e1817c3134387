"""The learner of `policy = "text"`: RLHF. The model writes free text, somebody prefers.

Christiano et al. 2017 and Ouyang et al. 2022, as small as it goes. In turns: some pairs of fresh
completions are shown and answered; a reward model is fitted to all answers so far; then some
updates follow, in each of which the model writes, the reward model scores, and the policy is made
to write more of what scored better than the rest, held back by the KL to the base model.

While answers are missing the learner waits (`engine.learning.learner.AskingLearner`); with a rule
as the judge it never does. All completions are drawn from random numbers of their own, by seed and
clock (`plan_judging.stream`), so that a resumed run writes and asks the same.

Shapes: `B` completions in groups of `G`, `D` features.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import torch

from engine.config.preset import LlmPreset
from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Metric, Note, Pair, Update
from engine.learning.learner import State
from engine.llm import loading
from engine.llm.action_policy import TOLERANCE
from engine.llm.advantages import all_equal, sequence_weights
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.learner import LlmLearner
from engine.llm.losses import metrics
from engine.llm.optimizer import scheduled
from engine.llm.plan_judging import Batch, stream
from engine.llm.plan_objective import PlanObjective, Share, Terms
from engine.llm.plan_policy import PlanPolicy
from engine.llm.preference_diagnosis import TextDiagnosis, overoptimised
from engine.llm.preference_judge import ruled, scored_target
from engine.llm.preference_model import Scale
from engine.llm.preference_rounds import Rounds, agreement
from engine.llm.text_batch import (
    Described,
    Request,
    TextBatch,
    Written,
    describe,
    different_pairs,
    write,
)
from engine.llm.text_features import NAMES
from engine.llm.text_telling import figures, opinion, told_groups

BATCH, QUESTIONS, REFERENCE, LAST = range(4)
"""What random numbers are for."""
SAMPLE = 32
"""Completions of the untouched model that features are measured by, and of the last look."""
CANDIDATES = 4
"""Completions from which a pair is taken: two that do not read alike."""


class TextLearner(LlmLearner):
    """See `engine.learning.learner.Learner` and `AskingLearner`."""

    policy: PlanPolicy
    requests: list[Request]

    def __init__(self, preset: LlmPreset, algorithm: LlmAlgorithm) -> None:
        super().__init__(preset, algorithm)
        assert preset.text is not None
        self.task = preset.text
        self.diagnosis = TextDiagnosis(preset)
        self.rounds = Rounds()
        self.base: dict[str, float] = {}
        """Figures of the untouched model."""
        self.climb = (math.nan, math.nan)
        """Mean score at the first and the last update since the reward model was fitted."""
        self.halved = False
        self._batch: TextBatch | None = None
        """What the next update learns from, where it is written already."""

    # ------------------------------------------------------------ the model

    def ready(self) -> None:
        model, on = self.preset.model, self.on
        self.requests = [Request.of(asked, on.tokenizer) for asked in self.task.prompts]
        self.policy = PlanPolicy(
            on.model, on.tokenizer, temperature=self.settings.temperature,
            max_tokens=model.max_tokens, token_budget=self.token_budget,
        )  # fmt: skip
        self._verify()

    def _verify(self) -> None:
        """Refuse to train when the packed pass does not say what the model says."""
        if not self.policy.packed:
            return
        prompt = self.requests[0].tokens
        said = prompt[-self.policy.max_tokens :]
        off = self.policy.verify([prompt, prompt], [said, said[:1] + said[:-1]])
        limit = TOLERANCE if self.on.dtype == torch.float32 else 0.25
        if off > limit:
            raise UserError(
                f"{self.preset.model.name}: the packed pass differs from the model's own forward "
                f"pass by up to {off:.2g} in log π (allowed {limit:g}), so training would follow "
                "wrong gradients; choose another model, or model.quantization = 'none'."
            )

    def shrink(self) -> bool:
        self.optimizer.zero()
        if self.halved:
            return False
        self.halved = True
        self.policy.token_budget = max(64, self.policy.token_budget // 2)
        self.policy.cache_budget //= 2
        return True

    # ------------------------------------------------------------ how far

    @property
    def waiting(self) -> int:
        """For how many answers it waits."""
        return self.rounds.waiting

    @property
    def done(self) -> bool:
        return self.waiting == 0 and super().done

    # ------------------------------------------------------------ asking

    def first_look(self) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        if self.policy.note:
            events.append(Note(step=0, level="info", text=self.policy.note, term="packed-pass"))
        written = self._write(SAMPLE, REFERENCE)
        described = self._describe(written)
        self.rounds.begin(Scale.of(described.features, len(NAMES), self.task.prior))
        self.base = {f"base_{name}": value for name, value in figures(self.task, written).items()}
        if self.task.judge == "you":
            text = (
                f"You are the reward: answer {self.task.pairs} pairs, then the model learns for "
                f"{self.task.every} updates, and asks again. It waits until you answer; without "
                "the app open, `icemaze open` shows the pairs."
            )
            events.append(Note(step=0, level="info", text=text, term="preference"))
        return [*events, self._point(figures(self.task, written)), *self._ask()]

    def _ask(self) -> list[AnyEvent]:
        """Show pairs of fresh completions; a rule answers at once."""
        turns = [self.requests[n % len(self.requests)] for n in range(self.task.pairs)]
        numbers = stream(self.preset.run.seed, self.clock, QUESTIONS)
        written = write(self.policy, self.on.tokenizer, turns, CANDIDATES, numbers.tokens)
        places = different_pairs(written, CANDIDATES)
        if not places:
            text = "All completions read alike: there was no pair to ask about."
            return [Note(step=self.clock, level="warning", text=text, term="distinct-n")]
        shown = [written[place] for pair in places for place in pair]
        features = self._describe(shown).features.reshape(len(places), 2, -1)
        pairs = [
            Pair(
                step=self.clock,
                index=self.rounds.memory.asked + n,
                prompt=written[first].prompt.asked,
                texts=(written[first].text, written[second].text),
            )
            for n, (first, second) in enumerate(places)
        ]
        self.rounds.ask(pairs, features)
        events: list[AnyEvent] = [*pairs]
        if self.task.judge == "rule":
            for pair in pairs:
                events += self._take(pair.index, ruled(self.task, pair.texts), "rule")
        return events

    def prefer(self, pair: int, choice: str) -> list[AnyEvent]:
        """Take an answer. Raises UserError."""
        return self._take(pair, choice, "you")

    def score(self, pair: int, scores: tuple[float, float]) -> list[AnyEvent]:
        """Take an answer typed as two marks. Raises UserError."""
        first, second = scores
        choice = "tie" if first == second else "first" if first > second else "second"
        return self._take(pair, choice, "you", scored_target(scores), scores)

    def _take(
        self,
        pair: int,
        choice: str,
        by: str,
        target: float | None = None,
        scores: tuple[float, float] | None = None,
    ) -> list[AnyEvent]:
        events: list[AnyEvent] = [self.rounds.answer(self.clock, pair, choice, by, target, scores)]
        if self.rounds.waiting == 0:
            agreed, judged = agreement(self.rounds.memory.answers)
            events.append(self._point(self.rounds.close()))
            note = overoptimised(self.clock, agreed, judged, *self.climb, self.settings.kl)
            events += [note] if note else []
            self.climb = (math.nan, math.nan)
        return events

    # ------------------------------------------------------------ an update

    def update(self, started: float) -> list[AnyEvent]:
        if self._batch is None:
            size = self.algorithm.group_size(self.settings)
            self._batch = TextBatch(tuple(self._write(self.settings.episodes, BATCH, size)), size)
        batch, drawn = self._batch, time.perf_counter()
        learned = self._learn(batch)
        if learned is None:
            self.optimizer.zero()
            self.yielded = True
            return []
        told, scores, advantages = learned
        self._batch = None
        self.clock += 1
        self.episodes += len(batch.routes)
        now = time.perf_counter()
        told |= {"seconds_sampling": drawn - started, "seconds_training": now - drawn}
        events: list[AnyEvent] = [self.update_event(told, started)]
        events += told_groups(self.clock, batch, scores, advantages)
        events += self.diagnosed({**told, **self.base}, None)
        if self.clock % self.task.every == 0:
            events += self._ask()
        return events

    def _learn(self, batch: TextBatch) -> tuple[dict[str, float], Floats, Floats] | None:
        """The gradient passes: what is to be said of them, scores [B] and advantages [B]; None
        when put off."""
        described = describe(self.policy, batch.routes, self.interrupted)
        if described is None:
            return None
        self.tokens += int(batch.lengths.sum())
        scores = self._scores(described.features)
        grouped = scores.reshape(-1, batch.group_size)
        advantages = self.algorithm.advantages(grouped, self.settings).reshape(-1)
        objective = PlanObjective(
            cast(Batch, batch),  # of which it wants no more than a TextBatch has
            self.algorithm,
            self.settings,
            self.policy,
            None,
            scheduled(self.settings.entropy, self.clock),
        )
        terms = self._terms(batch, described, advantages)
        shares: list[Share] = []
        norm = 0.0
        for epoch in range(self.settings.epochs):
            shares = []
            for n, part in enumerate(objective.split()):
                self.seed_dropout(epoch, n)
                # Once the adapters have moved there is no way back but to the end.
                if epoch == 0 and self.interrupted():
                    return None
                shares.append(objective.backward(terms, part))
            self.tokens += 3 * int(batch.lengths.sum())
            norm = self.optimizer.step(self.rate, self.settings.max_grad_norm)
        now = float(scores.mean())
        self.climb = (now if math.isnan(self.climb[0]) else self.climb[0], now)
        told = {
            "loss": sum(share.loss for share in shares),
            "gradient_norm": norm,
            **metrics([share.sums for share in shares]),
            **figures(self.task, batch.routes),
            **opinion(self.task, batch.routes, scores),
            "advantage_std": float(advantages.std()),
            "equal_groups": float(all_equal(grouped).mean()),
            **self.rounds.memory.told,
        }
        return told, scores, advantages

    def _terms(self, batch: TextBatch, described: Described, advantages: Floats) -> Terms:
        mask = torch.arange(int(batch.lengths.max())) < torch.from_numpy(batch.lengths)[:, None]
        old = torch.zeros(mask.shape)
        old[mask] = torch.tensor([x for one in batch.routes for x in one.log_probs])
        weights = sequence_weights(self.algorithm.weighting, batch.lengths, self.policy.max_tokens)
        return Terms(
            log_p_old=old,
            advantages=torch.from_numpy(advantages).float(),
            mask=mask,
            weights=torch.from_numpy(weights).float(),
            log_p_ref=described.log_p_ref,
            values_old=None,
            targets=None,
        )

    # ------------------------------------------------------------ writing and scoring

    def _write(self, count: int, purpose: int, group: int | None = None) -> list[Written]:
        """Fresh completions: groups of one request each, the requests taking turns."""
        group = group or max(1, count // len(self.requests))
        n_groups = max(1, count // group)
        first = self.clock * n_groups
        turns = [self.requests[(first + n) % len(self.requests)] for n in range(n_groups)]
        numbers = stream(self.preset.run.seed, self.clock, purpose)
        written = write(self.policy, self.on.tokenizer, turns, group, numbers.tokens)
        self.tokens += sum(len(one.tokens) for one in written)
        return written

    def _describe(self, written: list[Written]) -> Described:
        described = describe(self.policy, written)
        assert described is not None
        return described

    def _scores(self, features: Floats) -> Floats:
        """[B] what the reward model says; 0 before there is one."""
        model = self.rounds.model
        return np.zeros(len(features)) if model is None else model.score(features)

    def last_look(self) -> list[AnyEvent]:
        """The last adapters, looked at by fresh completions."""
        kept = self.tokens
        written = self._write(SAMPLE, LAST)
        self.tokens = kept
        told = figures(self.task, written) | opinion(
            self.task, written, self._scores(self._describe(written).features)
        )
        return [self._point({**self.rounds.memory.told, **told, **self.base})]

    # ------------------------------------------------------------ saying what happened

    def _point(self, figures: dict[str, float]) -> Update:
        """Figures that belong to no update of their own."""
        return Update(
            step=self.clock,
            updates=self.clock,
            episodes=self.episodes,
            total_env_steps=0,
            metrics={
                name: Metric(value, value, value, 0 if math.isnan(value) else 1)
                for name, value in figures.items()
            },
        )

    # ------------------------------------------------------------ saving

    def own_state(self) -> State:
        numbers = msgspec.msgpack.encode({"base": self.base, "climb": self.climb})
        return {"text": np.frombuffer(numbers, np.uint8), **self.rounds.save()}

    def load(self, state: State) -> None:
        # Before the model is there: whether answers are wanted must be known at once.
        self.rounds.load(state)
        numbers = msgspec.msgpack.decode(state["text"].tobytes())
        self.base, self.climb = numbers["base"], tuple(numbers["climb"])
        self._batch = None
        super().load(state)

    def load_own_state(self, state: State) -> None:
        """Nothing of it belongs to the model."""

    def export(self, folder: Path) -> None:
        """Write the newest adapters: there is no best, for nothing but the judge could say so."""
        loading.save_adapter(self.on, folder, None, self.algorithm.name)
