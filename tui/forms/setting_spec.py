"""The settings of a preset as a form shows them, and a draft of new values for them.

What a setting means and which values are valid is read from the JSON Schema of
`engine.presets.schema`; what is wrong with a value is said by `engine.presets` itself. So schema,
form and errors agree.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from engine import presets
from engine.config.algorithm import TUNABLE
from engine.config.preset import Preset
from engine.core.errors import UserError
from engine.presets.schema import json_schema
from engine.presets.toml import apply_override
from tui import kinds
from tui.ui.text import clean

Node = dict[str, Any]
HUGE = 2**31
"""A limit from here on is the machine's, not the reader's business."""
TAGS = ("name", "kind")
"""Keys that say which kind of table it is."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a preset that a form can change."""

    key: str
    """Dotted, as in `--set`."""
    meaning: str
    limits: str
    """The valid values in words."""
    value: str
    """As it is now, as one would type it; empty for none."""
    choices: tuple[str, ...] = ()
    """The only valid values; empty when there are more."""
    optional: bool = False
    """May be left empty."""
    tunable: bool = False
    """May change while the run is going."""
    name: str = ""
    """What it is called where its key does not say it."""

    @property
    def label(self) -> str:
        """Its name, or the key without its table, in words."""
        return self.name or self.key.partition(".")[2].replace(".", " ").replace("_", " ")


def settings(preset: Preset) -> list[Setting]:
    """Every scalar setting of algorithm, maze, budget and run, in the schema's order; of a preset
    for a language model also those of model, warm start and reward."""
    root = json_schema(preset)
    data = msgspec.to_builtins(preset)
    properties = _leaves(root, root)[0]["properties"]
    found: list[Setting] = []
    for table in ("text", "model", "algorithm", "warmup", "reward", "maze", "budget", "run"):
        if data.get(table) is not None:
            found += _of_table(root, table, properties[table], data[table], False)
    kind = kinds.of(preset)
    return [
        replace(
            setting,
            meaning=kind.setting_meaning(setting.meaning),
            name=kind.setting_name(setting.key),
        )
        for setting in found
    ]


def _of_table(root: Node, path: str, node: Node, value: Any, tunable: bool) -> list[Setting]:
    table = _branch(_leaves(root, node), value)
    found = []
    for name, child in table["properties"].items():
        if name in TAGS and name not in (value or {}):
            continue
        inner = (value or {}).get(name, child.get("default"))
        found += _settings_at(root, f"{path}.{name}", child, inner, tunable)
    return found


def _settings_at(root: Node, key: str, node: Node, value: Any, tunable: bool) -> list[Setting]:
    """The settings of one key: itself, or those of the table it holds; none for lists and maps."""
    leaves = _leaves(root, node)
    tunable = tunable or TUNABLE.items() <= node.items()
    tables = [leaf for leaf in leaves if leaf.get("properties")]
    if value is None and tables and len(tables) == len(_solid(leaves)):
        return []  # a table that may be left out, and is
    if isinstance(value, dict) or (tables and len(tables) == len(_solid(leaves))):
        return _of_table(root, key, node, value, tunable) if tables else []
    scalars = [leaf for leaf in _solid(leaves) if _is_scalar(leaf)]
    if not scalars or _is_tag(key) or isinstance(value, list | tuple):
        return []
    optional = any(leaf.get("type") == "null" for leaf in leaves)
    meaning = node.get("description") or next(
        (leaf["description"] for leaf in scalars if "description" in leaf), ""
    )
    return [
        Setting(
            key=key,
            meaning=meaning,
            limits=_limits(scalars, optional),
            value=written(value),
            choices=_choices(scalars),
            optional=optional,
            tunable=tunable,
        )
    ]


def _is_tag(key: str) -> bool:
    """Whether it says which kind of table it stands in. The name of a model does not."""
    return key != "model.name" and key.rpartition(".")[2] in TAGS


def _leaves(root: Node, node: Node) -> list[Node]:
    """The schema nodes behind references and unions."""
    if "$ref" in node:
        return _leaves(root, root["$defs"][node["$ref"].rpartition("/")[2]])
    if "anyOf" in node:
        return [leaf for branch in node["anyOf"] for leaf in _leaves(root, branch)]
    return [node]


def _solid(leaves: list[Node]) -> list[Node]:
    return [leaf for leaf in leaves if leaf.get("type") != "null"]


def _branch(leaves: list[Node], value: Any) -> Node:
    """The table of a union that `value` is an instance of."""
    tables = [leaf for leaf in leaves if "properties" in leaf]
    for table in tables:
        for tag in TAGS:
            names = table["properties"].get(tag, {}).get("enum", [])
            if isinstance(value, dict) and value.get(tag) in names:
                return table
    return tables[0]


def _is_scalar(leaf: Node) -> bool:
    return "enum" in leaf or leaf.get("type") in ("number", "integer", "string", "boolean")


def _choices(scalars: list[Node]) -> tuple[str, ...]:
    if all(leaf.get("type") == "boolean" for leaf in scalars):
        return ("true", "false")
    if all("enum" in leaf for leaf in scalars):
        return tuple(str(value) for leaf in scalars for value in leaf["enum"])
    return ()


def _limits(scalars: list[Node], optional: bool) -> str:
    """The valid values in words: "0 to 1", "1 or more, or empty"."""
    parts = []
    for leaf in scalars:
        if "enum" in leaf:
            parts += [str(value) for value in leaf["enum"]]
        elif leaf.get("type") in ("number", "integer"):
            parts.append(_range(leaf))
    if optional:
        parts.append("empty")
    return ", or ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)


def _range(leaf: Node) -> str:
    low, above = leaf.get("minimum"), leaf.get("exclusiveMinimum")
    high, below = leaf.get("maximum"), leaf.get("exclusiveMaximum")
    high = None if high is not None and high >= HUGE else high
    below = None if below is not None and below >= HUGE else below
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    first = "" if low is None else f"{low:g} or more"
    first = first if above is None else f"above {above:g}"
    last = "" if high is None else f"up to {high:g}"
    last = last if below is None else f"below {below:g}"
    kind = "a whole number" if leaf["type"] == "integer" else "a number"
    return ", ".join(part for part in (first, last) if part) or kind


def written(value: Any) -> str:
    """A value as one would type it; empty for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and value < 1e15:
        return f"{value:.1f}"
    return clean(str(value))


class Sections(NamedTuple):
    """The settings of a form: those that matter by heading, and the rest."""

    main: dict[str, list[Setting]]
    advanced: list[Setting]


def sections(preset: Preset) -> Sections:
    """The settings that make sense for this preset, in the order of the form."""
    kind = kinds.of(preset)
    heading = {"model": "Language model", "algorithm": kind.algorithm.title, "warmup": "Warm start"}
    heading = {"text": "Preferences", **heading}
    heading |= {"reward": "Reward", "run": "Run", "budget": "Budget", "maze": "Maze"}
    main: dict[str, list[Setting]] = {title: [] for title in heading.values()}
    advanced = []
    for setting in settings(preset):
        if not kind.applies(setting.key):
            continue
        if kind.matters(setting.key, setting.value):
            main[heading[setting.key.partition(".")[0]]].append(setting)
        else:
            advanced.append(setting)
    return Sections({title: group for title, group in main.items() if group}, advanced)


class Draft:
    """New values for some settings of a preset, and what is wrong with them."""

    def __init__(self, preset: Preset) -> None:
        self._base = without_none(msgspec.to_builtins(preset))
        self._preset = preset
        self._values = {setting.key: setting.value for setting in settings(preset)}
        self._edits: dict[str, str] = {}
        self._errors: dict[str, str] = {}

    @property
    def errors(self) -> dict[str, str]:
        """One sentence for each key whose value is not valid."""
        return dict(self._errors)

    @property
    def edited(self) -> tuple[str, ...]:
        """The keys whose value is not the preset's any more."""
        return tuple(self._edits)

    def set(self, key: str, text: str) -> str:
        """Take over what was typed for `key`. Gives what is wrong with it, or nothing."""
        self._edits.pop(key, None)
        self._errors.pop(key, None)
        if text.strip() != self._values[key].strip():
            self._edits[key] = text.strip()
            try:
                presets.convert(self._data([key]), "form", like=self._preset)
            except UserError as error:
                self._errors[key] = _sentence(error)
        return self._errors.get(key, "")

    def valid(self) -> Preset:
        """The preset with the new values that are valid, each for itself."""
        edits = [key for key in self._edits if key not in self._errors]
        return presets.convert(self._data(edits), "form", like=self._preset)

    def preset(self) -> Preset:
        """The preset with all new values. Raises UserError, also for what does not fit together."""
        for sentence in self._errors.values():
            raise UserError(sentence)
        try:
            preset = presets.convert(self._data(list(self._edits)), "form", like=self._preset)
        except UserError as error:
            raise UserError(_sentence(error)) from error
        presets.check(preset)
        return preset

    def changes(self) -> dict[str, Any]:
        """The changed settings as plain data, by key, ready for the `tune` command.

        Where a value was emptied, its whole table stands instead. Raises UserError.
        """
        data = without_none(msgspec.to_builtins(self.preset()))
        changes: dict[str, Any] = {}
        for key, text in self._edits.items():
            name = key if text else key.rpartition(".")[0]
            changes[name] = _lookup(data, name)
        return changes

    def _data(self, keys: list[str]) -> Node:
        """The preset as plain data, with the new values of `keys`."""
        data: Node = copy.deepcopy(self._base)
        for key in keys:
            if self._edits[key]:
                apply_override(data, f"{key}={self._edits[key]}")
            else:
                table = _lookup(data, key.rpartition(".")[0])
                if isinstance(table, dict):
                    table.pop(key.rpartition(".")[2], None)
        return data


def _sentence(error: UserError) -> str:
    return clean(str(error).removeprefix("form: "))


def without_none(value: Any) -> Any:
    """Plain data as TOML would hold it: what is none is not there."""
    if isinstance(value, dict):
        return {key: without_none(v) for key, v in value.items() if v is not None}
    return value


def _lookup(data: Any, path: str) -> Any:
    for name in path.split("."):
        data = data.get(name) if isinstance(data, dict) else None
    return data
