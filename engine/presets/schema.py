"""The types a preset is read as, one for each kind of run, and their JSON Schema."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from engine.algorithms import registry
from engine.algorithms.registry import algorithm_of
from engine.config.algorithm import AlgorithmSettings
from engine.config.preset import LlmPreset, Preset
from engine.learning.custom_file import CUSTOM_PREFIX


@cache
def preset_type(own: type[AlgorithmSettings] | None = None) -> type[Preset]:
    """`Preset` with `algorithm` narrowed to the settings of the algorithms on the shelf, or to
    those of the user's own."""
    settings = [own] if own else [algorithm.settings for algorithm in registry.TABLES.all()]
    return _narrowed(Preset, settings)


@cache
def llm_preset_type() -> type[Preset]:
    """`LlmPreset` with `algorithm` narrowed to the settings of those for language models."""
    return _narrowed(
        LlmPreset, [algorithm.settings for algorithm in registry.LANGUAGE_MODELS.all()]
    )


def _narrowed(base: type[Preset], settings: list[type[AlgorithmSettings]]) -> type[Preset]:
    union: Any = reduce(or_, settings)
    narrowed = msgspec.defstruct(
        base.__name__,
        [("algorithm", Annotated[union, Meta(description="which algorithm, and its settings")])],
        bases=(base,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    return cast(type[Preset], narrowed)


def json_schema(preset: Preset | None = None) -> dict[str, Any]:
    """The JSON Schema (2020-12) of all preset files: those for tables, and those with a `[model]`
    table; or that of the kind of `preset`, which knows the settings of the user's own algorithm."""
    if isinstance(preset, LlmPreset):
        return schema_of(llm_preset_type())
    if preset is not None:
        own = algorithm_of(preset).custom_file is not None
        return schema_of(preset_type(type(preset.algorithm) if own else None))
    kinds = [preset_type(), llm_preset_type()]
    refs, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    components[Preset.__name__]["properties"]["algorithm"]["anyOf"].append(OWN_ALGORITHM)
    return {"$schema": DIALECT, "anyOf": list(refs), "$defs": components}


DIALECT = "https://json-schema.org/draft/2020-12/schema"


OWN_ALGORITHM = {
    "type": "object",
    "description": "an algorithm of your own; its file declares the other settings",
    "properties": {"name": {"type": "string", "pattern": f"^{CUSTOM_PREFIX}.+[.]py$"}},
    "required": ["name"],
}


def schema_of(kind: type[Preset]) -> dict[str, Any]:
    return {"$schema": DIALECT, **msgspec.json.schema(kind)}
