"""A preset or a run in a few facts: the words beside its map on the home screen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tui.kinds.exploring import exploring
from tui.library.shelf import Outlook, PresetCard, RunCard, RunDetail
from tui.ui import glyphs
from tui.ui.facts import Fact
from tui.ui.text import clean, number, percent, si, signed

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


def duration(seconds: float) -> str:
    """A time span in its largest unit, roughly: 0.4 s, 21 min, 3.5 h."""
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{number(seconds / size, 2)} {unit}"
    return f"{number(seconds / 86_400, 2)} days"


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
    # start-up time
    from tui.kinds.clock import clock_of

    unit = clock_of(preset).unit
    return f"{pace:g} {unit}{'s' if pace != 1 else ''} a second{whole}; + goes faster"


def method(preset: Preset) -> list[Fact]:
    """Which algorithm, and the two policies that make it on- or off-policy."""
    # start-up time
    from engine.algorithms.registry import algorithm_of

    algorithm = algorithm_of(preset)
    how = "plans with the model" if algorithm.family == "planning" else algorithm.policy_type
    return [
        *_model(preset),
        Fact("algorithm", "algorithm", f"{algorithm.title}, {how}"),
        Fact("behaviour", "behaviour-policy", _behaviour(preset) or algorithm.behaviour_policy),
        Fact("target", "target-policy", algorithm.target_policy),
    ]


def _model(preset: Preset) -> list[Fact]:
    """Which language model is trained, and what it decides about."""
    # start-up time
    from engine.config.preset import LlmPreset

    if not isinstance(preset, LlmPreset):
        return []
    model = preset.model
    writes = {"action": "asked for a move in every cell", "plan": "writes the whole route"}
    writes["text"] = "writes free text"
    text = f"{clean(model.name)} ({model.quantization}), {writes[model.policy]}"
    return [Fact("model", "language-model", text)]


def _behaviour(preset: Preset) -> str:
    """How it moves, with the numbers of its exploration; nothing for a method without one."""
    kind = exploring(preset)
    if kind is None:
        return ""
    name, symbol, exploration = kind.name, kind.symbol, preset.algorithm.exploration  # type: ignore[attr-defined]
    first, last = getattr(exploration, "start", None), getattr(exploration, "end", None)
    if first is None:
        return f"{name} on Q, {symbol} {exploration.c:g}"
    change = f" to {last:g}" if last not in (None, first) else ""
    return f"{name} on Q, {symbol} {first:g}{change}"


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
    if judge := _judge(preset):
        return [*facts, Fact("reward", "preference", judge)]
    return [*facts, Fact("optimum", "optimal-policy", _optimum(preset, outlook))]


def _judge(preset: Preset) -> str:
    """Who judges free text, and what is asked for; nothing where there is a maze."""
    text = getattr(preset, "text", None)
    if text is None:
        return ""
    # start-up time
    from engine.llm.preference_judge import in_words

    who = "you prefer" if text.judge == "you" else f"a rule prefers {in_words(text)}"
    return f"{who}; asked: {clean(text.prompts[0])}"


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
    facts = [Fact("state", "run-state", state), Fact("keys", "", keys_text(summary.state))]
    why = clean(summary.broken) or (detail.error if detail else "")
    if why:
        facts.append(Fact("reason", "", why))
    if detail and detail.preset:
        facts += method(detail.preset)
        facts += _figures(detail)
        facts.append(Fact("budget", "budget", budget_text(detail.preset)))
    if summary.created:
        facts.append(Fact("created", "run", f"{summary.created:%Y-%m-%d %H:%M}"))
    facts.append(Fact("folder", "run", clean(str(summary.path))))
    return facts


def bar(share: float) -> str:
    """A progress bar of ten characters."""
    shades = glyphs.current().shades
    full = round(share * 10)
    return shades[4] * full + shades[1] * (10 - full)


def _figures(detail: RunDetail) -> list[Fact]:
    final = detail.final
    if not final:
        return []
    if detail.preset and _judge(detail.preset):
        return _text_figures(final)
    sampled = " (sampled)" if final["success_kind"] == "sampled" else ""
    if detail.preset and _model(detail.preset):
        return _llm_figures(final, sampled)
    steps = f"{si(final['env_steps'])} per agent, {si(final['total_env_steps'])} in all"
    if detail.preset and (name := update_name(detail.preset)) == "sweeps":
        steps = f"{si(final['updates'])} {name}"
    return [
        Fact("success", "success-rate", f"{percent(final['success_rate'])} of episodes{sampled}"),
        Fact("greedy", "greedy-success-rate", percent(final["greedy_success_rate"])),
        Fact(
            "return",
            "expected-return",
            f"{number(final['expected_return'])}; that of π* is {number(final['optimal_return'])}",
        ),
        Fact("steps", "environment-step", steps),
        Fact("episodes", "episode", f"{si(final['episodes'])} per agent"),
        Fact("trained", "", duration(final["seconds"])),
    ]


def _llm_figures(final: dict[str, Any], sampled: str) -> list[Fact]:
    """The kept adapters first: they are what the run is about."""
    metrics = final["metrics"]
    success = f"{percent(final['success_rate'])} with the best adapters{sampled}"
    facts = [Fact("success", "success-rate", success)]
    if "final_success_rate" in metrics:
        facts.append(Fact("at the end", "success-rate", percent(metrics["final_success_rate"])))
    held_out = metrics.get("held_out_best_success_rate", metrics.get("held_out_success_rate"))
    if held_out is not None:
        facts.append(Fact("held out", "held-out-mazes", percent(held_out)))
    return [
        *facts,
        Fact("greedy", "greedy-success-rate", percent(final["greedy_success_rate"])),
        Fact("updates", "update", si(final["updates"])),
        Fact("episodes", "episode", si(final["episodes"])),
        Fact("trained", "", duration(final["seconds"])),
    ]


def _text_figures(final: dict[str, Any]) -> list[Fact]:
    """Of free text: how the reward model stands to whoever judges."""
    metrics, nan = final["metrics"], math.nan
    agreed = metrics.get("judge_agreement", nan)
    return [
        Fact("preferences", "preference", f"{metrics.get('preferences', 0):.0f}"),
        Fact("score", "reward-model", signed(metrics.get("reward_model_score", nan))),
        Fact("agreement", "over-optimisation", f"{percent(agreed)} of the newest pairs"),
        Fact("updates", "update", si(final["updates"])),
        Fact("trained", "", duration(final["seconds"])),
    ]


def keys_text(state: str) -> str:
    """What can be done with a run in this state."""
    if state == "broken":
        return "d deletes it"
    if state in LIVE:
        return "Enter watches it, x stops it"
    replay = "Enter opens it"
    return (
        f"{replay}, r goes on with it, d deletes it"
        if state in RESUMABLE
        else (f"{replay}, d deletes it")
    )
