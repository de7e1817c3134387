"""What a challenge of the lab came to, for people and for scripts."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from tui.cli.output import say, table
from tui.ui.text import number, percent

if TYPE_CHECKING:
    from engine.experiments.intervals import Estimate, Group, Statistic
    from engine.experiments.lab.challenge import Challenge, Claimed
    from engine.experiments.lab.compare import Compared, Grown, GrownCompared, Result, RunResult
    from engine.presets.claims import Claim

    AnyClaim = Compared | Grown | GrownCompared

KEPT, BROKEN = "kept  ", "BROKEN"
INDENT = " " * 8
METHOD = """\
In brackets: 95 % intervals over agents on these mazes: how it would be on others they do not say.
They allow for an agent that nobody has seen, as far off as the maze lets it be (`icemaze glossary
confidence-interval`). Two runs are compared as if their agents were independent. A claim is kept
when the whole interval is within its bounds; without an interval the figure has to be. A median
counts agents that never got there as infinitely late."""


def show_result(result: Result) -> None:
    """The whole result: the runs, each claim in words, and what to look at next."""
    challenge = result.challenge
    show_runs(result)
    for name in result.skipped:
        say(f"Left out: {name} (it trains a language model; --llm runs it too)")
    for grown in result.grown:
        _show_growth(grown)
    say()
    say("What is claimed, and what was found:")
    for run in result.runs:
        _show_own_claims(run)
    for claim in result.claims:
        say(f"  {KEPT if claim.kept else BROKEN}  {claim_words(claim)}")
        for line in found_lines(claim):
            say(INDENT + "  " + line)
    say()
    say(METHOD)
    say(_verdict(result))
    say(_next(result, challenge))


def _show_own_claims(run: RunResult) -> None:
    """Those that a preset makes about itself: one line for those that were kept."""
    kept = [own for own in run.claims if own.kept]
    if kept:
        say(f"  {KEPT}  {run.name} by itself: {'; '.join(own_claim_words(own) for own in kept)}")
    for own in run.claims:
        if not own.kept:
            say(f"  {BROKEN}  {run.name} by itself: {own_claim_words(own)}")


def show_runs(result: Result) -> None:
    """One row for each run: success, the figures that are compared, and its id."""
    metrics = _compared_metrics(result)
    figures = [f"{name} ({measure})" for name, measure in metrics]
    headings = ("", "preset", "success", *figures, "run")
    rows = []
    for run in result.runs:
        role = _role(run.name, result.challenge)
        success = percent(run.figures.get("success_rate", math.nan))
        cells = [_cell(run, metric) for metric in metrics]
        where = run.run_dir.name if run.run_dir else ""
        if run.status != "finished":
            where = f"{where}  {run.status}{': ' + run.error if run.error else ''}".strip()
        rows.append((role, run.name, success, *cells, where))
    table(headings, rows, numbers=range(2, 3 + len(metrics)))


def _role(name: str, challenge: Challenge) -> str:
    """What a run is there for. Those of language models say in their titles which one fails."""
    if name in challenge.llm:
        return "LLM"
    return "fails" if name == challenge.failing else "remedy"


def _compared_metrics(result: Result) -> list[tuple[str, Statistic]]:
    """The figures that are compared, other than the success rate, which always has a column."""
    found = ((one.claim.metric, one.claim.measure) for one in result.compared)
    return [pair for pair in dict.fromkeys(found) if pair != ("success_rate", "mean")]


def _cell(run: RunResult, metric: tuple[str, Statistic]) -> str:
    group = run.groups.get(metric)
    return _figure(group.estimate.value, metric[1]) if group else ""


def _show_growth(grown: Grown) -> None:
    claim, curve = grown.claim, grown.curve
    say()
    say(f"{claim.metric} of {claim.preset} as {claim.vary} grows:")
    if curve is None:
        say(f"  {grown.problem}")
        return
    measured = f"{claim.metric} ({claim.measure})"
    rows = [
        (
            f"{point.value:g}",
            f"{point.size.cells:,}",
            f"{point.size.states:,}",
            f"{point.size.table:,}",
            interval(point.group.estimate, claim.measure),
            f"{point.group.reached}/{point.group.n}",
        )
        for point in curve.points
    ]
    headings = (claim.vary, "cells", "states", "table", measured, "agents")
    table(headings, rows, numbers=range(len(headings)))
    along = claim.vary if claim.against == "value" else claim.against
    say(
        f"  It grows like {along} to the power of {interval(grown.found)}; a table with a number "
        f"for each observation and move like {along}^{number(curve.table_exponent)}."
    )


# ---------------------------------------------------------------- words


def claim_words(claim: AnyClaim) -> str:
    """A claim as a sentence: its own words, or else what it compares."""
    if claim.claim.says:
        return claim.claim.says
    return f"{_what(claim)} is {bounds(claim.claim)}." if bounds(claim.claim) else _what(claim)


def _what(claim: AnyClaim) -> str:
    # start-up time
    from engine.experiments.lab.challenge import Comparison, Growth

    match claim.claim:
        case Comparison() as c:
            joint = "minus that of" if c.kind == "difference" else "over that of"
            return f"{c.metric} of {c.of} {joint} {c.against}"
        case Growth() as g:
            return f"the exponent of {g.metric} of {g.preset}"
        case c:
            return f"the exponent of {c.of} minus that of {c.against}"


def own_claim_words(claim: Claim) -> str:
    """A claim of a preset about itself, with what was found."""
    found = claim.problem or number(claim.found, 4)
    wanted = " and ".join(
        f"{word} {bound:.9g}"
        for word, bound in (("at least", claim.at_least), ("at most", claim.at_most))
        if bound is not None
    )
    return f"{claim.metric} {wanted} (found {found})"


def found_lines(claim: AnyClaim) -> list[str]:
    """What was measured, in one or two lines."""
    # start-up time
    from engine.experiments.lab.compare import Compared

    lines = []
    if isinstance(claim, Compared) and claim.of and claim.against:
        measure = claim.claim.measure
        sides = f"{group_words(claim.of, measure)} against {group_words(claim.against, measure)}"
        lines.append(f"{claim.claim.metric}, {measure} of the agents: {sides}")
    if claim.problem:
        return [*lines, f"Nothing to judge: {claim.problem}"]
    kind = claim.claim.kind if isinstance(claim, Compared) else "found"
    wanted = bounds(claim.claim)
    alone = f"; no interval: {claim.found.why}" if claim.found.why else ""
    text = f"{kind} {interval(claim.found)}{alone}" + (f"; claimed: {wanted}" if wanted else "")
    return [*lines, text]


def bounds(claim: Claimed) -> str:
    """The bounds of a claim in words; nothing when it has none."""
    words = (("at least", claim.at_least), ("at most", claim.at_most))
    return " and ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)


def group_words(group: Group, measure: Statistic) -> str:
    """What stands for one group of agents."""
    text = interval(group.estimate, measure)
    if measure == "share" or group.reached == group.n:
        return text
    return f"{text} ({group.reached} of {group.n} agents got there)"


def interval(estimate: Estimate, measure: Statistic | None = None) -> str:
    """`0.25 [0.22, 0.29]`."""
    value = _figure(estimate.value, measure)
    if not estimate.known:
        return value
    return f"{value} [{_figure(estimate.low, measure)}, {_figure(estimate.high, measure)}]"


def _figure(value: float, measure: Statistic | None) -> str:
    if measure == "share":
        return percent(value)
    if measure == "median" and value == math.inf:
        return "never"
    if math.isfinite(value) and (abs(value) >= 1000 or value == int(value)):
        return f"{value:,.0f}"
    return number(value)


def _verdict(result: Result) -> str:
    unfinished = sum(run.status != "finished" for run in result.runs)
    if unfinished:
        return f"{unfinished} of {len(result.runs)} runs did not finish; worker.log says more."
    claims = [*(claim for run in result.runs for claim in run.claims), *result.claims]
    broken = sum(not claim.kept for claim in claims)
    if broken:
        return f"Not kept: {broken} of {len(claims)} claim{'' if len(claims) == 1 else 's'}."
    return "The claim was kept." if len(claims) == 1 else f"All {len(claims)} claims were kept."


def _next(result: Result, challenge: Challenge) -> str:
    runs = [run.run_dir.name for run in result.runs if run.run_dir][:4]
    lines = [f"Next: `icemaze compare {' '.join(runs)}` shows the runs side by side"]
    if challenge.lesson.is_file():
        lines.append(f"`icemaze lab show {challenge.name}` is the lesson")
    if any(_undecided(claim) for claim in result.claims):
        lines.append("more agents (--agents 256) narrow an interval that reaches over its bound")
    return "; ".join(lines) + "."


def _undecided(claim: AnyClaim) -> bool:
    """Whether the figure would do, and only its interval is too wide."""
    # start-up time
    from engine.experiments.intervals import Estimate
    from engine.experiments.lab.compare import within

    value = claim.found.value
    return (
        not claim.kept
        and claim.found.known
        and within(claim.claim, Estimate(value=value, low=value, high=value))
    )


# ---------------------------------------------------------------- fields


def run_fields(run: RunResult) -> dict[str, Any]:
    """A run as plain data."""
    return {
        "preset": run.name,
        "run": run.run_dir.name if run.run_dir else None,
        "path": str(run.run_dir) if run.run_dir else None,
        "status": run.status,
        "agents": run.agents,
        "ok": run.kept,
        "claims": [{**dataclasses.asdict(claim), "ok": claim.kept} for claim in run.claims],
        **({"error": run.error} if run.error else {}),
    }


def claim_fields(claim: AnyClaim) -> dict[str, Any]:
    """A claim of a challenge and what was found, as plain data."""
    import msgspec

    # start-up time
    from engine.experiments.lab.compare import Compared, Grown

    fields: dict[str, Any] = {**msgspec.to_builtins(claim.claim), "ok": claim.kept}
    fields |= _asdict(claim.found)
    if isinstance(claim, Compared):
        fields["statistic"] = claim.claim.measure
        for side in ("of", "against"):
            group: Group | None = getattr(claim, side)
            fields[f"{side}_agents"] = _group_fields(group) if group else None
    if isinstance(claim, Grown) and claim.curve:
        fields["statistic"] = claim.claim.measure
        fields["table_exponent"] = claim.curve.table_exponent
        fields["points"] = [
            {
                "value": point.value,
                **msgspec.structs.asdict(point.size),
                **_group_fields(point.group),
            }
            for point in claim.curve.points
        ]
    return fields | ({"problem": claim.problem} if claim.problem else {})


def _group_fields(group: Group) -> dict[str, Any]:

    figures = {"figure" if k == "value" else k: v for k, v in _asdict(group.estimate).items()}
    return {**figures, "n": group.n, "reached": group.reached}


def _asdict(estimate: Estimate) -> dict[str, Any]:
    why = {"why": estimate.why} if estimate.why else {}
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, **why}


def claim_kind(claim: AnyClaim) -> str:
    """The key of `challenge.toml` that a claim stands under."""
    # start-up time
    from engine.experiments.lab.compare import Compared, Grown

    if isinstance(claim, Compared):
        return "compare"
    return "growth" if isinstance(claim, Grown) else "growth_compare"
