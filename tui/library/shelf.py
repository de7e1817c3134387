"""What the home screen lists, as read from disk: presets, and runs with their progress.

Nothing here knows a widget. The engine is imported inside the functions, because the home screen is
painted before it (and NumPy with it) is loaded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui import kinds
from tui.ui.text import clean

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.env.maze import Maze
    from engine.exact.evaluate import OptimalFigures
    from engine.runs.curves import Curve
    from engine.runs.lists.index import RunIndex
    from engine.runs.records import Limits, RunSummary
    from tui.kinds.views import Figure

GROUPS = {
    "tabular": "Tables",
    "policy-gradient": "Policy gradients",
    "llm": "Language models",
    "challenge": "Challenges",
}
"""The groups of presets in the order they are listed, with their headings."""
FIRST = "first-steps"
"""The preset that a newcomer starts with."""


@dataclass(frozen=True, slots=True)
class PresetCard:
    """A shipped preset. All texts are clean. `error` says why it cannot be used."""

    name: str
    title: str
    group: str
    summary: str = ""
    preset: Preset | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """A preset's first maze, and then what the best policy reaches there, computed exactly."""

    maze: Maze | None = None
    figures: OptimalFigures | None = None
    value: float = 0.0
    """V* of the start, averaged over the start cells."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunCard:
    """A run in the list. All texts are clean; `progress` is the share of the budget used."""

    summary: RunSummary
    title: str
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class RunDetail:
    """What the preview of a run shows beyond its card."""

    id: str
    preset: Preset | None = None
    maze: Maze | None = None
    final: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Its figures over steps, by name."""


# ---------------------------------------------------------------- presets


def read_presets() -> list[PresetCard]:
    """Every shipped preset by group, in teaching order. A broken one is listed with its error.

    Mazes are not built here: `outlook` does that for the one that is looked at.
    """
    # start-up time: the home screen is painted before the engine (and NumPy) is loaded
    from engine.config.shipped import shipped_files

    cards = [_read_preset(path) for path in shipped_files().values()]
    return sorted(cards, key=_teaching_order)


def _read_preset(path: Path) -> PresetCard:
    # start-up time
    from engine import presets
    from engine.core.errors import UserError

    name = clean(path.stem)
    try:
        preset = presets.convert(tomllib.loads(path.read_text("utf-8")), path.name)
    except (OSError, ValueError, UserError) as error:
        return PresetCard(name, title=name, group="tabular", error=clean(str(error)))
    return PresetCard(
        name, clean(preset.title), preset.group, clean(preset.summary).strip(), preset
    )


def _teaching_order(card: PresetCard) -> tuple[int, bool, bool, int, bool, str]:
    """By group; the newcomer's first; what runs on any machine; then by algorithm, and each one's
    plain preset first."""
    # start-up time
    from engine.algorithms import registry
    from engine.config.preset import algorithm_name

    algorithm = algorithm_name(card.preset) if card.preset else ""
    taught = list(registry.LANGUAGE_MODELS.names if card.group == "llm" else registry.TABLES.names)
    place = taught.index(algorithm) if algorithm in taught else len(taught)
    group = list(GROUPS).index(card.group)
    plain = card.name.startswith(algorithm)
    return group, card.name != FIRST, _needs_gpu(card.preset), place, not plain, card.name


def _needs_gpu(preset: Preset | None) -> bool:
    """Whether a preset asks for a GPU; others take what there is."""
    return preset is not None and kinds.of(preset).needs_gpu


def outlook(preset: Preset, solve_too: bool) -> Outlook:
    """The first maze of a preset; with `solve_too` also the optimum. Mistakes stand in `error`."""
    # start-up time
    from engine.core.errors import UserError
    from engine.env.build_maze import build_mazes
    from engine.env.build_mdp import build_mdp
    from engine.exact.evaluate import optimal_figures
    from engine.exact.solve import solve

    if not kinds.of(preset).has_maze:
        return Outlook()  # free text: there is no maze
    first = None
    try:
        first = build_mazes(preset.maze)[0][1]
        if not solve_too:
            return Outlook(first)
        world, gamma = build_mdp(first), preset.algorithm.gamma
        solution = solve(world, gamma)
        figures = optimal_figures(world, gamma, solution)
        return Outlook(first, figures, float(world.start @ solution.values))
    except UserError as error:
        return Outlook(first, error=clean(str(error)))


# ---------------------------------------------------------------- runs


class RunShelf:
    """Lists the runs again and again; ended ones are read only once. Use it from one thread."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` holds the runs; the user's own by default."""
        self._folder = folder
        self._index: RunIndex | None = None
        self._cards: dict[Path, RunCard] = {}

    def read(self, order: str = "newest") -> list[RunCard]:
        """All runs in an order of `engine.runs.lists.sorting`. Raises UserError when their folder
        cannot be listed."""
        # start-up time
        from engine.runs import library
        from engine.runs.lists import sorting
        from engine.runs.lists.index import RunIndex

        folder = self._folder or library.runs_dir()
        if self._index is None:
            self._index = RunIndex(folder)
        runs = sorting.in_order(self._index.read(library.run_folders(folder)), order)
        self._cards = {run.path: self._card(run) for run in runs}
        return list(self._cards.values())

    def _card(self, run: RunSummary) -> RunCard:
        known = self._cards.get(run.path)
        if known is not None and known.summary is run:
            return known
        progress = used(run.budget, run) if run.budget else None
        title = clean(run.title or run.preset_name or run.id)
        if run.parent is not None:
            title += f" (fork at {run.parent.step:,})"
        return RunCard(run, title=title, progress=progress)


def used(budget: Limits, summary: RunSummary) -> float:
    """The share of the budget a run has used, 0 to 1: of several limits the nearest.

    An update is a step (or sweep) for every method that has a row here.
    """
    spent = {
        "env_steps": summary.env_steps,
        "episodes": summary.episodes,
        "updates": summary.step,
        "seconds": summary.seconds,
    }
    limits = {key: getattr(budget, key) for key in spent}
    shares = [spent[key] / limit for key, limit in limits.items() if limit]
    return min(max(shares, default=0.0), 1.0)


def first_figures(preset: Preset) -> tuple[Figure, ...]:
    """The figures that a run is looked at by first: those of its kind's first view."""
    return tuple(f for f in kinds.of(preset).views[0].figures if f.split != "test")


def read_detail(path: Path, stale: Callable[[], bool]) -> RunDetail | None:
    """What the preview of a run shows; None when `stale` says that nobody wants it any more."""
    # start-up time
    from engine.core.errors import UserError
    from engine.runs.reader import RunReader

    try:
        with RunReader(path) as reader:
            final, why = reader.final(), reader.error()
            if stale():
                return None
            info, world = reader.info(), reader.world_at(2**62)
            names = [figure.metric for figure in first_figures(info.preset)]
            curves = reader.curves_of(names)
        maze = world.maze if world and kinds.of(info.preset).has_maze else None
        return RunDetail(path.name, info.preset, maze, final, clean(why), curves)
    except (UserError, OSError, ValueError, KeyError) as error:
        return RunDetail(path.name, error=clean(str(error)))
