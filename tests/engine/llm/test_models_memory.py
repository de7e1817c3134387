"""What `icemaze models` says a model costs is what training it takes.

On a CPU real runs are made, each in a fork of one process that has imported everything, and the
system counts the most memory that they held. For a GPU, tensors are counted one by one in a
bfloat16 pass on the CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.llm.forward.checkpointing import set_checkpointing
from engine.llm.forward.output_head import CHUNK_BYTES, OutputHead
from engine.llm.models import memory
from engine.llm.models.catalog import resolve, shape_of
from engine.llm.models.shape import Shape

RUNS = """
import json, os, sys, traceback
import torch
torch.set_num_threads(1)
import bitsandbytes, peft, transformers.models.llama.modeling_llama
import engine.llm.learner
from engine import factory, presets
from engine.llm.models import memory
from engine.llm.models.folder import read_config
from engine.llm.models.shape import shape_from_config

def held(name):
    return 1024 * int(open("/proc/self/status").read().partition(name + ":")[2].split()[0])

def run(overrides):
    before = held("VmRSS")  # of a fork: fewer pages of the libraries than its parent has
    learner = factory.make_learner(presets.load("llm-generalize", overrides=overrides))
    learner.prepare()
    learner.begin()
    while not learner.done:
        learner.advance(1)
    learner.state()  # what a checkpoint copies
    together = learner.task.extent(training=True).together
    tokens = min(learner.task.policy.token_budget, together)
    shape = shape_from_config(read_config(learner.loaded.folder))
    said = memory.estimate(shape, learner.loaded.quantization, "cpu", learner.loaded.lora.rank,
                           tokens, learner.passes.checkpointing)
    print(json.dumps([imported + held("VmHWM") - before, said.total, tokens]), flush=True)

imported = held("VmHWM")
for overrides in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        try:
            run(overrides)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(child, 0)
"""
SHORT = [
    "maze.train={count = 2, size = 4, per_update = 2}",
    "maze.test={count = 1, size = 4, seed = 1}",
    "budget.updates=1",
    "model.device=cpu",
]
"""One update, the first of the warm start, in one pass."""


@pytest.mark.slow
@pytest.mark.timeout(900)  # three runs, on a machine that may be busy
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_run_takes_what_was_said(smollm: Path, tmp_path: Path) -> None:
    wide = tiny_models.build("llama", tmp_path, shape={
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "head_dim": 64,
        "num_attention_heads": 8, "num_key_value_heads": 4, "initializer_range": 0.02,
    })  # fmt: skip
    on = "model.gradient_checkpointing=on"
    configurations = [
        [f"model.name={smollm}", "model.quantization=nf4"],
        [f"model.name={wide}", "model.quantization=none"],
        [f"model.name={wide}", "model.quantization=none", on],
    ]
    runs = json.dumps([[*SHORT, *one] for one in configurations])
    done = subprocess.run(
        [sys.executable, "-c", RUNS, runs], capture_output=True, text=True, check=False
    )
    assert done.stdout.count("\n") == 3, done.stderr
    for line, one in zip(done.stdout.splitlines(), configurations, strict=True):
        peak, said, tokens = json.loads(line)
        assert 250 < tokens <= 512
        assert said == pytest.approx(peak, rel=memory.TOLERANCE), (said / peak, one)


# ---------------------------------------------------------------- counted for a GPU


class Counted(TorchDispatchMode):
    """Bytes of all tensors made inside, now and at most; and the largest of them."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        there = [*model.parameters(), *model.buffers()]
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in there}
        self.now = self.peak = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.sizes:
            return
        self.sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak, self.largest = max(self.peak, self.now), max(self.largest, storage.nbytes())
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def adapted(shape: Shape) -> Any:
    """A Qwen3 in bfloat16 with adapters in float32, as on a GPU."""
    import peft
    import transformers

    config = transformers.Qwen3Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, head_dim=shape.head_dim,
        intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        attn_implementation="sdpa",
    )  # fmt: skip
    base = transformers.Qwen3ForCausalLM(config).to(torch.bfloat16).requires_grad_(False)
    lora = peft.LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, lora)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model.train()


def test_tensors_of_a_gpus_pass_are_those_counted() -> None:
    shape, tokens = Shape(500, 256, 768, 4, 8, 4, 32), 256
    model = adapted(shape)
    decoder = model.get_base_model().get_decoder()
    mask = torch.zeros((1, 1, tokens, tokens), dtype=torch.bfloat16)
    ids = torch.arange(tokens)[None]
    peaks = []
    for checkpointing in (False, True):
        set_checkpointing(model, checkpointing)
        with Counted(model) as counted:
            hidden = decoder(input_ids=ids, attention_mask=mask, use_cache=False)
            hidden.last_hidden_state[0, ::9].float().square().mean().backward()
        gradients = sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
        model.zero_grad()
        peaks.append(counted.peak - gradients)
        said = memory.activation_bytes(shape, tokens, "cuda", checkpointing)
        assert said == pytest.approx(peaks[-1], rel=memory.TOLERANCE)
    assert peaks[1] < 0.4 * peaks[0]


def test_no_tensor_holds_more_than_a_chunk_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither forwards nor backwards; the gradient is that of all logits at once."""
    words, positions = 2000, 90
    model = adapted(Shape(words, 32, 32, 1, 2, 2, 16))
    head = OutputHead(model, temperature=0.7)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn((positions, 32), generator=generator).bfloat16()
    at = torch.randint(positions, (120,), generator=generator)
    word = torch.randint(words, (120,), generator=generator)

    def gradient() -> tuple[torch.Tensor, int]:
        given = hidden.clone().requires_grad_()
        with Counted(model) as counted:
            log_probs, entropy = head.choices(given, at, word)
            (log_probs.square().sum() + entropy.sum()).backward()
        assert given.grad is not None
        return given.grad.double(), counted.largest

    assert positions * words * 4 < CHUNK_BYTES
    whole, largest = gradient()
    assert largest == positions * words * 4
    monkeypatch.setattr("engine.llm.forward.output_head.CHUNK_BYTES", 8 * words * 4)
    chunked, largest = gradient()
    assert largest == 8 * words * 4
    assert (chunked - whole).norm() <= 1e-6 * whole.norm()


# ---------------------------------------------------------------- the formula


def smollm_shape() -> Shape:
    shape = shape_of(resolve("smollm2-135m"))
    assert shape is not None
    return shape


def test_the_estimate_grows_with_the_pass_and_the_rank() -> None:
    shape = smollm_shape()
    whole, half = (memory.estimate(shape, "nf4", tokens=tokens) for tokens in (512, 256))
    assert whole.activations > half.activations > 0
    assert memory.activation_bytes(shape, 512) == 2 * memory.activation_bytes(shape, 256)
    wide = memory.estimate(shape, "nf4", rank=32)
    assert wide.adapter == 2 * whole.adapter and wide.base == whole.base
    for where in ("cpu", "cuda"):
        kept = memory.estimate(shape, "nf4", where, checkpointing=True)
        assert kept.activations < 0.6 * memory.estimate(shape, "nf4", where).activations


def test_matrices_with_pages_of_their_own_leave_no_gaps() -> None:
    """The weights of a large model are given back whole."""
    small = Shape(1000, 1024, 2048, 4, 8, 8, 128)
    large = Shape(1000, 4096, 16384, 4, 32, 32, 128)
    for shape, gaps in ((small, True), (large, False)):
        packed, plain = (memory.estimate(shape, way).activations for way in ("nf4", "none"))
        assert (packed > plain) == gaps
