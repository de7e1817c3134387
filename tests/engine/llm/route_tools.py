"""Learners of routes on tiny models."""

from __future__ import annotations

from pathlib import Path

import torch
from learner_tools import learner

from engine.algorithms.registry import LANGUAGE_MODELS
from engine.llm.learner import LlmLearner
from engine.llm.models import adapters
from engine.llm.tasks.routes.task import RoutesTask

ROUTES = ["model.policy=route", "model.max_tokens=6", "maze.max_steps=6"]
ALGORITHMS = [
    name for name in LANGUAGE_MODELS.names if "route" in LANGUAGE_MODELS.get(name).policies
]


def route_learner(folder: Path, algorithm: str = "grpo", *more: str) -> LlmLearner:
    made = learner(folder, algorithm, overrides=[*ROUTES, *more])
    assert isinstance(made.task, RoutesTask)
    return made


def weights(made: LlmLearner) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in adapters.adapter_weights(made.model.model).items()}
