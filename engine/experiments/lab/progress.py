"""How far a user has come in the lab: not tried, tried, understood; kept in one small file.

`<data dir>/icemaze/lab.json`, mode 0600, replaced as a whole. A damaged file is set aside under
another name and said so: nobody's progress is worth a traceback.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import platformdirs

from engine.core.errors import UserError
from engine.core.files import replace_file

State = Literal["not tried", "tried", "understood"]
STATES: tuple[State, ...] = get_args(State)
"""From nothing to everything."""
VERSION = 1


def default_file() -> Path:
    """Where a user's progress is kept."""
    return Path(platformdirs.user_data_dir("icemaze")) / "lab.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """What the file says. `note` tells of a file that had to be set aside."""

    states: dict[str, State]
    note: str = ""

    def of(self, name: str) -> State:
        """The state of a challenge or page."""
        return self.states.get(name, "not tried")


def read(file: Path | None = None) -> Progress:
    """The progress so far. Raises UserError when a file that is there cannot be read at all."""
    file = file or default_file()
    try:
        data = json.loads(file.read_text("utf-8"))
        return Progress(_states(data))
    except FileNotFoundError:
        return Progress({})
    except OSError as error:
        raise UserError(f"{file}: the lab's progress cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or not ours
        return Progress({}, _set_aside(file, error))


def mark(name: str, state: State, file: Path | None = None) -> Progress:
    """Note that a challenge or page was tried or understood; what was more stays as it is.

    Raises UserError when the file cannot be read or written.
    """
    file = file or default_file()
    before = read(file)
    if STATES.index(before.of(name)) >= STATES.index(state):
        return before
    states = {**before.states, name: state}
    data = json.dumps({"version": VERSION, "states": states}, indent=1).encode()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(file, data)  # a new file of this kind is for its owner only: 0600
    except OSError as error:
        raise UserError(
            f"{file}: the lab's progress cannot be written ({error.strerror}). Make room or mend "
            "the permissions."
        ) from error
    return Progress(states, before.note)


def _states(data: Any) -> dict[str, State]:
    """The states in the file's data. Raises ValueError when they are not there."""
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError("it is not of this version")
    states = data.get("states")
    if not isinstance(states, dict) or not all(state in STATES for state in states.values()):
        raise ValueError("it holds no states")
    return states


def _set_aside(file: Path, error: Exception) -> str:
    """Rename a file that makes no sense, and say so."""
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    aside = file.with_name(f"{file.stem}-damaged-{moment}{file.suffix}")
    with contextlib.suppress(OSError):
        file.replace(aside)
        return (
            f"The lab's progress could not be understood ({error}); the file was set aside as "
            f"{aside}, and the lab begins anew."
        )
    return f"{file}: the lab's progress could not be understood ({error})."
