"""Presets as TOML: writing them, and `--set` changes to what was read."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec

from engine.core.errors import UserError

MAZE_SOURCES = ("map", "size", "gymnasium", "train")
"""The keys of `[maze]` that exclude each other."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COUNT = re.compile(r"[+-]?\d+[eE]\+?\d{1,2}")
_PLAIN_LINES = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f\\]*[^\x00-\x1f\x7f\\\"]\n?")


def apply_override(data: dict[str, Any], override: str) -> None:
    """Apply one `key.path=value` to parsed TOML, in place.

    The value is read as TOML, else taken as text; 1e6 is a count as well as a number. Setting
    where the maze comes from (`maze.map`, `maze.size`, `maze.gymnasium`) takes the place of what
    the preset had. Raises UserError for anything without a dotted key and a value.
    """
    key, separator, raw = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise UserError(
            f"--set {override}: expected KEY=VALUE with a dotted key, such as "
            "--set algorithm.gamma=0.9."
        )
    table = data
    for i, part in enumerate(parts[:-1]):
        child = table.setdefault(part, {})
        if not isinstance(child, dict):
            found = "a list" if isinstance(child, list) else "a value"
            raise UserError(
                f"--set {override}: {'.'.join(parts[: i + 1])} is {found}, not a table; it has "
                f"no key {parts[i + 1]!r}."
            )
        table = child
    if parts[:-1] == ["maze"] and parts[-1] in MAZE_SOURCES:
        for source in MAZE_SOURCES:
            table.pop(source, None)
        if parts[-1] != "train":
            table.pop("test", None)
    table[parts[-1]] = _read_value(raw.strip())


def _read_value(raw: str) -> Any:
    if _COUNT.fullmatch(raw):
        return int(float(raw))
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def write(data: dict[str, Any]) -> str:
    """A preset's data (values, tables, lists of tables; None is left out) as TOML text."""
    tables = {key: value for key, value in data.items() if isinstance(value, dict)}
    lists = {key: value for key, value in data.items() if isinstance(value, list)}
    lines = _lines({key: data[key] for key in data if key not in tables and key not in lists})
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_lines(table)]
    for name, items in lists.items():
        for item in items:
            lines += ["", f"[[{name}]]", *_lines(item)]
    return "\n".join(lines) + "\n"


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_block(value)}" for key, value in table.items() if value is not None]


def _block(value: Any) -> str:
    """A value on a line of its own: text of several lines (a map) stays readable."""
    if isinstance(value, str) and "\n" in value and _PLAIN_LINES.fullmatch(value):
        return f'"""\n{value}"""' if '"""' not in value else inline(value)
    return inline(value)


def inline(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        pairs = (f"{_key(k)} = {inline(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are a subset of TOML's, except DEL, which TOML wants escaped too.
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return str(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else inline(key)
