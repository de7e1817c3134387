"""From a preset to the learner that carries it out."""

from __future__ import annotations

from engine.algorithms.registry import algorithm_of
from engine.config.preset import LlmPreset, Preset
from engine.learning.learner import Learner
from engine.llm import make
from engine.llm.algorithms.base import LlmAlgorithm
from engine.tabular.kernels.experience import MovingAlgorithm
from engine.tabular.kernels.planning import PlanningAlgorithm
from engine.tabular.learner import TabularLearner
from engine.tabular.planning_learner import PlanningLearner
from engine.tabular.prediction_learner import PredictionLearner


def make_learner(preset: Preset) -> Learner:
    """The learner of a preset, at step 0, seeded by `run.seed`. Raises UserError where a language
    model cannot be trained here."""
    algorithm = algorithm_of(preset)
    if isinstance(preset, LlmPreset):
        assert isinstance(algorithm, LlmAlgorithm)
        return make.make_learner(preset, algorithm)
    if isinstance(algorithm, PlanningAlgorithm):
        return PlanningLearner(preset, algorithm)
    assert isinstance(algorithm, MovingAlgorithm)
    if algorithm.family == "prediction":
        return PredictionLearner(preset, algorithm)
    return TabularLearner(preset, algorithm)
