"""Questions and answers of a run that learns from preferences, and the reward model they make.

A round is a set of pairs shown together. When all of them are answered, first the reward model in
use is held against the answers, which it has never seen; only then is it fitted anew to all answers
so far. Plain arrays: no model, no randomness.

Shapes: `N` preferences, `D` features, `K` pairs of a round.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.learning.events import Pair, Preference
from engine.learning.learner import State
from engine.llm.tasks.text.features import NAMES
from engine.llm.tasks.text.preference_judge import TARGETS
from engine.llm.tasks.text.preference_model import RewardModel, Scale, fit


class Memory(msgspec.Struct):
    """What is remembered besides arrays."""

    pairs: list[Pair] = []
    """Pairs of the round that is open, or was open last."""
    answers: list[Preference] = []
    """Answers to those pairs."""
    asked: int = 0
    """Pairs of all rounds."""
    rounds: int = 0
    told: dict[str, float] = {}
    """The newest figures of the reward model."""


class Rounds:
    """The pairs shown and the answers to them. `model` is what the policy is paid by; None before
    the first answers."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.open = np.zeros((0, 2, 0))
        """[K, 2, D] features of the open round's pairs."""
        self.known = np.zeros((0, 2, 0))
        """[N, 2, D] features of the pairs of earlier rounds that were decided."""
        self.targets = np.zeros(0)
        """[N] see `TARGETS`."""
        self.scale: Scale | None = None
        self.model: RewardModel | None = None

    def begin(self, scale: Scale) -> None:
        """Before the first round: how features become numbers of one size."""
        self.scale = scale
        self.known = np.zeros((0, 2, len(scale.centre)))

    @property
    def waiting(self) -> int:
        """Pairs of the open round without an answer."""
        return len(self.memory.pairs) - len(self.memory.answers)

    def ask(self, pairs: list[Pair], features: Array) -> None:
        """Open a round. `features` [K, 2, D]."""
        assert self.waiting == 0
        self.memory.pairs, self.memory.answers = list(pairs), []
        self.memory.asked += len(pairs)
        self.memory.rounds += 1
        self.open = features

    def answer(
        self,
        step: int,
        pair: int,
        choice: Any,
        by: Any,
        target: float | None = None,
        scores: tuple[float, float] | None = None,
    ) -> Preference:
        """Take an answer. `target` where it says more than the choice. Raises UserError for a pair
        that is not open."""
        place = next((n for n, p in enumerate(self.memory.pairs) if p.index == pair), None)
        if place is None or any(given.index == pair for given in self.memory.answers):
            known = "was answered already" if 0 <= pair < self.memory.asked else "was never shown"
            raise UserError(f"Pair {pair} {known}; {self.waiting} answers are wanted now.")
        given = Preference(
            step=step,
            index=pair,
            choice=choice,
            target=TARGETS.get(choice, math.nan) if target is None else target,
            guess=math.nan if self.model is None else self.model.chance(self.open[place]),
            scores=scores,
            by=by,
        )
        self.memory.answers.append(given)
        return given

    def close(self) -> dict[str, float]:
        """When all are answered: hold the model against them, fit it anew, and tell."""
        assert self.waiting == 0 and self.scale is not None
        by_index = {given.index: given.target for given in self.memory.answers}
        targets = np.array([by_index[pair.index] for pair in self.memory.pairs])
        agreed, judged = agreement(self.memory.answers)
        decided = np.isfinite(targets)
        self.known = np.concatenate([self.known, self.open[decided]])
        self.targets = np.concatenate([self.targets, targets[decided]])
        self.refit()
        assert self.model is not None
        weights = self.model.readable(NAMES)
        self.memory.told = {
            "preferences": float(len(self.targets)),
            "judge_agreement": agreed / judged if judged else math.nan,
            "judge_agreement_of": float(judged),
            "tie_share": float((targets[decided] == 0.5).mean()) if decided.any() else math.nan,
            "fit_agreement": self._fit_agreement(),
            **{f"reward_weight_{name}": weight for name, weight in weights.items()},
        }
        return self.memory.told

    def refit(self) -> None:
        """The reward model of all answers so far."""
        assert self.scale is not None
        scaled = self.scale(self.known)
        self.model = RewardModel(self.scale, fit(scaled[:, 0] - scaled[:, 1], self.targets))

    def _fit_agreement(self) -> float:
        """How many of the answers it was fitted to the model reproduces: no proof of anything."""
        assert self.model is not None
        clear = self.targets != 0.5
        if not clear.any():
            return math.nan
        pairs = self.known[clear]
        gap = self.model.score(pairs[:, 0]) - self.model.score(pairs[:, 1])
        return float(((gap > 0) == (self.targets[clear] > 0.5)).mean())

    # ------------------------------------------------------------ saving

    def save(self) -> State:
        """All of it as arrays."""
        packed = np.frombuffer(msgspec.msgpack.encode(self.memory), np.uint8)
        state: State = {
            "memory": packed,
            "open": self.open,
            "known": self.known,
            "targets": self.targets,
        }
        if self.scale is not None:
            state |= {
                "centre": self.scale.centre,
                "spread": self.scale.spread,
                "expected": self.scale.expected,
            }
        if self.model is not None:
            state["weights"] = self.model.weights
        return {f"rounds.{name}": value for name, value in state.items()}

    def load(self, state: State) -> None:
        """The inverse of `save`."""

        def get(name: str) -> Array:
            return state[f"rounds.{name}"]

        self.memory = msgspec.msgpack.decode(get("memory").tobytes(), type=Memory)
        self.open, self.known, self.targets = get("open"), get("known"), get("targets")
        self.scale = self.model = None
        if "rounds.centre" in state:
            self.scale = Scale(get("centre"), get("spread"), get("expected"))
        if "rounds.weights" in state:
            assert self.scale is not None
            self.model = RewardModel(self.scale, get("weights"))


def agreement(answers: list[Preference]) -> tuple[int, int]:
    """In how many answers the guess made before was right, of how many that can tell: those that
    preferred one of the two, and for which there was a guess."""
    clear = [a for a in answers if math.isfinite(a.guess) and a.target not in (0.5,)]
    clear = [a for a in clear if math.isfinite(a.target)]
    return sum((a.guess > 0.5) == (a.target > 0.5) for a in clear), len(clear)
