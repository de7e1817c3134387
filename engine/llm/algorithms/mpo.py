"""Maximum a posteriori policy optimization. Abdolmaleki et al. 2018, section 3.

    E-step   q(a|s) ∝ b(a|s) exp( A(s,a) / η )
    M-step   minimise Σ_s KL( q(·|s) ‖ π(·|s) )

First a better policy is computed for every state as a table, from the values of all moves tried so
far; then the model is fitted to it. What is improved is the behaviour b that was really played, π
mixed with random moves, and a share of the table is left to chance (`floor`): a move that was
unlucky a few times is tried again. Both shrink as the estimates grow reliable. The values are those
of π and not of b (Retrace, Munos et al. 2016), or exploring would frighten the policy.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from numpy.typing import ArrayLike

from engine.config.algorithm import TUNABLE, Schedule
from engine.config.llm import Decay, LlmSettings
from engine.config.preset import Preset
from engine.core.arrays import Floats
from engine.core.errors import UserError
from engine.llm.algorithms.advantages import reinforce_advantages
from engine.llm.algorithms.base import Improvement, LlmAlgorithm, Scale, StateCredit
from engine.llm.algorithms.normalisers import PER_TOKEN
from engine.llm.algorithms.ratios import TOKEN


class LlmMpoSettings(LlmSettings, frozen=True, kw_only=True, tag="mpo"):
    """MPO: improve the whole policy table, then fit the model to it."""

    episodes: Annotated[
        int, Meta(ge=1, le=65_536, description="episodes an update learns from")
    ] = 2048
    epochs: Annotated[
        int, Meta(ge=1, le=64, description="M-step: how many passes fit the model to the table")
    ] = 4
    eta: Annotated[
        float,
        Meta(
            gt=0.0,
            description="η, temperature of the E-step: less trusts the estimated advantages more",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.3
    floor: Annotated[
        Annotated[float, Meta(ge=0.0, lt=1.0)] | Schedule,
        Meta(description="share of the improved table left to chance", extra_json_schema=TUNABLE),
    ] = 0.0
    decay: Decay = 0.6
    scale: Annotated[
        Scale,
        Meta(
            description="advantages over their root mean square: of all moves, or of each state's"
        ),
    ] = "state"


class Mpo(LlmAlgorithm[LlmMpoSettings]):
    name = "mpo"
    title = "MPO"
    settings = LlmMpoSettings
    policy_type = "off-policy"
    comes_from = ("policy-iteration",)
    source = "Abdolmaleki et al. 2018"
    formula = "fit π to softmax( ln π_old + A/η )"
    idea = "Policy iteration in soft steps: compute a better policy, then fit the model to it."
    needs = "Advantages for all actions of a state, such as running means of returns."
    chosen_when = "Moves are few and luck is large: gradients from samples are too noisy."
    with_llms = (
        "Not to free text, as it is here: it needs an advantage for every action of a state, and "
        "after a given text few of 50,000 tokens are ever tried. It suits a choice between a few "
        "moves."
    )

    policies = ("action",)
    normaliser = PER_TOKEN
    ratio = TOKEN
    fits_table = True

    def check(self, preset: Preset) -> None:
        settings = preset.algorithm
        assert isinstance(settings, LlmMpoSettings)
        for key, expected in (("kl_in", "loss"), ("kl_estimator", "exact")):
            value = getattr(settings, key)
            if value not in (expected, "auto"):
                raise UserError(
                    f'algorithm.{key} is "{value}", but mpo fits the model in all cells at once, '
                    f'where the KL is known without an estimate; expected "{expected}".'
                )

    def advantages(self, returns: ArrayLike, settings: LlmMpoSettings) -> Floats:
        return reinforce_advantages(returns)  # what the trajectory log compares episodes by

    def clip(self, settings: LlmMpoSettings) -> None:
        return None

    def state_credit(self, settings: LlmMpoSettings) -> StateCredit:
        return StateCredit(settings.decay, settings.scale)

    def improvement(self, settings: LlmMpoSettings) -> Improvement:
        return Improvement(settings.eta, settings.floor)


ALGORITHM = Mpo()
