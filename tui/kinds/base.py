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
from tui.kinds import applies
from tui.kinds.clock import Clock
from tui.kinds.columns import Layouts
from tui.kinds.exploring import Exploring, exploring
from tui.kinds.loop import Story
from tui.kinds.views import View
from tui.model.snapshot import Snapshot
from tui.ui.facts import Fact
from tui.ui.glyphs import Glyphs
from tui.ui.terms import Term


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
    """What a run counts."""
    views: ClassVar[tuple[View, ...]]
    """What the curves panel can show, in the order of the key `m`; those without data are left
    out."""
    columns: ClassVar[Layouts]
    """Columns of the trajectory log, from wide to narrow."""
    story: ClassVar[type[Story]] = Story
    """What the figure of the agent-environment loop says."""
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
    """Its episodes have numbers of their own beside the clock."""
    one_learner: ClassVar[bool] = False
    """There is one learner, so most curves have no band."""
    has_maze: ClassVar[bool] = True
    """It is about a maze."""
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
        """How it explores; None for a method without exploration, or with one of its own."""
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
        """Who learns, in a few words: `16 agents`."""

    @property
    @abstractmethod
    def how(self) -> str:
        """How it comes to a policy, in a word or two."""

    @property
    def behaviour(self) -> str:
        """How it moves, in words, with the numbers of its exploration."""
        return self.algorithm.behaviour_policy

    @property
    def judge(self) -> str:
        """Who judges, and what is asked for, in words; empty where a maze pays."""
        return ""

    def model_facts(self) -> list[Fact]:
        """Which language model is trained, and what it decides about."""
        return []

    @abstractmethod
    def final_facts(self, final: Mapping[str, Any]) -> list[Fact]:
        """The last figures of a run, what it is about first."""

    # ------------------------------------------------------------ forms

    @abstractmethod
    def other_algorithms(self) -> tuple[str, ...]:
        """The names of the algorithms that the preset's budget and policy mean something to."""

    def applies(self, key: str) -> bool:
        """Whether changing a setting can have an effect, and is not what the preset is about."""
        return applies.applies(self.preset, key)

    @abstractmethod
    def matters(self, key: str, value: str) -> bool:
        """Whether a form shows a setting at once, not folded away."""

    def setting_name(self, key: str) -> str:
        """What a setting is called, where its key does not say it; else empty."""
        return ""

    def setting_meaning(self, meaning: str) -> str:
        """What a setting means here, by the description in the schema."""
        return meaning

    # ------------------------------------------------------------ moments

    @property
    def playback_unit(self) -> str:
        """What a recording goes through one by one."""
        return self.clock.unit

    def episode_name(self, index: int, end: int) -> str:
        """What the log calls episode number `index`, whose last step is at `end` of the clock."""
        return f"Episode {index}"

    def loop(self, maze: Maze, step: Step | None, glyphs: Glyphs) -> Story:
        """What the figure of the agent-environment loop says about a step."""
        return self.story(maze, step, glyphs, self.exploring)

    @abstractmethod
    def success_terms(self, snapshot: Snapshot, roomy: bool) -> list[Term]:
        """How well it does, for the line on top; with what is possible, where there is room."""

    def optimal_figures(self, snapshot: Snapshot) -> dict[str, float]:
        """What the exact optimum reaches, by `success_rate`, `return`, `score` and `length`; a
        figure that says nothing here is left out."""
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
        """How the action of a step was chosen, and its chance; follows the behaviour policy."""

    @abstractmethod
    def learned(self, step: Step) -> list[Fact]:
        """What the update made of a step."""

    @abstractmethod
    def ended(self, step: Step, glyphs: Glyphs) -> Fact:
        """Whether the episode ended at a step, how, and what that does to the update."""
