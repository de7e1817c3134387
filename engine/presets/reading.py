"""The preset: one TOML file that describes a maze, an algorithm and a budget.

`load` reads and validates one, with `--set` overrides applied; every mistake is a `UserError`
that names the file, the key, what was found, what was expected and the nearest valid name.
`schema` gives the JSON Schema of the same structs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.algorithms import registry
from engine.algorithms.registry import algorithm_of
from engine.config.algorithm import AlgorithmSettings
from engine.config.converting import converting
from engine.config.llm import with_new_names
from engine.config.preset import ExternalPreset, LlmPreset, Preset, algorithm_name
from engine.config.text import NO_MAZE, without_maze
from engine.core.errors import UserError, nearest, shown
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.exact.solve import solve
from engine.learning.custom_file import CUSTOM_PREFIX
from engine.presets import toml
from engine.presets.errors import check_values, explain, numbers, show
from engine.presets.llm_checks import check_together
from engine.presets.schema import llm_preset_type, preset_type, schema_of
from engine.presets.source import read
from engine.presets.table_checks import check_tables
from engine.presets.toml import apply_override
from engine.tabular.custom.trust import NotTrustedError

LARGEST, LARGEST_OF_MODELS = 1e30, 1e9
"""What a number of a learner's settings may be: what is computed from it has to stay finite, and is
shown (by language models also computed) in single precision."""
WEIGHED = ("algorithm", "model", "warmup", "reward")
"""The tables such numbers stand in; `[maze]` has limits of its own."""
MOST_NAMED = 3
"""Changes by `--set` that a message repeats."""


def load(name_or_file: str, overrides: list[str] | None = None) -> Preset:
    """Read, override and validate a preset; also builds its mazes once to find their mistakes."""
    source = read(name_or_file)
    return parse(source.text, source.where, overrides, source.folder)


def parse(
    text: str,
    where: str = "preset",
    overrides: list[str] | None = None,
    folder: Path | None = None,
    *,
    run: bool = False,
) -> Preset:
    """Validate the text of a preset. `where` names it in error messages; `folder` is where the
    user's own algorithm would be, see `convert`."""
    try:
        data = toml.read(text)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    changes = overrides or []
    for override in changes:
        apply_override(data, override)
    where += "".join(f" with --set {shown(override)}" for override in changes[:MOST_NAMED])
    if len(changes) > MOST_NAMED:
        where += f" and {len(changes) - MOST_NAMED} more"
    preset = convert(data, where, folder, run=run)
    try:
        check(preset)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return preset


def check(preset: Preset) -> None:
    """Check what types cannot say: the maze has a way through, the budget a limit, claims a bound,
    and values are finite."""
    mazes = build_mazes(preset.maze)
    budget = preset.budget
    if not any((budget.env_steps, budget.episodes, budget.updates, budget.seconds)):
        raise UserError(
            "budget: no limit was given, so the run would never end; expected at least one of "
            "env_steps, episodes, updates, seconds."
        )
    if isinstance(preset, LlmPreset):
        check_together(preset, algorithm_of(preset))
    else:
        check_tables(preset, algorithm_of(preset))
    _check_magnitudes(preset)
    algorithm_of(preset).check(preset)
    for i, claim in enumerate(preset.expect):
        if claim.at_least is None and claim.at_most is None:
            raise UserError(
                f"expect[{i}]: the claim about {claim.metric!r} has no bound; add at_least or "
                "at_most."
            )
    if preset.algorithm.gamma == 1:
        for _, maze in mazes:
            solve(build_mdp(maze), gamma=1.0)  # refuses values without a bound


def _check_magnitudes(preset: Preset) -> None:
    """Raise UserError for a setting so large that what is computed with it would overflow."""
    most = LARGEST_OF_MODELS if isinstance(preset, LlmPreset) else LARGEST
    data = msgspec.to_builtins(preset)
    for table in WEIGHED:
        for key, value in numbers(data.get(table), table):
            if isinstance(value, float) and abs(value) > most:
                raise UserError(
                    f"{key} is {value:g}; expected a number from {-most:g} to {most:g}."
                )


def convert(
    data: dict[str, Any],
    where: str = "preset",
    folder: Path | None = None,
    *,
    run: bool = False,
    like: Preset | None = None,
) -> Preset:
    """Parsed TOML to `Preset`, with a message a person can act on for every mismatch.

    An algorithm of the user's own is loaded from its file in `folder`, if the user trusts that. In
    the folder of a `run` it is read as it is recorded there, and in data made of another preset it
    is `like` that one's: neither runs anything.
    """
    kind = preset_type()
    try:
        check_values(data)
        data = with_new_names(data)
        if "external" in data and run:
            return _converted({**data, "maze": NO_MAZE}, ExternalPreset)
        if "external" in data:
            raise UserError(
                "external: this describes a run of another trainer, which Ice Maze cannot train; "
                "`icemaze watch` shows it. Expected a preset with [maze] or [text]."
            )
        if data.get("text") is not None:
            data = without_maze(data)
        own = _own_settings(data, folder, run=run, like=like)
        kind = llm_preset_type() if "model" in data else preset_type(own)
        return _converted(data, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {explain(error, data, schema_of(kind))}") from error
    except NotTrustedError:
        raise
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _converted(data: dict[str, Any], kind: type[Preset]) -> Preset:
    with converting:
        return msgspec.convert(data, kind, strict=True)


def _own_settings(
    data: dict[str, Any], folder: Path | None, *, run: bool, like: Preset | None
) -> type[AlgorithmSettings] | None:
    """The settings of the user's own algorithm, if the data names one.

    Raises UserError for a name that does not exist: msgspec's message for a wrong tag does not say
    which are valid.
    """
    names = registry.LANGUAGE_MODELS.names if "model" in data else registry.TABLES.names
    algorithm = data.get("algorithm")
    if not isinstance(algorithm, dict):
        return None
    if "name" not in algorithm:
        raise UserError(f"algorithm.name is missing; expected one of {', '.join(names)}.")
    name = algorithm["name"]
    if isinstance(name, str) and name.startswith(CUSTOM_PREFIX):
        if "model" in data:
            raise UserError(
                f"algorithm.name: an algorithm of your own ({name}) trains tables; remove [model], "
                f"or choose one of {', '.join(names)}."
            )
        if like is not None and algorithm_name(like) == name:
            return type(like.algorithm)
        if run and folder is not None:
            return registry.of_run(name, folder, algorithm).settings
        return registry.for_tables(name, folder).settings
    if name not in names and name in registry.LANGUAGE_MODELS.names:
        raise UserError(
            f"algorithm.name: {name} trains language models only; add a [model] table, or choose "
            f"one of {', '.join(names)}."
        )
    if name not in names:
        raise UserError(
            f"algorithm.name: there is no algorithm {show(name)}.{nearest(str(name), names)}"
        )
    return None


def as_data(preset: Preset) -> dict[str, Any]:
    """The preset with every default filled in, as plain data that `convert` takes; of another
    trainer's run only what that one has told."""
    data: dict[str, Any] = msgspec.to_builtins(preset)
    if isinstance(preset, ExternalPreset):
        told = {name: data[name] for name in ("title", "summary", "group", "budget", "external")}
        model = {name: data["model"][name] for name in ("name", "quantization", "policy")}
        algorithm = {"name": "external", "title": preset.algorithm.title}
        return {**told, "algorithm": algorithm, "model": model}
    if isinstance(preset, LlmPreset) and preset.text is not None:
        del data["maze"]
    return data


def dump(preset: Preset, own_name: str | None = None) -> str:
    """The preset as TOML text that `parse` reads back to an equal preset.

    `own_name` replaces the name of the user's own algorithm, whose file is being copied.
    """
    data = as_data(preset)
    if own_name is not None:
        data["algorithm"]["name"] = own_name
    return toml.write(data)
