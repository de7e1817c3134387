"""A GPU whose memory ends: the step is repeated once, with micro-batches half as large."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Note


class MemoryGuard:
    """Runs the steps of a learner. `halve` halves its micro-batches, `clock` counts its updates."""

    def __init__(self, halve: Callable[[], None], clock: Callable[[], int]) -> None:
        self.halve, self.clock = halve, clock
        self.halved = False

    def run(self, step: Callable[[], list[AnyEvent]]) -> list[AnyEvent]:
        """The events of a step that has undone what it did when it raises.

        Raises UserError when memory ends again, with micro-batches of half the size.
        """
        try:
            return step()
        except torch.cuda.OutOfMemoryError as error:
            note = self._make_room(error)
        try:
            return [note, *step()]
        except torch.cuda.OutOfMemoryError as error:
            raise self._too_large(error) from error

    def _make_room(self, error: BaseException) -> Note:
        torch.cuda.empty_cache()
        if self.halved:
            raise self._too_large(error) from error
        self.halved = True
        self.halve()
        text = "The GPU ran out of memory: micro-batches are half as large from here on."
        return Note(step=self.clock(), level="warning", text=text, term="micro-batch")

    def _too_large(self, error: BaseException) -> UserError:
        return UserError(
            f"The GPU ran out of memory after update {self.clock()}, even with micro-batches of "
            "half the size; lower model.token_budget, algorithm.episodes or model.lora.rank, or "
            f"set model.quantization to 'nf4'. The last checkpoint is kept. ({error})"
        )
