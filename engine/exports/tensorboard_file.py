"""A run's metrics as a TensorBoard event file, written by TensorBoard's own record writer.

A metric is the tag `split/name`; where several mazes are evaluated, one tag a maze,
`split/name/maze 3`. Its 10th and 90th percentile over the agents, where they differ from the mean,
are `…/low` and `…/high`. Steps are the run's clock; a run keeps no time for each point, so the
relative and wall-clock axes of TensorBoard show nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.exports.tables import METRICS, Exported, Row
from engine.exports.words import visible


def write(run: Exported, path: Path) -> None:
    """Write the event file. Unknown figures are left out: TensorBoard would draw NaN as a mark."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    wall_time = run.info.created.timestamp()
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString())
        for rows in run.pieces(METRICS):
            for row in rows:
                values = [
                    Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(row)
                ]
                if values:
                    event = Event(wall_time=wall_time, step=row[0], summary=Summary(value=values))
                    writer.write(event.SerializeToString())
        writer.flush()


def _scalars(row: Row) -> Iterator[tuple[str, float]]:
    _, name, split, world_id, mean, low, high, _ = row
    tag = f"{split}/{visible(name)}"
    if world_id:  # most runs have one maze, number 0
        tag += f"/maze {world_id}"
    if mean is not None:
        yield tag, mean
    if low is not None and high is not None and low != high:
        yield f"{tag}/low", low
        yield f"{tag}/high", high
