"""Files for the user: whole or not at all, and never in place of one that is there already."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.core.errors import StorageError, UserError


@contextlib.contextmanager
def new_files(targets: Sequence[Path], *, force: bool = False) -> Iterator[list[Path]]:
    """Paths to write to, in the folder of each target; all are moved there at the end, or none is.

    Without `force` a target that exists is refused, also one that appears meanwhile. Raises
    UserError, and StorageError where the disk refuses.
    """
    for target in targets:
        _check(target, force)
    unfinished = [target.with_name(f".{target.name}-{secrets.token_hex(4)}") for target in targets]
    try:
        for path in unfinished:  # as the user's umask wants it, unlike a temporary file
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield unfinished
        for path in unfinished:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for path, target in zip(unfinished, targets, strict=True):
            _move(path, target, force)
    except OSError as error:
        where = targets[0].parent
        raise StorageError(
            f"{where}: cannot be written ({error.strerror or error}). Choose another place."
        ) from error
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)


def _check(target: Path, force: bool) -> None:
    if not target.parent.is_dir():
        raise UserError(f"{target.parent}: there is no such folder; make it, or choose another.")
    if target.is_dir():
        raise UserError(f"{target}: this is a folder; give the name of a file.")
    if not force and os.path.lexists(target):
        raise _there(target)


def _there(target: Path) -> UserError:
    return UserError(
        f"{target} is there already and was left as it is; choose another name, or --force."
    )


def _move(path: Path, target: Path, force: bool) -> None:
    if force:
        path.replace(target)
        return
    try:
        os.link(path, target)  # unlike a rename it never replaces
    except FileExistsError as error:
        raise _there(target) from error
    except OSError:  # a filesystem without links
        if os.path.lexists(target):
            raise _there(target) from None
        path.rename(target)
