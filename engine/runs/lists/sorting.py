"""The orders that a list of runs can be in; pinned runs come first in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.core.errors import UserError, nearest, shown
from engine.runs.records import RunSummary

_BY: dict[str, Callable[[RunSummary], Any]] = {
    "newest": lambda run: (run.order, run.id),
    "title": lambda run: (run.title or run.preset_name or run.id).casefold(),
    "success": lambda run: run.success_rate,
    "return": lambda run: run.figures.get("expected_return"),
    "algorithm": lambda run: run.algorithm or None,
    "state": lambda run: run.state,
    "steps": lambda run: run.env_steps or run.step,
    "time": lambda run: run.seconds,
}
ORDERS = tuple(_BY)
"""By name. Figures go from the largest, words from A; who has none of it comes last."""
_FROM_A = ("title", "algorithm", "state")


def in_order(runs: Iterable[RunSummary], order: str = ORDERS[0]) -> list[RunSummary]:
    """The runs in an order of `ORDERS`; with a minus before it the other way round.

    Raises UserError when there is no such order.
    """
    name = order.removeprefix("-")
    if name not in _BY:
        raise UserError(f"Runs cannot be sorted by {shown(order)!r}.{nearest(name, ORDERS)}")
    by = _BY[name]
    newest = sorted(runs, key=_BY["newest"], reverse=True)
    having = [run for run in newest if by(run) is not None]
    lacking = [run for run in newest if by(run) is None]
    downwards = (name not in _FROM_A) is not order.startswith("-")
    ordered = sorted(having, key=by, reverse=downwards) + lacking
    return sorted(ordered, key=lambda run: not run.pinned)
