"""What is wrong with a preset, said so that a person can mend it.

msgspec finds the first mistake; `explain` says it as key, what was found, what was expected and
the nearest valid name, all of it read from the preset's JSON Schema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.core.errors import UserError, nearest, shown
from engine.presets.toml import DEEPEST, inline

Node = dict[str, Any]

SIZE = 2**63 - 1
"""TOML's integers have 64 bits; Python would read larger ones and NumPy would choke on them."""

TAGS = ("name", "kind")

_PLACE = re.compile(r" - at `(key in )?\$(.*?)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING = re.compile(r"Object missing required field `(.*?)`")
_PATH_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def check_values(value: Any, path: str = "", depth: int = 0) -> None:
    """Raise UserError for what no setting can be: a number nothing can be computed with (nan, inf,
    beyond 64 bits), text that is no Unicode, tables and lists too deep within each other."""
    if depth > DEEPEST:
        raise UserError(
            f"{shown(path)}: tables and lists within each other, over {DEEPEST} deep; expected "
            "the keys that `icemaze presets schema` lists."
        )
    if isinstance(value, dict):
        for key, child in value.items():
            inside = _join(path, key)
            _check_text(key, inside)
            check_values(child, inside, depth + 1)
    elif isinstance(value, list):
        for i, child in enumerate(value):
            check_values(child, f"{path}[{i}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{shown(path)}: found {inline(value)}, expected a finite number.")
    elif isinstance(value, int) and not -SIZE <= value <= SIZE:
        raise UserError(
            f"{shown(path)}: found {show(value)}, expected a number of at most 64 bits."
        )


def numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    """Every number in plain data, with its dotted key."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from numbers(child, _join(path, key))
    elif isinstance(value, float | int) and not isinstance(value, bool):
        yield path, value


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # an argument of the command line may hold any bytes
        raise UserError(f"{shown(path)}: found '{shown(text)}', expected text in UTF-8.") from error


def explain(error: msgspec.ValidationError, data: Node, schema: Node) -> str:
    """msgspec's message about parsed TOML `data` as a sentence in the user's terms."""
    message = str(error)
    place = _PLACE.search(message)
    path = place.group(2).lstrip(".") if place else ""
    body = message[: place.start()] if place else message
    nodes = _schema_at(schema, path, data)
    if match := _UNKNOWN.match(body):
        valid = sorted({key for node in nodes for key in node.get("properties", {})})
        key = shown(_join(path, match[1]), 120)
        return f"{key}: there is no such key.{nearest(match[1], valid)}"
    if match := _MISSING.match(body):
        return _missing(_join(path, match[1]), match[1], nodes, schema)
    found = _lookup(data, path)
    if error.__cause__ is not None:  # what types cannot say: a struct's own check says it itself
        return f"{path}: found {show(found)}; {body}."
    text = f"{path}: found {show(found)}, expected {_expected(nodes)}."
    choices = [str(value) for node in nodes for value in node.get("enum", [])]
    hint = nearest(found, choices) if isinstance(found, str) and choices else ""
    return text + (hint if "Did you mean" in hint else "")


def show(value: Any) -> str:
    """A found value as it would stand in TOML, shortened."""
    try:
        return shown(inline(value))
    except ValueError:  # Python writes no more than some thousand digits
        return "a number with thousands of digits"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _missing(path: str, key: str, nodes: list[Node], schema: Node) -> str:
    properties = [node["properties"][key] for node in nodes if key in node.get("properties", {})]
    expected = _expected([leaf for node in properties for leaf in _leaves(node, schema)])
    about = next((f" ({node['description']})" for node in properties if "description" in node), "")
    return f"{path} is missing; expected {expected}{about}."


# ---------------------------------------------------------------- what is expected


def _expected(nodes: list[Node]) -> str:
    """The values that schema nodes allow, in words. `null` is left out: TOML cannot write it."""
    tables = [node for node in nodes if node.get("type") == "object"]
    if len(tables) > 1:  # the keys depend on the tag, so none of them would be the right list
        nodes = [node for node in nodes if node not in tables] + [{"type": "object"}]
    words = list(dict.fromkeys(_allowed(n) for n in nodes if n.get("type") != "null"))
    return " or ".join(([", ".join(words[:-1])] if words[1:] else []) + words[-1:])


def _allowed(node: Node) -> str:
    if "enum" in node:
        return " or ".join(inline(value) for value in node["enum"])
    match node.get("type"):
        case "integer":
            return f"a whole number{_bounds(node)}"
        case "number":
            return f"a number{_bounds(node)}"
        case "string":
            return "text in quotes" + (" that is not empty" if node.get("minLength") else "")
        case "boolean":
            return "true or false"
        case "array":
            size = node.get("minItems")
            count = f" of {size}" if size is not None and size == node.get("maxItems") else ""
            return f"a list{count}"
        case "object":
            keys = ", ".join(node.get("properties", {}))
            return f"a table with {keys}" if keys and len(keys) <= 60 else "a table"
    return "a value"


def _bounds(node: Node) -> str:
    bounds = {
        "at least": node.get("minimum"),
        "above": node.get("exclusiveMinimum"),
        "at most": node.get("maximum"),
        "below": node.get("exclusiveMaximum"),
    }
    given = {word: bound for word, bound in bounds.items() if bound is not None and bound < SIZE}
    if set(given) == {"at least", "at most"}:
        return f" from {given['at least']:g} to {given['at most']:g}"
    return "".join(
        f" {'and' if i else 'of' if word == 'at least' else ''} {word} {bound:g}".replace("  ", " ")
        for i, (word, bound) in enumerate(given.items())
    )


# ---------------------------------------------------------------- finding the place


def _path_steps(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in _PATH_STEP.findall(path)]


def _lookup(data: Any, path: str) -> Any:
    """The value at `path`, None where there is none."""
    for step in _path_steps(path):
        if isinstance(step, int):
            data = data[step] if isinstance(data, list) and step < len(data) else None
        else:
            data = data.get(step) if isinstance(data, dict) else None
    return data


def _leaves(node: Node, schema: Node) -> list[Node]:
    """The nodes that `node` stands for: references followed, unions taken apart."""
    if "$ref" in node:
        return _leaves(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    if "anyOf" in node:
        return [leaf for branch in node["anyOf"] for leaf in _leaves(branch, schema)]
    return [node]


def _schema_at(schema: Node, path: str, data: Node) -> list[Node]:
    """The schema nodes (all branches of a union) that describe the value at `path`.

    Where the data says by its tag (`name`, `kind`) which branch it means, only that one.
    """
    nodes, value = _leaves(schema, schema), data
    for step in _path_steps(path):
        children = [child for node in nodes if (child := _child(node, step)) is not None]
        nodes = [leaf for child in children for leaf in _leaves(child, schema)]
        value = _lookup(value, f"[{step}]" if isinstance(step, int) else step)
        nodes = [node for node in nodes if _is_meant(node, value)] or nodes
    return nodes


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(step, str):
        child = node.get("properties", {}).get(step)
    else:
        fixed = node.get("prefixItems", [])
        child = fixed[step] if step < len(fixed) else node.get("items")
    return child if isinstance(child, dict) else None


def _is_meant(node: Node, value: Any) -> bool:
    """Whether the tag of a table says that it is this branch of a union."""
    if not isinstance(value, dict):
        return False
    tags = (node.get("properties", {}).get(tag, {}).get("enum", []) for tag in TAGS)
    return any(value.get(tag) in valid for tag, valid in zip(TAGS, tags, strict=True))
