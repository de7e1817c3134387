"""What `icemaze models` says a model costs is what training it takes.

Each run stands in a process of its own, whose peak the system counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.llm.models import memory
from engine.llm.models.catalog import Shape, resolve, shape_of

RUN = """
import json, resource, sys
import torch
from engine import factory, presets
from engine.llm.forward.packing import TokenTree

torch.set_num_threads(1)
learner = factory.make_learner(presets.load("llm-generalize", overrides=sys.argv[1:]))
learner.prepare()
learner.begin()
while not learner.done:
    learner.advance(1)
learner.state()  # what a checkpoint copies
prompts = learner.task.model.prompts
parts = learner.task.policy.split(prompts)
longest = max(len(TokenTree.build([prompts.tokens[row] for row in part])) for part in parts)
try:  # ru_maxrss would begin with the memory of the process that started this one
    status = open("/proc/self/status").read()
    peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
except OSError:  # macOS, in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([peak, longest]))
"""
SHORT = [
    "maze.train={count = 4, size = 4, per_update = 4}",
    "maze.test={count = 1, size = 4, seed = 1}",
    "warmup.updates=1",
    "budget.updates=2",
]
"""One supervised update and one of GRPO, in passes of nearly 512 tokens."""


def smollm_shape() -> Shape:
    shape = shape_of(resolve("smollm2-135m"))
    assert shape is not None
    return shape


@pytest.mark.parametrize("quantization", memory.QUANTIZATIONS)
def test_a_run_takes_what_was_said(smollm: Path, quantization: str) -> None:
    overrides = [*SHORT, f"model.quantization={quantization}", "model.device=cpu"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *overrides], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, tokens = json.loads(done.stdout.splitlines()[-1])
    assert memory.TOKENS // 2 < tokens <= memory.TOKENS
    said = memory.estimate(smollm_shape(), quantization, tokens=tokens).total
    assert said == pytest.approx(peak, rel=memory.TOLERANCE), (said / peak, tokens)


def test_the_estimate_grows_with_the_pass_and_the_rank() -> None:
    shape = smollm_shape()
    whole, half = (memory.estimate(shape, "nf4", tokens=tokens) for tokens in (512, 256))
    assert whole.activations > half.activations > 0
    assert memory.activation_bytes(shape, 512) == 2 * memory.activation_bytes(shape, 256)
    wide = memory.estimate(shape, "nf4", rank=32)
    assert wide.adapter == 2 * whole.adapter and wide.base == whole.base


def test_matrices_with_pages_of_their_own_leave_no_gaps() -> None:
    """The weights of a large model are given back whole."""
    small = Shape(1000, 1024, 2048, 4, 8, 8, 128)
    large = Shape(1000, 4096, 16384, 4, 32, 32, 128)
    for shape, gaps in ((small, True), (large, False)):
        packed, plain = (memory.estimate(shape, way).activations for way in ("nf4", "none"))
        assert (packed > plain) == gaps
