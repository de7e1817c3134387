"""What an algorithm's file says about itself, and what the learner asks of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.config.algorithm import AlgorithmSettings
from engine.env.maze import ACTION_NAMES
from engine.learning.events import Step

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.learning.custom_file import OwnFile


@dataclass(frozen=True, slots=True)
class Explanation:
    """One update, told three ways."""

    formula: str
    """The update rule in symbols."""
    numbers: str
    """The same rule with this step's numbers in it."""
    words: str
    """What happened, in plain words."""


def pay_of(step: Step) -> str:
    """What the learner was paid for a step, in numbers: `0.5`, or `0.6 (0.5 and +0.1 besides)`."""
    words = f"{step.paid:.4g}"
    return f"{words} ({step.reward:.4g} and {step.extra:+.4g} besides)" if step.extra else words


class Algorithm:
    """One algorithm. Its file subclasses this and names the instance `ALGORITHM`.

    Shapes: N agents, O observations, A actions. Learned tables are a NamedTuple of arrays with N
    as first axis; `knobs` are the settings a kernel reads, refreshed when one is tuned.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[type[AlgorithmSettings]]
    source: ClassVar[str]
    """Book and equation, or paper and section."""
    family: ClassVar[Literal["planning", "prediction", "value", "policy"]]
    model_based: ClassVar[bool] = False
    policy_type: ClassVar[Literal["on-policy", "off-policy", "none"]]
    behaviour_policy: ClassVar[str]
    """How it moves, in words."""
    target_policy: ClassVar[str]
    """Which policy it learns about, in words."""
    update_name: ClassVar[str] = "TD step"
    formula: ClassVar[str]
    kernel: ClassVar[Callable[..., Any]]
    idea: ClassVar[str] = ""
    """What is new about it, in one sentence."""
    needs: ClassVar[str] = ""
    """What must be there before it can work."""
    chosen_when: ClassVar[str] = ""
    """When people choose it, as what follows "when"."""
    own_file: OwnFile | None = None
    """The user's file it was loaded from; None for the algorithms of the shelf."""

    def check(self, preset: Preset) -> None:
        """Raise UserError for what only this algorithm cannot do."""

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        """The update of one step, with its numbers put into the formula, and in words.

        `actions` are the action names of its world.
        """
        raise AssertionError(f"{type(self).__name__} must explain its update")
