"""The tables of `run.db`, and how the file is opened.

Any SQLite tool can read it: scalars stand in plain columns, whole events in `payload` columns
(MessagePack, see `engine.learning.events.decode`), checkpoint states as NumPy `.npz`. Everything
but `meta`, `commands`, `live`, `machine` and the worker's own notes depends only on the preset and
its seed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from engine.core import private
from engine.core.errors import StorageError, UserError
from engine.runs import stored
from engine.runs.disk.filesystem import network_filesystem

DATABASE = "run.db"
SCHEMA_VERSION = 5
BUSY_SECONDS = 10.0
DAMAGE = ("not a database", "malformed", "no such", "already exists", "duplicate", "has no column")
"""Words of what SQLite says about a file that is not as Ice Maze has written it."""
DAMAGE_CODES = (
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_SCHEMA),
    *(sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_NOTADB),
)
"""Result codes that say the same: of our statements SQLITE_ERROR means a table or column that is
not there, or one too many."""

RECORD = (
    "worlds",
    "points",
    "metrics",
    "evaluations",
    "episodes",
    "policies",
    "notes",
    "tunes",
    "groups",
    "per_agent",
    "ratings",
)
"""The tables of what the learner said. A checkpoint remembers the last id of each."""

GROUPS = """
-- The episodes an update of a language model compared with each other.
CREATE TABLE groups (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, idx INTEGER NOT NULL, world_id INTEGER NOT NULL,
  size INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX groups_by_step ON groups (step);
"""

PER_AGENT = """
-- The last value of each figure for each agent; null where an agent has none.
CREATE TABLE per_agent (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, name TEXT NOT NULL, agent INTEGER NOT NULL,
  value REAL);
CREATE INDEX per_agent_by_name ON per_agent (name, agent);
"""

RATINGS = """
-- Pairs of completions (kind 'pair') and what was preferred (kind 'preference'); idx is the pair's.
CREATE TABLE ratings (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, idx INTEGER NOT NULL, kind TEXT NOT NULL,
  payload BLOB NOT NULL);
"""

MACHINE = """
-- How busy the machine was, a row for each device now and then; gpu is null for the processor.
-- busy: share of its time; memory: GiB in use; own: GiB of the worker; watts; degrees Celsius.
-- Measured, so no part of the record: a resumed run keeps what was seen before.
CREATE TABLE machine (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, seconds REAL NOT NULL, phase TEXT NOT NULL,
  gpu INTEGER, busy REAL, memory REAL, own REAL, power REAL, temperature REAL);
"""

LAST_COLUMNS = ", ".join(f"last_{table} INTEGER NOT NULL" for table in RECORD)
KEPT = f"""
-- Checkpoints along the run that can be forked from: a few, evenly spaced. The columns are those of
-- `checkpoints`, whose two newest are what a run is resumed from.
CREATE TABLE kept (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, counters TEXT NOT NULL, state BLOB NOT NULL,
  {LAST_COLUMNS});
"""

POINTS_BY_STEP = """CREATE INDEX IF NOT EXISTS points_by_step ON points (step);
"""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;  -- values are JSON

CREATE TABLE worlds (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, world_id INTEGER NOT NULL UNIQUE,
  split TEXT NOT NULL, payload BLOB NOT NULL);
CREATE INDEX worlds_by_step ON worlds (split, step);

CREATE TABLE points (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, updates INTEGER NOT NULL,
  episodes INTEGER NOT NULL, total_env_steps INTEGER NOT NULL);
{POINTS_BY_STEP}
-- world_id is null for the learner's own metrics, set for the figures of an evaluation.
CREATE TABLE metrics (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, world_id INTEGER, split TEXT NOT NULL,
  name TEXT NOT NULL, mean REAL, low REAL, high REAL, n INTEGER NOT NULL);
CREATE INDEX metrics_by_step ON metrics (split, name, step);

CREATE TABLE evaluations (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, world_id INTEGER NOT NULL, split TEXT NOT NULL,
  success_kind TEXT NOT NULL, success_stderr REAL, optimal_return REAL, horizon_optimum REAL,
  payload BLOB NOT NULL);
CREATE INDEX evaluations_by_step ON evaluations (split, step);

CREATE TABLE episodes (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, idx INTEGER NOT NULL, agent INTEGER NOT NULL,
  world_id INTEGER NOT NULL, length INTEGER NOT NULL, return REAL, score REAL,
  success INTEGER NOT NULL, terminated INTEGER NOT NULL, truncated INTEGER NOT NULL,
  payload BLOB NOT NULL);
CREATE INDEX episodes_by_step ON episodes (step);

CREATE TABLE policies (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, world_id INTEGER NOT NULL,
  agent INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE INDEX policies_by_step ON policies (step);

CREATE TABLE notes (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL,
  remedy TEXT NOT NULL, term TEXT NOT NULL);

CREATE TABLE tunes (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
  payload BLOB NOT NULL);

-- id 0 is the checkpoint before step 0, id 1 the newest, id -1 the one before that. The last_
-- columns hold the last row of each table that the state already knows of: a resumed run deletes
-- the rows after it.
CREATE TABLE checkpoints (
  id INTEGER PRIMARY KEY, step INTEGER NOT NULL, counters TEXT NOT NULL, state BLOB NOT NULL,
  {LAST_COLUMNS});

-- saved: how many checkpoints after the first contain this tune, edit or answer, so that resume
-- need not replay it: 1 the newest, 2 the one before it too.
CREATE TABLE commands (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, args TEXT NOT NULL,
  sent_at REAL NOT NULL, status TEXT NOT NULL DEFAULT 'pending', reply TEXT NOT NULL DEFAULT '',
  applied_step INTEGER, saved INTEGER NOT NULL DEFAULT 0);

-- The live edge, a bounded ring; id 0 is the newest policy. No part of the record.
CREATE TABLE live (
  id INTEGER PRIMARY KEY AUTOINCREMENT, step INTEGER NOT NULL, payload BLOB NOT NULL);
{GROUPS}{PER_AGENT}{RATINGS}{KEPT}{MACHINE}"""

UPGRADES = {
    2: ("groups", GROUPS),
    3: ("per_agent", PER_AGENT),
    4: ("ratings", RATINGS),
    5: ("kept", KEPT + POINTS_BY_STEP),
    6: ("machine", MACHINE),
}
"""Schema version: the table it brought. One of `RECORD` stands there at the same place."""


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says into a sentence for the user."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # our own mistake, not the user's
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "UTF-8" in text:
            raise stored.damaged(path, "a text in it is not UTF-8") from error
        if _is_damage(error):
            raise stored.damaged(path, text) from error
        if "full" in text:
            advice = "The disk is full; make room"
        elif "readonly" in text or "unable to open" in text:
            advice = "Check that the folder exists and is yours to write"
        elif "locked" in text:
            advice = "Another program holds the file; close it and try again"
        else:
            advice = "Check the disk and the folder's permissions"
        raise StorageError(f"{path}: {text}. {advice}.") from error
    except OverflowError as error:  # a number from a damaged row, asked for in another table
        raise stored.damaged(path, str(error)) from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF  # without the details
    return code in DAMAGE_CODES or any(words in str(error) for words in DAMAGE)


def create(run_dir: Path) -> None:
    """Make an empty `run.db` with all tables. Raises UserError when that cannot be done."""
    path = run_dir / DATABASE
    private.write_new(path, b"")
    with explained(path), contextlib.closing(_connect(path, "mode=rwc")) as connection:
        connection.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))


def open_to_write(run_dir: Path) -> sqlite3.Connection:
    """A connection for writing. Raises UserError when there is none to be had."""
    path = run_dir / DATABASE
    with explained(path):
        connection = _open_checked(path, "mode=rw")
        try:
            _bring_up_to_date(connection, path)
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection


def open_to_read(run_dir: Path) -> sqlite3.Connection:
    """A read-only connection. Raises UserError when the file is missing, damaged or newer."""
    path = run_dir / DATABASE
    with explained(path):
        try:
            return _open_checked(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if not path.is_file() or not any(w in str(error) for w in ("unable", "readonly")):
                raise
            # A read-only medium: WAL cannot make its shared memory, and nobody writes either.
            return _open_checked(path, "mode=ro&immutable=1")


def _open_checked(path: Path, mode: str) -> sqlite3.Connection:
    connection = _connect(path, mode)
    try:
        check_version(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


class _Connection(sqlite3.Connection):
    """A connection that is known here as long as it is open, see `_is_open_here`."""

    path = ""

    def close(self) -> None:
        super().close()
        self.path = ""


_open_here: weakref.WeakSet[_Connection] = weakref.WeakSet()
_open_here_lock = threading.Lock()


def _is_open_here(path: Path) -> bool:
    """Whether this process has a connection to the file. POSIX locks belong to a process: reading
    the file past SQLite would, when it is closed again, let go of those that the connection has."""
    with _open_here_lock:
        return any(connection.path == str(path.absolute()) for connection in _open_here)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        factory=_Connection,
    )
    if "immutable" not in mode:
        connection.path = str(path.absolute())
        with _open_here_lock:
            _open_here.add(connection)
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Add to a run of an older version what it lacks."""
    version = check_version(connection, path)
    steps = [UPGRADES[v] for v in range(version + 1, SCHEMA_VERSION + 1)]
    if steps:
        connection.executescript(
            "BEGIN;"
            + "".join(
                definition
                + f"ALTER TABLE checkpoints ADD COLUMN last_{table} INTEGER NOT NULL DEFAULT 0;"
                * (table in RECORD)
                for table, definition in steps
            )
            + f"REPLACE INTO meta VALUES ('schema_version', '{SCHEMA_VERSION}');COMMIT;"
        )


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version. Raises UserError when it is of a newer Ice Maze, or none at all, and for
    a store with views or triggers: they could make reading endless, or writing impossible."""
    foreign = "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger')"
    if found := connection.execute(foreign).fetchone():
        raise stored.damaged(path, f"it has the {found[0]} {found[1]!r}, and should have none")
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    if row is None:
        raise stored.damaged(path, "meta has no schema_version")
    version: int = stored.value(path, row[0], int, "meta.schema_version")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path}: this run was written by a newer Ice Maze (schema version {version}, this "
            f"one knows {SCHEMA_VERSION}). Update with `pip install -U icemaze`."
        )
    if version < 1:
        raise UserError(
            f"{path}: there has never been a schema version {version}, so this run is not touched; "
            f"put back a copy of it, or delete it: icemaze rm {stored.run_of(path)}"
        )
    return version


def refuse_newer(run_dir: Path) -> None:
    """Raise UserError for a run of a version that is not known, before anything of it is touched.

    For runs without a worker: even to read a write-ahead log SQLite writes files beside it. Without
    that log the file may be half of something, so nothing but a clear answer counts here.
    """
    path = run_dir / DATABASE
    if not _is_open_here(path) and _uses_wal(path):
        with contextlib.suppress(sqlite3.Error, stored.DamagedError):
            _open_checked(path, "mode=ro&immutable=1").close()


def choose_journal(connection: sqlite3.Connection, run_dir: Path) -> str:
    """Switch to WAL where that is safe. Returns "" or a sentence saying why it was not."""
    kind = network_filesystem(run_dir)
    wanted = "DELETE" if kind else "WAL"
    (mode,) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
    if kind:
        return (
            f"The run is on a network filesystem ({kind}), where SQLite's write-ahead log is not "
            "safe; a rollback journal is used instead, which is slower."
        )
    if mode != "wal":
        return "SQLite could not use its write-ahead log here; a slower rollback journal is used."
    return ""


def leave_wal(run_dir: Path) -> bool:
    """Fold the write-ahead log of an ended run into `run.db`, so that it is one plain file.

    Not possible while others have it open: then False, and whoever closes it last does it.
    """
    path = run_dir / DATABASE
    try:
        if not _uses_wal(path):
            return True
        with contextlib.closing(_connect(path, "mode=rw")) as connection:
            connection.execute("PRAGMA busy_timeout = 100")
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except (OSError, sqlite3.Error):
        return False
    return bool(mode == "delete")


def _uses_wal(path: Path) -> bool:
    """Whether the file says that it uses a write-ahead log; yes while it is open here."""
    if _is_open_here(path):
        return True
    try:
        with path.open("rb") as file:
            return file.read(20)[18:19] == b"\x02"
    except OSError:
        return False
