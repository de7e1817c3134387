"""Sweeps: a grid of settings times seeds, every cell of it an ordinary run.

A sweep is a folder `sweeps/<id>/` beside the runs: `preset.toml` (as it was given), `sweep.toml`
(grid and seeds), `runs.jsonl` (which run is which cell), and the runs' own folders. Workers belong
to nobody: when the sweep is killed they go on to their end, and a resumed sweep finds them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine.algorithms.registry import algorithm_of
from engine.config.preset import Preset
from engine.core import private
from engine.core.errors import UserError, shown
from engine.core.files import replace_file
from engine.learning.custom_file import read
from engine.presets import reading as presets
from engine.presets import toml
from engine.presets.source import read as read_preset
from engine.runs import launch, library, stored

FOLDER = "sweeps"
"""Where the sweeps are, inside the folder of runs."""
SWEEP, PRESET, INDEX = "sweep.toml", "preset.toml", "runs.jsonl"
MOST_RUNS = 10_000

Setting = dict[str, str]
"""Dotted keys with values as one would type them after `--set`."""


class Cell(NamedTuple):
    """One run of the grid: the number of its setting, and its seed."""

    setting: int
    seed: int


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of a sweep, as frozen in its folder."""

    name: str
    """The preset's name, or the stem of its file."""
    where: str
    """How error messages name the preset."""
    text: str
    """The preset as TOML."""
    folder: str | None
    """Where the user's own algorithm would be."""
    seeds: list[int]
    grid: dict[str, list[str]]
    """The values of each key."""
    own: dict[str, str] = {}
    """SHA-256 of the files of the user's own algorithms, by name."""

    @property
    def settings(self) -> list[Setting]:
        """All combinations of the values, the last key changing fastest."""
        values = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, chosen, strict=True)) for chosen in values]

    @property
    def cells(self) -> list[Cell]:
        """Every run, seed by seed: what has been done when somebody looks is a fair sample."""
        return [Cell(i, seed) for seed in self.seeds for i in range(len(self.settings))]

    def preset(self, cell: Cell) -> Preset:
        """The preset of one run. Raises UserError when its settings are not valid."""
        changes = [f"{key}={value}" for key, value in self.settings[cell.setting].items()]
        folder = Path(self.folder) if self.folder else None
        return presets.parse(self.text, self.where, [*changes, f"run.seed={cell.seed}"], folder)

    def check(self) -> dict[str, str]:
        """Raise UserError for the first setting that is not valid.

        Gives the SHA-256 of each file of the user's own algorithms.
        """
        own = {}
        for i in range(len(self.settings)):
            file = algorithm_of(self.preset(Cell(i, self.seeds[0]))).custom_file
            if file:
                own[file.name] = file.sha256
        return own

    def check_unchanged(self) -> None:
        """Raise UserError when a file of the user's own is not what the sweep was planned with."""
        for name, digest in self.own.items():
            if read(name, Path(self.folder or ".")).sha256 != digest:
                raise UserError(
                    f"The sweep cannot go on: {name} was changed since it was started. Put the old "
                    "file back, or start a new sweep."
                )


# ---------------------------------------------------------------- planning


def plan(name_or_file: str, seeds: str, settings: list[str]) -> Sweep:
    """The sweep of a preset over seeds ("0-9") and settings ("algorithm.gamma=0.9,0.99").

    Every combination is validated. Raises UserError.
    """
    source = read_preset(name_or_file)
    chosen = parse_seeds(seeds)
    grid = parse_grid(settings)
    runs = len(chosen)
    for values in grid.values():
        runs *= len(values)
    if runs > MOST_RUNS:
        raise UserError(f"This sweep would be {runs:,} runs; at most {MOST_RUNS:,} are allowed.")
    sweep = Sweep(
        name=launch.run_name(name_or_file),
        where=source.where,
        text=source.text,
        folder=str(source.folder.absolute()) if source.folder else None,
        seeds=chosen,
        grid=grid,
    )
    return msgspec.structs.replace(sweep, own=sweep.check())


def parse_seeds(text: str) -> list[int]:
    """Seeds from "0-9" or "1,2,10-12", each once, in the order given. Raises UserError."""
    seeds: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        wrong = not _is_seed(first) or bool(dash and not _is_seed(last))
        if wrong or (dash and int(last) < int(first)):
            raise UserError(
                f"--seeds {shown(text)}: found '{shown(part.strip())}'; expected whole numbers and "
                "ranges, such as 0-9 or 1,2,10-12."
            )
        if dash and int(last) - int(first) >= MOST_RUNS:
            raise UserError(f"--seeds {shown(text)}: at most {MOST_RUNS:,} seeds are allowed.")
        seeds.update(dict.fromkeys(range(int(first), int(last if dash else first) + 1)))
    return list(seeds)


def _is_seed(text: str) -> bool:
    """Whether it is a whole number of at most as many digits as a seed may have."""
    return text.isdecimal() and len(text) <= len(str(2**63))


def parse_grid(settings: list[str]) -> dict[str, list[str]]:
    """The values by key from "KEY=V1,V2,…". Raises UserError."""
    grid: dict[str, list[str]] = {}
    for setting in settings:
        key, separator, raw = setting.partition("=")
        key, values = key.strip(), split_values(raw)
        if not separator or not key or not all(values):
            raise UserError(
                f"--set {shown(setting)}: expected KEY=VALUE,VALUE,… with no value empty, such as "
                "--set algorithm.learning_rate=0.05,0.1."
            )
        if key == "run.seed":
            raise UserError(f"--set {shown(setting)}: the seeds of a sweep are given by --seeds.")
        if key in grid:
            raise UserError(
                f"--set {shown(setting)}: {shown(key)} is given twice; list its values with commas "
                "between them."
            )
        grid[key] = list(dict.fromkeys(values))
    return grid


def split_values(raw: str) -> list[str]:
    """The values between the commas that are in no list, table or quotes of TOML."""
    values, depth, quote, escaped = [""], 0, "", False
    for character in raw:
        if quote:
            if character == quote and not escaped:
                quote = ""
            escaped = character == "\\" and quote == '"' and not escaped
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
            if character == "," and depth == 0:
                values.append("")
                continue
        values[-1] += character
    return [value.strip() for value in values]


# ---------------------------------------------------------------- on disk


def sweeps_dir(runs_dir: Path | None = None) -> Path:
    """Where the sweeps are."""
    return (runs_dir or library.runs_dir()) / FOLDER


def create(sweep: Sweep, runs_dir: Path | None = None) -> Path:
    """Make the folder of a new sweep. Raises UserError."""
    folder, now = launch.new_folder(sweeps_dir(runs_dir), sweep.name), datetime.now(UTC)
    facts = {
        "name": sweep.name,
        "where": sweep.where,
        "folder": sweep.folder,
        "seeds": sweep.seeds,
        "created": now.isoformat(timespec="microseconds"),
        "order": library.next_in_order(folder.parent, now).isoformat(timespec="microseconds"),
    }
    data = {"sweep": facts, "grid": sweep.grid, "own": sweep.own}
    with launch.explained(folder):
        replace_file(folder / PRESET, sweep.text.encode())
        replace_file(folder / SWEEP, toml.write(data).encode())
    return folder


def load(folder: Path) -> Sweep:
    """The sweep of a folder. Raises UserError when it cannot be read, or is another user's."""
    private.check_own(folder, "sweep", deep=False)
    file = folder / SWEEP
    try:
        data = tomllib.loads(file.read_text("utf-8"))
        rest = {"grid": data["grid"], "own": data["own"], "folder": data["sweep"].get("folder")}
        text = (folder / PRESET).read_text("utf-8")
        return msgspec.convert({**data["sweep"], **rest, "text": text}, Sweep)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({error}). The sweep is damaged.") from error


def find(prefix: str | None = None, runs_dir: Path | None = None) -> Path:
    """The sweep whose id is or starts with `prefix`; the newest when there is none given.

    Raises UserError when no sweep or more than one fits.
    """
    where = sweeps_dir(runs_dir)
    folders = [path for path in library.run_folders(where) if (path / SWEEP).is_file()]
    folders.sort(key=_order, reverse=True)
    if prefix is None and folders:
        return folders[0]
    fitting = [path for path in folders if path.name.startswith(prefix or "")]
    exact = [path for path in fitting if path.name == prefix]
    if exact or len(fitting) == 1:
        return (exact or fitting)[0]
    names = ", ".join(path.name for path in (fitting or folders)[:5]) or "none"
    if not fitting:
        wanted = f"whose id starts with {prefix!r} " if prefix else ""
        raise UserError(f"There is no sweep {wanted}in {where}. The newest: {names}.")
    raise UserError(f"{prefix!r} fits {len(fitting)} sweeps: {names}. Give more of the id.")


def _order(folder: Path) -> tuple[datetime, str]:
    """By which instant a sweep is ordered; of one that cannot be read it is the first of all."""
    with contextlib.suppress(UserError, KeyError, TypeError):
        facts = stored.toml(folder / SWEEP)["sweep"]
        return stored.instant(folder, facts.get("order", facts["created"])), folder.name
    return datetime.fromtimestamp(0, UTC), folder.name


def record_run(folder: Path, cell: Cell, run_id: str) -> None:
    """Note which run a cell is, before the run is started."""
    line = json.dumps({"setting": cell.setting, "seed": cell.seed, "run": run_id})
    with (
        launch.explained(folder),
        open(folder / INDEX, "a", encoding="utf-8", opener=private.opener) as file,
    ):
        file.write(line + "\n")


def recorded_runs(folder: Path) -> dict[Cell, Path]:
    """The runs of a sweep by cell, as far as they have been started."""
    try:
        lines = (folder / INDEX).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return {}
    runs = {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # half a line: it was killed
            row: dict[str, Any] = json.loads(line)
            run_dir = folder / row["run"]
            if run_dir.is_dir():
                runs[Cell(row["setting"], row["seed"])] = run_dir
    return runs
