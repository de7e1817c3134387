"""Whether model, tokenizer, chat template and lengths fit a preset, asked before a run is made.

A run that can only fail is not begun: its prompts are written with the model's own tokenizer and
template, and held against what the model reads. That happens in a process of its own: importing
transformers takes seconds, and a template is a program, which may go on for ever. It reads no
weights and imports no torch; what it needs is under a gigabyte and two seconds.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import msgspec

from engine.config.llm import ModelSettings
from engine.config.preset import LlmPreset
from engine.core import child
from engine.core.errors import UserError
from engine.env.settings import MazeSettings
from engine.llm.evaluation.ask import Answer
from engine.llm.models.folder import check_folder

PROGRAM = ("-P", "-m", "engine.llm.evaluation.fit_process")
CPU_SECONDS = 20
"""Most that a tokenizer and a template may compute; no wall time, for a machine may be busy."""


class FitQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Does the model in this folder fit what it is to be told?"""

    folder: str
    model: ModelSettings
    maze: MazeSettings
    gamma: float
    texts: list[str]
    """What it is asked where it writes free text; else empty."""


def check_fit(preset: LlmPreset, folder: Path) -> None:
    """Raise UserError when a run of this preset with the model in `folder` could only fail."""
    check_folder(folder)
    question = FitQuestion(
        folder=str(folder),
        model=preset.model,
        maze=preset.maze,
        gamma=float(preset.algorithm.gamma),
        texts=list(preset.text.prompts) if preset.text else [],
    )
    try:
        fingerprint = _fingerprint(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error}).") from error
    if problem := _asked(msgspec.json.encode(question), fingerprint):
        raise UserError(problem)


def _fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of what lies in the folder: runs of one sweep ask but once."""
    found = ((file.name, file.stat()) for file in sorted(folder.iterdir()))
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


@lru_cache(maxsize=64)
def _asked(question: bytes, fingerprint: tuple[tuple[str, int, int], ...]) -> str:
    """What is wrong, in a sentence; nothing when the model fits."""
    done = subprocess.run(
        [sys.executable, *PROGRAM],
        input=question,
        capture_output=True,
        env=child.environment(),
    )
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout, type=Answer).error
    if done.returncode == -signal.SIGXCPU:
        return (
            "model.name: this model's tokenizer or chat template does not come to an end: it "
            f"computed for {CPU_SECONDS} seconds. Mend chat_template.jinja, or choose another "
            "model."
        )
    said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines()]
    told = [line for line in said if line and not line.startswith("note: ")]
    last = told[-1] if told else f"exit status {done.returncode}."
    return (
        f"model.name: this model's tokenizer or chat template cannot be used: {last[:300]} "
        "Choose another model."
    )
