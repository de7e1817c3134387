"""What the steps of `gpu.py` have in common: learners, tokens counted in passes, seconds, peaks."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gpu_report import Row, verdict
from llm_measure import Meter, learner_of

from engine.learning.events import AnyEvent, Update
from engine.llm.learner import LlmLearner
from engine.llm.models import catalog, memory
from engine.llm.models.memory_use import GIB, memory_metrics

ACTION, ROUTE = "llm-grpo-maze", "llm-plan-grpo"
ON = {
    ACTION: ["budget.updates=1000"],
    ROUTE: ["budget.updates=1000", "warmup.updates=1"],  # what is measured is what follows it
}
IN_TINY = {
    ACTION: ["algorithm.episodes=64"],
    ROUTE: [
        "algorithm.episodes=16",
        "algorithm.group_size=8",
        "model.max_tokens=7",
        "warmup.routes=2",
    ],
}


class Scale(NamedTuple):
    """How much is done: as long as a row is measured, and how long what the model writes is."""

    tiny: bool
    scratch: Path
    seconds: float = 8.0
    updates: tuple[int, int] = (3, 20)
    """Fewest and most that are measured."""
    written: int = 64
    """Tokens of a completion over all words."""
    trained: int = 1024
    """Tokens of a completion of the long training pass, of 16."""


class Passes(Meter):
    """Counts what the model is fed with gradients apart, and the largest such pass."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.trained = self.largest = 0

    def _fed(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        before = self.tokens
        super()._fed(module, args, kwargs)
        if torch.is_grad_enabled():
            fed = (self.tokens - before) // 3
            self.trained += fed
            self.largest = max(self.largest, fed)

    def start(self) -> None:
        super().start()
        self.trained = 0


def make(
    scale: Scale, preset: str, model: str, quantization: str, more: Iterable[str] = ()
) -> LlmLearner:
    """A learner of a shipped preset on some model, loaded."""
    settings = [f"model.name={model}", *ON[preset], *(IN_TINY[preset] if scale.tiny else []), *more]
    _free()  # a learner that nobody has any more still refers to itself
    learner: LlmLearner = learner_of(quantization, settings, preset)
    _free()  # what loading took is no part of what training takes
    return learner


def _free() -> None:
    """Give memory back, and let peaks begin anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def format_of(learner: LlmLearner) -> str:
    """In which numbers the base is kept: nf4, bfloat16, float32."""
    loaded = learner.model
    if loaded.quantization != "none":
        return loaded.quantization
    return str(loaded.dtype).removeprefix("torch.")


def updates(learner: LlmLearner, scale: Scale, what: str) -> Row:
    """Updates per second of a learner as it is used, with its evaluations, and what they take."""
    meter = Passes(learner.model.model)
    learner.begin()
    learner.advance(2)  # warms up, with what is supervised
    events: list[AnyEvent] = []
    before = learner.run.clock
    meter.start()
    fewest, most = scale.updates
    while (n := learner.run.clock - before) < most and not learner.done:
        if n >= fewest and time.perf_counter() - meter.started > scale.seconds:
            break
        events += learner.advance(1)
    seconds = meter.stop().seconds
    made = [e.metrics for e in events if isinstance(e, Update)]
    sampling = sum(m["seconds_sampling"].mean for m in made)
    figures = {
        "updates_per_second": len(made) / seconds,
        "trained_per_second": meter.trained / (seconds - sampling),
    }
    text = f"{figures['updates_per_second']:.2f} updates/s"
    if "completion_tokens" in made[0]:
        episodes = learner.run.settings.episodes
        drawn = sum(m["completion_tokens"].mean * episodes for m in made)
        figures["sampled_per_second"] = drawn / sampling
        text += f", {figures['sampled_per_second']:,.0f} tokens/s sampled"
    text += f", {figures['trained_per_second']:,.0f} trained"
    peaks, told = memory_of(learner, meter.largest)
    return verdict(Row(what, f"{text}; {told}", figures=figures | peaks), True, "")


def memory_of(learner: LlmLearner, tokens: int) -> tuple[dict[str, float], str]:
    """Peaks in GiB since the model was loaded, and the project's own estimate for passes of so
    many tokens; also in words."""
    loaded = learner.model
    where = "cuda" if loaded.device.type == "cuda" else "cpu"
    shape = catalog.shape_of(catalog.resolve(loaded.name))
    assert shape is not None
    found = memory.estimate(
        shape,
        loaded.quantization,
        where,
        loaded.lora.rank,
        tokens,
        checkpointing=learner.passes.checkpointing,
    )
    if where == "cuda":
        peak = torch.cuda.max_memory_allocated(loaded.device) / GIB
        reserved = torch.cuda.max_memory_reserved(loaded.device) / GIB
        expected = (found.model + found.activations) / GIB  # torch does not count the libraries
    else:
        peak = reserved = memory_metrics(loaded.device)["memory_gib"]
        expected = found.total / GIB
    figures = {
        "peak_gib": peak,
        "reserved_gib": reserved,
        "estimate_gib": expected,
        "over_estimate": peak / expected,
        "largest_pass": float(tokens),
    }
    return figures, (
        f"{peak:.2f} ({reserved:.2f}) GiB, estimated {expected:.2f} for {tokens:,} tokens a pass: "
        f"**{peak / expected:.2f}**"
    )


@contextmanager
def least_memory(device: torch.device, limit: float) -> Iterator[None]:
    """Inside, torch may have no more than `limit` bytes of a GPU."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
