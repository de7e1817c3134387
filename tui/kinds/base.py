"""A kind of run: all that the app does differently for planners, learners and language models.

Each kind is one file beside this one; `tui.kinds.of` says which kind a preset is. Screens, forms,
glossary and commands read the attributes below and never ask what kind it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from engine.algorithms.registry import Registry, algorithm_of
from engine.config.preset import LlmPreset, Preset
from engine.env.maze import Maze
from engine.learning.algorithm import Algorithm
from engine.learning.events import Step
from engine.presets import applicability
from tui.kinds.clock import Clock
from tui.kinds.columns import Layouts
from tui.kinds.exploring import Exploring, exploring
from tui.kinds.loop import Story
from tui.kinds.views import View
from tui.model.snapshot import Snapshot
from tui.ui.fact import Fact, Term
from tui.ui.glyphs import Glyphs

FIXED = frozenset({"maze.map", "maze.gymnasium", "maze.success", "maze.size"})
"""Settings that a preset is about: with another value it would be another preset."""
RANDOM_MAPS = frozenset({"maze.hole_density", "maze.seed"})
"""Settings that count only where maps are drawn at random."""


class Hints(NamedTuple):
    """Sentences that say what a newcomer can press while a run is followed."""

    over: str
    paused: str
    running: str
    """With `{layers}`: how many layers the grid has."""


@dataclass(frozen=True)
class Kind(ABC):
    """The kind of run that a preset describes. Equal for equal presets."""

    preset: Preset

    clock: ClassVar[Clock]
    """The unit a run counts."""
    views: ClassVar[tuple[View, ...]]
    """Figures the curves panel can show, in the order of the key `m`; views without data are left
    out."""
    columns: ClassVar[Layouts]
    """Columns of the trajectory log, from wide to narrow."""
    story: ClassVar[type[Story]] = Story
    """Words of the figure of the agent-environment loop."""
    hints: ClassVar[Hints]
    registry: ClassVar[Registry[Any]]
    """The algorithms it can be trained with."""
    first_layer: ClassVar[int] = 3
    """The layer of the grid that shows what is learned: Q(s,a), where no kind says otherwise."""

    plans: ClassVar[bool] = False
    """Values are computed from the known model, sweep by sweep; no agent moves."""
    policy_given: ClassVar[bool] = False
    """The policy is given and only judged: it neither explores nor improves."""
    learns_policy: ClassVar[bool] = False
    """A policy is learned, not only action values."""
    explores: ClassVar[bool] = True
    """A move is told as explored or exploited."""
    numbers_episodes: ClassVar[bool] = True
    """Episodes have numbers of their own beside the clock."""
    one_learner: ClassVar[bool] = False
    """There is one learner, so most curves have no band."""
    has_maze: ClassVar[bool] = True
    """The runs are about a maze."""
    started_here: ClassVar[bool] = True
    """Ice Maze trains it, so it can be steered, stopped and resumed."""
    has_groups: ClassVar[bool] = False
    """Updates compare episodes in groups that can be looked at."""
    asks_every_cell: ClassVar[bool] = False
    """A language model is asked for a move in every cell, so its map of moves can be drawn."""
    writes_routes: ClassVar[bool] = False
    """A move is part of a route that is written as a whole."""
    asks_preferences: ClassVar[bool] = False
    """The reward comes from preferences between pairs of texts."""

    # ------------------------------------------------------------ the preset

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that the preset trains with."""
        return algorithm_of(self.preset)

    @property
    def llm(self) -> LlmPreset | None:
        """The preset, if it trains a language model."""
        return None

    @property
    def exploring(self) -> Exploring | None:
        """The kind of exploration; None for a method without any, or with one of its own."""
        return exploring(self.preset)

    @property
    def needs_gpu(self) -> bool:
        """Whether it asks for a GPU; others take what there is."""
        return False

    @property
    def waits_for_answers(self) -> bool:
        """Whether a person must answer before it goes on."""
        return False

    @property
    @abstractmethod
    def learners(self) -> str:
        """The learners in a few words: `16 agents`."""

    @property
    @abstractmethod
    def how(self) -> str:
        """The way to a policy in a word or two: `off-policy`."""

    @property
    def behaviour(self) -> str:
        """The behaviour policy in words, with the numbers of its exploration."""
        return self.algorithm.behaviour_policy

    @property
    def judge(self) -> str:
        """The judge of texts and the prompt, in words; empty where a maze pays."""
        return ""

    def model_facts(self) -> list[Fact]:
        """The language model that is trained, and what it decides about."""
        return []

    @abstractmethod
    def final_facts(self, final: Mapping[str, Any]) -> list[Fact]:
        """The last figures of a run, what it is about first."""

    def views_of(self, snapshot: Snapshot) -> tuple[View, ...]:
        """The views of one run: `views`, where the kind alone says what is measured."""
        return self.views

    # ------------------------------------------------------------ forms

    @abstractmethod
    def other_algorithms(self) -> tuple[str, ...]:
        """The names of the algorithms that the preset's budget and policy mean something to."""

    def applies(self, key: str) -> bool:
        """Whether changing a setting can have an effect, and is not what the preset is about."""
        if not applicability.applies(self.preset, self.algorithm, key):
            return False
        if not key.startswith("maze."):
            return True
        if key in FIXED:
            return False
        if self.preset.maze.gymnasium is not None:
            return key == "maze.max_steps"
        return self.preset.maze.size is not None or key not in RANDOM_MAPS

    @abstractmethod
    def matters(self, key: str, value: str) -> bool:
        """Whether a form shows a setting at once, not folded away."""

    def setting_name(self, key: str) -> str:
        """The name of a setting, where its key does not say it; else empty."""
        return ""

    def setting_meaning(self, meaning: str) -> str:
        """The meaning of a setting here, by its description in the schema."""
        return meaning

    # ------------------------------------------------------------ moments

    @property
    def playback_unit(self) -> str:
        """The unit a recording goes through one by one."""
        return self.clock.unit

    def episode_name(self, index: int, end: int) -> str:
        """The log's name for episode number `index`, whose last step is at `end` of the clock."""
        return f"Episode {index}"

    def loop(self, maze: Maze, step: Step | None, glyphs: Glyphs) -> Story:
        """The words of the figure of the agent-environment loop about a step."""
        return self.story(maze, step, glyphs, self.exploring)

    @abstractmethod
    def success_terms(self, snapshot: Snapshot, roomy: bool) -> list[Term]:
        """The success for the line on top; with what is possible, where there is room."""

    def optimal_figures(self, snapshot: Snapshot) -> dict[str, float]:
        """Figures of the exact optimum: `success_rate`, `return`, `score` and `length`; one that
        says nothing here is left out."""
        figures = snapshot.optimal_figures
        return {
            "success_rate": figures.success_rate,
            "return": figures.optimal_return,
            "score": figures.expected_score,
            "length": figures.expected_length,
        }

    @property
    @abstractmethod
    def target_is_greedy(self) -> bool:
        """Whether the policy learned about is the greedy one, so that both have the same curve."""

    # ------------------------------------------------------------ one step, explained

    @abstractmethod
    def chosen(self, step: Step, glyphs: Glyphs) -> str:
        """The words that follow the behaviour policy: how an action was chosen, and its chance."""

    @abstractmethod
    def learned(self, step: Step) -> list[Fact]:
        """Facts about what the update made of a step."""

    @abstractmethod
    def ended(self, step: Step, glyphs: Glyphs) -> Fact:
        """The fact whether the episode ended at a step, how, and what that does to the update."""
