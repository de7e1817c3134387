"""The steps of `gpu.py` in which a run is disturbed: memory ends, or it is stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gpu_measure import ROUTE, Scale, format_of, least_memory, make
from gpu_models import label, model_for
from gpu_report import Row, verdict

from engine.learning.events import AnyEvent, Note
from engine.learning.learner import State
from engine.llm.learner import LlmLearner
from engine.llm.models.catalog import DEFAULT
from engine.llm.models.memory_use import GIB
from engine.runs import checkpoints

TOO_LITTLE = 0.7
"""The part of what an update takes beyond the weights that it is given: half a micro-batch fits."""


def out_of_memory(scale: Scale, quantization: str) -> Iterator[Row]:
    """An update in memory that is too small for its micro-batch, against the same with enough."""
    model = model_for(DEFAULT, scale.scratch, scale.tiny)
    learner = make(
        scale,
        ROUTE,
        model,
        quantization,
        ["model.words=any", f"model.max_tokens={min(scale.written, 32)}"],
    )
    learner.begin()
    learner.advance(2)
    before = _copied(learner.state())
    resting = _allocated(learner)
    learner.load(before)
    _reset(learner)
    learner.advance(1)
    taken = _peak(learner) - resting
    expected = _copied(learner.state())
    learner.load(before)
    with _too_little(learner, resting + TOO_LITTLE * taken):
        events = learner.advance(1)
    off, moved = gap(learner.state(), expected), gap(before, expected)
    figures = {
        "survived": float(learner.run.clock == 3),
        "notes": float(len(_told(events))),
        "off": off,
        "moved": moved,
        "taken_gib": taken / GIB,
    }
    text = f"the update was made with {TOO_LITTLE:g} of the memory it takes ({taken / GIB:.2f} GiB)"
    if learner.model.device.type != "cuda":
        text = "the update was made after an out-of-memory that was faked"
    yield verdict(
        Row(
            f"an out-of-memory: {label(DEFAULT, model)}, {format_of(learner)}",
            f"{text}; adapters differ by {off:.1e} from one with enough memory (it moves them by "
            f"{moved:.1e})",
            figures=figures,
        ),
        bool(figures["survived"] and figures["notes"]) and off < moved,
        "memory did not end, so nothing was survived"
        if figures["survived"] and not figures["notes"]
        else "the update is another one than with enough memory",
    )


def resume(scale: Scale, quantization: str) -> Iterator[Row]:
    """Two updates, stop, and two more, against four; and the last two once more, which tells what
    the device itself does not repeat."""
    model = model_for(DEFAULT, scale.scratch, scale.tiny)
    first = make(scale, ROUTE, model, quantization)
    first.begin()
    first.advance(2)
    saved = checkpoints.pack(first.state())
    first.advance(2)
    whole = _copied(first.state())
    name = f"{label(DEFAULT, model)}, {format_of(first)}"
    del first
    ends = []
    other = make(scale, ROUTE, model, quantization)
    for _ in range(2):
        other.load(checkpoints.unpack(saved))
        other.advance(2)
        ends.append(_copied(other.state()))
    off, again = gap(ends[0], whole), gap(ends[0], ends[1])
    moved = gap(checkpoints.unpack(saved), whole)
    figures = {"off": off, "again": again, "moved": moved}
    text = "equal bit for bit" if _equal(ends[0], whole) else f"adapters differ by {off:.1e}"
    text += f"; resumed twice they differ by {again:.1e} (two updates move them by {moved:.1e})"
    what = f"a run stopped after two updates and resumed, after four: {name}"
    yield verdict(Row(what, text, figures=figures), off < moved, "it goes on as another run")


def gap(a: State, b: State) -> float:
    """The largest difference between adapters of two states."""
    names = [name for name in a if name.startswith("policy.") and ".exp_avg" not in name]
    names = [name for name in names if not name.endswith(".step")]
    return max(float(np.abs(a[name] - b[name]).max()) for name in names)


def _equal(a: State, b: State) -> bool:
    """Whether everything that a run goes on from is the same."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def _copied(state: State) -> State:
    return {name: np.array(value) for name, value in state.items()}


def _told(events: list[AnyEvent]) -> list[Note]:
    """The notes that say that memory has ended."""
    notes = [event for event in events if isinstance(event, Note)]
    return [note for note in notes if "out of memory" in note.text]


# ---------------------------------------------------------------- memory that ends


def _allocated(learner: LlmLearner) -> int:
    """Bytes that stay allocated between updates: weights, optimizer."""
    device = learner.model.device
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _peak(learner: LlmLearner) -> int:
    device = learner.model.device
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _reset(learner: LlmLearner) -> None:
    if learner.model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(learner.model.device)


@contextmanager
def _too_little(learner: LlmLearner, limit: float) -> Iterator[None]:
    """Inside, memory ends in the first training pass: on a GPU for want of it, else by a fake."""
    if learner.model.device.type == "cuda":
        with least_memory(learner.model.device, limit):
            yield
        return
    policy: Any = learner.task.policy
    forward, whole = policy.forward, len(policy.split(*_batch(learner)))

    def full(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and len(policy.split(*_batch(learner))) == whole:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (a fake)")
        return forward(*args, **kwargs)

    policy.forward = full
    try:
        yield
    finally:
        policy.forward = forward


def _batch(learner: LlmLearner) -> tuple[list[Any], list[Any]]:
    """Prompts and completions as long as those of an update."""
    writer, policy = learner.task.writer, learner.task.policy
    prompt = writer.prompt(*writer.all_asks([0])[0]).tokens
    rows = [[n] * policy.max_tokens for n in range(learner.run.settings.episodes)]
    return [prompt] * len(rows), rows
