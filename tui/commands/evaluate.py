"""`icemaze eval`: the exact figures of what a run has learned, in its own maze or a changed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.commands.options import Json, RunId
from tui.commands.output import emit, say

if TYPE_CHECKING:
    from engine.runs.evaluation import RunEvaluation


def evaluate(
    run: RunId = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            show_default=False,
            help="Change the maze first: --set maze.slip=0.5 (repeat for more).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run's target policy exactly, averaged over its agents."""
    from engine.runs import library
    from engine.runs.evaluation import evaluate_run
    from engine.runs.reader import RunReader

    with RunReader(library.find_run(run)) as reader:
        result = evaluate_run(reader, settings or [])
        if as_json:
            emit(run=reader.id, path=str(reader.path), **_fields(result))
        else:
            _say(reader.id, result, settings or [])


def _fields(result: RunEvaluation) -> dict[str, Any]:
    return {
        "step": result.step, "agents": result.agents, "success_kind": "exact",
        **{name: metric.mean for name, metric in result.figures.items()},
        "optimal_return": result.optimal_return, "horizon_optimum": result.horizon_optimum,
    }  # fmt: skip


def _say(run: str, result: RunEvaluation, settings: list[str]) -> None:
    from tui.widgets.text import number, percent

    where = f"with {', '.join(settings)}" if settings else "in its own maze"
    whose = (
        "its target policy" if result.agents == 1 else f"{result.agents} agents' target policies"
    )
    say(f"{run} at step {result.step:,}, {where}: exact figures of {whose}")
    for name, metric in result.figures.items():
        shown = percent if name.endswith("success_rate") else number
        spread = ""
        if result.agents > 1 and metric.low != metric.high:
            spread = f"   {shown(metric.low)} to {shown(metric.high)} (10th to 90th percentile)"
        say(f"  {name.replace('_', ' '):20} {shown(metric.mean):>8}{spread}")
    say(f"  {'optimal return':20} {number(result.optimal_return):>8}   (π*)")
    say(f"  {'horizon optimum':20} {number(result.horizon_optimum):>8}   (no policy can beat it)")
