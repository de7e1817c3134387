"""The preset: one TOML file that describes a maze, an algorithm and a budget.

`load` reads and validates one, with `--set` overrides applied; every mistake is a `UserError`
that names the file, the key, what was found, what was expected and the nearest valid name.
`schema` gives the JSON Schema of the same structs.
"""

from __future__ import annotations

import re
import threading
import tomllib
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta

from engine import preset_toml
from engine.deployment import Deploy
from engine.errors import UserError, nearest
from engine.llm import shelf as llm_shelf
from engine.llm.rewards import PlanRewards
from engine.llm.settings import LlmSettings, ModelSettings, Warmup
from engine.llm.text_settings import TextTask, without_maze
from engine.maze import MazeSettings, build_mazes
from engine.mdp import build_mdp
from engine.preset_checks import check_language_model, check_tables
from engine.preset_errors import check_numbers, explain, show
from engine.preset_toml import apply_override
from engine.settings import AlgorithmSettings
from engine.solve import solve
from engine.tabular import registry

if TYPE_CHECKING:
    from engine.tabular.algorithm import Algorithm

GROUPS = ("tabular", "policy-gradient", "llm", "challenge")
Group = Literal["tabular", "policy-gradient", "llm", "challenge"]
Count = Annotated[int, Meta(ge=1)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the preset: unknown keys are errors."""


class Budget(Table, frozen=True, kw_only=True):
    """When the run ends: the first limit reached. Counts are per agent."""

    env_steps: Annotated[int, Meta(ge=1, description="moves each agent makes")] | None = None
    episodes: Annotated[int, Meta(ge=1, description="episodes")] | None = None
    updates: (
        Annotated[int, Meta(ge=1, description="TD steps, sweeps or optimizer batches")] | None
    ) = None
    seconds: Annotated[float, Meta(gt=0.0, description="wall-clock seconds")] | None = None
    success_rate: (
        Annotated[
            float,
            Meta(
                gt=0.0,
                le=1.0,
                description="language models: ends the run once the success on the training mazes "
                "was at least this at three evaluations in a row",
            ),
        ]
        | None
    ) = None


class Run(Table, frozen=True, kw_only=True):
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
                description="steps per second at which the app starts (default: as fast as it "
                "goes); headless runs ignore it",
            ),
        ]
        | None
    ) = None


class Expect(Table, frozen=True, kw_only=True):
    """A claim the preset makes about its final figures; `icemaze presets check` verifies it."""

    metric: Annotated[str, Meta(description="success_rate, expected_return, env_steps, …")]
    at_least: float | None = None
    at_most: float | None = None


class Preset(Table, frozen=True, kw_only=True):
    """A whole preset, as written."""

    title: Annotated[str, Meta(min_length=1, description="one line, shown in the library")]
    summary: Annotated[str, Meta(description="what it teaches, and how long it takes")] = ""
    group: Annotated[Group, Meta(description="where the library lists it")] = "tabular"
    maze: MazeSettings
    algorithm: Annotated[AlgorithmSettings, Meta(description="which algorithm, and its settings")]
    deploy: Annotated[
        Deploy | None,
        Meta(description="the rules the policy meets when it is used, where they differ"),
    ] = None
    budget: Budget
    run: Run = Run()
    expect: list[Expect] = []


class LlmRun(Run, frozen=True, kw_only=True):
    """How the run of a language model is carried out: there is one of it."""

    agents: Annotated[int, Meta(ge=1, description="always 1: one model is trained")] = 1


class LlmPreset(Preset, frozen=True, kw_only=True):
    """A whole preset that trains a language model: one with a `[model]` table."""

    model: Annotated[ModelSettings, Meta(description="the language model that is the policy")]
    warmup: Annotated[
        Warmup | None, Meta(description="supervised updates on optimal moves before RL")
    ] = None
    reward: Annotated[
        PlanRewards, Meta(description="plan policies: what each part of a route's reward weighs")
    ] = PlanRewards()
    text: Annotated[
        TextTask | None,
        Meta(description="free text, preferred by you or by a rule; it replaces [maze]"),
    ] = None
    run: LlmRun = LlmRun()


@cache
def _preset_type(own: type[AlgorithmSettings] | None = None) -> type[Preset]:
    """`Preset` with `algorithm` narrowed to the settings of the algorithms on the shelf, or to
    those of the user's own."""
    settings = [own] if own else [algorithm.settings for algorithm in registry.all_algorithms()]
    return _narrowed(Preset, settings)


@cache
def _llm_preset_type() -> type[Preset]:
    """`LlmPreset` with `algorithm` narrowed to the settings of those for language models."""
    return _narrowed(LlmPreset, [algorithm.settings for algorithm in llm_shelf.all_algorithms()])


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


def schema(preset: Preset | None = None) -> dict[str, Any]:
    """The JSON Schema (2020-12) of all preset files: those for tables, and those with a `[model]`
    table; or that of the kind of `preset`, which knows the settings of the user's own algorithm."""
    if isinstance(preset, LlmPreset):
        return _schema(_llm_preset_type())
    if preset is not None:
        own = algorithm_of(preset).own_file is not None
        return _schema(_preset_type(type(preset.algorithm) if own else None))
    kinds = [_preset_type(), _llm_preset_type()]
    refs, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    components[Preset.__name__]["properties"]["algorithm"]["anyOf"].append(OWN_ALGORITHM)
    return {"$schema": DIALECT, "anyOf": list(refs), "$defs": components}


DIALECT = "https://json-schema.org/draft/2020-12/schema"
OWN_ALGORITHM = {
    "type": "object",
    "description": "an algorithm of your own; its file declares the other settings",
    "properties": {"name": {"type": "string", "pattern": f"^{registry.OWN}.+[.]py$"}},
    "required": ["name"],
}


def _schema(kind: type[Preset]) -> dict[str, Any]:
    return {"$schema": DIALECT, **msgspec.json.schema(kind)}


# ---------------------------------------------------------------- finding


def shipped_folder() -> Path:
    """Where the shipped presets are: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "_presets"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "presets"


LAB = "lab"
"""The subfolder of the shipped presets with a folder for each challenge of the lab, …"""
CHALLENGE = "challenge.toml"
"""… which holds the challenge's presets and this file, which is none."""


def shipped_files() -> dict[str, Path]:
    """The files of the shipped presets by name, sorted: those of the lab's challenges too."""
    folder = shipped_folder()
    lab = (path for path in folder.glob(f"{LAB}/*/*.toml") if path.name != CHALLENGE)
    files = {path.stem: path for path in [*sorted(lab), *folder.glob("*.toml")]}
    return dict(sorted(files.items()))


def shipped_names() -> list[str]:
    """The names of the shipped presets, sorted."""
    return list(shipped_files())


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
    shipped = shipped_files()
    if name_or_file not in shipped:
        raise UserError(
            f"There is no preset named {name_or_file!r}.{nearest(name_or_file, list(shipped))} "
            "`icemaze presets list` shows them all."
        )
    return shipped[name_or_file]


# ---------------------------------------------------------------- reading


class Source(NamedTuple):
    """A preset's text, and what `parse` wants to know about where it is from."""

    text: str
    where: str
    """How error messages name it."""
    folder: Path | None
    """Where an algorithm of the user's own would be; shipped presets may not have one."""


def load(name_or_file: str, overrides: list[str] | None = None) -> Preset:
    """Read, override and validate a preset; also builds its mazes once to find their mistakes."""
    source = read(name_or_file)
    return parse(source.text, source.where, overrides, source.folder)


def read(name_or_file: str) -> Source:
    """The text of a preset. Raises UserError when there is none, or it cannot be read."""
    path = find(name_or_file)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Expected a UTF-8 TOML file.") from error
    if shipped_files().get(path.stem) == path:
        return Source(text, path.name, None)
    return Source(text, name_or_file, path.parent)


def parse(
    text: str,
    where: str = "preset",
    overrides: list[str] | None = None,
    folder: Path | None = None,
) -> Preset:
    """Validate the text of a preset. `where` names it in error messages; `folder` is where the
    user's own algorithm would be."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {_with_line(error, text)}") from error
    for override in overrides or []:
        apply_override(data, override)
        where += f" with --set {override}"
    preset = convert(data, where, folder)
    try:
        check(preset)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return preset


def _with_line(error: tomllib.TOMLDecodeError, text: str) -> str:
    """The parser's message with the line it speaks of."""
    message = str(error)
    if not (match := re.search(r" \(at line (\d+), column (\d+)\)$", message)):
        return f"{message}; mend it."
    number = int(match[1])
    line = text.splitlines()[number - 1].strip() if number <= len(text.splitlines()) else ""
    where = f"line {number}, column {match[2]}"
    return f"{where}: {message[: match.start()]}; mend this line: {show(line)}"


def check(preset: Preset) -> None:
    """What types cannot say: the maze has a way through, the budget a limit, claims a bound, and
    values are finite."""
    mazes = build_mazes(preset.maze)
    budget = preset.budget
    if not any((budget.env_steps, budget.episodes, budget.updates, budget.seconds)):
        raise UserError(
            "budget: no limit was given, so the run would never end; expected at least one of "
            "env_steps, episodes, updates, seconds."
        )
    if isinstance(preset, LlmPreset):
        check_language_model(preset)
    else:
        check_tables(preset, algorithm_of(preset))
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


def algorithm_name(preset: Preset) -> str:
    """The algorithm's name as users type it."""
    name: str = preset.algorithm.__struct_config__.tag  # type: ignore[assignment]
    return name


def algorithm_of(preset: Preset) -> Algorithm:
    """The algorithm a preset trains with."""
    if isinstance(preset.algorithm, LlmSettings):
        return llm_shelf.of(preset.algorithm)
    return registry.of(preset.algorithm)


def folder_of(preset: Preset) -> Path | None:
    """The folder from which the user's own algorithm was loaded, to `convert` changed data with."""
    own = algorithm_of(preset).own_file
    return own.folder if own else None


_converting = threading.Lock()
"""msgspec takes a type apart at its first use; two threads doing that at once crash Python."""


def convert(data: dict[str, Any], where: str = "preset", folder: Path | None = None) -> Preset:
    """Parsed TOML to `Preset`, with a message a person can act on for every mismatch."""
    kind = _preset_type()
    try:
        check_numbers(data)
        if data.get("text") is not None:
            data = without_maze(data)
        names = list(llm_shelf.MODULES if "model" in data else registry.MODULES)
        own = _own_settings(data, folder, names)
        kind = _llm_preset_type() if "model" in data else _preset_type(own)
        with _converting:
            return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {explain(error, data, _schema(kind))}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _own_settings(
    data: dict[str, Any], folder: Path | None, names: list[str]
) -> type[AlgorithmSettings] | None:
    """The settings of the user's own algorithm, if the data names one; `names` are the others.

    Raises UserError for a name that does not exist: msgspec's message for a wrong tag does not say
    which are valid.
    """
    algorithm = data.get("algorithm")
    if not isinstance(algorithm, dict):
        return None
    if "name" not in algorithm:
        raise UserError(f"algorithm.name is missing; expected one of {', '.join(names)}.")
    name = algorithm["name"]
    if isinstance(name, str) and name.startswith(registry.OWN):
        if "model" in data:
            raise UserError(
                f"algorithm.name: an algorithm of your own ({name}) trains tables; remove [model], "
                f"or choose one of {', '.join(names)}."
            )
        return registry.get(name, folder).settings
    if name not in names and name in llm_shelf.MODULES:
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
    """The preset with every default filled in, as plain data that `convert` takes."""
    data: dict[str, Any] = msgspec.to_builtins(preset)
    if isinstance(preset, LlmPreset) and preset.text is not None:
        del data["maze"]
    return data


def dump(preset: Preset, algorithm_name: str | None = None) -> str:
    """The preset as TOML text that `parse` reads back to an equal preset.

    `algorithm_name` replaces the name of the user's own algorithm, whose file is being copied.
    """
    data = as_data(preset)
    if algorithm_name is not None:
        data["algorithm"]["name"] = algorithm_name
    return preset_toml.write(data)
