"""Presets as TOML: reading and writing them, and `--set` changes to what was read."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec

from engine.core.errors import UserError, shown

MAZE_SOURCES = ("map", "size", "gymnasium", "train")
"""The keys of `[maze]` that exclude each other."""

DEEPEST = 16
"""Tables and lists within each other; no preset needs half as many."""
LONGEST_KEY = 100
"""Parts of a dotted key that are read: the parser takes the square of their number."""

MOST_COUNTED = 2.0**53
"""Up to here 1e6 is a count as well as a number; beyond, not every whole number is one."""

_KEY_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY_PART}\.[ \t]*){{{LONGEST_KEY}}}")
_LONG_NUMBER = re.compile(r"[0-9][0-9_]{4000}")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COUNT = re.compile(r"[+-]?\d{1,30}[eE]\+?\d{1,2}")
_PLAIN_LINES = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f\\]*[^\x00-\x1f\x7f\\\"]\n?")


def read(text: str) -> dict[str, Any]:
    """The data of TOML text. Raises UserError, with the line, for what is none."""
    if match := _LONG_KEY.search(text):
        raise UserError(
            f"{_line_of(match, text)}: a key of more than {LONGEST_KEY} parts; write a table."
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {_with_line(error, text)}") from error
    except RecursionError as error:
        raise UserError(
            f"not valid TOML: too many brackets within each other; at most {DEEPEST} are read."
        ) from error
    except ValueError as error:  # Python's limit for the digits of a whole number
        match = _LONG_NUMBER.search(text)
        where = f"{_line_of(match, text)}: " if match else ""
        raise UserError(
            f"not valid TOML: {where}a number with thousands of digits; expected one of at most 64 "
            "bits."
        ) from error


def _line_of(match: re.Match[str], text: str) -> str:
    return f"line {text.count(chr(10), 0, match.start()) + 1}"


def _with_line(error: tomllib.TOMLDecodeError, text: str) -> str:
    """The parser's message with the line it speaks of."""
    message = str(error)
    if not (match := re.search(r" \(at line (\d+), column (\d+)\)$", message)):
        return f"{shown(message, 200)}; mend it."
    number = int(match[1])
    lines = text.split("\n", number)
    line = inline(lines[number - 1].strip()) if number <= len(lines) else ""
    said = shown(message[: match.start()], 200)
    return f"line {number}, column {match[2]}: {said}; mend this line: {shown(line)}"


def apply_override(data: dict[str, Any], override: str) -> None:
    """Apply one `key.path=value` to parsed TOML, in place.

    The value is read as TOML, else taken as text; 1e6 is a count as well as a number. Setting
    where the maze comes from (`maze.map`, `maze.size`, `maze.gymnasium`) takes the place of what
    the preset had. Raises UserError for anything without a dotted key and a value.
    """
    key, separator, raw = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts) or len(parts) > DEEPEST:
        raise UserError(
            f"--set {shown(override)}: expected KEY=VALUE with a dotted key, such as "
            "--set algorithm.gamma=0.9."
        )
    table = data
    for i, part in enumerate(parts[:-1]):
        child = table.setdefault(part, {})
        if not isinstance(child, dict):
            found = "a list" if isinstance(child, list) else "a value"
            raise UserError(
                f"--set {shown(override)}: {shown('.'.join(parts[: i + 1]))} is {found}, not a "
                f"table; it has no key '{shown(parts[i + 1])}'."
            )
        table = child
    if parts[:-1] == ["maze"] and parts[-1] in MAZE_SOURCES:
        for source in MAZE_SOURCES:
            table.pop(source, None)
        if parts[-1] != "train":
            table.pop("test", None)
    table[parts[-1]] = _read_value(raw.strip(), override)


def _read_value(raw: str, override: str) -> Any:
    if _COUNT.fullmatch(raw) and abs(float(raw)) <= MOST_COUNTED:
        return int(float(raw))
    try:
        found = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    except (RecursionError, ValueError) as error:
        what = "brackets" if isinstance(error, RecursionError) else "digits"
        raise UserError(
            f"--set {shown(override)}: the value has thousands of {what}; expected one that is "
            "read as TOML, such as 0.9 or [4, 6]."
        ) from error
    return found["value"] if len(found) == 1 else raw


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
