"""A user's own algorithm without its code: what it said of itself when the run was made.

A run keeps beside its copy of the file what lists, forms, charts and replays want to know of it, as
data. Whoever looks at a run reads that, and never runs the file. All of it is foreign text: it is
checked here, and cleaned where it is shown.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache, partial, reduce
from keyword import iskeyword
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from engine.config import algorithm as shared
from engine.config.algorithm import TUNABLE, AlgorithmSettings, TemporalDifferenceSettings
from engine.config.converting import converting
from engine.core import private
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Algorithm, Explanation
from engine.learning.custom_file import CUSTOM_PREFIX, CustomFile
from engine.learning.events import Step

FILE = "algorithm.json"
"""The file of a run's folder that holds it."""
LARGEST = 1 << 20
WORDS_LARGEST = 2000
"""Characters of a word about the algorithm that are kept."""

Node = dict[str, Any]

KNOWN: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        shared.Schedule,
        shared.StepSchedule,
        shared.EpsilonGreedy,
        shared.Softmax,
        shared.UpperConfidenceBound,
    )
}
"""The tables of the engine's that a setting may be, by name."""
TYPES = {"number": float, "integer": int, "string": str, "boolean": bool, "null": None}
LIMITS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
"""JSON Schema's words for the limits of a number, and msgspec's."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What an algorithm's file says of itself, as data."""

    title: str
    source: str = ""
    family: Literal["planning", "prediction", "value", "policy"] = "value"
    model_based: bool = False
    policy_type: Literal["on-policy", "off-policy", "none"] = "none"
    behaviour_policy: str = "not recorded"
    target_policy: str = "not recorded"
    update_name: str = "TD step"
    formula: str = ""
    idea: str = ""
    needs: str = ""
    chosen_when: str = ""
    settings: dict[str, Node] = {}
    """The schema of each key of its `[algorithm]` table."""


class RecordedAlgorithm(Algorithm):
    """An algorithm that can be told of, but neither run nor asked."""

    def __init__(
        self, told: Description, settings: type[AlgorithmSettings], file: CustomFile
    ) -> None:
        words = msgspec.structs.asdict(told)
        vars(self).update(words, name=file.name, settings=settings, custom_file=file)

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        """What the file said when the step was recorded."""
        if step.told:
            return Explanation(*step.told)
        words = (
            "How this update came about is told by the code of your own file, which is not run to "
            "look at a run, and this run has not recorded it."
        )
        return Explanation(formula=self.formula, numbers="", words=words)


# ---------------------------------------------------------------- writing


def describe(algorithm: Algorithm) -> bytes:
    """What an algorithm says of itself, as the text of `FILE`."""
    with converting:
        properties = _properties(algorithm.settings)
    words = {
        field: value[:WORDS_LARGEST] if isinstance(value, str) else value
        for field in Description.__struct_fields__
        if field != "settings" and (value := getattr(algorithm, field)) is not None
    }
    told = msgspec.json.encode({**words, "settings": properties})
    return msgspec.json.format(told, indent=1) + b"\n"


# ---------------------------------------------------------------- reading


def of_run(name: str, run_dir: Path, table: dict[str, Any]) -> RecordedAlgorithm:
    """The algorithm of the run in `run_dir` that its preset names `name`, with `[algorithm]` as the
    preset has it: for a run that recorded nothing of its algorithm, that is all there is to know.
    """
    file = _file(name, run_dir)
    try:
        text = private.read_plain(run_dir / FILE, LARGEST)
    except OSError:
        text = b""
    keys = tuple(key for key in table if key != "name")
    return _recorded(text, file, keys)


def _file(name: str, run_dir: Path) -> CustomFile:
    """The run's copy of the file; without a text where there is none to be had."""
    plain = name.removeprefix(CUSTOM_PREFIX)
    path = run_dir.absolute() / Path(plain).name
    try:
        source = private.read_plain(path, LARGEST)
    except (OSError, ValueError):
        source = b""
    return CustomFile(name, run_dir.absolute(), path, source)


@cache
def _recorded(text: bytes, file: CustomFile, keys: tuple[str, ...]) -> RecordedAlgorithm:
    """The algorithm that a text describes; made once for each run, like the type of its preset."""
    try:
        told = msgspec.json.decode(text, type=Description)
        known = told.settings
    except (msgspec.DecodeError, RecursionError):
        told = Description(title=f"{file.path.name} (not described)")
        known = _properties(TemporalDifferenceSettings)
    with converting:
        nodes = {**told.settings, **{key: known.get(key, {}) for key in keys}}
        return RecordedAlgorithm(told, _settings(file.name, nodes), file)


def _properties(settings: type[AlgorithmSettings]) -> dict[str, Node]:
    """The schema of each setting."""
    schema = msgspec.json.schema(settings)
    nodes = schema["$defs"][schema["$ref"].rpartition("/")[2]]["properties"]
    return {key: node for key, node in nodes.items() if key != "name"}


def _settings(name: str, nodes: dict[str, Node]) -> type[AlgorithmSettings]:
    """Settings with these keys, for `[algorithm]` tables with this `name`."""
    keys = [key for key in nodes if key.isidentifier() and not key.startswith("_")]
    made = msgspec.defstruct(
        "RecordedSettings",
        [_field(key, nodes[key]) for key in keys if not iskeyword(key)],
        bases=(AlgorithmSettings,),
        tag=name,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    return cast(type[AlgorithmSettings], made)


def _field(key: str, node: Node) -> tuple[str, Any, Any]:
    """A setting as its schema describes it; one of any value where that is not understood."""
    default = node.get("default")
    try:
        kind = _annotated(_type(node), node)
        msgspec.json.schema(kind)  # says what no preset could be read as
        if default is not None:
            default = msgspec.convert(default, kind)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        kind = Any
    return key, kind, msgspec.field(default_factory=partial(copy.deepcopy, default))


def _type(node: Node) -> Any:
    """The type that a schema means. Raises what Python raises where it is no such schema."""
    if "anyOf" in node:
        return reduce(or_, [_annotated(_type(branch), branch) for branch in node["anyOf"]])
    if "$ref" in node:
        return KNOWN[node["$ref"].rpartition("/")[2]]
    if "enum" in node:
        return Literal[tuple(node["enum"])]
    return TYPES[node["type"]]


def _annotated(kind: Any, node: Node) -> Any:
    """The type with what the schema says about its values."""
    told: dict[str, Any] = {ours: node[theirs] for theirs, ours in LIMITS.items() if theirs in node}
    if "description" in node:
        told["description"] = str(node["description"])
    if TUNABLE.items() <= node.items():
        told["extra_json_schema"] = TUNABLE
    return Annotated[kind, Meta(**told)]
