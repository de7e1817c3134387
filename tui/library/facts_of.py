"""A preset or a run in a few facts: the words beside its map on the home screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tui import kinds
from tui.library.shelf import Outlook, PresetCard, RunCard, RunDetail
from tui.ui import glyphs
from tui.ui.fact import Fact
from tui.ui.text import clean, duration, number, percent

if TYPE_CHECKING:
    from engine.config.preset import Preset


class StateLook(NamedTuple):
    """How a run's state is shown beside its name: a symbol, its ASCII form, a theme colour."""

    symbol: str
    ascii: str
    colour: str


STATES = {
    "starting": StateLook("…", "~", "$foreground 60%"),
    "running": StateLook("▶", ">", "$text-success"),
    "paused": StateLook("‖", "=", "$text-warning"),
    "stopped": StateLook("■", "#", "$foreground 60%"),
    "finished": StateLook("✓", "+", "$text-primary"),
    "failed": StateLook("✗", "x", "$text-error"),
    "dead": StateLook("†", "!", "$text-error"),
    "broken": StateLook("?", "?", "$text-error"),
}
LIVE = frozenset({"starting", "running", "paused"})
RESUMABLE = frozenset({"stopped", "dead", "failed"})
OVER = {"stopped": "It has stopped", "dead": "Its worker died", "failed": "It has failed"}
"""How runs ended that can go on."""


def symbol(state: str) -> str:
    """The character that stands for a run's state."""
    look = STATES[state]
    return look.ascii if glyphs.current().ascii else look.symbol


def budget_text(preset: Preset) -> str:
    """When the run ends."""
    budget, agents = preset.budget, preset.run.agents
    names = {"env_steps": "steps", "episodes": "episodes", "updates": update_name(preset)}
    parts = [f"{getattr(budget, k):,} {name}" for k, name in names.items() if getattr(budget, k)]
    if budget.seconds:
        parts.append(duration(budget.seconds))
    text = " or ".join(parts) or "no limit"
    return f"{text}, by each of {agents} agents" if agents > 1 else text


def update_name(preset: Preset) -> str:
    """What an update of the preset's algorithm is called, in the plural."""
    # start-up time
    from engine.algorithms.registry import algorithm_of

    return algorithm_of(preset).update_name + "s"


def pace_text(preset: Preset) -> str:
    """How fast the app starts it, and how long it takes at that pace."""
    pace = preset.run.pace
    if pace is None:
        return "as fast as it goes"
    clock = preset.budget.env_steps or preset.budget.updates
    limits = [clock / pace] if clock else []
    limits += [preset.budget.seconds] if preset.budget.seconds else []
    whole = f", {duration(min(limits))} in all" if limits else ""
    unit = kinds.of(preset).clock.unit
    return f"{pace:g} {unit}{'s' if pace != 1 else ''} a second{whole}; + goes faster"


def method(preset: Preset) -> list[Fact]:
    """Which algorithm, and the two policies that make it on- or off-policy."""
    kind = kinds.of(preset)
    algorithm = kind.algorithm
    if not kind.started_here:
        return [*kind.model_facts(), Fact("algorithm", "algorithm", clean(algorithm.title))]
    return [
        *kind.model_facts(),
        Fact("algorithm", "algorithm", f"{algorithm.title}, {kind.how}"),
        Fact("behaviour", "behaviour-policy", kind.behaviour),
        Fact("target", "target-policy", algorithm.target_policy),
    ]


def of_preset(card: PresetCard, outlook: Outlook | None) -> list[Fact]:
    """The facts of a preset; the optimum comes when it is computed."""
    preset = card.preset
    if preset is None:
        return [Fact("broken", "preset", card.error)]
    facts = [
        *method(preset),
        Fact("budget", "budget", budget_text(preset)),
        Fact("pace", "pace", pace_text(preset)),
    ]
    if judge := kinds.of(preset).judge:
        return [*facts, Fact("reward", "preference", judge)]
    return [*facts, Fact("optimum", "optimal-policy", _optimum(preset, outlook))]


def _optimum(preset: Preset, outlook: Outlook | None) -> str:
    if outlook and outlook.error:
        return outlook.error
    if outlook is None or outlook.figures is None:
        return "being computed…"
    figures = outlook.figures
    length = figures.expected_length
    moves = (
        f"{length:g} moves" if abs(length - round(length)) < 1e-9 else f"about {length:.1f} moves"
    )
    return (
        f"π* wins {percent(figures.success_rate)} in {moves}; "
        f"V* of the start is {number(outlook.value)} at γ {preset.algorithm.gamma:g}"
    )


def of_run(card: RunCard, detail: RunDetail | None) -> list[Fact]:
    """The facts of a run, what can be done with it first."""
    summary = card.summary
    state = f"{symbol(summary.state)} {summary.state}"
    if card.progress is not None:
        state += f" {bar(card.progress)} {percent(card.progress)}"
    steered = not (detail and detail.preset) or kinds.of(detail.preset).started_here
    facts = [Fact("state", "run-state", state), Fact("keys", "", keys_text(summary.state, steered))]
    why = clean(summary.broken) or (detail.error if detail else "")
    if why:
        facts.append(Fact("reason", "", why))
    if detail and detail.preset:
        facts += method(detail.preset)
        facts += kinds.of(detail.preset).final_facts(detail.final) if detail.final else []
        facts.append(Fact("budget", "budget", budget_text(detail.preset)))
    if summary.parent is not None:
        told = f"step {summary.parent.step:,} of {clean(summary.parent.run)}"
        facts.append(Fact("forked from", "fork", told))
    if summary.created:
        facts.append(Fact("created", "run", f"{summary.created.astimezone():%Y-%m-%d %H:%M}"))
    facts.append(Fact("folder", "run", clean(str(summary.path))))
    return facts


def bar(share: float) -> str:
    """A progress bar of ten characters."""
    shades = glyphs.current().shades
    full = round(share * 10)
    return shades[4] * full + shades[1] * (10 - full)


def keys_text(state: str, steered: bool = True) -> str:
    """What can be done with a run in this state; one of another trainer is not `steered`."""
    if state == "broken":
        return "d deletes it"
    if state in LIVE:
        stop = "x stops it, " if steered else ""
        return f"Enter watches it, {stop}p pins it, n names it"
    resume = "r goes on with it, " if steered and state in RESUMABLE else ""
    return f"Enter opens it, {resume}p pins it, n names it, d deletes it"
