"""When the figures of sets of mazes are computed: at updates that depend on their number alone.

Looking at a whole set costs as much as several updates, so it is done at fixed distances, whatever
the budget: a run that goes on with a larger one has then been evaluated at the same updates as one
that had it from the beginning. A single maze costs next to nothing and is looked at always.
"""

from __future__ import annotations

from engine.llm.worlds import Split

EVERY: dict[Split, int] = {"train": 10, "test": 20}
"""How many updates lie between evaluations of all training mazes, and of all held-out ones."""


def is_due(update: int, split: Split) -> bool:
    """Whether a set is evaluated after update number `update`; 0 is before the first."""
    return update % EVERY[split] == 0
