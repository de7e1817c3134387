"""A run's tables as Parquet, for pandas, Polars, DuckDB. Unknown numbers are null.

The run's id and its preset stand in the file's own metadata (`icemaze.run`, `icemaze.preset`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine import presets
from engine.exports.tables import Column, Exported, Table


def write(run: Exported, table: Table, path: Path) -> None:
    """Write one table, a row group for each piece."""
    import pyarrow
    import pyarrow.parquet

    fields = [_field(pyarrow, column) for column in table.columns]
    about = {"icemaze.run": run.info.id, "icemaze.preset": presets.dump(run.info.preset)}
    schema = pyarrow.schema(fields, metadata=about)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in run.pieces(table):
            columns = zip(*rows, strict=True)
            arrays = [
                pyarrow.array(values, field.type)
                for field, values in zip(fields, columns, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _field(pyarrow: Any, column: Column) -> Any:
    types = {
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "text": pyarrow.string(),
        "bool": pyarrow.bool_(),
    }
    return pyarrow.field(column.name, types[column.kind], metadata={"meaning": column.meaning})
