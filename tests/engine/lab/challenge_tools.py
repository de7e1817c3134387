"""A small lab of its own for tests: a folder of presets with one challenge in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.config import shipped
from engine.config.shipped import CHALLENGE_FILE
from engine.experiments.lab.challenge import Challenge, load_challenge
from engine.experiments.lab.runner import LabJob
from engine.presets import parse

PRESET = """
title = "{name}"
group = "challenge"
[maze]
map = "S.G"
[algorithm]
name = "q-learning"
[budget]
env_steps = 20
[run]
agents = 4
"""

CHALLENGE = """
number = 1
title = "Small"
question = "Which is larger?"
terms = ["exploration"]
failing = "small-failing"
remedies = ["small-remedy"]
"""

COMPARE = """
[[compare]]
metric = "value"
of = "small-remedy"
against = "small-failing"
at_least = 0.5
says = "The remedy's figure is larger."
"""

GROWTH = """
[[growth]]
preset = "small-failing"
vary = "maze.size"
values = [4, 6, 8]
metric = "value"

[[growth]]
preset = "small-remedy"
vary = "maze.size"
values = [4, 6, 8]
metric = "value"

[[growth_compare]]
of = "small-failing"
against = "small-remedy"
at_least = 0.5
"""


def make_lab(folder: Path, text: str = CHALLENGE + COMPARE, name: str = "small") -> Path:
    """Write a lab into `folder`, to stand for that of the shipped presets; gives the challenge."""
    challenge = folder / "lab" / name
    challenge.mkdir(parents=True)
    for stem in ("failing", "remedy"):
        preset = challenge / f"{name}-{stem}.toml"
        preset.write_text(PRESET.format(name=stem), "utf-8")
    (challenge / CHALLENGE_FILE).write_text(text, "utf-8")
    return challenge


def small(text: str = CHALLENGE + COMPARE) -> Challenge:
    """The challenge of `make_lab`; the shipped presets' folder must be patched already."""
    (shipped.FOLDER / "lab" / "small" / CHALLENGE_FILE).write_text(text, "utf-8")
    return load_challenge("small")


def ended(name: str, change: str = "", status: Any = "finished", **figures: Any) -> LabJob:
    """A job of a small preset that has ended with these figures of single agents."""
    preset = parse(PRESET.format(name=name), overrides=[change] if change else [])
    per_agent = {key: np.asarray(values, float) for key, values in figures.items()}
    final = {"success_rate": 1.0, "expected_return": 1.0, "metrics": {}}
    return LabJob((name, change), preset, final, per_agent, status=status, share=1.0)
