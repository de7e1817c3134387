"""What a screen or a script can ask of a running worker: the arrow that points back."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from engine.core.errors import UserError, nearest, shown

Count = Annotated[int, Meta(ge=1, le=2**62)]
Number = Annotated[int, Meta(ge=0, le=2**62)]
Mark = Annotated[float, Meta(ge=0.0, le=10.0)]

LARGEST = 2**20
"""More bytes than the arguments of any command have."""
COLUMNS = (
    f"CAST(substr(CAST(name AS BLOB), 1, {LARGEST}) AS BLOB), "
    f"CAST(substr(CAST(args AS BLOB), 1, {LARGEST} + 1) AS BLOB)"
)
"""Name and arguments of a row as `written` takes them."""


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all commands; the fields are the arguments."""

    usage: ClassVar[str] = ""


class Pause(Command, frozen=True, kw_only=True):
    """Stand still, with a checkpoint. Interrupts `step` and `episode`."""

    usage = "it takes no arguments"


class Resume(Command, frozen=True, kw_only=True):
    """Go on after a pause."""

    usage = "it takes no arguments"


class Stop(Command, frozen=True, kw_only=True):
    """Write a checkpoint and the last figures, and end. The run can be resumed later."""

    usage = "it takes no arguments"


class Pace(Command, frozen=True, kw_only=True):
    """Go at `value` steps per second; None is as fast as it goes."""

    usage = "value: steps per second, more than 0, or null for as fast as it goes"
    value: Annotated[float, Meta(gt=0.0, le=sys.float_info.max)] | None


class StepBy(Command, frozen=True, kw_only=True):
    """Do `n` steps at once, then stay paused."""

    usage = "n: how many steps, 1 or more"
    n: Count = 1


class EpisodeBy(Command, frozen=True, kw_only=True):
    """Go on until the watched agent has ended `n` episodes, then stay paused.

    With `paced` at the run's pace, otherwise at once.
    """

    usage = "n: how many episodes, 1 or more; paced: true or false"
    n: Count = 1
    paced: bool = False


class Tune(Command, frozen=True, kw_only=True):
    """Change a setting from now on."""

    usage = "key: a setting's name, and value: what it becomes"
    key: str
    value: float | int | str | bool | dict[str, float | int | str]


class Edit(Command, frozen=True, kw_only=True):
    """Change the map from each agent's next episode on."""

    usage = "rows: the new map, a list of text rows"
    rows: list[str]


class Prefer(Command, frozen=True, kw_only=True):
    """Say which completion of a pair is better, that neither is, or that you leave it out."""

    usage = "pair: the pair's number, and choice: first, second, tie or skip"
    pair: Number
    choice: Literal["first", "second", "tie", "skip"]


class Score(Command, frozen=True, kw_only=True):
    """Give each completion of a pair a mark; their difference says which is better, and how much:
    a point more is a preference of 73 %."""

    usage = "pair: the pair's number, and scores: two numbers from 0 to 10"
    pair: Number
    scores: tuple[Mark, Mark]


COMMANDS: dict[str, type[Command]] = {
    "pause": Pause,
    "resume": Resume,
    "stop": Stop,
    "pace": Pace,
    "step": StepBy,
    "episode": EpisodeBy,
    "tune": Tune,
    "edit": Edit,
    "prefer": Prefer,
    "score": Score,
}


class CommandReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command. `reply` says why it was refused; `applied_step` when it held."""

    id: int
    name: str
    status: str
    reply: str = ""
    applied_step: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the worker said no."""
        return self.status == "refused"

    @property
    def pending(self) -> bool:
        """Whether the worker has not answered yet."""
        return self.status == "pending"


class Written(msgspec.Struct, frozen=True):
    """A row that anybody may have written: a command, or else the `problem` with it."""

    id: int
    command: Command | None
    problem: str = ""


def written(row_id: int, name: Any, args: Any) -> Written:
    """What a row asks for, from its `COLUMNS`."""
    try:
        return Written(row_id, _decode(name, args))
    except UserError as error:
        return Written(row_id, None, str(error))


def _decode(name: Any, args: Any) -> Command:
    if not isinstance(name, bytes) or not isinstance(args, bytes):
        raise UserError("A command needs a name and arguments; found null.")
    said = name.decode("utf-8", "replace")
    if len(args) > LARGEST:
        raise UserError(f"{shown(said)}: its arguments are longer than {LARGEST} bytes.")
    try:
        return parse(said, json.loads(args))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{shown(said)}: its arguments are not JSON ({error}); expected an object."
        ) from error


def parse(name: str, args: dict[str, Any]) -> Command:
    """The command, checked. Raises UserError naming what was expected."""
    kind = COMMANDS.get(name)
    if kind is None:
        raise UserError(f"There is no command {shown(name)!r}.{nearest(name, list(COMMANDS))}")
    try:
        return msgspec.convert(args, kind, strict=True)
    except msgspec.ValidationError as error:
        found = shown(json.dumps(args), 200)
        raise UserError(f"{name}: found {found}; expected {kind.usage}.") from error
