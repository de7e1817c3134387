"""The lines that any trainer can write: one JSON object each (docs/watch.md).

Nothing in a line is believed: each is checked by itself, and what is wrong with it is one sentence.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.core.errors import UserError, nearest, shown
from engine.external.rollouts import Rollout

FORMAT = 1
Step = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=10_000)]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: whose run this is. Everything but `icemaze` may be missing."""

    icemaze: Annotated[int, Meta(ge=1)]
    """The version of this form."""
    name: Text = ""
    trainer: Text = ""
    algorithm: Text = ""
    model: Text = ""
    unit: Text = ""
    updates: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    settings: dict[str, int | float | str | bool | None] = {}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Any other line: what happened at a step, or that the run is over."""

    step: Step | None = None
    metrics: dict[Annotated[str, Meta(min_length=1)], float | None] = {}
    rollouts: list[Rollout] = []
    note: Text = ""
    level: Literal["info", "warning", "error"] = "info"
    end: Literal["finished", "stopped", "failed"] | None = None
    error: Text = ""


class Line(msgspec.Struct, frozen=True):
    """A good line, and the keys in it that mean nothing."""

    said: Header | Entry
    unknown: tuple[str, ...] = ()


def parse(raw: bytes) -> Line:
    """The content of a line. Raises UserError saying what was found and what was expected."""
    try:
        data = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start + 1} is no UTF-8; expected a JSON object") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"no JSON ({shown(str(error), 120)}); expected a JSON object") from error
    if not isinstance(data, dict):
        raise UserError(f"found {shown(json.dumps(data))}; expected a JSON object")
    kind: type[Header | Entry] = Header if "icemaze" in data else Entry
    fields = kind.__struct_fields__
    if not data.keys() & set(fields):
        names = ", ".join(Entry.__struct_fields__)
        raise UserError(f"none of its keys is known; expected some of {names}")
    return Line(_checked(data, kind), tuple(key for key in data if key not in fields))


def _checked(data: dict[str, Any], kind: type[Header | Entry]) -> Header | Entry:
    try:
        said = msgspec.convert(data, kind, strict=True)
    except UnicodeEncodeError as error:  # msgspec's own message about a text that is half a sign
        raise UserError("a value is a text with half a sign of UTF-16 in it") from error
    except (msgspec.ValidationError, OverflowError) as error:
        raise UserError(shown(str(error), 200)) from error
    if isinstance(said, Header):
        if said.icemaze > FORMAT:
            raise UserError(
                f"icemaze is {said.icemaze}: a newer form than this Ice Maze knows ({FORMAT}); "
                "update with `pip install -U icemaze`"
            )
        return said
    if said.step is None and (said.metrics or said.rollouts):
        raise UserError("step is missing; expected the number of the update, 0 or more")
    return said


def unknown_key(name: str) -> str:
    """The sentence about a key that means nothing."""
    valid = (*Entry.__struct_fields__, *Header.__struct_fields__)
    return f"the key {shown(name)!r} means nothing here and is left out.{nearest(name, valid)}"
