"""The task of writing text that somebody prefers (`policy = "text"`): RLHF.

Christiano et al. 2017 and Ouyang et al. 2022, as small as it goes. In turns: some pairs of fresh
completions are shown and answered; a reward model is fitted to all answers so far; then some
updates follow, in each of which the model writes, the reward model scores, and the policy is made
to write more of what scored better than the rest, held back by the KL to the base model.

While answers are missing the learner waits (`engine.learning.learner.AskingLearner`); with a rule
as the judge it never does. All completions are drawn from random numbers of their own (`streams`),
so that a resumed run writes and asks the same.

Shapes: `B` completions in groups of `G`, `D` features.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import torch

from engine.core.arrays import Floats
from engine.learning.events import AnyEvent, Note, Pair
from engine.learning.learner import State
from engine.llm.algorithms.advantages import all_equal
from engine.llm.diagnosis.preferences import TEXT_RULES, overoptimised
from engine.llm.forward.agreement import Agreement
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.sampling import end_tokens
from engine.llm.forward.value_head import ValueHead
from engine.llm.models.loading import Loaded
from engine.llm.passes import Extent
from engine.llm.tasks.base import RunState, Task, finite
from engine.llm.tasks.completions import (
    CompletionObjective,
    TokenTerms,
    asked_of,
    extent_of_batch,
    kl_penalty,
    mask_of,
    split_of,
)
from engine.llm.tasks.recorded import update_event
from engine.llm.tasks.streams import Stream, stream
from engine.llm.tasks.text.batch import (
    Request,
    TextBatch,
    Written,
    describe,
    different_pairs,
    write,
)
from engine.llm.tasks.text.events import figures, group_events, opinion
from engine.llm.tasks.text.features import NAMES
from engine.llm.tasks.text.preference_judge import ruled, scored_target
from engine.llm.tasks.text.preference_model import Scale
from engine.llm.tasks.text.preference_rounds import Rounds, agreement

BATCH, QUESTIONS, REFERENCE, LAST = range(4)
"""What random numbers are for."""
SAMPLE = 32
"""Completions of the untouched model that features are measured by, and of the final report."""
CANDIDATES = 4
"""Completions from which a pair is taken: two that do not read alike."""


class TextTask(Task[TextBatch, CompletionObjective[TextBatch]]):
    """Free text is written, and paid for by a reward model fitted to preferences."""

    rules = TEXT_RULES
    policy: CompletionPolicy
    requests: list[Request]

    def __init__(self, run: RunState) -> None:
        super().__init__(run)
        assert run.preset.text is not None
        self.text = run.preset.text
        self.rounds = Rounds()
        self.climb = (math.nan, math.nan)
        """Mean score at the first and the last update since the reward model was fitted."""
        self.batch: TextBatch | None = None
        """What the next update learns from, where it is written already."""

    # ------------------------------------------------------------ the model

    def ready(self, loaded: Loaded, value_head: ValueHead | None) -> None:
        model = self.run.preset.model
        self.tokenizer = loaded.tokenizer
        self.requests = [Request.of(asked, self.tokenizer) for asked in self.text.prompts]
        prompts = [request.tokens for request in self.requests]
        ends = end_tokens(loaded.model, self.tokenizer)
        loaded.limits.check_answers(self.tokenizer, prompts, (), ends, model.max_tokens)
        self.policy = CompletionPolicy(
            loaded.model,
            self.tokenizer,
            temperature=self.run.settings.temperature,
            max_tokens=model.max_tokens,
            token_budget=model.tokens_at_once(loaded.device.type),
        )
        self.note = self.policy.note

    def agreement(self) -> Agreement:
        prompt = self.requests[0].tokens
        said = prompt[-self.policy.max_tokens :]
        asked, answers = [prompt, prompt], [said, said[:1] + said[:-1]]
        if not self.policy.packed:
            return finite(self.policy.log_probs(asked, answers))
        return self.policy.agreement(asked, answers)

    def asked(self) -> dict[str, Any]:
        return asked_of(self.policy, "text", [(r.text, r.tokens) for r in self.requests])

    @property
    def policies(self) -> list[CompletionPolicy]:
        return [self.policy]

    def extent(self, training: bool = False) -> Extent:
        prompts = [request.tokens for request in self.requests]
        return extent_of_batch(self.policy, prompts, self.batch, self.run.settings.episodes)

    # ------------------------------------------------------------ an update

    def collect(self) -> TextBatch:
        if self.batch is None:
            settings = self.run.settings
            size = self.run.algorithm.group_size(settings)
            with self.run.sampling():
                written = self._write(settings.episodes, BATCH, size)
            self.batch = TextBatch(tuple(written), size)
        return self.batch

    def score(self, batch: TextBatch) -> CompletionObjective[TextBatch]:
        run, written = self.run, batch.completions
        described = describe(self.policy, written, run.interrupted)
        run.tokens += sum(len(one.tokens) for one in written)
        scores = compared = self._scores(described.features)
        if run.settings.kl and run.settings.kl_in == "reward":
            log_p = self.policy.log_probs(*split_of(written))
            run.give_way()
            penalty = kl_penalty(run.settings, log_p, described.log_p_ref, mask_of(written))
            compared = scores - penalty.sum(1)
        advantages = self._advantages(batch, compared)
        told = {
            **figures(self.text, written),
            **opinion(self.text, written, scores),
            "advantage_std": float(advantages.std()),
            "equal_groups": float(all_equal(scores.reshape(-1, batch.group_size)).mean()),
            **self.rounds.memory.told,
        }
        terms = TokenTerms(torch.from_numpy(advantages).float(), described.log_p_ref)
        return CompletionObjective(run, self.policy, None, batch, compared, terms, told)

    def _advantages(self, batch: TextBatch, scores: Floats) -> Floats:
        """[B] every token of a completion gets its completion's."""
        grouped = scores.reshape(-1, batch.group_size)
        return self.run.algorithm.advantages(grouped, self.run.settings).reshape(-1)

    def accept(self, objective: CompletionObjective[TextBatch]) -> None:
        self.batch = None
        now = objective.told["reward_model_score"]
        self.climb = (now if math.isnan(self.climb[0]) else self.climb[0], now)

    def _write(self, count: int, purpose: int, group: int | None = None) -> list[Written]:
        """Fresh completions: groups of one request each, the requests taking turns."""
        group = group or max(1, count // len(self.requests))
        n_groups = max(1, count // group)
        first = self.run.clock * n_groups
        turns = [self.requests[(first + n) % len(self.requests)] for n in range(n_groups)]
        tokens = self._numbers(purpose).tokens
        written = write(self.policy, self.tokenizer, turns, group, tokens)
        self.run.tokens += sum(len(one.tokens) for one in written)
        return written

    def _numbers(self, purpose: int) -> Stream:
        return stream(self.run.seed, self.run.clock, purpose)

    def _scores(self, features: Floats) -> Floats:
        """[B] what the reward model says; 0 before there is one."""
        model = self.rounds.model
        return np.zeros(len(features)) if model is None else model.score(features)

    # ------------------------------------------------------------ what is said

    def notes(self) -> list[AnyEvent]:
        if self.text.judge != "you":
            return []
        text = (
            f"You are the reward: answer {self.text.pairs} pairs, then the model learns for "
            f"{self.text.every} updates, and asks again. It waits until you answer; without "
            "the app open, `icemaze open` shows the pairs."
        )
        return [Note(step=0, level="info", text=text, term="preference")]

    def initial_events(self) -> list[AnyEvent]:
        written = self._write(SAMPLE, REFERENCE)
        features = describe(self.policy, written).features
        self.rounds.begin(Scale.of(features, len(NAMES), self.text.prior))
        told = figures(self.text, written)
        self.base_figures = {f"base_{name}": value for name, value in told.items()}
        return [update_event(self.run, told), *self._ask_pairs()]

    def events(self, objective: CompletionObjective[TextBatch]) -> list[AnyEvent]:
        batch, scores = objective.batch, objective.rewards
        return [*group_events(self.run.clock, batch, scores, self._advantages(batch, scores))]

    def final_events(self) -> list[AnyEvent]:
        """The newest adapters, judged by fresh completions."""
        written = self._write(SAMPLE, LAST)
        scores = self._scores(describe(self.policy, written).features)
        told = {
            **self.rounds.memory.told,
            **figures(self.text, written),
            **opinion(self.text, written, scores),
            **self.base_figures,
        }
        return [update_event(self.run, told)]

    # ------------------------------------------------------------ asking

    @property
    def waiting(self) -> int:
        return self.rounds.waiting

    def ask(self) -> list[AnyEvent]:
        return self._ask_pairs() if self.run.clock % self.text.every == 0 else []

    def _ask_pairs(self) -> list[AnyEvent]:
        """Show pairs of fresh completions; a rule answers at once."""
        turns = [self.requests[n % len(self.requests)] for n in range(self.text.pairs)]
        tokens = self._numbers(QUESTIONS).tokens
        written = write(self.policy, self.tokenizer, turns, CANDIDATES, tokens)
        places = different_pairs(written, CANDIDATES)
        if not places:
            text = "All completions read alike: there was no pair to ask about."
            return [Note(step=self.run.clock, level="warning", text=text, term="distinct-n")]
        shown = [written[place] for pair in places for place in pair]
        features = describe(self.policy, shown).features.reshape(len(places), 2, -1)
        pairs = [
            Pair(
                step=self.run.clock,
                index=self.rounds.memory.asked + n,
                prompt=written[first].prompt.asked,
                texts=(written[first].text, written[second].text),
            )
            for n, (first, second) in enumerate(places)
        ]
        self.rounds.ask(pairs, features)
        events: list[AnyEvent] = [*pairs]
        if self.text.judge == "rule":
            for pair in pairs:
                events += self._take(pair.index, ruled(self.text, pair.texts), "rule")
        return events

    def answer(
        self, pair: int, choice: str, scores: tuple[float, float] | None = None
    ) -> list[AnyEvent]:
        return self._take(pair, choice, "you", scores)

    def _take(
        self, pair: int, choice: str, by: str, scores: tuple[float, float] | None = None
    ) -> list[AnyEvent]:
        clock, target = self.run.clock, None if scores is None else scored_target(scores)
        events: list[AnyEvent] = [self.rounds.answer(clock, pair, choice, by, target, scores)]
        if self.rounds.waiting == 0:
            agreed, judged = agreement(self.rounds.memory.answers)
            events.append(update_event(self.run, self.rounds.close()))
            note = overoptimised(clock, agreed, judged, *self.climb, self.run.settings.kl)
            events += [note] if note else []
            self.climb = (math.nan, math.nan)
        return events

    # ------------------------------------------------------------ saving

    def state(self) -> State:
        numbers = msgspec.msgpack.encode({"base": self.base_figures, "climb": self.climb})
        return {"text": np.frombuffer(numbers, np.uint8), **self.rounds.save()}

    def load(self, state: State) -> None:
        self.rounds.load(state)
        numbers = msgspec.msgpack.decode(state["text"].tobytes())
        self.base_figures, self.climb = numbers["base"], tuple(numbers["climb"])
        self.batch = None
