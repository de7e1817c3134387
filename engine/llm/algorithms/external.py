"""The algorithm of another trainer, of which no more is known than what it is called."""

from __future__ import annotations

from engine.config.external import ExternalSettings
from engine.llm.algorithms.base import LlmAlgorithm
from engine.llm.algorithms.normalisers import PER_EPISODE
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import LogProbability, Surrogate


class ExternalAlgorithm(LlmAlgorithm[ExternalSettings]):
    """Stands where an algorithm is asked for. It is in no registry: nobody can train with it, so
    its parts (weights, ratio, surrogate) are never used."""

    name = "external"
    settings = ExternalSettings
    source = "another trainer"
    formula = ""
    behaviour_policy = "as its trainer samples"
    target_policy = "as its trainer trains it"
    policies = ("text",)
    normaliser = PER_EPISODE
    ratio = TOKEN

    def __init__(self, title: str) -> None:
        self.title = title  # type: ignore[misc]  # one for each run, where others have one a class

    def surrogate(self, settings: ExternalSettings) -> Surrogate:
        return LogProbability()
