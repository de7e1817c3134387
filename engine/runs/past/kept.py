"""Checkpoints that are kept along a run, so that a fork can leave it in the middle.

They are few and evenly spaced: after each tenth of the budget, and closer as long as the run has
not come far and is slow enough that they cost next to nothing. Where there are more than `MOST` of
them, or they take too much room, the spacing doubles and those between are let go. What a run is
resumed from, the first checkpoint and the two newest, is not their business.
"""

from __future__ import annotations

from engine.config.preset import Budget
from engine.learning.learner import Counters, State
from engine.runs import checkpoints
from engine.runs.store import RunWriter

MOST = 10
FINEST = 64
"""How many times closer than at the end they may be at the beginning: a power of two."""
LARGEST_ROWS = 4 * 2**20
"""Bytes that all kept states in rows may have together: about what a run's record has."""
LARGEST_FOLDERS = 2**28
"""The same for language models, whose states stand in folders."""
SPACING = "keep_every"
"""The key of `meta` with the steps between two kept checkpoints."""


class Keeper:
    """Decides when a checkpoint is kept, and which of the older ones is let go."""

    def __init__(
        self, writer: RunWriter, budget: Budget, *, folders: bool, begun_at: int = 0
    ) -> None:
        """`folders`: the states are those of a language model. `begun_at` is the step from which
        the worker goes on: there is a checkpoint of it. Reads what is kept already."""
        self.writer, self.folders, self.begun_at = writer, folders, begun_at
        self.room = LARGEST_FOLDERS if folders else LARGEST_ROWS
        limits = (budget.updates,) if folders else (budget.env_steps, budget.updates)
        limit = next((limit for limit in limits if limit), 0)
        finest = max(1, -(-limit // (MOST * FINEST)))
        self.tenth = FINEST * finest if limit > MOST * FINEST else -(-limit // MOST)
        """The spacing at which the budget is used up before there are too many; 0: unknown."""
        self.every = max(1, int(writer.meta(SPACING, finest)))
        self.sizes = {step: self._size(state) for step, state in writer.kept()}

    def _size(self, packed: bytes) -> int:
        """The bytes of a state: of its row, or of the folder that the row names."""
        if not self.folders:
            return len(packed)
        folder = self.writer.run_dir / checkpoints.FOLDER
        try:
            name = checkpoints.folder_name(checkpoints.unpack(packed))
            return sum(path.stat().st_size for path in (folder / name).iterdir())
        except Exception:  # damaged in any way: it can be let go like any other
            return 0

    @property
    def due(self) -> int:
        """The step from which on the next checkpoint is to be kept."""
        newest = max(self.begun_at, *self.sizes, 0)
        return (newest // self.every + 1) * self.every

    def put_off(self) -> bool:
        """Keep none at this step, as it costs too much so soon, and fewer from now on. False where
        it is to be kept all the same: one after each tenth of the budget."""
        if self.tenth and self.every >= self.tenth:
            return False
        self._space_out()
        return True

    def keep(self, counters: Counters, state: State) -> None:
        """Keep a state with the next commit, and let go of what is too much."""
        packed = checkpoints.pack(state)
        self.sizes[counters.step] = self._size(packed)
        self.writer.keep(counters, packed)
        while len(self.sizes) > MOST or sum(self.sizes.values()) > self.room:
            self._space_out()
            self._thin()
        self.writer.set_meta(keep_every=self.every)

    def _space_out(self) -> None:
        doubled = 2 * self.every
        self.every = min(doubled, self.tenth) if self.every < self.tenth else doubled

    def _thin(self) -> None:
        """Let go of all but the first in each stretch of the spacing."""
        taken = {0}
        for step in sorted(self.sizes):
            stretch = step // self.every
            if stretch in taken:
                del self.sizes[step]
                self.writer.let_go(step)
            taken.add(stretch)
