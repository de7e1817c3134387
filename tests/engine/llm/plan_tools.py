"""Learners of plan policies on tiny models."""

from __future__ import annotations

from pathlib import Path

import torch
from learner_tools import learner

from engine.algorithms import registry
from engine.llm import loading
from engine.llm.plan_learner import PlanLearner

PLAN = ["model.policy=plan", "model.max_tokens=6", "maze.max_steps=6"]
ALGORITHMS = [
    name
    for name in registry.LANGUAGE_MODELS.names
    if "plan" in registry.LANGUAGE_MODELS.get(name).policies
]


def plan_learner(folder: Path, algorithm: str = "grpo", *more: str) -> PlanLearner:
    made = learner(folder, algorithm, overrides=[*PLAN, *more])
    assert isinstance(made, PlanLearner)
    return made


def weights(made: PlanLearner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in loading.adapter_weights(made.on.model).items()}
