"""What the saved adapters of a run do in any maze, asked in a process of its own.

Commands and screens never import torch: they send the mazes to `engine.llm.evaluation.process` and
get the policy tables back, which are evaluated exactly without the model. A policy that writes
whole routes has no table: it is sampled there, and its figures come back.

Shapes: `W` worlds, `O` observations, `A` actions.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Literal

import msgspec
import numpy as np

from engine.config.llm import ModelSettings
from engine.config.preset import LlmPreset
from engine.config.rewards import PlanRewards
from engine.core import child
from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.core.files import changed_file
from engine.env.maze import Maze

Progress = Callable[[str], None]

ADAPTER = "adapter"
"""The folder of a run in which its best adapters are, see `engine.runs.recording`."""
PROGRAM = ("-P", "-m", "engine.llm.evaluation.process")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's adapters do in these mazes is wanted; all of one shape, in one or two splits."""

    run_dir: str
    model: ModelSettings
    reward: PlanRewards
    gamma: float
    seed: int
    splits: list[list[Maze]]
    want: Literal["policies", "routes"]

    @property
    def adapter(self) -> Path:
        """The folder of the adapters."""
        return Path(self.run_dir, ADAPTER)


class Sampled(msgspec.Struct, frozen=True):
    """Figures [W] of a policy that writes routes, and the standard error of its success rate."""

    figures: dict[str, list[float]]
    stderr: float


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from the process: what it does, why it cannot, or what was asked for."""

    progress: str = ""
    error: str = ""
    policies: list[list[list[float]]] | None = None
    """[W, O, A] of all splits"""
    sampled: list[Sampled] | None = None
    """One entry for each split."""


def ask_policies(
    run_dir: Path, preset: LlmPreset, mazes: Sequence[Maze], progress: Progress = lambda text: None
) -> Array:
    """π(a|o) [W, O, A] at temperature 1 of saved adapters; uniform where nothing is decided.

    Of a policy that writes whole routes it is how likely each move is to be the first of a route
    from there: what it does when it writes anew in every cell.

    `progress` is told in words what takes its time. Raises UserError when there are no adapters
    yet, or the model cannot be loaded.
    """
    question = _question(run_dir, preset, [mazes], "policies")
    return np.array(_ask(run_dir, question, progress).policies)


def ask_routes(
    run_dir: Path,
    preset: LlmPreset,
    splits: Sequence[Sequence[Maze]],
    progress: Progress = lambda text: None,
) -> list[Sampled]:
    """The figures of sampled routes through each split, asked for as `ask_policies` does."""
    question = _question(run_dir, preset, splits, "routes")
    return _ask(run_dir, question, progress).sampled or []


def _question(
    run_dir: Path,
    preset: LlmPreset,
    splits: Sequence[Sequence[Maze]],
    want: Literal["policies", "routes"],
) -> Question:
    return Question(
        run_dir=str(run_dir.absolute()),
        model=preset.model,
        reward=preset.reward,
        gamma=preset.algorithm.gamma,
        seed=preset.run.seed,
        splits=[list(mazes) for mazes in splits],
        want=want,
    )


def _ask(run_dir: Path, question: Question, progress: Progress) -> Answer:
    if not (run_dir / ADAPTER / "adapter_model.safetensors").is_file():
        raise UserError(
            f"The run {run_dir.name} has saved no adapters yet ({run_dir / ADAPTER}). Wait for its "
            f"first checkpoint, or start it with `icemaze train --resume {run_dir.name}`."
        )
    try:
        changed = changed_file(run_dir / ADAPTER)
    except OSError as error:
        raise UserError(f"{run_dir / ADAPTER}: cannot be read ({error.strerror}).") from error
    if changed is not None:
        raise UserError(
            f"{changed}: this file is not as it was written, so the saved adapters were not used. "
            f"`icemaze train --resume {run_dir.name}` writes them anew from the last checkpoint."
        )
    with tempfile.TemporaryFile() as log:
        # The working folder is the worker's, so that a relative model folder means the same.
        process = child.start(
            [sys.executable, *PROGRAM],
            cwd=run_dir,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            return _conversation(process, msgspec.json.encode(question), progress, log)
        finally:
            process.kill()
            process.wait()


def _conversation(
    process: subprocess.Popen[bytes], question: bytes, progress: Progress, log: IO[bytes]
) -> Answer:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(question)
        process.stdin.close()
    except BrokenPipeError:  # it ended at once; its log says why
        pass
    for line in process.stdout:
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise UserError(answer.error)
        if not answer.progress:
            return answer
        progress(answer.progress)
    log.seek(0)
    words = [text.strip() for text in log.read().decode("utf-8", "replace").splitlines()]
    last = next((text for text in reversed(words) if text), f"exit status {process.wait()}")
    raise UserError(f"The model could not be asked: {last}")
