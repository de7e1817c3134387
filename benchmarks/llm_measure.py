"""What the parts of `llm.py` have in common: seconds, tokens, checks and the table at the end."""

from __future__ import annotations

import gc
import statistics
import time
from typing import Any, NamedTuple

import torch

from engine import factory, presets
from engine.llm.models import loading
from engine.llm.models.architecture import decoder_of

PRESET = "llm-grpo-maze"
AS_AGREED = [
    "algorithm.name=grpo", "algorithm.learning_rate=3e-4", "algorithm.epochs=1",
    "maze.max_steps=100", "maze.rewards.step=-0.01", "model.observation_text=map",
]  # fmt: skip
"""What is measured stays the same whatever becomes of the preset."""
GRADIENT_TOLERANCE = 1e-3
"""‖difference‖ / ‖gradient‖ between two ways to compute one, in float32."""


class Cost(NamedTuple):
    """What one update cost."""

    seconds: float
    tokens: float


class Meter:
    """Seconds, and tokens fed to a model."""

    def __init__(self, model: Any) -> None:
        self.device, self.tokens = decoder_of(model).device, 0
        decoder_of(model).register_forward_pre_hook(self._fed, with_kwargs=True)

    def _fed(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if kwargs.get("input_ids") is not None else args[0]
        self.tokens += ids.numel() * (3 if torch.is_grad_enabled() else 1)

    def start(self) -> None:
        gc.collect()
        self.tokens, self.started = 0, self._now()

    def stop(self) -> Cost:
        return Cost(self._now() - self.started, self.tokens)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def check(what: str, difference: float, loaded: loading.Loaded, limit: float) -> None:
    """Stop when two ways do not compute the same. Not float32: only gross errors show."""
    allowed = limit if loaded.dtype == torch.float32 else 0.25
    print(f"  same: {what} differs by {difference:.1e} (allowed {allowed:g})")
    if not difference <= allowed:
        raise SystemExit(f"{what}: the ways do not compute the same; nothing was measured.")


def report(rows: dict[str, list[Cost]], bars: dict[str, float]) -> bool:
    """A table of medians, and the ratios to the first row; whether the bars hold."""
    names = list(rows)
    for name in names:
        cost = Cost(*(statistics.median(values) for values in zip(*rows[name], strict=True)))
        print(f"  {name:38}{cost.seconds:9.2f} s{cost.tokens:12,.0f} tokens")
    held = True
    for name in names[1:]:
        pairs = zip(rows[name], rows[names[0]], strict=True)
        ratio = statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)
        bar = f" (bar {bars[name]:g})" if name in bars else ""
        print(f"  {name} / {names[0]}: {ratio:.2f} times{bar}")
        held &= ratio >= bars.get(name, 0.0)
    return held


def learner_of(quantization: str, overrides: list[str], name: str = PRESET) -> Any:
    """A learner of the benchmark's preset, or another, with its model loaded."""
    preset = presets.load(name, [f"model.quantization={quantization}", *overrides])
    learner: Any = factory.make_learner(preset)
    learner.prepare()
    return learner


def gradient_gap(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """‖found − expected‖ / ‖expected‖ over all adapters."""
    assert found.keys() == expected.keys()
    gaps = [float(((found[name] - wanted) ** 2).sum()) for name, wanted in expected.items()]
    return float((sum(gaps) / sum(float((w**2).sum()) for w in expected.values())) ** 0.5)
