"""What the worker, the tests and a notebook can ask of any learner, tabular or LLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from engine.learning.events import AnyEvent, Live

State = dict[str, np.ndarray[Any, np.dtype[Any]]]


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """How far a learner has come. All but `total_env_steps` count per agent.

    `step` is the clock everything is recorded against: environment steps, or sweeps for a
    method that plans without moving.
    """

    step: int = 0
    env_steps: int = 0
    episodes: int = 0
    updates: int = 0
    total_env_steps: int = 0


def fill(array: np.ndarray[Any, np.dtype[Any]], state: State, name: str) -> None:
    """Take an array of a state over into one of the learner's own. Raises KeyError when there is
    none, ValueError or TypeError for another size or kind: a kernel believes its arrays."""
    found = state[name]
    if found.shape != array.shape:
        raise ValueError(f"{name} has the shape {found.shape}, not {array.shape}")
    np.copyto(array, found, casting="same_kind")


class Learner(Protocol):
    """Plain Python without processes or files. Everything it says is an event.

    Recording points depend on counts only, never on the clock or on how `advance` is cut into
    pieces: the same preset and seed give the same events.
    """

    @property
    def counters(self) -> Counters:
        """How far it has come."""

    @property
    def done(self) -> bool:
        """Whether the budget (except its seconds) is used up."""

    @property
    def watched_episodes(self) -> int:
        """How many episodes (or sweeps) the watched agent has finished: "one episode" waits."""

    def preparation(self) -> str:
        """What `prepare` will spend seconds on ("compiling once …"), or nothing."""

    def prepare(self) -> None:
        """Compile what there is to compile. Changes nothing that is learned."""

    def begin(self) -> list[AnyEvent]:
        """The events before step 0: worlds, first policy and evaluation. Not after `load`."""

    def advance(self, limit: int) -> list[AnyEvent]:
        """Do up to `limit` steps per agent (or sweeps), at most to the end of the budget."""

    def conclude(self) -> list[AnyEvent]:
        """Record the state as it is now, as the run's last word."""

    def live(self, since: int) -> Live:
        """The watched agent's tables now, and its steps after step `since` as far as kept."""

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        """Change a setting from now on; UserError when it may not change or is not valid."""

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        """Change the map from each agent's next episode on; UserError when the map is not valid."""

    def state(self) -> State:
        """Everything needed to go on bit for bit."""

    def load(self, state: State) -> None:
        """Go on from `state`."""


@runtime_checkable
class AskingLearner(Protocol):
    """What a learner has besides when somebody judges for it."""

    @property
    def waiting(self) -> int:
        """For how many answers it waits now: until then it is not advanced, and not done."""

    def prefer(self, pair: int, choice: str) -> list[AnyEvent]:
        """Take an answer about a pair: "first", "second", "tie" or "skip". Raises UserError."""

    def score(self, pair: int, scores: tuple[float, float]) -> list[AnyEvent]:
        """Take an answer typed as two marks. Raises UserError."""


@runtime_checkable
class InterpretedLearner(Protocol):
    """What a learner has besides when it needs no machine code for a few steps a second."""

    def interpret(self) -> bool:
        """Do without machine code, if that gives the same bits. Gives whether it does."""

    def compile(self) -> None:
        """Use machine code from now on; `prepare` comes next."""


@runtime_checkable
class HeavyLearner(Protocol):
    """What a learner has besides when a step takes seconds and its state megabytes."""

    interrupted: Callable[[], bool]
    """Asked in the middle of a step; set by who drives it. True: the step is put off, undone."""
    yielded: bool
    """Whether the last `advance` put a step off."""

    notify: Callable[[str], None]
    """How it tells what takes long while it prepares; set by who drives it."""

    def export(self, folder: Path) -> None:
        """Write what others can use of the result (adapters in their standard form)."""
