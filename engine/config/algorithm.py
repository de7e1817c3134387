"""The parts of a preset that algorithms share: schedules, exploration, and the settings base.

Everything here is plain data. What a field means and which values are valid stand in its
annotation, so that the generated schema, the app's form and the error messages agree.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

TUNABLE = {"x-tunable": True}
"""Marks a field that may change while a run is going (`icemaze` calls this tuning)."""

KlEstimator = Literal["k1", "k2", "k3", "exact"]
"""How the KL of a policy to its reference is measured: from the action drawn (Schulman 2020), or
over all actions."""
KlPlace = Literal["loss", "reward"]
"""Where β times that KL enters."""


def _check_shape(shape: str, start: float, end: float) -> None:
    """No constant factor leads from or to 0: an exponential that touches it would go straight."""
    if shape == "exponential" and not (start > 0.0 and end > 0.0):
        raise ValueError(
            "an exponential change multiplies, so start and end must both be above 0; otherwise "
            'take shape = "linear"'
        )


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that moves from `start` to `end` during the first `steps` environment steps."""

    start: Annotated[float, Meta(ge=0.0, description="value at step 0")]
    end: Annotated[float, Meta(ge=0.0, description="value from step `steps` on")]
    steps: Annotated[int, Meta(ge=1, description="how many environment steps the change takes")]
    shape: Annotated[
        Literal["linear", "exponential"], Meta(description="straight line, or constant factor")
    ] = "linear"

    def __post_init__(self) -> None:
        _check_shape(self.shape, self.start, self.end)


class StepSchedule(Schedule, frozen=True, kw_only=True):
    """A step size that moves. Beyond 1 an update overshoots its target, and values may diverge; it
    may rise from 0 or fade out, but 0 all the time would teach nothing."""

    start: Annotated[float, Meta(ge=0.0, le=1.0, description="step size at step 0")]
    end: Annotated[float, Meta(ge=0.0, le=1.0, description="step size from step `steps` on")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start == 0.0 and self.end == 0.0:
            raise ValueError("nothing is learned with a step size of 0; start or end must be above")


class EpsilonGreedy(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="epsilon-greedy",
):
    """With probability ε a random action, otherwise a best one (ties broken at random)."""

    start: Annotated[float, Meta(ge=0.0, le=1.0, description="ε at step 0")] = 1.0
    end: (
        Annotated[
            float, Meta(ge=0.0, le=1.0, description="ε from step `steps` on (default: start)")
        ]
        | None
    ) = None
    steps: Annotated[
        int, Meta(ge=1, description="how many environment steps ε takes from start to end")
    ] = 1
    shape: Annotated[
        Literal["linear", "exponential"], Meta(description="straight line, or constant factor")
    ] = "linear"

    def __post_init__(self) -> None:
        _check_shape(self.shape, self.start, self.start if self.end is None else self.end)


class Softmax(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="softmax",
):
    """Better-looking actions more often: π(a|s) ∝ exp(Q(s,a) / τ), with temperature τ."""

    start: Annotated[float, Meta(gt=0.0, description="temperature τ at step 0")] = 1.0
    end: (
        Annotated[float, Meta(gt=0.0, description="τ from step `steps` on (default: start)")] | None
    ) = None
    steps: Annotated[
        int, Meta(ge=1, description="how many environment steps τ takes from start to end")
    ] = 1
    shape: Annotated[
        Literal["linear", "exponential"], Meta(description="straight line, or constant factor")
    ] = "linear"


class UpperConfidenceBound(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="ucb",
):
    """What may still turn out well first: argmax Q(s,a) + c √(ln N(s) / N(s,a))."""

    c: Annotated[float, Meta(gt=0.0, description="how much rarely tried actions are favoured")] = (
        1.0
    )


Exploration = EpsilonGreedy | Softmax | UpperConfidenceBound


class AlgorithmSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="name"
):
    """What every algorithm's `[algorithm]` table has."""

    gamma: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="discount factor γ: what a reward one step later is worth",
        ),
    ] = 0.99


class MovingSettings(AlgorithmSettings, frozen=True, kw_only=True):
    """What methods that learn from their own moves have in common."""

    random_starts: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="share of training episodes that begin in a random cell instead of the "
            "start (exploring starts); the exact figures always begin at the start",
        ),
    ] = 0.0


TableStepSize = Annotated[float, Meta(gt=0.0, le=1.0)] | StepSchedule
"""How far an update of a table moves a value towards its target: never beyond it."""


class TemporalDifferenceSettings(MovingSettings, frozen=True, kw_only=True):
    """What methods that learn action values from experience have in common."""

    learning_rate: Annotated[
        TableStepSize | Literal["1/n"],
        Meta(
            description="step size α: how far each update moves towards its target; a number, "
            'a schedule, or "1/n" (one over the visits of the pair)',
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1
    exploration: Annotated[
        Exploration,
        Meta(description="the behaviour policy", extra_json_schema=TUNABLE),
    ] = EpsilonGreedy(start=0.1)
    initial_value: Annotated[
        float,
        Meta(
            description="Q at the start; above what can be earned it is an optimistic start, "
            "which makes the agent try everything once"
        ),
    ] = 0.0
