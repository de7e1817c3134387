"""Files that nobody else may have had a hand in: whose they are, and making some like that.

What is only read may be anybody's. What is believed (which code may run) or run (machine code kept
from before) must be the user's own, in a folder where nobody else can put anything.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.core.errors import UserError

FOLDER, FILE = 0o700, 0o600
"""The permissions of what is only for its owner."""


def why_not_private(folder: Path) -> str:
    """Why others may have put something into a folder, in words; nothing for a private one.

    The folders above it count too: who may rename one puts another in its place.
    """
    try:
        here = folder.lstat()
    except OSError as error:
        return f"{folder} cannot be looked at ({error.strerror})"
    if not stat.S_ISDIR(here.st_mode):
        return f"{folder} is no folder but a {'link' if folder.is_symlink() else 'file'}"
    if here.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if here.st_mode & 0o077:
        return f"{folder} is open to others (its permissions are {stat.S_IMODE(here.st_mode):o})"
    for above in folder.resolve().parents:
        try:
            status = above.stat()
        except OSError as error:
            return f"{above} cannot be looked at ({error.strerror})"
        if status.st_uid not in (0, os.geteuid()):
            return f"{above}, in which it is, belongs to another user"
        # The group that is only the user's own may write: some systems make folders like that.
        others = 0o002 if status.st_gid == os.getegid() else 0o022
        if status.st_mode & others and not status.st_mode & stat.S_ISVTX:
            return f"{above}, in which it is, can be written by others"
    return ""


def make_private(folder: Path) -> str:
    """Make a folder that is for its owner only, and close one that was open to be read.

    Gives why it cannot be used, see `why_not_private`; one that others could write stays as it is.
    """
    try:
        folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
        here = folder.lstat()
        mine = stat.S_ISDIR(here.st_mode) and here.st_uid == os.geteuid()
        if mine and here.st_mode & 0o077 and not here.st_mode & 0o022:
            folder.chmod(FOLDER)
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror})"
    if why := why_not_private(folder):
        return why
    return "" if os.access(folder, os.W_OK) else f"{folder} cannot be written"


def check_own(folder: Path, what: str, *, deep: bool = True) -> None:
    """Raise UserError when the folder of `what` ("run") is another user's, or leads out of itself.

    A link in it would let a stranger's folder choose the file that is read, or written over. What
    stands in the folders in it is looked at where it is `deep`.
    """
    try:
        here = folder.lstat()
        if stat.S_ISLNK(here.st_mode):
            raise UserError(
                f"{folder}: this {what} is a link to another place, which is not followed; move "
                f"the {what} itself here."
            )
        if here.st_uid != os.geteuid():
            raise UserError(
                f"{folder}: this {what} belongs to another user, so it is not opened. Ask for a "
                f"copy and keep that (`cp -r`): it is yours then."
            )
        links = [entry.name for entry in _entries(folder, deep) if entry.is_symlink()]
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return  # whoever opens it says so
        raise UserError(f"{folder}: cannot be looked at ({error.strerror}).") from error
    if links:
        raise UserError(
            f"{folder / links[0]}: a link in a {what}'s folder is not followed, so the {what} is "
            "not opened. Put the file itself there, or remove the link."
        )


def _entries(folder: Path, deep: bool) -> Iterator[os.DirEntry[str]]:
    """Everything in a folder; where it is `deep`, also in the folders in it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if deep and entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), deep)


def read_plain(file: Path, most: int) -> bytes:
    """The bytes of a file that is no link, device or pipe, at most so many. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no file")
        data = handle.read(most + 1)
    if len(data) > most:
        raise OSError(0, f"it is larger than {most >> 20} MiB")
    return data


def opener(path: str, flags: int) -> int:
    """For `open`: a new file is for its owner only, and a link is not followed."""
    return os.open(path, flags | os.O_NOFOLLOW, FILE)


def write_new(file: Path, data: bytes) -> None:
    """Write a file that is for its owner only. Raises OSError, also where there is a link."""
    with open(file, "wb", opener=opener) as handle:
        handle.write(data)
        with contextlib.suppress(OSError):  # a disk that knows no permissions
            os.fchmod(handle.fileno(), FILE)
