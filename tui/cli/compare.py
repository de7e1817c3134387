"""`icemaze compare`: two to four runs side by side, in the app or as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.core.errors import UserError
from tui import kinds
from tui.cli.options import Json
from tui.cli.output import emit, on_terminal, say, table
from tui.cli.shell import completion

if TYPE_CHECKING:
    from engine.experiments.intervals import Estimate
    from tui.features.compare.figures import Metric
    from tui.features.compare.watch import Comparison, Side


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN RUN [RUN [RUN]]",
            help="Two to four runs: their ids, or the starts of them.",
            autocompletion=completion.runs,
        ),
    ] = None,
    sweep: Annotated[
        str,
        typer.Option(
            metavar="SWEEP",
            help="The settings of a sweep, the first four at most; curves are the means over its "
            "seeds, with their 95 % intervals.",
        ),
    ] = "",
    as_table: Annotated[
        bool, typer.Option("--table", help="Print the figures at the end, also on a terminal.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show runs side by side; without a terminal, print their figures and the differences."""
    # start-up time
    from engine.runs import library
    from tui.features.compare.watch import check

    if sweep and runs:
        raise UserError(f"Either runs or a sweep can be compared; leave out {runs[0]} or --sweep.")
    paths = _of_sweep(sweep) if sweep else [library.find_run(run) for run in runs or ()]
    check(paths)
    if on_terminal() and not (as_table or as_json):
        # start-up time
        from tui.cli.app import open_app

        open_app(compare=paths)
        return
    # start-up time
    from tui.features.compare.figures import metrics_of
    from tui.features.compare.intervals import differences
    from tui.features.compare.watch import CompareWatch, Comparison

    watch = CompareWatch(paths)
    try:
        watch.look()
    finally:
        watch.close()
    found = Comparison(watch.sides, watch.clock, None, intervals=differences(paths))
    metrics = metrics_of(found.sides)
    if as_json:
        _emit(found, metrics)
    else:
        _say(found, metrics)


def _of_sweep(prefix: str) -> list[Path]:
    """A run of each of the first four settings of a sweep; of a single setting, its first seeds."""
    # start-up time
    from engine.experiments import sweeps
    from tui.features.compare.watch import FEWEST, MOST

    folder = sweeps.find(prefix)
    runs = sweeps.recorded_runs(folder)
    by_setting: dict[int, list[Path]] = {}
    for cell, run in runs.items():
        by_setting.setdefault(cell.setting, []).append(run)
    found = [of_it[0] for _, of_it in sorted(by_setting.items())]
    if len(found) == 1:
        found = next(iter(by_setting.values()))
    if len(found) < FEWEST:
        raise UserError(
            f"The sweep {folder.name} has {len(found)} runs so far, and to compare takes two."
        )
    if len(by_setting) > MOST:
        left_out = len(by_setting) - MOST
        say(f"{len(by_setting)} settings: the first four are compared, {left_out} are not.")
    return found[:MOST]


def _emit(found: Comparison, metrics: Sequence[Metric]) -> None:
    """One object for each run; from the second on with what it is more than the first."""
    # start-up time
    from tui.features.compare.figures import alike, count, estimates, reading
    from tui.library.differences import differences as settings_of

    settings = settings_of([side.preset for side in found.sides])
    sure = {metric.name: estimates(found, metric.name) for metric in metrics}
    first: dict[str, float] = {}
    some_of_first: dict[str, int] = {}
    for i, side in enumerate(found.sides):
        means = {metric.name: reading(side, metric.name, found).mean for metric in metrics}
        known = {name: count(side, name, found) for name in means}
        some = {name: n for name, n in known.items() if n is not None}
        if not i:
            first, some_of_first = means, some
        more = {
            name: _interval(mean - first[name], sure[name][i])
            if alike(some.get(name), some_of_first.get(name))
            else _interval(math.nan, None)
            for name, mean in means.items()
        }
        emit(
            run=side.run_id,
            preset=side.preset_name,
            title=side.title,
            state=_state(side),
            step=side.length,
            settings={each.key: each.values[i] for each in settings},
            figures=means,
            agents=side.preset.run.agents,
            agents_with_figure=some,
            **({"differences": more} if i else {}),
        )


def _interval(difference: float, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {"value": difference, "low": math.nan, "high": math.nan}
    why = {"why": estimate.why} if estimate.why else {}
    return {"value": difference, "low": estimate.low, "high": estimate.high, **why}


def _say(found: Comparison, metrics: Sequence[Metric]) -> None:
    """Who is compared, what is to be known about it, and the figures."""
    # start-up time
    from tui.features.compare.figures import estimates, figure_rows
    from tui.features.compare.intervals import METHOD, told
    from tui.features.compare.watch import remarks
    from tui.library.differences import differences as settings_of

    rows = [
        (s.letter, s.run_id, _state(s), f"{kinds.of(s.preset).clock.unit} {s.length:,}", s.title)
        for s in found.sides
    ]
    table(("", "run", "state", "at", "title"), rows)
    for remark in remarks(found.sides, found.clock):
        say(remark)
    first, *others = (side.letter for side in found.sides)
    headings = ["figure", first]
    for letter in others:
        headings += [letter, f"{letter} - {first}", "95 % interval"]
    lines = []
    sure = {metric.label: estimates(found, metric.name) for metric in metrics}
    for row in figure_rows(found, metrics):
        line = [row.label, row.values[0]]
        for i, more in enumerate(row.differences, start=1):
            interval = told(sure[row.label][i]) if more else ""
            line += [row.values[i], more or "-", interval or "-"]
        lines.append(line)
    say()
    table(headings, lines, numbers=range(1, len(headings)))
    if any(each is not None and each.known for found_of in sure.values() for each in found_of):
        say(METHOD)
    without: dict[str, dict[str, None]] = {}
    for label, of_runs in sure.items():
        for each in of_runs:
            if each is not None and each.why:
                without.setdefault(each.why, {})[label] = None
    for why, labels in without.items():
        say(f"Without an interval: {', '.join(labels)}. {why[:1].upper()}{why[1:]}.")
    settings = settings_of([side.preset for side in found.sides])
    if settings:
        say()
        words = [(each.key, *each.told) for each in settings]
        table(("setting", *(side.letter for side in found.sides)), words)


def _state(side: Side) -> str:
    return side.words if side.snapshot is None else side.snapshot.head.state
