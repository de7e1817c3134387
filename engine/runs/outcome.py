"""A run's last figures and last words, for the command's JSON lines and for lists of runs."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from engine.core.arrays import Floats
from engine.runs import stored
from engine.runs.curves import todays_names
from engine.runs.records import Head

NAMED = list[tuple[str, float | None]]
"""Rows of a name and a number, null for NaN."""

FIGURES = (
    "success_rate",
    "greedy_success_rate",
    "expected_return",
    "expected_score",
    "expected_length",
)


def final(db: sqlite3.Connection, head: Head, file: Path) -> dict[str, Any]:
    """The figures of the last evaluation on training worlds, averaged over the worlds in it.

    `file` is what error messages name. Raises UserError when it is damaged, as all here do.
    """
    figures = _last_means(db, file, "world_id IS NOT NULL")
    metrics = _last_means(db, file, "world_id IS NULL")
    # Of a language model the best adapters are kept: theirs are the headline figures.
    last = {name: value for name, value in figures.items() if name in FIGURES}
    best = {name: figures[f"best_{name}"] for name in last if f"best_{name}" in figures}
    if best:
        metrics |= {f"final_{name}": value for name, value in last.items()}
        metrics |= {n: v for n, v in figures.items() if n.startswith("success_rate_map_")}
        metrics |= _held_out(db, file)
        figures = best
    row = db.execute(
        "SELECT avg(optimal_return), avg(horizon_optimum), max(success_kind) FROM evaluations "
        "WHERE split = 'train' AND step = (SELECT max(step) FROM evaluations WHERE split = 'train')"
    ).fetchone()
    kinds = tuple[float | None, float | None, Literal["exact", "sampled"] | None]
    optimum = stored.cells(file, kinds, row, "evaluations")
    return {
        "status": head.state,
        "env_steps": head.env_steps,
        "total_env_steps": head.total_env_steps,
        "episodes": head.episodes,
        "updates": head.updates,
        "seconds": head.seconds,
        "success_rate": figures.get("success_rate", math.nan),
        "success_kind": optimum[2] or "exact",
        **{name: figures.get(name, math.nan) for name in FIGURES[1:]},
        "optimal_return": math.nan if optimum[0] is None else optimum[0],
        "horizon_optimum": math.nan if optimum[1] is None else optimum[1],
        "metrics": metrics,
    }


def figures(db: sqlite3.Connection, file: Path) -> dict[str, float]:
    """The last of `FIGURES` on training worlds that are numbers; of a language model those of the
    best adapters, as in `final`. Quick, for lists: each is found by the table's index."""
    columns = [(name, best + name) for name in FIGURES for best in ("", "best_")]
    found = [(name, db.execute(_LAST, (column, column)).fetchone()[0]) for name, column in columns]
    known = [row for row in found if row[1] is not None]
    return {name: mean for name, mean in _numbers(known, file).items() if math.isfinite(mean)}


_LAST = (
    "SELECT avg(mean) FROM metrics WHERE id IN (SELECT max(id) FROM metrics WHERE split = 'train' "
    "AND name = ? AND step = (SELECT max(step) FROM metrics WHERE split = 'train' AND name = ?) "
    "GROUP BY world_id)"
)
"""The mean of a figure over the worlds of its last evaluation; the later one where there are two.
"""


def per_agent(db: sqlite3.Connection, file: Path) -> dict[str, Floats]:
    """The last value of each figure for each agent, float64 [N] by name; NaN where there is none.

    Empty for a run that has not ended, and for one of an older version, which kept only means.
    """
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'per_agent'").fetchone():
        return {}
    found: dict[str, dict[int, float]] = {}
    rows = db.execute("SELECT name, agent, value FROM per_agent ORDER BY id").fetchall()
    kind = list[tuple[str, stored.Id, float | None]]
    for name, agent, value in stored.cells(file, kind, rows, "per_agent"):
        found.setdefault(name, {})[agent] = math.nan if value is None else value
    return {
        name: np.array([values[agent] for agent in sorted(values)])
        for name, values in found.items()
    }


def _held_out(db: sqlite3.Connection, file: Path) -> dict[str, float]:
    """The last figures on held-out mazes, with the kept adapters where they were evaluated."""
    rows = db.execute(
        "SELECT name, mean FROM metrics WHERE split = 'test' AND name LIKE '%success_rate' AND "
        "step = (SELECT max(step) FROM metrics WHERE split = 'test') ORDER BY id"
    ).fetchall()
    return {f"held_out_{name}": mean for name, mean in _numbers(rows, file).items()}


def success_rate(db: sqlite3.Connection, file: Path) -> float | None:
    """The newest success rate on training worlds, None before the first evaluation."""
    row = db.execute(
        "SELECT avg(mean) FROM metrics WHERE split = 'train' AND name = 'success_rate' AND step = "
        "(SELECT max(step) FROM metrics WHERE split = 'train' AND name = 'success_rate')"
    ).fetchone()
    (mean,) = stored.cells(file, tuple[float | None], row, "metrics")
    return cast(float | None, mean)


def _last_means(db: sqlite3.Connection, file: Path, which: str) -> dict[str, float]:
    """Means by name at the last step that has such rows (`world_id` null: the learner's own).

    Where a figure was given twice at that step, as by a run's last words, the later one counts.
    """
    rows = db.execute(
        "SELECT name, avg(mean) FROM metrics WHERE id IN (SELECT max(id) FROM metrics WHERE "
        f"split = 'train' AND {which} AND step = (SELECT step FROM metrics WHERE split = 'train' "
        f"AND {which} ORDER BY id DESC LIMIT 1) GROUP BY name, world_id) "
        "GROUP BY name ORDER BY min(id)"
    ).fetchall()
    found = _numbers(rows, file)
    names = todays_names([(name, 0) for name in found])  # all are of one step
    return dict(zip(names, found.values(), strict=True))


def _numbers(rows: list[Any], file: Path) -> dict[str, float]:
    found = stored.cells(file, NAMED, rows, "metrics")
    return {name: math.nan if mean is None else mean for name, mean in found}


STARTED = "started at"
"""How a worker greets its log."""


def last_log_line(run_dir: Path) -> str:
    """The last line the newest worker wrote to its log; nothing if it was only its greeting."""
    try:
        lines = (run_dir / "worker.log").read_text("utf-8", "replace").split("\n")
    except OSError:
        return ""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return "" if STARTED in last else last
