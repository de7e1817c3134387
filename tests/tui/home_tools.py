"""What the tests of the home screen and of the forms share: presets, runs, and an app around."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from textual.app import App
from textual.screen import Screen

from engine import presets
from engine.config.preset import Preset
from engine.runs import launch
from tui.ui.ascii import GlyphApp

LAKE = 'map = """\nSFFF\nFHFH\nFFFH\nHFFG\n"""'
FIRST = f"""
title = "First steps on the ice"
summary = "Watch one agent learn."
[maze]
{LAKE}
[algorithm]
name = "q-learning"
learning_rate = 0.5
gamma = 0.95
exploration = {{kind = "epsilon-greedy", start = 1.0, end = 0.05, steps = 3000}}
[budget]
env_steps = 5_000
[run]
pace = 4
"""
SCHEDULED = f"""
title = "Slippery SARSA"
summary = "The ice takes you elsewhere."
[maze]
{LAKE}
slip = 0.6666666666666666
[algorithm]
name = "sarsa"
learning_rate = {{start = 0.2, end = 0.005, steps = 1000, shape = "exponential"}}
[budget]
episodes = 100
"""
PLANNER = f"""
title = "The answer, computed"
[maze]
{LAKE}
slip = 0.6666666666666666
[algorithm]
name = "value-iteration"
[budget]
updates = 200
[run]
agents = 1
"""
SHIPPED = {"answer": PLANNER, "first-steps": FIRST, "slippery-sarsa": SCHEDULED}


def write_presets(folder: Path, texts: dict[str, str] = SHIPPED) -> None:
    """Preset files as if they were shipped."""
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, "utf-8")


def make_run(
    folder: Path,
    text: str = FIRST,
    name: str = "first-steps",
    state: str = "finished",
    success: float | None = None,
    **counters: Any,
) -> Path:
    """A run's folder as a worker would have left it; no worker is started."""
    path = launch.create_run(presets.parse(text), name, runs_dir=folder)
    write_state(path, state, success, **counters)
    return path


def write_state(path: Path, state: str, success: float | None = None, **counters: Any) -> None:
    """What a worker writes as it goes on."""
    with sqlite3.connect(path / "run.db") as db:
        db.execute("REPLACE INTO meta VALUES ('state', ?)", (json.dumps(state),))
        db.execute("REPLACE INTO meta VALUES ('counters', ?)", (json.dumps(counters),))
        if success is not None:
            db.execute(
                "INSERT INTO metrics (step, world_id, split, name, mean, low, high, n) "
                "VALUES (?, 0, 'train', 'success_rate', ?, 0, 1, 16)",
                (counters.get("step", 0), success),
            )
    db.close()


class HostApp(GlyphApp[None]):
    """Holds one screen and writes down what it asks for."""

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self.first = screen
        self.started: list[tuple[str, Preset]] = []
        self.opened: list[Path] = []
        self.result: Any = "nothing yet"

    def on_mount(self) -> None:
        self.push_screen(self.first, self.keep)

    def keep(self, result: Any) -> None:
        """What the screen was dismissed with."""
        self.result = result

    def start_run(self, preset: Preset, name: str) -> None:
        self.started.append((name, preset))

    def open_run(self, path: Path) -> None:
        self.opened.append(path)


def shown(app: App[Any]) -> str:
    """All text on the screen, as the terminal gets it."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)
