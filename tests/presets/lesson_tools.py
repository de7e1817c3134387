"""What tests of lessons share: the text of a lesson, and the world of a preset."""

from __future__ import annotations

from functools import cache

from engine import factory, presets
from engine.config.preset import Preset
from engine.env.mdp import MDP
from engine.exact.solve import Solution, solve
from engine.experiments.lab.challenge import lab_folder
from engine.tabular.worlds import TabularWorlds


@cache
def text_of(name: str) -> str:
    """A lesson of a challenge, or a page, in one line."""
    folder = lab_folder()
    path = folder / name / "lesson.md"
    path = path if path.exists() else folder / "pages" / f"{name}.md"
    return " ".join(path.read_text("utf-8").split())


def says(name: str, *words: str) -> None:
    """The lesson says each of these."""
    assert [each for each in words if each not in text_of(name)] == []


def number(value: float, digits: int) -> str:
    """As the lessons write it."""
    return f"{value:.{digits}f}".replace("-", "−")


@cache
def world(name: str, *overrides: str) -> tuple[Preset, TabularWorlds]:
    preset = presets.load(name, list(overrides))
    learner = factory.make_learner(preset)
    return preset, learner.worlds  # type: ignore[attr-defined]


def solved(name: str, *overrides: str) -> tuple[Preset, MDP, Solution]:
    """The first world of a preset, and its exact solution."""
    preset, worlds = world(name, *overrides)
    mdp = worlds.mdps[0]
    return preset, mdp, solve(mdp, preset.algorithm.gamma)
