"""All that two runs of one preset for a language model must agree on, to the bit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests of all runs share

from run_tools import rows

from engine.llm.tasks.recorded import TIMED

RECORDED = ("worlds", "points", "evaluations", "episodes", "groups", "policies", "notes", "tunes")
ADAPTER = "adapter/adapter_model.safetensors"
WORKERS_OWN = ("Loading ", "The run waited", "Forked from ")


def llm_record(run_dir: Path) -> dict[str, Any]:
    """The rows that must be equal: what is measured in seconds, and the worker's notes, are not."""
    found: dict[str, Any] = {table: rows(run_dir, table) for table in RECORDED}
    found["notes"] = [row[1:] for row in found["notes"] if not row[3].startswith(WORKERS_OWN)]
    metrics = rows(run_dir, "metrics")
    found["metrics"] = [row[1:] for row in metrics if row[4] not in TIMED]
    return found


def assert_same_llm_runs(one: Path, other: Path) -> None:
    """Table by table, so that a failure says which; then the adapters."""
    left, right = llm_record(one), llm_record(other)
    for table in left:
        assert left[table] == right[table], table
    assert (one / ADAPTER).read_bytes() == (other / ADAPTER).read_bytes()
