"""From a preset for a language model to the learner that carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.core.errors import INSTALL_LLM, UserError

if TYPE_CHECKING:
    from engine.config.llm import LlmSettings
    from engine.config.preset import LlmPreset
    from engine.llm.algorithms.base import LlmAlgorithm
    from engine.llm.learner import LlmLearner


def make_learner(preset: LlmPreset, algorithm: LlmAlgorithm[LlmSettings]) -> LlmLearner:
    """The learner of a preset, at step 0. Raises UserError without the packages it needs."""
    try:  # torch takes seconds to import: only who trains waits for it
        from engine.llm.learner import LlmLearner
        from engine.llm.tasks.cells.task import CellsTask
        from engine.llm.tasks.routes.task import RoutesTask
        from engine.llm.tasks.text.task import TextTask
    except ModuleNotFoundError as error:
        raise UserError(
            f"Training a language model needs {error.name}, which is not installed: {INSTALL_LLM}"
        ) from error
    tasks: dict[str, type[Any]] = {"action": CellsTask, "route": RoutesTask, "text": TextTask}
    return LlmLearner(preset, algorithm, tasks[preset.model.policy])
