"""Proximal policy optimization. Schulman et al. 2017, eq. 7; for LLMs Ouyang et al. 2022.

    maximise E_t[ min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) ],  Â by GAE(γ, λ) from a value head

The value head is one linear layer on the model's last hidden states; it reads them and does not
change them, so that the adapters belong to the policy alone. KL to the reference is part of the
loss here, as in GRPO; Ouyang et al. have it in the reward of each token, which is kl_in = "reward".
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from numpy.typing import ArrayLike

from engine.config.algorithm import TUNABLE
from engine.config.llm import ClipHigh, ClipLow, LlmSettings
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import reinforce_advantages
from engine.llm.algorithms.base import Critic, LlmAlgorithm
from engine.llm.algorithms.normalisers import PER_TOKEN
from engine.llm.algorithms.ratios import TOKEN
from engine.llm.algorithms.surrogates import Clip, ClippedRatio, Surrogate


class LlmPpoSettings(LlmSettings, frozen=True, kw_only=True, tag="ppo"):
    """PPO: several careful passes over the same moves, judged one by one by a value head."""

    epochs: Annotated[
        int, Meta(ge=1, le=64, description="how often an update goes over its episodes")
    ] = 2
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    gae_lambda: Annotated[
        float,
        Meta(ge=0.0, le=1.0, description="λ: 0 trusts the value head, 1 the return that followed"),
    ] = 0.95
    value_learning_rate: Annotated[
        float,
        Meta(gt=0.0, description="Adam's step size for the value head", extra_json_schema=TUNABLE),
    ] = 1e-2
    value_clip: Annotated[
        float, Meta(gt=0.0, description="how far a value may move in one update before the clip")
    ] = 0.2


class Ppo(LlmAlgorithm[LlmPpoSettings]):
    name = "ppo"
    title = "PPO"
    settings = LlmPpoSettings
    comes_from = ("ppo", "actor-critic")
    source = "Schulman et al. 2017; for language models Ouyang et al. 2022"
    formula = "min( ρ Â, clip(ρ, 1−ε, 1+ε) Â ), ρ and Â for each token, Â by GAE"
    idea = "Several careful steps on the same samples, judged token by token by a value model."
    needs = "Completions sampled from the model now, and a reward for each; a value head."
    chosen_when = "Rewards come along the way, and there is something to learn a value from."
    with_llms = (
        "Suited where it can be learned what half an answer is worth. With one reward at the end "
        "the value model is slow to learn that, and takes memory; methods of groups do without."
    )

    normaliser = PER_TOKEN  # E_t: all tokens alike
    ratio = TOKEN
    has_critic = True

    def advantages(self, returns: ArrayLike, settings: LlmPpoSettings) -> Floats:
        return reinforce_advantages(returns)  # what the trajectory log compares episodes by

    def surrogate(self, settings: LlmPpoSettings) -> Surrogate:
        return ClippedRatio(Clip(settings.clip_low, settings.clip_high))

    def critic(self, settings: LlmPpoSettings) -> Critic:
        return Critic(settings.gae_lambda, settings.value_learning_rate, settings.value_clip)


ALGORITHM = Ppo()
