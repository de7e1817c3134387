"""A GPU whose memory ends: the step is repeated with smaller passes, as often as that helps."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engine.core.errors import UserError
from engine.learning.events import AnyEvent, Note
from engine.llm.models.memory_use import is_out_of_memory
from engine.llm.passes import Passes


class MemoryGuard:
    """Runs the steps of a learner. `clock` counts its updates."""

    def __init__(self, passes: Passes, clock: Callable[[], int]) -> None:
        self.passes, self.clock = passes, clock

    def run(self, step: Callable[[], list[AnyEvent]]) -> list[AnyEvent]:
        """The events of a step that has undone what it did when it raises.

        Raises UserError when memory ends although a pass holds as little as it can.
        """
        notes: list[AnyEvent] = []
        while True:
            try:
                return [*notes, *step()]
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                said = str(error)
            # Out here the error is gone, and with it the tensors in the frames of its traceback.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            smaller = self.passes.shrink()
            if smaller is None:
                raise UserError(
                    f"The GPU ran out of memory after update {self.clock()} with "
                    f"{self.passes.remedy()} The last checkpoint is kept. ({said})"
                )
            text = f"The GPU ran out of memory: {smaller} from here on."
            notes.append(Note(step=self.clock(), level="warning", text=text, term="micro-batch"))
