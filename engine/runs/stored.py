"""What the files of a run hold, decoded: the one place where nothing read from disk is believed.

Disks fail, hands slip and other programs write. Whatever is found, a caller gets a value of the
type it asked for, or a `DamagedError`: one sentence about this run. Other runs are unharmed.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from engine.core.errors import UserError, shown
from engine.runs.machine.readings import Device
from engine.runs.records import Parent, RunState

if TYPE_CHECKING:
    from engine.learning.events import Event

T = TypeVar("T")
E = TypeVar("E", bound="Event")

Id = Annotated[int, Meta(ge=0, le=2**62)]
"""A count, a step or the number of a row. SQLite's integers end at 2^63 - 1."""
Pace = Annotated[float, Meta(gt=0.0, le=sys.float_info.max)]
"""Steps per second; not infinite."""
Text = Annotated[str, Meta(max_length=100_000)]


class DamagedError(UserError):
    """What a run's files hold is not what Ice Maze has written."""


class StoredCounters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`engine.learning.learner.Counters`, as meta and checkpoints keep them."""

    step: Id = 0
    env_steps: Id = 0
    episodes: Id = 0
    updates: Id = 0
    total_env_steps: Id = 0


class StoredEnd(msgspec.Struct, frozen=True):
    """Of the run's last event what is read again."""

    error: str = ""


class OwnFile(msgspec.Struct, frozen=True):
    """Whose copy the algorithm's file in a run's folder is. `name` leads to no other folder."""

    name: Annotated[str, Meta(pattern=r"^[^/\\\0]+$")]
    origin: str = msgspec.field(name="from")
    sha256: str


class OtherTrainer(msgspec.Struct, frozen=True):
    """Who carries out a run that Ice Maze did not start, and how far its file is read."""

    trainer: Text
    file: tuple[int, int] = (0, 0)
    offset: Id = 0
    line: Id = 0
    over: bool = False


META: dict[str, Any] = {
    "schema_version": Id,
    "id": Text,
    "preset_name": Text,
    "title": Text,
    "created": Text,
    "order": Text,
    "algorithm": Text,
    "state": RunState,
    "generation": Id,
    "pid": Id | None,
    "counters": StoredCounters,
    "watched_episodes": Id,
    "seconds": Annotated[float, Meta(ge=0.0, le=1e12)],
    "pace": Pace | None,
    "paused": bool,
    "waiting": Id,
    "notified": Id,
    "finished": StoredEnd,
    "algorithm_file": OwnFile,
    "keep_every": Annotated[int, Meta(ge=1, le=2**62)],
    "forked_from": Parent,
    "external": OtherTrainer,
    "machine": list[Device],
}
"""What each key of `meta` has to be; further keys are any JSON."""


def run_of(path: Path) -> str:
    """The id of the run that a file or a folder belongs to."""
    return path.name if path.is_dir() else path.parent.name


def damaged(path: Path, what: str) -> DamagedError:
    """The sentence about a damaged file of a run (or about its folder)."""
    return DamagedError(
        f"{path}: {_quoted(what)}. This run is damaged, others are not; put back a copy of it, "
        f"or delete it: icemaze rm {run_of(path)}"
    )


def _quoted(text: str) -> str:
    """The words of an exception, on one line and short: it may quote the damaged data."""
    return shown(" ".join(text.split()).rstrip("."), 300)


@contextlib.contextmanager
def trusted_by_nobody(path: Path) -> Iterator[None]:
    """What is computed inside rests on values that have the right types but may be impossible (a
    world whose map has holes in the wrong sense): whatever comes of that is a `DamagedError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise damaged(path, f"what is recorded does not fit together ({words})") from error


def value(path: Path, text: Any, kind: Any, what: str) -> Any:
    """The JSON value in a text, checked to be of a type."""
    if not isinstance(text, str):
        raise damaged(path, f"{what} holds {type(text).__name__}, not JSON text")
    try:
        found = json.loads(text)
        msgspec.convert(found, kind, strict=True)
    except msgspec.ValidationError as error:
        raise damaged(path, f"{what} is {text[:80]!r}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{what} is no JSON value ({error})") from error
    return found


def meta(path: Path, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """The `meta` table as plain data, from its rows (key, value)."""
    found = {}
    for key, text in rows:
        if not isinstance(key, str):
            raise damaged(path, f"meta has a key of the type {type(key).__name__}")
        found[key] = value(path, text, META.get(key, Any), f"meta.{key}")
    return found


def parent(found: dict[str, Any]) -> Parent | None:
    """The run that a fork goes on from, from its checked `meta`."""
    fork = found.get("forked_from")
    return None if fork is None else msgspec.convert(fork, Parent)


def fact(path: Path, found: dict[str, Any], key: str) -> Any:
    """A value of `meta` that every run has."""
    if key not in found:
        raise damaged(path, f"meta has no {key}")
    return found[key]


def check_started_here(found: dict[str, Any], run_id: str, what: str) -> None:
    """Raise UserError when Ice Maze is asked to do `what` to a run that it did not start."""
    if other := found.get("external"):
        raise UserError(
            f"The run {run_id} was started by {shown(other['trainer'])}, not by Ice Maze, which "
            f"can show it but not {what} it; do that where it was started."
        )


def check_algorithm(file: Path, name: str, trained: str | None) -> None:
    """Raise UserError when the frozen preset names another algorithm than the run was made with.
    Runs of older versions do not say which that was."""
    if trained is not None and name != trained:
        raise damaged(file, f"algorithm.name is {name!r}, but the run was made with {trained!r}")


def instant(path: Path, text: str) -> datetime:
    """A moment in UTC. One without a time zone, as nobody has written yet, is taken as local."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
        if not 1970 <= moment.year < 9000:  # nobody's clock; and local times must exist
            raise ValueError("a year that cannot be")
    except (ValueError, OverflowError, OSError) as error:
        raise damaged(path, f"{text[:80]!r} is no moment in time ({error})") from error
    return moment


def read_text(file: Path) -> str:
    """A text file."""
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise damaged(file, f"cannot be read ({error})") from error


def toml(file: Path) -> dict[str, Any]:
    """The data of a TOML file."""
    try:
        return tomllib.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise damaged(file, f"is not TOML ({error})") from error


def event(path: Path, kind: type[E], payload: Any, table: str) -> E:
    """The event in a payload column."""
    from engine.learning.events import decode  # start-up time: NumPy

    try:
        found = decode(payload)
    except Exception as error:  # bytes can be wrong in any way
        raise damaged(path, f"a payload in {table} cannot be decoded ({error})") from error
    if not isinstance(found, kind):
        raise damaged(path, f"{table} holds a {type(found).__name__}, not a {kind.__name__}")
    return found


def rows(path: Path, kind: type[T], found: Sequence[Sequence[Any]], table: str) -> list[T]:
    """Rows as structs of a type, whose fields are the columns in order."""
    fields = kind.__struct_fields__  # type: ignore[attr-defined]
    try:
        data = [dict(zip(fields, row, strict=True)) for row in found]
        return msgspec.convert(data, list[kind], strict=True)  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise damaged(path, f"{table} has an impossible row: {error}") from error


def cells(path: Path, kind: Any, found: Any, table: str) -> Any:
    """A row, or rows, checked to be of a type made of tuples."""
    try:
        return msgspec.convert(found, kind, strict=True)
    except msgspec.ValidationError as error:
        raise damaged(path, f"{table} has an impossible row: {error}") from error
