"""From a preset to the learner that carries it out."""

from __future__ import annotations

from engine.algorithms.registry import algorithm_of
from engine.config.preset import LlmPreset, Preset
from engine.core.errors import INSTALL_LLM, UserError
from engine.learning.learner import Learner
from engine.llm.algorithm import LlmAlgorithm
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
        return _language_model(preset, algorithm)
    if isinstance(algorithm, PlanningAlgorithm):
        return PlanningLearner(preset, algorithm)
    assert isinstance(algorithm, MovingAlgorithm)
    if algorithm.family == "prediction":
        return PredictionLearner(preset, algorithm)
    return TabularLearner(preset, algorithm)


def _language_model(preset: LlmPreset, algorithm: LlmAlgorithm) -> Learner:
    # Imported here for start-up time: these import torch.
    try:
        if preset.model.policy == "text":
            from engine.llm.text_learner import TextLearner

            return TextLearner(preset, algorithm)
        if preset.model.policy == "plan":
            from engine.llm.plan_learner import PlanLearner

            return PlanLearner(preset, algorithm)
        from engine.llm.action_learner import ActionLearner

        return ActionLearner(preset, algorithm)
    except ModuleNotFoundError as error:
        raise UserError(
            f"Training a language model needs {error.name}, which is not installed: {INSTALL_LLM}"
        ) from error
