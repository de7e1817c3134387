"""Language models on a GPU: is it right, how fast is it, how much memory does it take?

For a bare machine with a CUDA build of torch, this checkout, and what it asks for:

    pip install -e '.[llm,bench]'
    python benchmarks/gpu.py

No network is needed after that: without SmolLM2 on the machine, random weights of its shape take
its place. In at most `--minutes`, in this order:

right    adapters have gradients after an evaluation pass; packed against plain passes; the cached
         sampler against the training pass
presets  `llm-grpo-maze` and `llm-plan-grpo`, NF4 and 16 bits: updates/s, tokens/s, peak memory
TRL      the same update by TRL's GRPOTrainer, taking turns (see `llm_routes.py`)
broken   an out-of-memory that is survived; a run that is stopped and resumed
shapes   random weights of Qwen3's 0.6B and 4B: the same figures, long text, a long training pass

Every step is a process of its own with its own time limit (see `gpu_process.py`); one that fails is
a row that says why, and the others go on. Rows go to the section "On a GPU" of RESULTS.md, or into
`--output`, after each step, so that what is measured is kept when time runs out.

`--dry-cpu`, or no GPU, carries out the same script with tiny models on the CPU, to see that it
works; its figures say nothing, and are written to no file that is not named.
Exits 1 when a step failed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import gpu_recovery
import gpu_report
import gpu_steps
import torch
from gpu_measure import ACTION, ROUTE, Scale, make
from gpu_models import model_for
from gpu_process import Step, context_for, rows_of
from gpu_report import Row

from engine.llm.models.catalog import DEFAULT
from engine.llm.models.memory import this_machine

RESULTS = Path(__file__).parent / "RESULTS.md"
LEAST = 0.4
"""The part of a step's limit that must be left for it to be begun."""
PATIENT = 240
"""Seconds that each step of a dry run may take: no more than one or two on a quiet machine."""
QUANTIZATIONS = ("nf4", "none")
LENGTHS = (24, 128)
"""Tokens of a completion, in updates against TRL."""
IMPORTED = (
    "peft", "bitsandbytes", "transformers.models.llama.modeling_llama",
    "transformers.models.qwen3.modeling_qwen3", "datasets", "trl.trainer.grpo_trainer",
)  # fmt: skip
"""What processes that are forked need not import again."""


def plan(scale: Scale) -> list[Step]:
    """All steps, what matters most first; of those that differ in little a dry run takes one."""
    both = [(scale, quantization) for quantization in QUANTIZATIONS]
    some = both[:1] if scale.tiny else both
    shapes = [("qwen3-0.6b", "none"), ("qwen3-4b", "none"), ("qwen3-4b", "nf4")]
    steps = [
        *(Step(f"right, {given[1]}", gpu_steps.right, given, 60) for given in both),
        *(
            Step(f"`{name}`, {quantization}", gpu_steps.preset, (scale, name, quantization), 60)
            for name in (ACTION, ROUTE)
            for quantization in QUANTIZATIONS
        ),
        *(
            Step(
                f"against TRL, {given[1]}, {length} tokens",
                gpu_steps.against_trl,
                (*given, length),
                75,
            )
            for length in LENGTHS[: 1 if scale.tiny else None]
            for given in some
        ),
        Step("an out-of-memory", gpu_recovery.out_of_memory, (scale, "none"), 60),
        *(Step(f"resume, {given[1]}", gpu_recovery.resume, given, 60) for given in some),
        *(
            Step(f"{alias}, {quantization}", gpu_steps.shape, (scale, alias, quantization), 150)
            for alias, quantization in (shapes[::2] if scale.tiny else shapes)
        ),
    ]
    # That a machine without a GPU is busy is no failure of the script's.
    return [step._replace(seconds=PATIENT) for step in steps] if scale.tiny else steps


def carried_out(steps: Sequence[Step], gpu: bool, until: float) -> Iterator[Row]:
    """The rows of all steps, until the clock (`time.monotonic`) says so."""
    context = context_for(gpu)
    for step in steps:
        left = until - time.monotonic()
        if left < LEAST * step.seconds:
            why = f"it may take {step.seconds:.0f} s, and {max(0, left):.0f} s were left"
            yield gpu_report.left_out(step.what, why)
            continue
        yield from rows_of(step, context, min(step.seconds, left))


def measured(gpu: bool, minutes: float, output: Path | None, command: str) -> list[Row]:
    """All rows, printed and written as they come. Raises SystemExit for a GPU of no use."""
    until = time.monotonic() + 60 * minutes
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="icemaze-gpu-") as scratch:
        scale = _scale(not gpu, Path(scratch))
        if not gpu:
            _imported_once(scale)
        machine = list(carried_out([Step("machine", gpu_steps.machine, (), 90)], gpu, until))[-1]
        print(machine.markdown(), flush=True)
        if machine.failed or (gpu and not machine.figures["cuda"]):
            raise SystemExit(f"This GPU cannot be used, nothing was measured: {machine.markdown()}")
        for row in carried_out(plan(scale), gpu, until):
            rows.append(row)
            print(row.markdown(), flush=True)
            if output is not None:
                gpu_report.write(output, gpu_report.section(machine.result, command, rows))
    return rows


def _imported_once(scale: Scale) -> None:
    """Import, and load a model, before processes are forked: they need not do it again."""
    torch.set_num_threads(1)  # threads that have started do not survive a fork
    for name in IMPORTED:
        with contextlib.suppress(ImportError):  # the step that needs it will say so
            importlib.import_module(name)
    make(scale, ROUTE, model_for(DEFAULT, scale.scratch, scale.tiny), "none")
    gc.collect()
    gc.freeze()  # or every fork would look for garbage in all that


def _scale(tiny: bool, scratch: Path) -> Scale:
    if tiny:
        return Scale(True, scratch, seconds=0.0, updates=(1, 1), written=6, trained=16)
    return Scale(False, scratch)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.5, help="in all (default %(default)s)")
    parser.add_argument("--output", type=Path, help="a Markdown file instead of RESULTS.md")
    parser.add_argument("--dry-cpu", action="store_true", help="tiny models on the CPU")
    wanted = parser.parse_args(arguments)
    if wanted.minutes <= 0:
        parser.error("--minutes must be more than 0")
    gpu = not wanted.dry_cpu and bool(this_machine().gpus)
    if gpu:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # of several, TRL would use all
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is to be fetched
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # nor may torch find one
        if not wanted.dry_cpu:
            print("nvidia-smi shows no GPU here: a dry run on the CPU", file=sys.stderr)
    output = wanted.output or (RESULTS if gpu else None)
    dry = "" if gpu else " --dry-cpu"
    command = f"python benchmarks/gpu.py{dry} --minutes {wanted.minutes:g}"
    return int(any(row.failed for row in measured(gpu, wanted.minutes, output, command)))


if __name__ == "__main__":
    raise SystemExit(main())
