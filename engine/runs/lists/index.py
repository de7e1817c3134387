"""The list of a folder's runs, and an index beside them that spares opening ended ones.

The index is no truth of its own: an entry counts only while the files it was read from are the very
same, and what is damaged, out of date or lost is read anew. Live runs are always read.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import UserError
from engine.core.files import replace_file
from engine.runs import schema, stored
from engine.runs.lists import filters, labels
from engine.runs.records import ENDED, Limits, RunSummary

INDEX = ".index.json"
FORMAT = 2
"""To be raised when a summary is made in another way: older entries then do not count."""
SETTLED_NS = 2_000_000_000
"""Files that were changed less than this ago may change again without another time stamp."""

Stamp = tuple[int, ...]
"""Inode, size, and times of change of the files that a summary is made of; zeros for a missing one.
"""


class Entry(msgspec.Struct, frozen=True):
    """An ended run, as it was when its files had this stamp."""

    stamp: Stamp
    summary: RunSummary


class Contents(msgspec.Struct, frozen=True):
    """The file."""

    format: int
    runs: dict[str, Entry]


class RunIndex:
    """The runs of one folder, listed again and again. Use it from one thread."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / INDEX
        self._entries: dict[str, Entry] | None = None

    def read(self, folders: list[Path]) -> list[RunSummary]:
        """These runs of the folder in one line each, newest first."""
        before = _load(self.file) if self._entries is None else self._entries
        entries: dict[str, Entry] = {}
        found = []
        for path in folders:
            stamp = _stamp(path)  # before anything is read: what changes then makes it another
            entry = before.get(path.name)
            if entry is None or entry.stamp != stamp:
                entry = Entry(stamp, summarise(path))
            found.append(entry.summary)
            if entry is before.get(path.name) or _can_be_kept(entry):
                entries[path.name] = entry
        if entries != before:
            _save(self.file, entries)
        self._entries = entries
        return sorted(found, key=lambda run: (run.order, run.id), reverse=True)


def _stamp(path: Path) -> Stamp:
    stamp: list[int] = []
    folder = os.fspath(path)  # a thousand runs are looked at every second: no paths are made
    for name in (schema.DATABASE, f"{schema.DATABASE}-wal", "preset.toml", labels.FILE):
        try:
            found = os.stat(f"{folder}/{name}")  # noqa: PTH116
            stamp += (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
        except OSError:
            stamp += (0, 0, 0, 0)
    return tuple(stamp)


def _settled(stamp: Stamp) -> bool:
    """Whether the next change will have another time, whichever way the clock has jumped."""
    now = time.time_ns()
    times = (*stamp[0::4], *stamp[1::4])
    return all(abs(now - moment) > SETTLED_NS for moment in times)


def _can_be_kept(entry: Entry) -> bool:
    if entry.summary.state not in ENDED or not _settled(entry.stamp):
        return False
    try:
        msgspec.json.encode(entry, enc_hook=str)
    except UnicodeEncodeError:  # half a surrogate pair in a title: no UTF-8 says that
        return False
    return True


def _load(file: Path) -> dict[str, Entry]:
    """What the index holds; nothing where it is not one."""
    try:
        contents = msgspec.json.decode(file.read_bytes(), type=Contents, dec_hook=_path)
        if contents.format != FORMAT:
            return {}
        return {name: _here(file.parent / name, entry) for name, entry in contents.runs.items()}
    except Exception:  # damaged in any way: it is made anew
        return {}


def _path(kind: type, value: Any) -> Path:
    return Path(value)


def _here(path: Path, entry: Entry) -> Entry:
    """The entry of a run in this folder, wherever the folder was when the index was written."""
    summary = entry.summary
    moments = (summary.order, summary.created)
    if summary.state not in ENDED or summary.id != path.name:
        raise ValueError("the entry of another run, or of a live one")
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        raise ValueError("a moment without its time zone")
    return Entry(entry.stamp, msgspec.structs.replace(summary, path=path))


def _save(file: Path, entries: dict[str, Entry]) -> None:
    # The next reader does without where it cannot be written, as in a folder that is read-only.
    with contextlib.suppress(OSError):
        replace_file(file, msgspec.json.encode(Contents(FORMAT, entries), enc_hook=str))


# ---------------------------------------------------------------- one run


def summarise(run_dir: Path) -> RunSummary:
    """A run in one line. Never raises: an unreadable one has state "broken"."""
    from engine.runs.reader import RunReader  # start-up time: a list of ended runs opens none

    try:
        with RunReader(run_dir) as reader:
            head, meta = reader.head(), reader.meta()
            file = run_dir / schema.DATABASE
            created = stored.instant(file, stored.fact(file, meta, "created"))
            label, preset = labels.read(run_dir), _frozen(run_dir)
            settings = filters.settings_of(preset)
            return RunSummary(
                id=run_dir.name,
                path=run_dir,
                state=head.state,
                order=stored.instant(file, meta["order"]) if "order" in meta else created,
                preset_name=stored.fact(file, meta, "preset_name"),
                title=label.title or stored.fact(file, meta, "title"),
                created=created,
                step=head.step,
                env_steps=head.env_steps,
                episodes=head.episodes,
                seconds=head.seconds,
                success_rate=reader.success_rate(),
                budget=_budget(preset),
                parent=stored.parent(meta),
                algorithm=str(settings.get("algorithm.name", "")),
                figures=reader.figures(),
                settings=settings,
                pinned=label.pinned,
            )
    except (UserError, OSError) as error:
        order = _named_moment(run_dir.name)
        return RunSummary(
            id=run_dir.name, path=run_dir, state="broken", order=order, broken=str(error)
        )


def _frozen(run_dir: Path) -> dict[str, Any]:
    """The frozen preset as plain data, {} for a damaged one. It is not checked any further: it may
    name an algorithm of somebody's own, and no list needs that."""
    try:
        return stored.toml(run_dir / "preset.toml")
    except UserError:
        return {}


def _budget(preset: dict[str, Any]) -> Limits | None:
    """The `[budget]` of a frozen preset."""
    try:
        return msgspec.convert(preset["budget"], Limits, strict=True)
    except (ValueError, KeyError):
        return None


def _named_moment(run_id: str) -> datetime:
    """The moment in a run's name, as local time: all that is known of one that cannot be read."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
