"""`icemaze models`: the language models that can be trained."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.errors import INSTALL_LLM, UserError
from tui.cli.options import Json
from tui.cli.output import complain, emit, on_terminal, say, table

if TYPE_CHECKING:
    from engine.llm.models.catalog import Known
    from engine.llm.models.memory import Machine
    from engine.llm.models.shape import Shape

EXTRA = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "accelerate", "gguf")
"""What the `llm` extra brings."""
SECONDS_BETWEEN_EVENTS = 0.5
"""Progress of a fetch is told at most this often."""

app = typer.Typer(help="List and get language models.")


@app.callback(invoke_without_command=True)
def models(ctx: typer.Context) -> None:
    """List and get language models."""
    if ctx.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models with an alias: what is here, what each costs, what can be trained here."""
    # start-up time
    from engine.config.llm import TOKEN_BUDGET
    from engine.llm.models import catalog, memory

    require_llm_extra()
    machine = memory.this_machine()
    described = [_describe(known, machine) for known in catalog.KNOWN]
    if as_json:
        for item in described:
            emit(**item)
        return
    rows = [
        (
            item["name"],
            f"{item['parameters'] / 1e6:,.0f} M",
            f"{item['quantized_share']:.0%}",
            *(memory.words(item["memory"][way]["total"]) for way in memory.QUANTIZATIONS),
            "yes" if item["here"] else "no",
            item["verdict"],
        )
        for item in described
    ]
    headings = (
        "name",
        "weights",
        "4-bit",
        *memory.QUANTIZATIONS,
        "here",
        "can be trained on this machine",
    )
    table(headings, rows, numbers=(1, 2, 3, 4, 5))
    place = f"on this machine's {'GPU' if machine.gpus else 'CPU'}"
    say()
    say(
        f"nf4, int8, none: memory to train with that quantization {place}, adapters of rank "
        f"{memory.RANK}, in the passes a run would choose: at most "
        f"{TOKEN_BUDGET[machine.where]:,} tokens, less or with gradient checkpointing where "
        f"memory asks for it; {memory.words(machine.room)} are free. 4-bit: the share of the "
        "weights that nf4 puts in 4 bits."
    )
    say("Also: any Hugging Face id (owner/name) or local folder with safetensors weights.")
    say(f"`icemaze models get NAME` fetches one; {catalog.DEFAULT} needs no hub.")


def _describe(known: Known, machine: Machine) -> dict[str, Any]:
    # start-up time
    from engine.llm.models import catalog, fetch, memory

    folder = fetch.find(catalog.resolve(known.alias), thorough=True)
    verdict = memory.verdict(known.shape, machine)
    return {
        "name": known.alias,
        "id": known.hub_id,
        "family": known.family,
        "parameters": known.shape.parameters,
        "quantized_share": known.shape.quantized_share,
        "here": folder is not None,
        "path": str(folder) if folder else None,
        "memory": _costs(known.shape, machine),
        "can_train": verdict.can,
        "quantization": verdict.quantization or None,
        "verdict": verdict.text,
        "note": known.note,
    }


def _costs(shape: Shape, machine: Machine) -> dict[str, dict[str, int]]:
    """Bytes at each quantization: the weights alone, and all that training takes in the passes that
    a run would choose here."""
    # start-up time
    from engine.llm.models import memory

    ways = {way: memory.training(shape, way, machine) for way in memory.QUANTIZATIONS}
    return {
        name: {
            "weights": way.cost.base,
            "total": way.cost.total,
            "tokens": way.passes.tokens,
            "gradient_checkpointing": way.passes.checkpointing,
        }
        for name, way in ways.items()
    }


@app.command("get")
def get_model(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An alias, a Hugging Face id, or a folder.")
    ],
    as_json: Json = False,
) -> None:
    """Fetch a model, unless it is here already, and say what it costs to train."""
    # start-up time
    from engine.llm.models import catalog, fetch, memory
    from engine.llm.models.folder import quantized_share

    require_llm_extra()
    source = catalog.resolve(name)
    told = _Told(as_json)
    try:
        folder = fetch.fetch(source, told)
    finally:
        told.end_line()
    shape, machine = catalog.shape_of(source, folder), memory.this_machine()
    share = quantized_share(folder)
    verdict = memory.verdict(shape, machine)
    if as_json:
        fields = {"event": "finished", "name": name, "path": str(folder)}
        costs = _costs(shape, machine) if shape else None
        found = {"can_train": verdict.can, "verdict": verdict.text, "quantized_share": share}
        emit(**fields, memory=costs, **found)
        return
    say(f"{name}: {folder}")
    if shape is not None:
        costs = _costs(shape, machine)
        say("Weights: " + ", ".join(f"{memory.words(c['weights'])} {q}" for q, c in costs.items()))
    if share is not None:
        say(f"With nf4, about {share:.0%} of the weights are in 4 bits; the rest is not quantized.")
    say(f"Can this machine train it? {verdict.text[0].upper()}{verdict.text[1:]}.")


class _Told:
    """A fetch's progress: one line that is rewritten on a terminal, a line a stage in a log, or
    JSON objects."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.stage = ""
        self.last = 0.0
        self.line_open = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        new, now = stage != self.stage, time.monotonic()
        if not new and done < total and now - self.last < SECONDS_BETWEEN_EVENTS:
            return
        self.stage, self.last = stage, now
        if self.as_json:
            emit(event="progress", stage=stage, done=done, total=total or None)
        elif on_terminal():
            share = f" {done / total:4.0%}" if total else ""
            if new:
                self.end_line()
            sys.stderr.write(f"\r{stage}{share}")
            sys.stderr.flush()
            self.line_open = True
        elif new:
            complain(f"{stage}…")

    def end_line(self) -> None:
        """Leave the line that was rewritten."""
        if self.line_open:
            sys.stderr.write("\n")
            self.line_open = False


def missing_packages() -> list[str]:
    """The packages of the `llm` extra that are not installed. Imports none of them."""
    return [name for name in EXTRA if find_spec(name) is None]


def require_llm_extra() -> None:
    """Raise UserError with the line that installs what is missing."""
    if missing := missing_packages():
        raise UserError(
            f"Language models need packages that are not installed ({', '.join(missing)}). "
            f"Install them with: {INSTALL_LLM}"
        )
