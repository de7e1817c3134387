"""How a run gets its model: loaded, with optimizers and a value head, and checked for packing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.core.errors import UserError
from engine.llm.forward.agreement import Agreement
from engine.llm.forward.packing import TOLERANCE
from engine.llm.forward.probe import check_computes
from engine.llm.forward.value_head import ValueHead
from engine.llm.models import loading
from engine.llm.models.memory import words
from engine.llm.models.memory_use import is_out_of_memory
from engine.llm.models.tokenizer import first_line
from engine.llm.optimizer import Optimizers
from engine.llm.tasks.base import AnyTask, RunState


class Prepared(NamedTuple):
    """What is trained, and what trains it."""

    loaded: loading.Loaded
    optimizers: Optimizers


def prepare(run: RunState, task: AnyTask, notify: Callable[[str], None]) -> Prepared:
    """Load the model, make the task ready for it, and see that both agree.

    `notify` is told what takes long. Raises UserError.
    """
    model = run.preset.model
    lora = loading.LoraSettings(model.lora.rank, model.lora.alpha, model.lora.dropout)
    try:
        loaded = loading.load_model(
            model.name,
            model.quantization,
            model.device,
            lora,
            seed=run.seed,
            progress=_Stages(notify),
        )
        check_computes(model.name, loaded.model)
        value_head = None
        if run.algorithm.has_critic:
            value_head = ValueHead(loaded.model, loaded.device)
        optimizers = Optimizers(loaded.model, value_head, run.settings.optimizer)
        task.ready(loaded, value_head)
        _verify(model.name, task)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"The GPU's memory does not hold {model.name} ({model.quantization}); expected "
            "a smaller model.name, model.quantization = 'nf4' or model.device = 'cpu'. "
            f"`icemaze models` shows what fits. ({error})"
        ) from error
    return Prepared(loaded, optimizers)


def _verify(name: str, task: AnyTask) -> None:
    """Refuse to train when a first pass fails, is not finite, or does not say packed what the
    model says."""
    try:
        found = task.agreement()
    except Exception as failed:  # a configuration that fits the weights, and itself does not
        if is_out_of_memory(failed):
            raise
        if "CUDA" in (said := first_line(failed)):  # no kernels for this GPU, a driver that fails
            raise UserError(
                f"{name}: the GPU cannot compute this model: {said} Set model.device to 'cpu', or "
                "see what `icemaze doctor` finds."
            ) from failed
        raise UserError(
            f"{name}: the model cannot be computed: {said} Its config.json does not "
            "describe a model that works; choose another model."
        ) from failed
    if not found.finite:
        raise UserError(
            f"{name}: what the model says of its first prompts is not finite (nan): its weights "
            "are damaged, or its config.json is not theirs. Fetch or save it again, or choose "
            "another model."
        )
    if not found.good:
        raise UserError(f"{name}: {_disagreement(found)}")


def _disagreement(found: Agreement) -> str:
    """What is wrong with a packed pass, and what helps."""
    if found.error > found.limit:
        why = (
            "the model does not look at tokens and positions as its config.json says, so training "
            "would follow wrong gradients; choose another model."
        )
        if found.limit > TOLERANCE:
            why = (
                "8-bit layers round what they read, and how depends on what else is in the pass; "
                "set model.quantization to 'nf4' or 'none'."
            )
        return (
            "the packed pass differs from the model's own forward pass by up to "
            f"{found.error:.2g} in log π, computed in float32 (allowed {found.limit:g}): {why}"
        )
    return (
        f"in {found.dtype} the packed pass is off by {found.packed:.2g} in log π on average, the "
        f"model's own forward pass by {found.plain:.2g} (allowed {found.allowed:.2g}), both "
        "measured against float32: more than rounding explains, so training would follow wrong "
        "gradients. Set model.device to 'cpu', which computes in float32, or choose another model."
    )


class _Stages:
    """Says each stage of fetching once; how far it is changes too often."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify
        self.stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage and not stage.startswith("Loading"):
            self.notify(f"{stage} ({words(total)})." if total > 1e6 else f"{stage}.")
        self.stage = stage
