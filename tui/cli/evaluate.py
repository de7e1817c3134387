"""`icemaze eval`: the exact figures of what a run has learned, in its own maze or a changed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.cli.options import Json, RunId
from tui.cli.output import complain, emit, say
from tui.cli.own import Trust, trusting
from tui.ui.text import number, percent

if TYPE_CHECKING:
    from engine.runs.evaluation import RunEvaluation, SplitFigures

BASELINES = {
    "random_success_rate": ("random moves", "(success of who knows nothing)"),
    "one_direction_success_rate": ("one direction", "(success of the best one, for ever)"),
    "optimal_success_rate": ("optimal success", "(π*)"),
}
"""What each baseline is called, and what it means."""


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
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Evaluate what a run has learned exactly: its target policy, averaged over its agents.

    Of a language model the saved adapters are asked; any map will do, for the model reads it.
    """
    # start-up time
    from engine.runs import library
    from engine.runs.evaluation import evaluate_run, load_own
    from engine.runs.reader import RunReader

    with RunReader(library.find_run(run)) as reader:
        trusting(lambda: load_own(reader), trust, as_json)
        result = evaluate_run(reader, settings or [], complain)
        if as_json:
            emit(run=reader.id, path=str(reader.path), **_fields(result))
        else:
            _say(reader.id, result, settings or [])


def _fields(result: RunEvaluation) -> dict[str, Any]:
    sampled = result.success_kind == "sampled"
    held_out = {} if result.held_out is None else _split_fields(result.held_out, sampled)
    rule = result.maze.success_rule
    return {
        **({"success_rule": rule} if rule else {}),
        "step": result.step, "agents": result.agents, "success_kind": result.success_kind,
        **_split_fields(result.own, sampled),
        **{f"held_out_{name}": value for name, value in held_out.items()},
    }  # fmt: skip


def _split_fields(split: SplitFigures, sampled: bool) -> dict[str, Any]:
    return {
        **({"success_stderr": split.success_stderr} if sampled else {}),
        **{name: metric.mean for name, metric in split.figures.items()},
        "optimal_return": split.optimal_return, "horizon_optimum": split.horizon_optimum,
        **{name: metric.mean for name, metric in split.baselines.items()},
        "mazes": split.mazes,
    }  # fmt: skip


def _say(run: str, result: RunEvaluation, settings: list[str]) -> None:
    whose = (
        "its target policy" if result.agents == 1 else f"{result.agents} agents' target policies"
    )
    if result.own.baselines:
        whose = "its saved adapters, π at temperature 1"
    own = "in its own maze" if result.own.mazes == 1 else f"{result.own.mazes} training mazes"
    changed = f"with {', '.join(settings)}"
    where = own if not settings else changed if result.own.mazes == 1 else f"{own} {changed}"
    say(f"{run} at step {result.step:,}, {where}: {result.success_kind} figures of {whose}")
    _say_split(result.own, result.agents)
    if rule := result.maze.success_rule:
        say(f"  success here is {rule}")
    if result.held_out is not None:
        say(f"{result.held_out.mazes} held-out mazes, which were not trained on:")
        _say_split(result.held_out, result.agents)


def _say_split(split: SplitFigures, agents: int) -> None:
    for name, metric in split.figures.items():
        shown = percent if name.endswith("success_rate") else number
        spread = ""
        if name == "success_rate" and split.success_stderr:
            spread = f"   ± {percent(split.success_stderr)} (standard error)"
        if max(agents, split.mazes) > 1 and metric.low != metric.high:
            spread = f"   {shown(metric.low)} to {shown(metric.high)} (10th to 90th percentile)"
        say(f"  {name.replace('_', ' '):20} {shown(metric.mean):>8}{spread}")
    say(f"  {'optimal return':20} {number(split.optimal_return):>8}   (π*)")
    say(f"  {'horizon optimum':20} {number(split.horizon_optimum):>8}   (no policy can beat it)")
    for name, metric in split.baselines.items():
        say(f"  {BASELINES[name][0]:20} {percent(metric.mean):>8}   {BASELINES[name][1]}")
