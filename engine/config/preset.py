"""A preset as written: one TOML file that describes a maze, an algorithm and a budget."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.config.algorithm import AlgorithmSettings
from engine.config.deploy import Deploy
from engine.config.external import External, ExternalSettings
from engine.config.llm import ModelSettings, Warmup
from engine.config.rewards import PlanRewards
from engine.config.text import TextTask
from engine.env.settings import MazeSettings

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
        PlanRewards, Meta(description="route policies: what each part of a route's reward weighs")
    ] = PlanRewards()
    text: Annotated[
        TextTask | None,
        Meta(description="free text, preferred by you or by a rule; it replaces [maze]"),
    ] = None
    run: LlmRun = LlmRun()


class ExternalPreset(LlmPreset, frozen=True, kw_only=True):
    """The description of a run that another trainer carries out. It cannot be trained."""

    algorithm: ExternalSettings
    external: External


def algorithm_name(preset: Preset) -> str:
    """The algorithm's name as users type it; of another trainer, as that one calls it."""
    if isinstance(preset, ExternalPreset):
        return preset.algorithm.title
    name: str = preset.algorithm.__struct_config__.tag  # type: ignore[assignment]
    return name
