"""The table of kinds: which class describes the runs of a preset. A new kind is a row here."""

from __future__ import annotations

from engine.algorithms.registry import algorithm_of
from engine.config.preset import ExternalPreset, LlmPreset, Preset
from tui.kinds.base import Kind
from tui.kinds.external.kind import ExternalKind
from tui.kinds.llm_cells import CellsKind
from tui.kinds.llm_routes import RoutesKind
from tui.kinds.llm_text import TextKind
from tui.kinds.planning import PlanningKind
from tui.kinds.policy import PolicyKind
from tui.kinds.prediction import PredictionKind
from tui.kinds.value import ValueKind

TABULAR: dict[str, type[Kind]] = {
    "planning": PlanningKind,
    "prediction": PredictionKind,
    "value": ValueKind,
    "policy": PolicyKind,
}
"""By the family of the algorithm."""
LANGUAGE_MODELS: dict[str, type[Kind]] = {
    "action": CellsKind,
    "route": RoutesKind,
    "text": TextKind,
}
"""By what the model is asked for."""


def kind_of(preset: Preset) -> Kind:
    """The kind of run that a preset describes."""
    if isinstance(preset, ExternalPreset):
        return ExternalKind(preset)
    if isinstance(preset, LlmPreset):
        return LANGUAGE_MODELS[preset.model.policy](preset)
    return TABULAR[algorithm_of(preset).family](preset)
