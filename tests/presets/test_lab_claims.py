"""Every challenge of the lab keeps all its claims, on a seed with which no bound was made.

In process, without workers: the same learners and the same judgement as `icemaze lab run`. Those
that train language models are judged by `icemaze presets check --all --llm`.
"""

from __future__ import annotations

import re

import pytest
from claim_tools import run
from lesson_tools import says

from engine.config.shipped import CHALLENGE_FILE
from engine.experiments.lab.challenge import Challenge, challenge_names, load_challenge
from engine.experiments.lab.compare import results
from engine.experiments.lab.runner import plan, single_agent

pytestmark = pytest.mark.slow

OTHER_SEED = 77
"""None of those with which the challenges' comments say they were measured."""
HACKED = ["reward-bonus"]
"""Presets whose rewards ask for something else than the prize, which a note must say, once."""

EXPONENTS = {
    "curse-table": (1.9, "k is near 1.9"),
    "curse-features": (0.6, "With features k is near 0.6"),
    "curse-keys": (0.5, "about the square root of the number of states"),
}
"""By which power steps grow, as the lesson says it."""


def comments(challenge: Challenge) -> str:
    """What the comments of its file say: with which seeds it was measured, and what came out."""
    text = (challenge.folder / CHALLENGE_FILE).read_text("utf-8")
    return " ".join(line[1:] for line in text.splitlines() if line.startswith("#"))


@pytest.mark.parametrize("name", challenge_names())
def test_a_challenge_keeps_its_claims_on_another_seed(name: str) -> None:
    challenge = load_challenge(name)
    told = comments(challenge)
    assert re.search(r"\bseeds? \d", told), "with which seeds was it measured?"
    assert str(OTHER_SEED) not in re.findall(r"\d+(?:[.,]\d+)*", told)
    jobs = plan([challenge], seed=OTHER_SEED)
    assert all(job.preset.run.seed != OTHER_SEED for job in plan([challenge]))
    for job in jobs:
        job.figures, job.per_agent = run(job.preset)
        job.per_agent = job.per_agent or single_agent(job.figures)
        job.status = "finished"
    result = results(challenge, jobs)
    assert result.compared or result.grown_compared
    assert [claim for claim in result.claims if not claim.kept] == []
    assert [run for run in result.runs if not run.kept] == []
    for grown in result.grown:
        if grown.claim.preset in EXPONENTS:
            said, words = EXPONENTS[grown.claim.preset]
            says(name, words)
            assert abs(grown.found.value - said) < 0.15
    for job in jobs:
        preset, _ = job.task
        expected = ["reward-design"] if preset in HACKED else []
        assert job.figures["notes"] == expected, preset
