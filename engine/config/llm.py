"""What a preset says when it trains a language model: `[model]`, `[warmup]`, and `[algorithm]`.

Plain data, read by the screens too: nothing here imports torch. Schedules count updates.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engine.config.algorithm import TUNABLE, AlgorithmSettings, KlEstimator, KlPlace, Schedule

Credit = Literal["episode", "state"]
RolloutCorrection = Literal["none", "token", "sequence"]
TOKEN_BUDGET = {"cpu": 512, "cuda": 8192}
"""Most tokens of one forward pass by default. What is fastest depends on the device: attention over
long rows costs a CPU more than it saves."""
OptimizerName = Literal["adam", "adam-8bit"]
Decay = Annotated[
    float,
    Meta(
        gt=0.0,
        le=1.0,
        description="estimates by state: what earlier updates' estimates keep of their weight",
    ),
]


class Lora(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Low-rank adapters on all linear layers: the only weights trained (Hu et al. 2021)."""

    rank: Annotated[
        int, Meta(ge=1, le=256, description="r: rank of each adapter; 1 to 32 is enough for RL")
    ] = 16
    alpha: Annotated[
        float, Meta(gt=0.0, description="the adapters' output is scaled by alpha / rank")
    ] = 32.0
    dropout: Annotated[
        float, Meta(ge=0.0, lt=1.0, description="dropout before the adapters; 0 for RL")
    ] = 0.0


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[model]` table: which language model is the policy, and how it acts."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            description="an alias (`icemaze models`), a Hugging Face id, or a local folder",
        ),
    ] = "smollm2-135m"
    quantization: Annotated[
        Literal["nf4", "int8", "none"],
        Meta(description="how the frozen base is stored: 4 bits, 8 bits, or as it is"),
    ] = "nf4"
    policy: Annotated[
        Literal["action", "route", "text"],
        Meta(
            description="action: the distribution over the action words is π(·|s), asked in every "
            "cell; route: one completion is the whole route; text: free text, with a [text] table"
        ),
    ] = "action"
    observation_text: Annotated[
        Literal["map", "local", "map+local"],
        Meta(
            description="what the model is told: the rows of the map; its four neighbours and "
            "where the prize lies (route policies: those of the start); or both"
        ),
    ] = "map"
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Meta(description="auto takes a GPU if there is one")
    ] = "auto"
    lora: Annotated[Lora, Meta(description="the trained adapters")] = Lora()
    token_budget: (
        Annotated[
            int,
            Meta(
                ge=64,
                description="most tokens of one forward pass: less needs less memory and changes "
                "no result (default 512 on a CPU; 8192 on a GPU, or as many as its memory holds)",
            ),
        ]
        | None
    ) = None
    gradient_checkpointing: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description="compute each layer again in the backward pass instead of keeping what it "
            "computed: far less memory, about a third more time, no other result (auto: where "
            "memory would not do)"
        ),
    ] = "auto"
    max_tokens: Annotated[
        int, Meta(ge=1, le=4096, description="route and text policies: most tokens of a completion")
    ] = 24
    words: Annotated[
        Literal["moves", "any"],
        Meta(
            description="route policies: which tokens may be written; moves are the move words and "
            "the end"
        ),
    ] = "moves"

    def tokens_at_once(self, device: str) -> int:
        """Most tokens of one forward pass on a device ("cpu", "cuda")."""
        return self.token_budget or TOKEN_BUDGET[device]


def with_new_names(data: dict[str, Any]) -> dict[str, Any]:
    """A preset's data in today's words: what was `model.policy = "plan"` is "route"."""
    model = data.get("model")
    if not isinstance(model, dict) or model.get("policy") != "plan":
        return data
    return {**data, "model": {**model, "policy": "route"}}


class Warmup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[warmup]` table: supervised updates on optimal moves before the first RL update."""

    updates: Annotated[int, Meta(ge=1, description="how many supervised updates")]
    learning_rate: Annotated[float, Meta(gt=0.0, description="Adam's step size for them")] = 3e-4
    routes: Annotated[
        int, Meta(ge=1, description="route policies: how many optimal routes an update shows")
    ] = 16


class LlmSettings(AlgorithmSettings, frozen=True, kw_only=True):
    """What all algorithms for language models have in common."""

    learning_rate: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | Schedule,
        Meta(
            description="Adam's step size for the adapters; a schedule counts updates",
            extra_json_schema=TUNABLE,
        ),
    ] = 3e-4
    episodes: Annotated[
        int, Meta(ge=1, le=65_536, description="episodes (or completions) an update learns from")
    ] = 64
    epochs: Annotated[
        int, Meta(ge=1, le=64, description="how often an update goes over its episodes")
    ] = 1
    temperature: Annotated[
        float,
        Meta(gt=0.0, le=10.0, description="sampling temperature of the behaviour policy"),
    ] = 1.0
    uniform: Annotated[
        Annotated[float, Meta(ge=0.0, lt=1.0)] | Schedule,
        Meta(
            description="share of moves drawn at random instead (action policies); each move is "
            "weighed with its own π/b, which undoes the bias of estimates by state (credit = "
            "'state', mpo); with whole-episode returns what random moves later did stays in them",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.0
    random_starts: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="share of episodes that begin in a random cell (action policies); the "
            "exact figures always begin at the start",
        ),
    ] = 0.0
    entropy: Annotated[
        Annotated[float, Meta(ge=0.0)] | Schedule,
        Meta(
            description="weight of the entropy bonus, which keeps the policy from settling early",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.0
    kl: Annotated[
        float,
        Meta(
            ge=0.0,
            description="β: weight of the KL to the reference policy, see kl_reference, "
            "kl_estimator and kl_in",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.0
    kl_reference: Annotated[
        Literal["base", "last_map"],
        Meta(
            description="the reference policy: the model without adapters; or, once the map has "
            "changed, with the adapters it had then (action policies), which holds on to what was "
            "learned before"
        ),
    ] = "base"
    kl_estimator: Annotated[
        Literal["auto", "k1", "k2", "k3", "exact"],
        Meta(
            description="how the KL to the reference is measured where it pulls: k1, k2, k3 from "
            "the tokens that were drawn, or exact over all moves (action policies, in the loss); "
            "auto: in the loss exact for action policies, else k3, and in the reward k1"
        ),
    ] = "auto"
    kl_in: Annotated[
        KlPlace,
        Meta(
            description="where β times the KL enters: loss adds it to what is minimised and "
            "differentiates it; reward takes it off what each move or token is paid"
        ),
    ] = "loss"
    rollout_correction: Annotated[
        RolloutCorrection,
        Meta(
            description="route and text policies: truncated importance weights for the difference "
            "between sampler and training pass (training-inference mismatch), one for each token, "
            "or one for the whole completion (sequence)"
        ),
    ] = "none"
    rollout_cap: Annotated[
        float, Meta(gt=0.0, description="C: largest weight of rollout_correction")
    ] = 2.0
    optimizer: Annotated[
        OptimizerName,
        Meta(
            description="adam, or adam-8bit: bitsandbytes' Adam, whose moments take 2 bytes an "
            "adapter weight instead of 8 and can be moved out of a full GPU"
        ),
    ] = "adam"
    max_grad_norm: Annotated[
        float, Meta(gt=0.0, description="gradients longer than this are shortened to it")
    ] = 1.0

    def estimator(self, *, moves_known: bool) -> KlEstimator:
        """The estimator of the KL to the reference; `moves_known`: whether the chances of all moves
        are, as those of an action policy."""
        if self.kl_estimator != "auto":
            return self.kl_estimator
        if self.kl_in == "reward":
            return "k1"
        return "exact" if moves_known else "k3"


class GroupSettings(LlmSettings, frozen=True, kw_only=True):
    """What methods have in common that compare episodes with each other."""

    group_size: Annotated[
        int, Meta(ge=2, le=4096, description="G: episodes from the same start that are compared")
    ] = 16
    credit: Annotated[
        Credit,
        Meta(
            description="episode: every move gets its episode's advantage; state: a move is "
            "compared with what else was tried in the same state (action policies)"
        ),
    ] = "episode"
    decay: Decay = 0.6


ClipLow = Annotated[
    float, Meta(gt=0.0, lt=1.0, description="ε below: ρ pays no further under 1 − ε")
]
ClipHigh = Annotated[float, Meta(gt=0.0, description="ε above: ρ pays no further over 1 + ε")]
"""The clipped ratio ρ = π / π_old (Schulman et al. 2017, eq. 7)."""


class ClippedGroupSettings(GroupSettings, frozen=True, kw_only=True):
    """Groups, and a clipped ratio."""

    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2


def scheduled(value: float | Schedule, update: int) -> float:
    """The value of a setting at an update count."""
    if not isinstance(value, Schedule):
        return float(value)
    part = min(1.0, update / value.steps)
    if value.shape == "exponential" and value.start > 0 and value.end > 0:
        return float(value.start * (value.end / value.start) ** part)
    return float(value.start + (value.end - value.start) * part)
