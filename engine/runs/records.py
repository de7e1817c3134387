"""What a reader hands out: small frozen structs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:  # a list of runs needs no preset, and not the NumPy that presets need
    from engine.config.preset import Preset

RunState = Literal["starting", "running", "paused", "stopped", "finished", "failed", "dead"]

ENDED: frozenset[str] = frozenset({"stopped", "finished", "failed", "dead"})
"""The states of a run without a worker."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what readers hand out."""


class Parent(Record, frozen=True, kw_only=True):
    """The run that a fork goes on from, and the step it left it at."""

    run: str
    step: int


class RunInfo(Record, frozen=True, kw_only=True):
    """What never changes about a run (except its budget, at a resume)."""

    id: str
    path: Path
    preset_name: str
    preset: Preset
    created: datetime
    parent: Parent | None = None
    """The run that this one was forked from."""


class Head(Record, frozen=True, kw_only=True):
    """Where a run stands. All counts but `total_env_steps` are per agent.

    `pace` is in steps per second, None for as fast as it goes; `seconds` the time it trained.
    When `generation` grows, the run was resumed and rows after the checkpoint are gone.
    `last_point_id` and `live_id` grow with each recording point and each live batch.
    """

    state: RunState
    step: int = 0
    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    total_env_steps: int = 0
    watched_episodes: int = 0
    seconds: float = 0.0
    pace: float | None = None
    generation: int = 0
    last_point_id: int = 0
    live_id: int = 0
    waiting: int = 0
    """Answers the run waits for: it asks you for preferences, and goes on when it has them."""

    @property
    def ended(self) -> bool:
        """Whether no worker is at it any more."""
        return self.state in ENDED


class EpisodeRow(Record, frozen=True, kw_only=True):
    """An episode in one line; `total_return` is discounted, `score` is not."""

    id: int
    step: int
    index: int
    agent: int
    world_id: int
    length: int
    total_return: float
    score: float
    success: bool
    terminated: bool
    truncated: bool


class GroupRow(Record, frozen=True, kw_only=True):
    """A group of episodes that an update of a language model compared, in one line.

    `step` is the number of the update, `size` how many episodes there were.
    """

    id: int
    step: int
    index: int
    world_id: int
    size: int


class MachineRow(Record, frozen=True, kw_only=True):
    """A device of the worker's machine at one moment, see `engine.runs.machine.readings`."""

    id: int
    step: int
    seconds: float
    phase: str
    gpu: int | None
    busy: float | None
    memory: float | None
    own: float | None
    power: float | None
    temperature: float | None


class NoteRow(Record, frozen=True, kw_only=True):
    """A note, with the id after which to ask for newer ones."""

    id: int
    step: int
    level: str
    text: str
    remedy: str
    term: str


class Limits(Record, frozen=True, kw_only=True):
    """The limits of a run's budget, as far as a list shows how much of them is used up."""

    env_steps: int | None = None
    episodes: int | None = None
    updates: int | None = None
    seconds: float | None = None


class RunSummary(Record, frozen=True, kw_only=True):
    """A run in one line of a list. `broken` says why its store cannot be read.

    `title` is the user's own where there is one, see `engine.runs.lists.labels`. `order` is the
    instant that lists go by, `created` what the clock said; both are in UTC. They
    differ where the clock was put back between two runs.
    """

    id: str
    path: Path
    state: RunState | Literal["broken"]
    order: datetime
    preset_name: str = ""
    title: str = ""
    created: datetime | None = None
    budget: Limits | None = None
    step: int = 0
    env_steps: int = 0
    episodes: int = 0
    seconds: float = 0.0
    success_rate: float | None = None
    parent: Parent | None = None
    broken: str = ""
    algorithm: str = ""
    figures: dict[str, float] = {}
    """The newest figures on training worlds, `engine.runs.outcome.FIGURES` that are there."""
    settings: dict[str, str | float | bool] = {}
    """The frozen preset's settings by their full keys, see `engine.runs.lists.filters`."""
    pinned: bool = False
