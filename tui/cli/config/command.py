"""`icemaze config`: what the user has chosen once, for all runs."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer

from engine.core.errors import UserError, nearest, shown
from tui.cli.options import Json
from tui.cli.output import emit, say, table

if TYPE_CHECKING:
    import msgspec

KEY = Annotated[
    str, typer.Argument(metavar="KEY", help="app.theme, keys.run.pause, …", show_default=False)
]
TABLES = ("app", "notify", "keys")
"""Those with values that people set; the app itself keeps `layout`."""

app = typer.Typer(
    help="What is chosen once for all runs: colours, keys, notifications (config.toml).",
    no_args_is_help=False,
)


@app.callback(invoke_without_command=True)
def config(ctx: typer.Context, as_json: Json = False) -> None:
    """What is chosen once for all runs: colours, keys, notifications (config.toml).

    Without a command: where the file is, and every value with what it is as shipped.
    """
    if ctx.invoked_subcommand is not None:
        return
    # start-up time
    from engine.core import user_config

    file = user_config.path()
    chosen = user_config.load()
    rows = _rows(chosen)
    if as_json:
        emit(path=str(file), values={row[0]: row[1] for row in rows}, keys=chosen.keys)
        return
    where = f"{file}" if file.exists() else f"{file} (not there yet: all is as shipped)"
    say(where)
    say()
    told = [(key, _told(value), _told(shipped), words) for key, value, shipped, words in rows]
    table(("KEY", "VALUE", "SHIPPED", "WHAT"), told)
    for id, own in chosen.keys.items():
        say(f"keys.{id}  {own}")
    say()
    say("`icemaze config set KEY VALUE` changes one; `icemaze config keys` lists all keys.")


@app.command("set")
def set_value(
    key: KEY,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As in the file; no quotes.")],
) -> None:
    """Change one value. Comments and order of the file stay."""
    # start-up time
    from engine.core import user_config

    name, field = _split(key)
    chosen = user_config.load()
    if name == "keys":
        # start-up time
        from tui import keymap

        keymap.check({**chosen.keys, field: value})
        user_config.write(name, field, value)
    else:
        user_config.write(name, field, _read(getattr(chosen, name), key, field, value))
    say(f"{key} is {value} from now on.")


@app.command()
def unset(key: KEY) -> None:
    """Go back to what is shipped."""
    # start-up time
    from engine.core import user_config

    name, field = _split(key, "layout")
    chosen = getattr(user_config.load(), name)
    if not isinstance(chosen, dict):
        _field(chosen, key, field)
    elif field not in chosen:
        raise UserError(f"{shown(key)} is not in the file: it is as shipped.")
    user_config.write(name, field, None)
    say(f"{key} is as shipped again.")


@app.command()
def edit() -> None:
    """Open the file in $VISUAL or $EDITOR, and say what is wrong with it afterwards."""
    # start-up time
    from engine.core import user_config
    from tui import keymap

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    file = user_config.path()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        done = subprocess.run([*shlex.split(editor), str(file)], check=False)
    except (OSError, ValueError) as error:
        raise UserError(f"The editor {shown(editor)!r} did not start: {error}.") from error
    if done.returncode:
        raise UserError(f"The editor {shown(editor)!r} ended with status {done.returncode}.")
    keymap.check(user_config.load().keys)


@app.command()
def keys(as_json: Json = False) -> None:
    """Every action that has a key: its id for [keys], the keys now, and what it does."""
    # start-up time
    from engine.core import user_config
    from tui import keymap

    own = user_config.load().keys
    keymap.check(own)
    for row in keymap.rows().values():
        if as_json:
            now = keymap.normal({row.id: own[row.id]})[row.id].split(",") if row.id in own else None
            emit(id=row.id, keys=now or row.keys, shipped=row.keys, name=row.name, what=row.tooltip)
    if as_json:
        return
    lines = [
        (row.id, own.get(row.id) or " ".join(map(keymap.spelled, row.keys)), row.tooltip)
        for row in keymap.rows().values()
    ]
    table(("ID", "KEYS", "WHAT IT DOES"), lines)


def _rows(chosen: Any) -> list[tuple[str, Any, Any, str]]:
    """Key, value, value as shipped, and words, of every value but keys."""
    found = []
    for name in TABLES[:2]:
        part = getattr(chosen, name)
        hints = get_type_hints(type(part), include_extras=True)
        shipped = type(part)()
        for field in part.__struct_fields__:
            words = _description(hints[field])
            now = getattr(part, field)
            found.append((f"{name}.{field}", now, getattr(shipped, field), words))
    return found


def _description(hint: Any) -> str:
    if get_origin(hint) is not Annotated:
        return ""
    return next((m.description for m in get_args(hint)[1:] if getattr(m, "description", "")), "")


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in ("", None) else str(value)


def _split(key: str, *more: str) -> tuple[str, str]:
    name, _, field = key.partition(".")
    if name not in (*TABLES, *more) or not field:
        raise UserError(
            f"There is no value {shown(key)!r}: expected a table, a point and a name, as in "
            "app.theme or keys.run.pause (`icemaze config` lists them)."
        )
    return name, field


def _field(part: msgspec.Struct, key: str, field: str) -> Any:
    """The type of a field. Raises UserError."""
    if field not in part.__struct_fields__:
        names = tuple(part.__struct_fields__)
        raise UserError(f"There is no value {shown(key)!r}.{nearest(field, names)}")
    return get_type_hints(type(part), include_extras=True)[field]


def _read(part: msgspec.Struct, key: str, field: str, value: str) -> Any:
    """A word of the command line as the value that a field takes; what does not fit stays text,
    which writing refuses with what was expected."""
    # start-up time
    import tomllib

    import msgspec

    hint = _field(part, key, field)
    values: list[Any] = [value]
    with contextlib.suppress(ValueError):
        values.append(tomllib.loads(f"value = {value}")["value"])
    for each in values:
        try:
            return msgspec.to_builtins(msgspec.convert(each, hint, strict=False))
        except msgspec.ValidationError:
            continue
    return value
