"""Everything the screens show, frozen at one moment: one snapshot per tick.

A thread reads the run store and builds it; the screens' handlers only draw it. Live view, replay
and time travel differ in nothing but `at`, the step that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.config.preset import Preset
from engine.env.mdp import MDP
from engine.exact.evaluate import OptimalFigures
from engine.exact.solve import Solution
from engine.learning.algorithm import Algorithm
from engine.learning.events import Evaluation, Group, Pair, Policy, Preference, Step, World
from engine.runs.curves import Curve, Reached
from engine.runs.past.timeline import Counts, Mark
from engine.runs.progress import Progress
from engine.runs.records import EpisodeRow, Head, NoteRow, Parent

__all__ = ["Counts", "Snapshot", "Track"]


@dataclass(frozen=True, slots=True)
class Track:
    """What stands on the timeline of a run, from step 0 to `end`."""

    end: int = 1
    told: tuple[Mark, ...] = ()
    """All notes, checkpoints, tunes and changes of the map, by step."""
    updates: tuple[int, ...] = ()
    """Steps at which figures were recorded: all, or of many in the same place one."""
    episodes: tuple[int, ...] = ()
    """Steps at which recorded episodes ended, likewise."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of one run."""

    run_id: str
    preset: Preset
    algorithm: Algorithm
    head: Head
    """State, counters and pace of the run, as the store says now."""
    at: int
    """The step that is shown; `head.step` when following the live edge."""
    following: bool
    world: World
    mdp: MDP
    optimum: Solution
    """V*, Q* and π* of the world shown, from the exact solver."""
    optimal_figures: OptimalFigures
    """What π* achieves within the time limit, and what no policy can beat."""
    optimal_path: tuple[int, ...]
    policy: Policy | None
    """What the watched agent has learned by `at`."""
    evaluation: Evaluation | None
    curves: Mapping[str, Curve]
    episodes: tuple[EpisodeRow, ...]
    """The recorded episodes up to `at`, newest first."""
    steps: tuple[Step, ...]
    """The watched agent's newest steps up to `at`, oldest first; the last is "now"."""
    notes: tuple[NoteRow, ...]
    track: Track = Track()
    counts_then: Counts | None = None
    """How far the run was at `at`, where that is not now."""
    parent: Parent | None = None
    """The run that this one was forked from, and at which step."""
    held_out: Evaluation | None = None
    """The newest evaluation on mazes that are not trained on, where there are any."""
    held_out_curves: Mapping[str, Curve] = field(default_factory=dict)
    reached: Mapping[str, Reached] = field(default_factory=dict)
    """How many agents are behind the figures that only those have that got somewhere."""
    pairs: tuple[Pair, ...] = ()
    """Free text: all pairs of completions that were shown, oldest first."""
    preferences: tuple[Preference, ...] = ()
    """Free text: the answers to them, oldest first."""
    progress: Progress | None = None
    """The counters at each recording point."""
    writing: Group | None = None
    """Free text: the newest completions that were scored."""

    @property
    def cursor(self) -> int | None:
        """The step of the past that is looked at, for marks and lines; None at the live edge."""
        return None if self.following else self.at

    @property
    def counts(self) -> Head | Counts:
        """How far the run was at `at`; `head` tells how far it is now."""
        return self.head if self.counts_then is None else self.counts_then

    @property
    def step(self) -> Step | None:
        """The step shown as "now"."""
        return self.steps[-1] if self.steps else None

    @property
    def episode_steps(self) -> tuple[Step, ...]:
        """The steps of the episode that "now" belongs to."""
        now = self.step
        return tuple(s for s in self.steps if now and s.episode == now.episode)
