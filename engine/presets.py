"""The preset: one TOML file that describes a maze, an algorithm and a budget.

`load` reads and validates one, with `--set` overrides applied; every mistake is a `UserError`
that names the file, the key, what was found, what was expected and the nearest valid name.
`schema` gives the JSON Schema of the same structs.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.errors import UserError, nearest
from engine.maze import MazeSettings, build_mazes
from engine.settings import AlgorithmSettings
from engine.tabular import registry

GROUPS = ("tabular", "policy-gradient", "llm", "challenge")
Group = Literal["tabular", "policy-gradient", "llm", "challenge"]
Count = Annotated[int, Meta(ge=1)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the preset: unknown keys are errors."""


class Budget(Table, kw_only=True):
    """When the run ends: the first limit reached. Counts are per agent."""

    env_steps: Annotated[int, Meta(ge=1, description="environment steps")] | None = None
    episodes: Annotated[int, Meta(ge=1, description="episodes")] | None = None
    updates: (
        Annotated[int, Meta(ge=1, description="TD steps, sweeps or optimizer batches")] | None
    ) = None
    seconds: Annotated[float, Meta(gt=0.0, description="wall-clock seconds")] | None = None


class Run(Table, kw_only=True):
    """How the run is carried out."""

    agents: Annotated[
        int,
        Meta(ge=1, le=4096, description="independent learners; curves show their mean and band"),
    ] = 16
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="seed of all random numbers")] = 0
    pace: (
        Annotated[
            float,
            Meta(
                gt=0.0,
                description="steps per second at which the app starts (default: as fast as it goes); "
                "headless runs ignore it",
            ),
        ]
        | None
    ) = None


class Expect(Table, kw_only=True):
    """A claim the preset makes about its final figures; `icemaze presets check` verifies it."""

    metric: Annotated[str, Meta(description="success_rate, expected_return, env_steps, …")]
    at_least: float | None = None
    at_most: float | None = None


class Preset(Table, kw_only=True):
    """A whole preset, as written."""

    title: Annotated[str, Meta(min_length=1, description="one line, shown in the library")]
    summary: Annotated[str, Meta(description="what it teaches, and how long it takes")] = ""
    group: Annotated[Group, Meta(description="where the library lists it")] = "tabular"
    maze: MazeSettings
    algorithm: Annotated[AlgorithmSettings, Meta(description="which algorithm, and its settings")]
    budget: Budget
    run: Run = Run()
    expect: list[Expect] = []


def default_env_steps(preset: Preset) -> int | None:
    """The env-step limit of the budget, if it has one."""
    return preset.budget.env_steps


@cache
def _preset_type() -> type[Preset]:
    """`Preset` with `algorithm` narrowed to the settings of the algorithms on the shelf."""
    settings = [algorithm.settings for algorithm in registry.all_algorithms()]
    union: Any = reduce(or_, settings)
    return msgspec.defstruct(
        "Preset",
        [("algorithm", Annotated[union, Meta(description="which algorithm, and its settings")])],
        bases=(Preset,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a preset file."""
    return msgspec.json.schema(_preset_type())


# ---------------------------------------------------------------- finding


def shipped_folder() -> Path:
    """Where the shipped presets are: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "_presets"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "presets"


def shipped_names() -> list[str]:
    """The names of the shipped presets, sorted."""
    return sorted(path.stem for path in shipped_folder().glob("*.toml"))


def find(name_or_file: str) -> Path:
    """The file of a shipped preset's name or of a path. Raises UserError when there is none."""
    path = Path(name_or_file)
    if path.suffix == ".toml" or "/" in name_or_file:
        if not path.is_file():
            raise UserError(
                f"{name_or_file}: there is no such file. Give the path of a TOML file, or a name "
                "from `icemaze presets list`."
            )
        return path
    shipped = shipped_folder() / f"{name_or_file}.toml"
    if not shipped.is_file():
        raise UserError(
            f"There is no preset named {name_or_file!r}.{nearest(name_or_file, shipped_names())} "
            "`icemaze presets list` shows them all."
        )
    return shipped


# ---------------------------------------------------------------- reading


def load(name_or_file: str, overrides: list[str] | None = None) -> Preset:
    """Read, override and validate a preset; also builds its mazes once to find their mistakes."""
    path = find(name_or_file)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Expected a UTF-8 TOML file.") from error
    return parse(text, where=path.name, overrides=overrides)


def parse(text: str, where: str = "preset", overrides: list[str] | None = None) -> Preset:
    """Validate the text of a preset. `where` names it in error messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {error}. Mend that line.") from error
    for override in overrides or []:
        apply_override(data, override)
    preset = convert(data, where)
    try:
        check(preset)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return preset


def check(preset: Preset) -> None:
    """What types cannot say: the maze has a way through, the budget a limit, claims a bound."""
    build_mazes(preset.maze)
    budget = preset.budget
    if not any((budget.env_steps, budget.episodes, budget.updates, budget.seconds)):
        raise UserError(
            "budget: no limit was given, so the run would never end; expected at least one of "
            "env_steps, episodes, updates, seconds."
        )
    registry.get(algorithm_name(preset)).check(preset)
    for i, claim in enumerate(preset.expect):
        if claim.at_least is None and claim.at_most is None:
            raise UserError(
                f"expect[{i}]: the claim about {claim.metric!r} has no bound; add at_least or "
                "at_most."
            )


def algorithm_name(preset: Preset) -> str:
    """The algorithm's name as users type it."""
    name: str = preset.algorithm.__struct_config__.tag  # type: ignore[assignment]
    return name


def apply_override(data: dict[str, Any], override: str) -> None:
    """Apply one `key.path=value` to the parsed TOML. The value is read as TOML, else as text."""
    key, separator, raw = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise UserError(
            f"--set {override}: expected KEY=VALUE with a dotted key, such as "
            "--set algorithm.gamma=0.9"
        )
    table = data
    for i, part in enumerate(parts[:-1]):
        child = table.setdefault(part, {})
        if not isinstance(child, dict):
            raise UserError(
                f"--set {override}: {'.'.join(parts[: i + 1])} is a value, not a table; it has "
                f"no key {parts[i + 1]!r}."
            )
        table = child
    table[parts[-1]] = _toml_value(raw.strip())


def _toml_value(raw: str) -> Any:
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def convert(data: dict[str, Any], where: str = "preset") -> Preset:
    """Parsed TOML to `Preset`, with a message a person can act on for every mismatch."""
    _check_algorithm_name(data, where)
    try:
        return msgspec.convert(data, _preset_type(), strict=True)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {_explain(error, data)}") from error


def _check_algorithm_name(data: dict[str, Any], where: str) -> None:
    """msgspec's own message for a wrong tag does not say which names are valid."""
    algorithm = data.get("algorithm")
    if not isinstance(algorithm, dict):
        return
    names = list(registry.MODULES)
    name = algorithm.get("name")
    if name is None:
        raise UserError(f"{where}: algorithm.name is missing; expected one of {', '.join(names)}.")
    if name not in names:
        raise UserError(
            f"{where}: algorithm.name: there is no algorithm {name!r}.{nearest(str(name), names)}"
        )


# ---------------------------------------------------------------- explaining mistakes

_PLACE = re.compile(r" - at `(key in )?\$(.*?)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING = re.compile(r"Object missing required field `(.*?)`")
_EXPECTED = re.compile(r"Expected `(.*?)`(?:, got `(.*?)`| (.*))?$")
_WORDS = {
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
    "null": "nothing",
}


def _explain(error: msgspec.ValidationError, data: dict[str, Any]) -> str:
    message = str(error)
    place = _PLACE.search(message)
    path = place.group(2).lstrip(".") if place else ""
    body = message[: place.start()] if place else message
    found = _lookup(data, path)
    if match := _UNKNOWN.match(body):
        key = f"{path}.{match.group(1)}" if path else match.group(1)
        return f"{key}: there is no such key.{nearest(match.group(1), _valid_keys(path, data))}"
    if match := _MISSING.match(body):
        key = f"{path}.{match.group(1)}" if path else match.group(1)
        return f"{key} is missing; add it."
    if match := _EXPECTED.match(body):
        expected = " or ".join(_WORDS.get(word, word) for word in match.group(1).split(" | "))
        condition = f" {match.group(3)}" if match.group(3) else ""
        return f"{path}: found {_show(found)}, expected {expected}{condition}."
    if body.startswith("Invalid enum value") or body.startswith("Invalid value"):
        choices = _choices(path, data)
        hint = nearest(str(found), choices)
        return f"{path}: found {_show(found)}, which is not one of the valid values.{hint}"
    return f"{path}: found {_show(found)}. {body}."


def _show(value: Any) -> str:
    text = msgspec.json.encode(value).decode() if value is not None else "nothing"
    return text if len(text) <= 60 else text[:57] + "…"


def _steps(path: str) -> list[str | int]:
    return [
        int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)
    ]


def _lookup(data: Any, path: str) -> Any:
    for step in _steps(path):
        if isinstance(step, int):
            data = data[step] if isinstance(data, list) and step < len(data) else None
        elif isinstance(data, dict):
            data = data.get(step)
    return data


def _schema_at(path: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema nodes (all branches of a union) that describe the value at `path`."""
    root = schema()
    definitions = root.get("$defs", {})

    def resolve(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rsplit("/", 1)[-1]])
        if "anyOf" in node:
            return [leaf for branch in node["anyOf"] for leaf in resolve(branch)]
        return [node]

    nodes, value = resolve(root), data
    for step in _steps(path):
        children = [
            node.get("items", {}) if isinstance(step, int) else node["properties"][step]
            for node in nodes
            if isinstance(step, int) or step in node.get("properties", {})
        ]
        nodes = [leaf for child in children for leaf in resolve(child)]
        value = _lookup(value, f"[{step}]" if isinstance(step, int) else step)
        tagged = [
            node
            for node in nodes
            for key in ("name", "kind")
            if isinstance(value, dict)
            and value.get(key) in node.get("properties", {}).get(key, {}).get("enum", [])
        ]
        nodes = tagged or nodes
    return nodes


def _valid_keys(path: str, data: dict[str, Any]) -> list[str]:
    return sorted({key for node in _schema_at(path, data) for key in node.get("properties", {})})


def _choices(path: str, data: dict[str, Any]) -> list[str]:
    return [str(v) for node in _schema_at(path, data) for v in node.get("enum", [])]


# ---------------------------------------------------------------- writing


def dump(preset: Preset) -> str:
    """The preset as TOML text that `parse` reads back to an equal preset."""
    data = msgspec.to_builtins(preset)
    lines: list[str] = []
    tables = {k: v for k, v in data.items() if isinstance(v, dict)}
    lists = {k: v for k, v in data.items() if isinstance(v, list)}
    lines += [f"{k} = {_toml(v)}" for k, v in data.items() if k not in tables and k not in lists]
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{k} = {_toml(v)}" for k, v in table.items() if v is not None]
    for name, items in lists.items():
        for item in items:
            lines += ["", f"[[{name}]]"]
            lines += [f"{k} = {_toml(v)}" for k, v in item.items() if v is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_toml_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "\n" in value and '"""' not in value and "\\" not in value:
            return f'"""\n{value}"""' if not value.startswith("\n") else f'"""{value}"""'
        # JSON's escapes are a subset of TOML's, except DEL, which TOML wants escaped too.
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else str(value)
    return str(value)


def _toml_key(key: str) -> str:
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
    return key if bare else msgspec.json.encode(key).decode()
