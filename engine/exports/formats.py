"""The formats a run can be exported to, and `export`, which writes one."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from engine.core.errors import UserError, nearest, shown
from engine.core.new_files import new_files
from engine.exports.tables import TABLES, Exported

INSTALL = "pip install 'icemaze[export]' (in a checkout: pip install '.[export]')"
"""How to get the packages that some formats need."""


class Format(NamedTuple):
    """A format. `module` has `write(run, path)`, or `write(run, table, path)` where it `folds` into
    a folder with a file for each table."""

    name: str
    what: str
    module: str
    ending: str
    folder: bool = False
    tables: bool = False
    needs: str = ""
    """The package that the `export` extra brings for it."""


FORMATS = (
    Format("html", "a report to read offline: figures, curves, policy", "html_file",
           ".html"),
    Format("csv", "metrics, episodes and points, one file each", "csv_file", ".csv", folder=True,
           tables=True),
    Format("parquet", "the same for pandas, Polars, DuckDB", "parquet_file", ".parquet",
           folder=True, tables=True, needs="pyarrow"),
    Format("json", "everything in one file", "json_file", ".json"),
    Format("tensorboard", "metrics for tensorboard --logdir", "tensorboard_file", ".tfevents",
           folder=True, needs="tensorboard"),
    Format("svg", "the maze with the learned policy", "svg_file", ".svg"),
    Format("gif", "training on the maze, as a moving picture", "gif_file", ".gif", needs="PIL"),
)  # fmt: skip
BY_NAME = {each.name: each for each in FORMATS}


def format_of(name: str | None, out: Path | None) -> Format:
    """The format of that name, else the one that a file's ending says, else a report. Raises
    UserError."""
    if name is not None:
        if name not in BY_NAME:
            raise UserError(
                f"export: there is no format {shown(name)!r}.{nearest(name, list(BY_NAME))}"
            )
        return BY_NAME[name]
    if out is None:
        return BY_NAME["html"]
    for each in FORMATS:
        if not each.folder and out.suffix.lower() == each.ending:
            return each
    raise UserError(
        f"export: {shown(str(out))} does not say which format; add --to with one of "
        f"{', '.join(BY_NAME)}."
    )


def default_out(run_dir: Path, to: Format) -> Path:
    """Where an export goes if nobody says: beside whoever asks, with the run's id."""
    return Path(f"{run_dir.name}-{to.name}" if to.folder else f"{run_dir.name}{to.ending}")


def export(run_dir: Path, to: Format, out: Path, *, force: bool = False) -> Path:
    """Write a run to a file, or to files in a folder, which is made; gives where. Raises UserError.

    Files are whole or not there; those that are there already are left alone without `force`.
    """
    if to.needs and find_spec(to.needs) is None:
        raise UserError(f"Export to {to.name} needs a package that is not here: {INSTALL}.")
    write: Callable[..., None] = importlib.import_module(f"engine.exports.{to.module}").write
    with Exported(run_dir) as run:
        if to.folder:
            _check_folder(out)
        made = to.folder and not out.exists()
        if made:
            _make(out)
        try:
            with new_files(_targets(run, to, out), force=force) as files:
                if to.tables:
                    for table, file in zip(TABLES, files, strict=True):
                        write(run, table, file)
                else:
                    write(run, files[0])
        except BaseException:
            if made:
                with contextlib.suppress(OSError):
                    out.rmdir()  # it is empty: nothing was finished
            raise
    return out


def _targets(run: Exported, to: Format, out: Path) -> list[Path]:
    if to.tables:
        return [out / f"{table.name}{to.ending}" for table in TABLES]
    if to.folder:  # TensorBoard finds a file by a part of its name
        return [out / f"events.out.tfevents.{run.info.created:%Y%m%d%H%M%S}.{run.info.id}"]
    return [out]


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: this is a file, and the format makes a folder; choose another.")


def _make(out: Path) -> None:
    try:
        out.mkdir()
    except OSError as error:
        raise UserError(
            f"{out}: the folder cannot be made ({error.strerror}); choose another place."
        ) from error
