"""A small lab for the tests: one challenge with its lesson, a page, and a further experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from home_tools import HostApp

from tui.features.home.screen import HomeScreen
from tui.library.lab_shelf import LabCard

CROSSING = """
title = "{title}"
summary = "{title}, in one sentence."
group = "challenge"
[maze]
map = "S.G"
[algorithm]
name = "q-learning"
exploration = {{kind = "epsilon-greedy", start = {epsilon}}}
[budget]
env_steps = 400
[run]
agents = 2
"""
CHALLENGE = """
number = 1
title = "Explore or exploit"
question = "What is lost by greed?"
terms = ["exploration"]
failing = "lab-greedy"
remedies = ["lab-curious"]
curves = ["success_rate"]
"""
LESSON = """
## Predict
```lesson
ask = "Will it learn the way?"
choices = ["yes", "no"]
answer = 1
because = "It is short."
```
```lesson
wait = {metric = "success_rate", at_least = 0.9}
```
## Compute
```lesson
ask = "How many moves is the prize away?"
exact = "optimal_length"
```
"""
PAGE = """# Why it is hard
## Think
```lesson
ask = "Hard?"
choices = ["no", "yes"]
answer = 2
```
"""


def write_lab(shipped: Path) -> None:
    """Files as if they were shipped."""
    folder = shipped / "lab" / "greed"
    folder.mkdir(parents=True)
    for name, title, epsilon in (
        ("lab-greedy", "Only greed", 0.0),
        ("lab-curious", "Some curiosity", 0.5),
    ):
        text = CROSSING.format(title=title, epsilon=epsilon)
        (folder / f"{name}.toml").write_text(text, "utf-8")
    (folder / "challenge.toml").write_text(CHALLENGE, "utf-8")
    (folder / "lesson.md").write_text(LESSON, "utf-8")
    pages = shipped / "lab" / "pages"
    pages.mkdir()
    (pages / "why-hard.md").write_text(PAGE, "utf-8")
    further = shipped / "lab" / "further"
    further.mkdir()
    text = CROSSING.format(title="One more", epsilon=1.0)
    (further / "lab-more.toml").write_text(text, "utf-8")


class LabHostApp(HostApp):
    """Writes down what the home screen asks of the lab."""

    def __init__(self, runs: Path) -> None:
        super().__init__(HomeScreen(runs))
        self.labs: list[str] = []
        self.compared: list[tuple[list[str], str | None]] = []

    def start_lab(self, card: LabCard) -> None:
        self.labs.append(card.name)

    def compare_runs(self, runs: Sequence[Path], card: LabCard | None) -> None:
        self.compared.append(([path.name for path in runs], card.name if card else None))
