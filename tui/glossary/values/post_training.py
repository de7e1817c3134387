"""Live values of the terms of post-training; none in a run that trains a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.config.llm import GroupSettings
from engine.config.preset import LlmPreset
from engine.core.arrays import Floats
from tui import kinds
from tui.glossary.values.language_models import told, warm_start
from tui.glossary.values.words import Value, number, plural

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

USUAL_K = 8


def post_training(snapshot: Snapshot, preset: LlmPreset) -> str:
    first = "no warm start" if preset.warmup is None else f"SFT for {warm_start(preset)}"
    kind = "a reward model" if kinds.of(preset).asks_preferences else "computed rewards"
    return f"{first}; then {snapshot.algorithm.title} on {kind}"


def verifier(_: Snapshot, preset: LlmPreset) -> str:
    kind = kinds.of(preset)
    if kind.asks_preferences:
        return "none in this run: a reward model judges"
    return "the maze: the route is walked" if kind.writes_routes else "the maze: moves are made"


def process_reward(_: Snapshot, preset: LlmPreset) -> str:
    kind = kinds.of(preset)
    if kind.asks_preferences:
        return "outcome: the reward model scores the whole text"
    return "outcome: one for each route" if kind.writes_routes else "the maze pays move by move"


def thoughts(_: Snapshot, preset: LlmPreset) -> str:
    kind = kinds.of(preset)
    if kind.asks_preferences:
        return "none in this run: all of the text is the answer"
    if not kind.writes_routes:
        return "none in this run: the model is asked for one move"
    if preset.model.words == "moves":
        return "none in this run: only move words may be written"
    return "words before the first move are read over"


def pass_at_k(snapshot: Snapshot, preset: LlmPreset) -> str | None:
    """pass@1, and of one prompt what follows from it."""
    evaluation = snapshot.evaluation
    if evaluation is None or "success_rate" not in evaluation.figures:
        return None
    p = evaluation.figures["success_rate"].mean
    if preset.maze.train is not None or np.count_nonzero(snapshot.mdp.start) > 1:
        return f"pass@1 = {number(p)}, a mean over starts, which does not tell pass@k"
    settings = preset.algorithm
    k = settings.group_size if isinstance(settings, GroupSettings) else USUAL_K
    return f"pass@1 = {number(p)}, pass@{k} = {number(1 - (1 - p) ** k)}"


def dpo(snapshot: Snapshot, preset: LlmPreset) -> str:
    if not kinds.of(preset).asks_preferences:
        return "not in this run: it has no preferences"
    answers = plural(len(snapshot.preferences), "answer")
    return f"not in this run: {answers} train a reward model"


def information(snapshot: Snapshot, preset: LlmPreset) -> str | None:
    """I(x; y) between the cell and the move: how much the move hangs on where the agent is.

    Over the cells of the maze shown in which a move can have to be made, all alike.
    """
    kind = kinds.of(preset)
    if kind.asks_preferences or kind.writes_routes or snapshot.policy is None:
        return None
    chances = snapshot.policy.target[
        np.unique(snapshot.mdp.observation[snapshot.optimum.reachable])
    ]
    shared = _entropy(chances.mean(axis=0)) - float(np.mean([_entropy(row) for row in chances]))
    most = math.log(min(chances.shape))
    return f"between cell and move {number(round(shared, 9) + 0.0)}, of at most {number(most)}"


def _entropy(chances: Floats) -> float:
    positive = chances[chances > 0]
    return float(-(positive * np.log(positive)).sum())


VALUES: dict[str, Value] = {
    "post-training": told(post_training),
    "verifier": told(verifier),
    "process-reward": told(process_reward),
    "chain-of-thought": told(thoughts),
    "pass-at-k": told(pass_at_k),
    "dpo": told(dpo),
    "template-collapse": told(information),
}
