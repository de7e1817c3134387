"""The base of the methods that judge a given policy by a linear function of features.

v̂(s,w) = wᵀx(s). N agents, O observations, A actions, F features, M of them not 0 at a time.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, MovingSettings, TableStepSize
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.tabular.algorithms.approximation.vectors import (
    AnyFeatures,
    FeatureVectors,
    check_vectors,
    make_vectors,
    values_of,
)
from engine.tabular.given_policy import GivenPolicy, check_prediction
from engine.tabular.kernels import features as described
from engine.tabular.kernels.behaviour import scheduled
from engine.tabular.kernels.experience import MovingAlgorithm, Size
from engine.tabular.kernels.features import TileSize, Tilings


class LinearPredictionSettings(MovingSettings, frozen=True, kw_only=True):
    """What methods that judge a policy by features have in common."""

    policy: Annotated[
        GivenPolicy,
        Meta(
            description="the policy that is judged: random, optimal (of the first map), or the "
            "chance of each action, such as {left = 0.5, right = 0.5}"
        ),
    ] = "random"
    features: AnyFeatures = "tiles"
    tile_size: TileSize = 2
    tilings: Tilings = 4
    learning_rate: Annotated[
        TableStepSize,
        Meta(
            description="step size α: how far each update moves towards its target, where ‖x‖ = 1; "
            "a number or a schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.1
    initial_value: Annotated[float, Meta(description="V at the start")] = 0.0


class LinearPrediction(MovingAlgorithm):
    """Prediction with v̂ = wᵀx. Its tables have `w` [N,F], `policy` and `visits` [N,O,A], and
    `places` and `worth` [1,O,M], which all agents share."""

    family = "prediction"
    can_diverge = True
    with_llms = (
        "Not used alone, since it improves nothing; PPO's value head is its idea with a network "
        "for the features."
    )

    def check(self, preset: Preset) -> None:
        check_vectors(preset)
        check_prediction(preset)

    def check_edit(self, settings: Any) -> None:
        described.check_edit(settings)

    def learned(self, settings: Any, size: Size) -> tuple[FeatureVectors, dict[str, Array]]:
        """The feature vectors, and the fields that all tables of these methods have."""
        x = make_vectors(settings, size)
        return x, {
            "w": np.repeat(x.first[None], size.agents, axis=0),
            "visits": np.zeros(size.table, np.int64),
            "policy": np.zeros(size.table),  # filled in by the learner, which knows the maze
            "places": x.places[None].copy(),
            "worth": x.worth[None].copy(),
        }

    def behaviour(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        policy: Array = tables.policy
        return policy

    def target(self, tables: Any, hyperparameters: Any, step: int) -> Array:
        policy: Array = tables.policy
        return policy

    def greedy(self, tables: Any) -> Array:
        """The given policy: V alone, without a model, does not say which action looks best."""
        policy: Array = tables.policy
        return policy

    def state_values(self, tables: Any, target: Array) -> Array:
        return values_of(tables.places[0], tables.worth[0], tables.w)

    def learned_parameters(self, tables: Any) -> list[Array]:
        return [tables.w]

    def hyperparameter_metrics(self, hyperparameters: Any, step: int) -> dict[str, float]:
        return {"learning_rate": scheduled(hyperparameters.alpha, step)}

    def metrics(self, tables: Any) -> dict[str, Array]:
        return {"largest_weight": np.abs(tables.w).max(axis=1)}
