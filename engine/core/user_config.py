"""What a user has chosen once, for all runs: `config.toml` in the user's own settings folder.

Each table of the file is a struct here. `load` reads and checks it; `write` changes one key and
keeps the user's comments and order.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import platformdirs
from msgspec import Meta

from engine.core import files, private
from engine.core.errors import StorageError, UserError, nearest, shown

LARGEST = 1 << 20
"""Bytes that are read of the file."""


Theme = Literal[
    "auto", "dark", "light", "colour-safe-dark", "colour-safe-light", "terminal", "mono"
]
GlyphSet = Literal["auto", "unicode", "ascii"]


class AppConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the app looks."""

    theme: Annotated[
        Theme,
        Meta(
            description="Colours. auto: dark, or what the terminal has where it shows 16 or none."
        ),
    ] = "auto"
    glyphs: Annotated[
        GlyphSet,
        Meta(description="Characters to draw with. auto: what locale and terminal can show."),
    ] = "auto"


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the trainer looked like when a run of one kind was left."""

    panel: str = ""
    """The panel that had the focus."""
    alone: bool = False
    """Whether that was the only one."""
    layer: int | None = None
    """The digit of the maze's layer; None is the first that the kind of run shows."""
    values: bool = False
    """Whether V* stood beside."""
    path: bool = False
    """Whether the optimal path was marked."""
    curves: str = ""
    """The title of the figures on the chart."""
    log_x: bool = False
    """Whether the chart's steps were logarithmic."""


class NotifyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens when a run ends, fails, or a diagnosis fires. Nothing, unless it is set here."""

    terminal: list[Literal["bell", "osc9", "osc777"]] = []
    """What the terminal gets that shows the run: its bell, or a notification of the desktop."""
    on_end: str = ""
    """A command to run when a run has finished or failed. No shell reads it; what happened stands
    in its environment (`ICEMAZE_EVENT`, …)."""
    on_diagnosis: str = ""
    """The same when the run warns of something."""
    webhook: str = ""
    """An http(s) address to which what happened is posted as JSON."""

    def __post_init__(self) -> None:
        for name in ("on_end", "on_diagnosis"):
            try:
                shlex.split(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name} is no command ({error})") from error
        if self.webhook and not re.fullmatch(r"https?://[!-~]+", self.webhook):
            raise ValueError(
                "webhook is no address; expected one that begins with http:// or https://"
            )

    def command(self, event: str) -> list[str]:
        """The words of the command for an event; none where nothing is to be run."""
        return shlex.split(self.on_diagnosis if event == "diagnosis" else self.on_end)


class UserConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file; an absent one is `UserConfig()`."""

    app: AppConfig = AppConfig()
    notify: NotifyConfig = NotifyConfig()
    keys: dict[str, str] = {}
    """From the id of a key's action (`run.pause`) to the keys that do it, by commas."""
    layout: dict[str, Layout] = {}
    """By kind of run (`tui.kinds`): planning, prediction, value, policy, cells, routes."""


def path() -> Path:
    """Where the file is, whether it exists or not; a link of the user's own is followed."""
    return (Path(platformdirs.user_config_dir("icemaze")) / "config.toml").resolve()


def load() -> UserConfig:
    """Read and check the file. Raises UserError naming file, key, what was found and expected."""
    file = path()
    try:
        raw = private.read_plain(file, LARGEST)
    except FileNotFoundError:
        return UserConfig()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    return parse(raw, file)


def parse(raw: bytes, file: Path) -> UserConfig:
    """The checked content of a file. Raises UserError."""
    try:
        table = tomllib.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not TOML: {shown(str(error))}. Mend or delete it.") from error
    _check_names(table, UserConfig, str(file))
    for name, part in (("app", AppConfig), ("notify", NotifyConfig)):
        if isinstance(table.get(name), dict):
            _check_names(table[name], part, f"[{name}] of {file}")
    if isinstance(app := table.get("app"), dict):
        for name, choices in (("theme", Theme), ("glyphs", GlyphSet)):
            _check_choice(app, name, get_args(choices), f"[app] of {file}")
    if isinstance(keys := table.get("keys"), dict):
        table["keys"] = _flat(keys, file)
    try:
        return msgspec.convert(table, UserConfig)
    except msgspec.ValidationError as error:
        raise UserError(
            f"{file}: {shown(str(error), 200)}. Mend the value or delete it."
        ) from error


def _check_names(table: dict[str, Any], struct: type[msgspec.Struct], where: str) -> None:
    valid = struct.__struct_fields__
    for name in table:
        if name not in valid:
            raise UserError(f"Unknown key {shown(name)!r} in {where}.{nearest(name, valid)}")


def _check_choice(table: dict[str, Any], name: str, valid: tuple[str, ...], where: str) -> None:
    value = table.get(name)
    if isinstance(value, str) and value not in valid:
        raise UserError(f"{name} = {shown(value)!r} in {where}: expected {_either(valid)}.")


def _either(valid: tuple[str, ...]) -> str:
    *first, last = map(repr, valid)
    return f"{', '.join(first)} or {last}"


def _flat(keys: dict[str, Any], file: Path) -> dict[str, Any]:
    """`[keys]` by whole ids: without quotes, `run.pause = "p"` is a table `run` in TOML."""
    flat: dict[str, Any] = {}
    for name, value in keys.items():
        inner = value.items() if isinstance(value, dict) else [(None, value)]
        for rest, chosen in inner:
            id = name if rest is None else f"{name}.{rest}"
            if id in flat:
                raise UserError(f"{shown(id)!r} stands twice in [keys] of {file}: delete one.")
            flat[id] = chosen
    return flat


def write(table: str, key: str, value: Any) -> None:
    """Set one key of one table (None deletes it), leaving the rest of the file as it is.

    Raises UserError when file or value are not valid, StorageError when it cannot be written.
    """
    import tomlkit  # deferred: only who changes something needs a writer (start-up time)

    file = path()
    load()  # never write over a file that is not understood
    document = tomlkit.parse(file.read_text("utf-8-sig")) if file.exists() else tomlkit.document()
    part = document.setdefault(table, tomlkit.table())
    first, _, rest = key.partition(".")
    if rest and isinstance(part.get(first), dict):  # run.pause, written without quotes
        part, key = part[first], rest
    if value is None:
        part.pop(key, None)
    else:
        part[key] = value
    raw = tomlkit.dumps(document).encode()
    parse(raw, file)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.replace_file(file, raw)
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror or error}.") from error
