"""Examples for the help of each command: real command lines, a reason each.

`tests/tui/commands/test_examples.py` has every one of them parsed by the command it belongs to.
"""

from __future__ import annotations

from typing import NamedTuple

import typer
from typer.models import CommandInfo


class Example(NamedTuple):
    """A command line and what it is for."""

    line: str
    what: str


EXAMPLES: dict[str, tuple[Example, ...]] = {
    "train": (
        Example("icemaze train q-learning --seed 3", "a shipped preset"),
        Example("icemaze train q-learning --set algorithm.learning_rate=0.5", "with a change"),
        Example("icemaze train --resume", "go on with the latest run"),
    ),
    "open": (
        Example("icemaze open", "the latest run, live or recorded"),
        Example("icemaze open --plain", "the same as lines of text"),
    ),
    "runs": (Example("icemaze runs --json", "one JSON object a run"),),
    "status": (Example("icemaze status", "the latest run"),),
    "pause": (Example("icemaze pause", "the latest run stands still"),),
    "resume": (Example("icemaze resume", "and goes on"),),
    "stop": (
        Example("icemaze stop", "the latest run, after a checkpoint"),
        Example("icemaze stop --now", "one whose worker does not answer"),
    ),
    "fork": (
        Example("icemaze fork --at 2000 --set algorithm.learning_rate=0.5",
                "from a checkpoint on, with a change"),
    ),
    "rename": (Example("icemaze rename 20260131-120000-sarsa-ab 'slow ice'", "the id stays"),),
    "pin": (Example("icemaze pin 20260131-120000-sarsa-ab", "on top of the list"),),
    "watch": (
        Example("icemaze watch metrics.jsonl", "what another trainer writes"),
        Example("icemaze watch metrics.jsonl --plain", "as lines of text"),
    ),
    "config": (Example("icemaze config", "what is chosen, and what is shipped"),),
    "config set": (
        Example("icemaze config set app.theme colour-safe-dark", "other colours"),
        Example("icemaze config set keys.run.pause p,space", "keys of your own"),
    ),
    "config unset": (Example("icemaze config unset keys.run.pause", "as shipped again"),),
    "config edit": (Example("icemaze config edit", "the file in your editor"),),
    "config keys": (Example("icemaze config keys", "what can be given other keys"),),
    "serve": (
        Example("icemaze serve", "for this machine"),
        Example("icemaze serve --port 0", "at any free port"),
    ),
    "presets diff": (
        Example("icemaze presets diff sarsa q-learning", "what two presets differ in"),
    ),
    "rm": (Example("icemaze rm 20260131-120000-sarsa-ab --yes", "without a question"),),
    "eval": (Example("icemaze eval --set maze.slip=0.5", "what was learned, on other ice"),),
    "compare": (
        Example("icemaze compare 20260131-120000-sarsa-ab 20260131-120500-ppo-cd --table",
                "figures and differences with intervals"),
    ),
    "export": (
        Example("icemaze export", "the latest run as an HTML report, here"),
        Example("icemaze export --to csv --out results", "its tables into a folder"),
        Example("icemaze export 20260131-120000-sarsa-ab --out maze.gif", "training as a picture"),
    ),
    "share": (
        Example("icemaze share", "what the latest run was started with"),
        Example("icemaze share cliff-sarsa --set run.seed=7", "a preset with a change"),
    ),
    "play": (Example("icemaze play --greedy", "walk, or watch the learned policy walk"),),
    "sweep": (
        Example("icemaze sweep sarsa --seeds 0-9 --set algorithm.learning_rate=0.05,0.1",
                "twenty runs, compared"),
    ),
    "glossary": (Example("icemaze glossary td error", "what a term means"),),
    "algorithms": (Example("icemaze algorithms expected-sarsa", "what one needs, and when"),),
    "trust": (Example("icemaze trust my_q.py", "let an algorithm of your own run"),),
    "doctor": (Example("icemaze doctor", "what this machine can run, and why not"),),
    "presets": (Example("icemaze presets", "what there is to train"),),
    "presets list": (Example("icemaze presets list --json", "for scripts"),),
    "presets show": (Example("icemaze presets show q-learning > mine.toml", "a start for yours"),),
    "presets schema": (Example("icemaze presets schema > preset.json", "for an editor"),),
    "presets check": (Example("icemaze presets check q-learning --seed 1", "is the claim kept?"),),
    "lab": (Example("icemaze lab", "the challenges"),),
    "lab run": (Example("icemaze lab run explore-exploit", "what fails, what mends it, compared"),),
    "lab show": (Example("icemaze lab show explore-exploit", "its lesson"),),
    "models": (Example("icemaze models list", "which models fit this machine"),),
    "models list": (Example("icemaze models list --json", "for scripts"),),
    "models get": (Example("icemaze models get smollm2-135m", "fetch one ahead"),),
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Let the help of each command end with its examples."""
    for command in app.registered_commands:
        _add(command, "")
    for group in app.registered_groups:
        if (name := str(group.name)) in EXAMPLES:
            group.epilog = epilog(name)
        for command in (group.typer_instance or app).registered_commands:
            _add(command, f"{name} ")


def _add(command: CommandInfo, group: str) -> None:
    assert command.callback is not None
    name = command.name or command.callback.__name__.replace("_", "-")
    if f"{group}{name}" in EXAMPLES:
        command.epilog = epilog(f"{group}{name}")


def epilog(name: str) -> str:
    """The examples of a command, kept in lines (that is what the \\b says)."""
    examples = EXAMPLES[name]
    word = "Example" if len(examples) == 1 else "Examples"
    lines = [line for each in examples for line in (f"  {each.line}", f"      {each.what}")]
    return "\n".join(["\b", f"{word}:", *lines])
