"""A run's tables as CSV (RFC 4180, UTF-8). Unknown numbers are empty, flags are true and false.

Numbers are written so that reading them gives the same bits. Text is written so that no spreadsheet
takes it for a formula.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from engine.exports.tables import Exported, Table
from engine.exports.words import cell


def write(run: Exported, table: Table, path: Path) -> None:
    """Write one table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(table.names)
        for rows in run.pieces(table):
            writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return cell(value) if isinstance(value, str) else value  # None is written as nothing
