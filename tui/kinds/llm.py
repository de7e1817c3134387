"""The part that all kinds of run share that train a language model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.algorithms.registry import LANGUAGE_MODELS, Registry
from engine.config.llm import LlmSettings
from engine.config.preset import LlmPreset
from engine.learning.events import Step
from engine.llm.algorithms.base import LlmAlgorithm
from tui.kinds import llm_words
from tui.kinds.base import Hints, Kind
from tui.kinds.clock import UPDATES, Clock
from tui.kinds.columns import (
    ACTION,
    ADVANTAGE,
    AFTER,
    ARROW,
    CHANCE,
    MARK,
    NARROW,
    REWARD,
    STATE,
    TO_GO,
    Column,
    Layouts,
    T,
)
from tui.kinds.llm_views import LLM_VIEWS
from tui.kinds.loop import Piece, Pieces, Stop, Story, muted, term, tone
from tui.kinds.step_facts import policy_ended
from tui.kinds.views import View
from tui.model.snapshot import Snapshot
from tui.model.steps import arrow
from tui.ui.fact import Fact, Term
from tui.ui.glyphs import Glyphs
from tui.ui.text import clean, duration, number, percent, si, signed

CHOICE = Column("choice", "choice", "policy", 12)
CHOICE_MARK = MARK._replace(kind="choice-mark", slug="policy")
SHORT = (*NARROW[:3], CHOICE_MARK, CHANCE._replace(width=7), AFTER._replace(width=7), NARROW[-1])

MAIN = frozenset(
    {
        "model.name",
        "model.quantization",
        "model.observation_text",
        "model.lora.rank",
        "algorithm.learning_rate",
        "algorithm.learning_rate.start",
        "algorithm.learning_rate.end",
        "algorithm.learning_rate.steps",
        "algorithm.episodes",
        "algorithm.group_size",
        "algorithm.kl",
        "algorithm.entropy",
        "text.judge",
        "text.rule",
        "text.word",
        "text.pairs",
        "text.every",
        "model.max_tokens",
        "algorithm.temperature",
        "budget.updates",
        "budget.success_rate",
        "run.seed",
        "maze.slip",
    }
)
"""Settings that a form shows at once."""


class LlmStory(Story):
    """State, language model, action, environment, reward, with the numbers of one move.

    The moves of an episode are learned from together, so between the two halves stands what the
    update made of this move's probability.
    """

    def agent_side(self) -> list[Stop]:
        first, _, last = super().agent_side()
        return [first, Stop(term("language model", "language-model"), self._policy()), last]

    def _choice(self, step: Step) -> Piece:
        part = "explored" if llm_words.rank(step) > 1 else "exploited"
        return Piece(llm_words.choice(step, self.glyphs), part, "policy")

    def learning(self, *, brief: bool) -> Pieces:
        """The advantage, the probability before and after, and the return it comes from."""
        step = self.step
        if step is None:
            return [muted("waiting for the first update")]
        advantage = step.advantage_estimate
        pieces: Pieces = []
        if not math.isnan(advantage):
            label = term("A" if brief else "advantage", "advantage")
            pieces += [label, Piece(f" {signed(advantage)}", tone(advantage)), muted("  ")]
        if step.probabilities:
            which = arrow(self.maze, step.action, self.glyphs.solid)
            chance = number(step.probabilities[step.action], 3)
            if step.probabilities_after:
                after = number(step.probabilities_after[step.action], 3)
                chance = f"{chance} {self.glyphs.solid[2]} {after}"
            pieces += [term(f"π({which}|s)", "policy"), Piece(f" {chance}"), muted("  ")]
        return [
            *pieces,
            term("return", "return") if step.probabilities else term("reward", "verifiable-reward"),
            Piece(f" {number(step.target)}"),
            muted("  "),
            term("group mean", "group"),
            Piece(f" {number(step.before)}"),
        ]


@dataclass(frozen=True)
class LlmKind(Kind):
    """Runs of one language model, whose clock is the update."""

    preset: LlmPreset

    writes: ClassVar[str]
    """The model's task in words."""

    clock: ClassVar[Clock] = UPDATES
    views: ClassVar[tuple[View, ...]] = LLM_VIEWS
    columns: ClassVar[Layouts] = (
        (T, STATE, ACTION, CHOICE, CHANCE, AFTER, REWARD, TO_GO, ADVANTAGE),
        (T, STATE, ARROW, CHOICE_MARK, CHANCE, AFTER, REWARD, TO_GO, ADVANTAGE),
        (*SHORT, TO_GO._replace(title="G", width=8), ADVANTAGE),
        (*SHORT, ADVANTAGE),
        (*SHORT[:-2], ADVANTAGE),
    )
    """With the chance the model gave each move, before and after its update."""
    story = LlmStory
    registry: ClassVar[Registry[LlmAlgorithm[LlmSettings]]] = LANGUAGE_MODELS
    hints = Hints(
        over="It is over. Space replays it, u shows groups, m other curves, q leaves.",
        paused="Space goes on, . does one update; Enter explains the move, u shows its group.",
        running="Enter explains this move, u its group, 1-{layers} other layers, ? all keys.",
    )
    first_layer = 4  # π(a|s)
    learns_policy = True
    explores = False
    numbers_episodes = False
    one_learner = True
    has_groups = True

    # ------------------------------------------------------------ the preset

    @property
    def llm(self) -> LlmPreset:
        return self.preset

    @property
    def needs_gpu(self) -> bool:
        return self.preset.model.device.startswith("cuda")

    @property
    def learners(self) -> str:
        model = self.preset.model
        stored = "" if model.quantization == "none" else f" in {model.quantization}"
        return f"{model.name}{stored}"

    @property
    def how(self) -> str:
        return self.algorithm.policy_type

    def model_facts(self) -> list[Fact]:
        model = self.preset.model
        text = f"{clean(model.name)} ({model.quantization}), {self.writes}"
        return [Fact("model", "language-model", text)]

    def final_facts(self, final: Mapping[str, Any]) -> list[Fact]:
        """The kept adapters first: they are what the run is about."""
        metrics = final["metrics"]
        sampled = " (sampled)" if final["success_kind"] == "sampled" else ""
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

    # ------------------------------------------------------------ forms

    def other_algorithms(self) -> tuple[str, ...]:
        policy = self.preset.model.policy
        return tuple(a.name for a in LANGUAGE_MODELS.all() if policy in a.policies)

    def matters(self, key: str, value: str) -> bool:
        return key in MAIN

    def setting_name(self, key: str) -> str:
        table, _, name = key.partition(".")
        return f"reward for {name}" if table == "reward" else ""

    def setting_meaning(self, meaning: str) -> str:
        return llm_words.meaning(meaning)

    # ------------------------------------------------------------ moments

    @property
    def playback_unit(self) -> str:
        return "step"  # a recording goes through the moves of each update

    def episode_name(self, index: int, end: int) -> str:
        return f"Update {end}"

    def success_terms(self, snapshot: Snapshot, roomy: bool) -> list[Term]:
        """Success now, of the best adapters so far, and on mazes that are not trained on."""
        evaluation = snapshot.evaluation
        terms = []
        if evaluation is not None:
            figures = evaluation.figures
            success = f"success {percent(figures['success_rate'].mean)}"
            if evaluation.success_kind == "sampled":
                success += f" ± {percent(evaluation.success_stderr)}"
            if roomy and "optimal_success_rate" in figures:
                success += f" (optimum {percent(figures['optimal_success_rate'].mean)})"
            terms.append(Term(success, "success-rate"))
            if roomy and "best_success_rate" in figures:
                best = percent(figures["best_success_rate"].mean)
                terms.append(Term(f"best {best}", "best-adapters"))
        if snapshot.held_out is not None:
            held_out = percent(snapshot.held_out.figures["success_rate"].mean)
            terms.append(Term(f"held out {held_out}", "generalization-gap"))
        return terms

    def optimal_figures(self, snapshot: Snapshot) -> dict[str, float]:
        """Over all mazes that were evaluated, not only the one that is shown."""
        evaluation = snapshot.evaluation
        if evaluation is None:
            return super().optimal_figures(snapshot)
        known = evaluation.figures.get("optimal_success_rate")
        success = {} if known is None else {"success_rate": known.mean}
        return {**success, "return": evaluation.optimal_return}

    @property
    def target_is_greedy(self) -> bool:
        return False

    # ------------------------------------------------------------ one step, explained

    def chosen(self, step: Step, glyphs: Glyphs) -> str:
        chance = number(math.exp(step.log_prob), 2)
        return f"; {llm_words.choice(step, glyphs)} (chance of this action here {chance})"

    def learned(self, step: Step) -> list[Fact]:
        return llm_words.learned(step)

    def ended(self, step: Step, glyphs: Glyphs) -> Fact:
        return policy_ended(step, glyphs)
