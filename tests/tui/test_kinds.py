"""Kinds of run: which preset is of which, and what each says about itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from moments import preset_of

import tui
from engine import presets
from engine.algorithms import registry
from engine.algorithms.registry import algorithm_of
from engine.config.preset import LlmPreset, Preset
from engine.config.shipped import shipped_names
from tui import kinds
from tui.forms.setting_spec import settings
from tui.glossary.entries import load
from tui.kinds.base import Kind
from tui.kinds.by_preset import LANGUAGE_MODELS, TABULAR
from tui.kinds.llm_cells import CellsKind
from tui.kinds.llm_routes import RoutesKind
from tui.kinds.llm_text import TextKind
from tui.kinds.planning import PlanningKind
from tui.kinds.policy import PolicyKind
from tui.kinds.prediction import PredictionKind
from tui.kinds.value import ValueKind

ALL = (*TABULAR.values(), *LANGUAGE_MODELS.values())
SLUGS = {entry.slug for entry in load()}


def expected(preset: Preset) -> type[Kind]:
    """The kind as one would tell it from the file."""
    if isinstance(preset, LlmPreset):
        if preset.text is not None:
            return TextKind
        return CellsKind if preset.model.policy == "action" else RoutesKind
    family = algorithm_of(preset).family
    if family == "planning":
        return PlanningKind
    if family == "prediction":
        return PredictionKind
    return PolicyKind if family == "policy" else ValueKind


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_preset_is_of_one_kind(name: str) -> None:
    preset = presets.load(name)
    kind = kinds.of(preset)
    assert type(kind) is expected(preset) and kind.preset is preset
    assert kind == kinds.of(preset) and kind.algorithm is algorithm_of(preset)
    assert (kind.llm is preset) == isinstance(preset, LlmPreset)
    assert kind.has_maze != kind.asks_preferences
    assert kind.learners and kind.how and kind.behaviour
    assert bool(kind.judge) == kind.asks_preferences
    if kind.has_maze and kind.algorithm.custom_file is None:
        assert kind.algorithm.name in kind.other_algorithms()


def test_the_shipped_presets_are_of_all_kinds() -> None:
    assert {type(kinds.of(presets.load(name))) for name in shipped_names()} == set(ALL)


@pytest.mark.parametrize("name", registry.TABLES.names)
def test_every_algorithm_for_tables_has_a_kind(name: str) -> None:
    kind = kinds.of(preset_of(name))
    assert type(kind) is TABULAR[registry.for_tables(name).family]
    assert kind.plans == (kind.clock.unit == "sweep")
    assert not (kind.has_groups or kind.one_learner or kind.needs_gpu or kind.waits_for_answers)


@pytest.mark.parametrize("kind", ALL)
def test_what_a_kind_shows_can_be_looked_up(kind: type[Kind]) -> None:
    assert kind.clock.slug in SLUGS
    figures = [figure for view in kind.views for figure in view.figures]
    assert {figure.slug for figure in figures} <= SLUGS
    assert {column.slug for layout in kind.columns for column in layout} <= SLUGS
    assert len({view.title for view in kind.views}) == len(kind.views)
    widths = [sum(column.width for column in layout) for layout in kind.columns]
    assert widths == sorted(widths, reverse=True)
    assert kind.hints.running.format(layers=6).count("6") == 1


@pytest.mark.parametrize("name", shipped_names())
def test_a_form_offers_what_applies(name: str) -> None:
    preset = presets.load(name)
    kind = kinds.of(preset)
    offered = {s.key for s in settings(preset) if kind.applies(s.key)}
    assert "run.seed" in offered and "maze.size" not in offered and "model.policy" not in offered
    assert ("run.agents" in offered) == (not kind.plans and not kind.one_learner)
    assert kind.has_maze or not any(key.startswith(("maze.", "reward.")) for key in offered)
    assert kind.writes_routes or not any(key.startswith("reward.") for key in offered)


def test_a_kind_cannot_be_changed() -> None:
    kind = kinds.of(preset_of())
    with pytest.raises(FrozenInstanceError):
        kind.preset = preset_of("sarsa")  # type: ignore[misc]


def test_no_other_file_asks_what_kind_a_run_is() -> None:
    root = Path(tui.__file__).parent
    asking = ("LlmPreset", "LlmAlgorithm", "TextTask")
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        if path.parent != root / "kinds"
        for node in ast.walk(ast.parse(path.read_text()))
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "isinstance"
            and any(name in ast.dump(node.args[1]) for name in asking)
        )
        or (isinstance(node, ast.Compare) and ast.unparse(node.left).endswith("algorithm.family"))
    ]
    assert found == []


@pytest.mark.slow
def test_the_package_is_light_until_it_is_asked() -> None:
    code = "import sys, tui.kinds; print([m for m in ('numpy', 'engine') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
