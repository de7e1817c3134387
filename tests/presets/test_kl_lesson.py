"""Every number that the lesson about KL estimators says, computed by adding up all four moves."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from engine import factory, presets
from engine.experiments.lab.challenge import lab_folder
from engine.learning.events import Update

PAGE = (lab_folder() / "pages" / "which-kl.md").read_text("utf-8")
TEXT = " ".join(PAGE.split())
REFERENCE = np.full(4, 0.25)


class Row:
    """A policy of four moves beside the even one. Gradients are by θ of the first move."""

    def __init__(self, first: float, other: float) -> None:
        pi = self.pi = np.array([first, other, other, other])
        self.d = np.log(REFERENCE) - np.log(pi)
        self.score = np.array([1.0, 0.0, 0.0, 0.0]) - pi[0]  # ∂ ln π(a) / ∂θ of the first move
        self.k = {"k1": -self.d, "k2": self.d**2 / 2, "k3": np.exp(self.d) - 1 - self.d}
        by_d = {"k1": -np.ones(4), "k2": self.d, "k3": np.exp(self.d) - 1}
        self.loss = {name: pi @ (by_d[name] * -self.score) for name in self.k}
        self.reward = {name: pi @ (self.k[name] * self.score) for name in self.k}
        self.reverse, self.forward = pi @ -self.d, REFERENCE @ self.d

    def mean(self, name: str) -> float:
        return float(self.pi @ self.k[name])

    def deviation(self, name: str) -> float:
        return math.sqrt(self.pi @ (self.k[name] - self.mean(name)) ** 2)

    def by_differences(self, forward: bool) -> float:
        """The gradient of a divergence, by central differences."""

        def divergence(step: float) -> float:
            weights = self.pi * np.exp([step, 0.0, 0.0, 0.0])
            pi = weights / weights.sum()
            if forward:
                return float(REFERENCE @ np.log(REFERENCE / pi))
            return float(pi @ np.log(pi / REFERENCE))

        return (divergence(1e-5) - divergence(-1e-5)) / 2e-5


FIRST, SURE = Row(0.7, 0.1), Row(0.97, 0.01)


def said(value: float, digits: int = 2) -> str:
    return f"{value + 0.0:.{digits}f}".replace("-", "−")


def test_the_gradients_are_those_of_the_divergences() -> None:
    for row in (FIRST, SURE):
        assert row.loss["k1"] == pytest.approx(0.0, abs=1e-12)
        assert row.loss["k2"] == pytest.approx(row.by_differences(forward=False), abs=1e-9)
        assert row.loss["k3"] == pytest.approx(row.by_differences(forward=True), abs=1e-9)
        assert row.reward["k1"] == pytest.approx(row.loss["k2"], abs=1e-12)
        assert row.reward["k3"] == pytest.approx(row.loss["k2"] - row.loss["k3"], abs=1e-12)


def sentences() -> list[str]:
    f, s = FIRST, SURE
    two, three = f.loss["k2"], f.loss["k3"]
    return [
        f"over moves drawn from π, is {said(f.reverse)}.",
        f"round, is {said(f.forward)}: another number",
        f"here {said(f.d[0])} for the first move, {said(f.d[1])} for each other",
        *(
            f"{said(f.k[name][0])} and {said(f.k[name][1])}; mean {said(f.mean(name))}, standard "
            f"deviation {said(f.deviation(name))}."
            for name in f.k
        ),
        f"For KL(π‖π_ref) it is {said(two)}, for KL(π_ref‖π) {said(three)}.",
        f"**k1**: {said(abs(f.loss['k1']))}. It does not hold",
        f"**k2**: {said(two)}, that of KL(π‖π_ref), although",
        f"**k3**: {said(three)}, that of KL(π_ref‖π).",
        f"added up: {said(f.by_differences(forward=False))}.",
        f"KL(π‖π_ref) falls to {said(s.loss['k2'])}, that of KL(π_ref‖π) rises to "
        f"{said(s.loss['k3'])}.",
        f"k3 pulls {said(s.loss['k3'] / s.loss['k2'], 1)} times as hard",
        f"standard deviation is {said(s.deviation('k3'))}, that of k1 {said(s.deviation('k1'))}. A "
        f"rare move counts {said(s.k['k3'][1], 1)}.",
        f"**k1**: {said(f.reward['k1'])}, that of KL(π‖π_ref). So RLHF",
        f"**k2**: {said(f.reward['k2'])}.",
        f"**k3**: {said(two)} − {said(three)} = {said(f.reward['k3'])}, the difference",
        f"{said(s.loss['k2'])} − {said(s.loss['k3'])} = {said(s.reward['k3'])}.",
        f"an entropy of {said(math.log(4))};",
    ]


@pytest.mark.parametrize("sentence", sentences())
def test_what_the_lesson_says_is_so(sentence: str) -> None:
    assert sentence in TEXT


def test_there_is_no_other_number() -> None:
    number = re.compile(r"−?\d+\.\d+")
    given = {"0.25", "0.7", "0.1", "0.97", "0.01", "0.5", "0.3"}  # chances, β and a bound
    choices = {said(FIRST.reverse), said(FIRST.forward), said(FIRST.loss["k2"]), "0.45"}
    known = {found for one in sentences() for found in number.findall(one)} | given | choices
    assert set(number.findall(PAGE)) <= known


@pytest.mark.slow
def test_how_sure_the_three_runs_become() -> None:
    def entropy(*more: str) -> float:
        overrides = ["algorithm.kl=0.5", "run.agents=4", *(f"algorithm.{one}" for one in more)]
        learner = factory.make_learner(presets.load("grpo-table", overrides))
        learner.begin()
        updates = [e for e in learner.advance(10**6) if isinstance(e, Update)]
        return updates[-1].metrics["entropy"].mean

    assert entropy() > 1.0
    assert entropy("kl_estimator=k1") < 0.3
    assert entropy("kl_in=reward") > 1.0
