"""Live values of the preset and the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui import kinds
from tui.glossary.values.words import Value, number, plural

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def preset(snapshot: Snapshot) -> str:
    return snapshot.preset.title


def run(snapshot: Snapshot) -> str:
    return f"{snapshot.run_id}, trained for {number(round(snapshot.head.seconds, 1))} s"


def run_state(snapshot: Snapshot) -> str:
    return snapshot.head.state


def worker(snapshot: Snapshot) -> str:
    state = snapshot.head.state
    return f"none any more: the run is {state}" if snapshot.head.ended else f"at work: {state}"


def detached(snapshot: Snapshot) -> str:
    if snapshot.head.ended:
        return f"nothing to detach from: the run is {snapshot.head.state}"
    return "leaving the app now would not stop this run"


def generation(snapshot: Snapshot) -> str:
    times = snapshot.head.generation
    return f"{times}: {'never' if times == 0 else plural(times, 'time')} resumed"


def seed(snapshot: Snapshot) -> str:
    return str(snapshot.preset.run.seed)


def agents(snapshot: Snapshot) -> str:
    if kinds.of(snapshot.preset).plans:
        return f"none: {snapshot.algorithm.title} computes, nobody moves"
    return plural(snapshot.preset.run.agents, "agent")


def environment_step(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    return f"{counts.env_steps:,} per agent, {counts.total_env_steps:,} in all"


def budget(snapshot: Snapshot) -> str:
    limits, counts = snapshot.preset.budget, snapshot.counts
    parts = [
        f"{number(done)} of {number(limit)} {unit}"
        for done, limit, unit in (
            (counts.env_steps, limits.env_steps, "environment steps"),
            (counts.episodes, limits.episodes, "episodes"),
            (counts.updates, limits.updates, "updates"),
            (round(snapshot.head.seconds, 1), limits.seconds, "seconds"),
        )
        if limit is not None
    ]
    return ", ".join(parts)


def pace(snapshot: Snapshot) -> str:
    if snapshot.head.ended:
        return f"none: the run is {snapshot.head.state}"
    if snapshot.head.pace is None:
        return "as fast as it goes"
    unit = "sweep" if snapshot.algorithm.update_name == "sweep" else "step"
    plural_ = unit if snapshot.head.pace == 1 else f"{unit}s"
    return f"{number(snapshot.head.pace)} {plural_} per second"


def live_edge(snapshot: Snapshot) -> str:
    if snapshot.following:
        return f"step {snapshot.at:,}: following the newest"
    return f"step {snapshot.at:,} of {snapshot.head.step:,}: looking back"


def fork(snapshot: Snapshot) -> str:
    if snapshot.parent is None:
        return "this run is none"
    return f"this run left {snapshot.parent.run} at step {snapshot.parent.step:,}"


def note(snapshot: Snapshot) -> str | None:
    known = [note for note in snapshot.notes if snapshot.following or note.step <= snapshot.at]
    if not known:
        return None
    newest = known[-1]
    return f"{newest.level}: {newest.text} {newest.remedy}".strip()


def expectation(snapshot: Snapshot) -> str | None:
    claims = []
    for claim in snapshot.preset.expect:
        low = f"at least {number(claim.at_least)}" if claim.at_least is not None else ""
        high = f"at most {number(claim.at_most)}" if claim.at_most is not None else ""
        claims.append(f"{claim.metric} {' and '.join(filter(None, (low, high)))}")
    return "; ".join(claims) or None


VALUES: dict[str, Value] = {
    "preset": preset,
    "run": run,
    "run-state": run_state,
    "worker": worker,
    "detached-run": detached,
    "resume": generation,
    "generation": generation,
    "seed": seed,
    "agents": agents,
    "environment-step": environment_step,
    "budget": budget,
    "pace": pace,
    "live-edge": live_edge,
    "timeline": live_edge,
    "fork": fork,
    "note": note,
    "expectation": expectation,
}
