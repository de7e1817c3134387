"""The description of an algorithm: what its file says about itself, and explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.config.algorithm import AlgorithmSettings
from engine.env.maze import ACTION_NAMES
from engine.learning.events import Step

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.learning.custom_file import CustomFile


@dataclass(frozen=True, slots=True)
class Explanation:
    """One update, told three ways."""

    formula: str
    """The update rule in symbols."""
    numbers: str
    """The same rule with this step's numbers in it."""
    words: str
    """The same in plain words."""


def pay_of(step: Step) -> str:
    """The pay of the learner for a step, in numbers: `0.5`, or `0.6 (0.5 and +0.1 besides)`."""
    words = f"{step.paid:.4g}"
    return f"{words} ({step.reward:.4g} and {step.extra:+.4g} besides)" if step.extra else words


RENAMED_HOOKS = {
    "make_knobs": "make_hyperparameters",
    "knob_metrics": "hyperparameter_metrics",
    "beliefs": "learned_parameters",
}
"""Methods of an algorithm that had another name once."""


class Algorithm:
    """One algorithm. Its file subclasses this and names the instance `ALGORITHM`.

    Shapes: N agents, O observations, A actions. Learned tables are a NamedTuple of arrays with N
    as first axis; `hyperparameters` are the settings a kernel reads, refreshed when one is tuned.
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
    """The new idea of the algorithm, in one sentence."""
    needs: ClassVar[str] = ""
    """The conditions under which the algorithm can work."""
    chosen_when: ClassVar[str] = ""
    """When people choose it, as what follows "when"."""
    with_llms: ClassVar[str] = ""
    """How well it suits language models, and why, in one or two sentences."""
    custom_file: CustomFile | None = None
    """The user's file it was loaded from; None for the algorithms of the shelf."""

    def __init_subclass__(cls) -> None:
        """Let a hook go by its old name too: files of users may define or call it by that."""
        super().__init_subclass__()
        for old, new in RENAMED_HOOKS.items():
            for name, other in ((old, new), (new, old)):
                if name in vars(cls) and other not in vars(cls):
                    setattr(cls, other, vars(cls)[name])

    def check(self, preset: Preset) -> None:
        """Raise UserError for what only this algorithm cannot do."""

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        """The update of one step, with its numbers put into the formula, and in words.

        `actions` are the action names of its world.
        """
        raise AssertionError(f"{type(self).__name__} must explain its update")
