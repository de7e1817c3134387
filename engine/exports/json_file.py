"""A run as one JSON object: what it is, its last figures, and its tables as lists of objects.

NaN and infinities, which JSON does not have, are null. Rows stand one a line, so that the file can
be read by the piece as well.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TextIO

import msgspec

from engine import presets
from engine.exports.about import versions
from engine.exports.tables import TABLES, Exported, Table

FORMAT = 1
"""Raised when a key changes its meaning."""


def write(run: Exported, path: Path) -> None:
    """Write everything."""
    with path.open("w", encoding="utf-8") as file:
        file.write('{"format": %d,\n"run": ' % FORMAT)  # noqa: UP031  (braces)
        file.write(_json(_about(run)))
        for table in TABLES:
            file.write(f',\n"{table.name}": [')
            _rows(run, table, file)
            file.write("]")
        file.write("}\n")


def _about(run: Exported) -> dict[str, Any]:
    info = run.info
    return {
        "id": info.id,
        "preset_name": info.preset_name,
        "created": info.created.isoformat(),
        "preset": presets.as_data(info.preset),
        "figures": run.reader.final(),
        "per_agent": {name: values.tolist() for name, values in run.reader.per_agent().items()},
        "notes": [
            {"step": note.step, "level": note.level, "text": note.text, "remedy": note.remedy}
            for note in run.reader.notes()
        ],
        "exported_with": versions(),
    }


def _rows(run: Exported, table: Table, file: TextIO) -> None:
    encode = msgspec.json.Encoder().encode  # several times as fast; what is not finite is null too
    separator, names = "\n", table.names
    for rows in run.pieces(table):
        lines = [encode(dict(zip(names, row, strict=True))).decode() for row in rows]
        file.write(separator + ",\n".join(lines))
        separator = ",\n"


def _json(value: Any) -> str:
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
