"""Live values of the terms that come with language models; none in a run that trains a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.config.llm import GroupSettings, LlmSettings
from engine.config.preset import LlmPreset
from tui import kinds
from tui.glossary.values.learning import described, temperature
from tui.glossary.values.policy_gradient import curve, either, learned_step, setting
from tui.glossary.values.words import Value, action, latest, number, per_action, place, plural

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot

FORMATS = {
    "nf4": "nf4: about 0.52 bytes a weight",
    "int8": "int8: one byte a weight",
    "none": "none: weights as they are",
}
TOLD = {
    "map": "the rows of the map",
    "local": "the four neighbours, and where the prize lies",
    "map+local": "the rows of the map, the four neighbours, and where the prize lies",
}


def told(say: Callable[[Snapshot, LlmPreset], str | None]) -> Value:
    """What is said of a run that trains a language model; nothing of others."""

    def value(snapshot: Snapshot) -> str | None:
        preset = kinds.of(snapshot.preset).llm
        return None if preset is None else say(snapshot, preset)

    return value


def of_preset(say: Callable[[LlmPreset], str | None]) -> Value:
    """The same where the preset alone decides."""
    return told(lambda _, preset: say(preset))


def of_plans(say: Callable[[LlmPreset], str]) -> Value:
    """The same for route policies; action policies have no such thing."""
    return of_preset(
        lambda preset: say(preset) if kinds.of(preset).writes_routes else "not with action policies"
    )


def of_llm(value: Value) -> Value:
    """Another value, given only for language models."""
    return told(lambda snapshot, _: value(snapshot))


def only(name: str, words: str, otherwise: str) -> Value:
    """A setting that only some algorithms have."""

    def say(preset: LlmPreset) -> str:
        found: Any = getattr(preset.algorithm, name, None)
        if found is None:
            return otherwise
        return words.format(described(found).removeprefix("always "))

    return of_preset(say)


def share(name: str, of: str) -> Value:
    """A curve between 0 and 1."""

    def value(snapshot: Snapshot) -> str | None:
        found = latest(snapshot, name)
        return None if found is None else f"{found:.0%} of {of} in the newest update"

    return value


def listed(*parts: tuple[str, str]) -> Value:
    """The newest points of several curves: `sampling 0.4, training 1.9`."""

    def value(snapshot: Snapshot) -> str | None:
        known = [(words, latest(snapshot, name)) for name, words in parts]
        text = ", ".join(f"{words} {number(v)}" for words, v in known if v is not None)
        return text or None

    return value


# ---------------------------------------------------------------- the model


def model(preset: LlmPreset) -> str:
    told_of = preset.model
    return f"{told_of.name}, {told_of.quantization}, as {told_of.policy} policy"


def policy_form(form: str) -> Value:
    def say(snapshot: Snapshot, preset: LlmPreset) -> str:
        if preset.model.policy != form:
            return f"not in this run: it has {preset.model.policy} policies"
        if form == "route":
            return f"this run's: at most {preset.model.max_tokens} tokens a route"
        if snapshot.policy is None:
            return "this run's"
        start = int(snapshot.mdp.start.argmax())
        chances = snapshot.policy.target[snapshot.mdp.observation[start]]
        return f"at the start, {place(snapshot, start)}: {per_action(snapshot, chances.tolist())}"

    return told(say)


def quantization_is(kind: str) -> Value:
    def say(preset: LlmPreset) -> str:
        mine = preset.model.quantization
        return f"yes: {FORMATS[mine]}" if mine == kind else f"not in this run: {FORMATS[mine]}"

    return of_preset(say)


def lora(preset: LlmPreset) -> str:
    of = preset.model.lora
    scale = number(of.alpha / of.rank)
    return f"rank {of.rank}, alpha {number(of.alpha)}: its output counts × {scale}"


def token_budget(preset: LlmPreset) -> str:
    budget = preset.model.token_budget
    if budget is None:
        return "as many tokens at once as suit the device"
    return f"at most {budget:,} tokens at once"


def optimizer(preset: LlmPreset) -> str:
    assert isinstance(preset.algorithm, LlmSettings)
    mine = preset.algorithm.optimizer
    return "used in this run" if mine == "adam-8bit" else f"not in this run, which uses {mine}"


def token_probability(snapshot: Snapshot) -> str | None:
    step = learned_step(snapshot)
    if step is None or math.isnan(step.log_prob):
        return None
    chance = math.exp(step.log_prob)
    return f"{chance:.1%} for {action(snapshot, step.action)} (log {number(step.log_prob)})"


def best(snapshot: Snapshot, _: LlmPreset) -> str | None:
    known = snapshot.evaluation.figures if snapshot.evaluation else {}
    if "best_success_rate" not in known:
        return None
    now = known["success_rate"].mean
    return f"success {number(known['best_success_rate'].mean)} (now {number(now)})"


# ---------------------------------------------------------------- learning


def groups(preset: LlmPreset) -> str:
    settings = preset.algorithm
    if not isinstance(settings, GroupSettings):
        return "no groups in this run"
    return f"{settings.episodes // settings.group_size} groups of {settings.group_size} an update"


def reward_weights(preset: LlmPreset) -> str:
    of = preset.reward
    return ", ".join(f"{n} × {number(getattr(of, n))}" for n in of.__struct_fields__)


def prompt(preset: LlmPreset) -> str:
    return f"tells {TOLD[preset.model.observation_text]}"


def warm_start(preset: LlmPreset) -> str:
    if preset.warmup is None:
        return "none in this run"
    return f"the first {plural(preset.warmup.updates, 'update')} of this run"


def clip_range(preset: LlmPreset) -> str:
    low, high = (getattr(preset.algorithm, f"clip_{side}", None) for side in ("low", "high"))
    if low is None or high is None:
        return "no clip in this run"
    return f"ρ from {number(1 - low)} to {number(1 + high)}"


def correction(preset: LlmPreset) -> str:
    settings = preset.algorithm
    assert isinstance(settings, LlmSettings)
    if preset.model.policy == "action":
        return "not with action policies: they have no sampler that could differ"
    if settings.rollout_correction == "none":
        return "none in this run"
    return f"by {settings.rollout_correction}, weights up to {number(settings.rollout_cap)}"


def critic(snapshot: Snapshot, preset: LlmPreset) -> str:
    if not hasattr(preset.algorithm, "value_clip"):
        return f"not in this run: {snapshot.algorithm.title} has none"
    loss = latest(snapshot, "value_loss")
    return "this run's critic" + ("" if loss is None else f"; value loss {number(loss)}")


# ---------------------------------------------------------------- figures


def held_out(snapshot: Snapshot, preset: LlmPreset) -> str:
    train, test = preset.maze.train, preset.maze.test
    if train is None:
        return "none in this run: it has one maze"
    if test is None:
        return f"none in this run: it has {plural(train.count, 'training maze')} only"
    text = f"{train.count:,} to train on, {test.count:,} held out"
    if snapshot.held_out is None:
        return text
    return f"{text}; success there {number(snapshot.held_out.figures['success_rate'].mean)}"


def gap(snapshot: Snapshot, _: LlmPreset) -> str | None:
    trained, other = snapshot.evaluation, snapshot.held_out
    if other is None or trained is None:
        return None
    here, there = (e.figures["success_rate"].mean for e in (trained, other))
    return f"{number(here - there)} = {number(here)} − {number(there)}"


def baselines(snapshot: Snapshot, _: LlmPreset) -> str | None:
    evaluation = snapshot.held_out or snapshot.evaluation
    known = evaluation.figures if evaluation else {}
    names = {"random": "random moves", "one_direction": "one direction", "optimal": "optimum"}
    parts = [
        f"{words} {number(known[f'{name}_success_rate'].mean)}"
        for name, words in names.items()
        if f"{name}_success_rate" in known
    ]
    return ", ".join(parts) or None


def sampled(snapshot: Snapshot, _: LlmPreset) -> str | None:
    evaluation = snapshot.evaluation
    if evaluation is None or "success_rate" not in evaluation.figures:
        return None
    if evaluation.success_kind == "exact":
        return "not in this run: its success is exact"
    success = evaluation.figures["success_rate"].mean
    return f"{number(success)} ± {number(evaluation.success_stderr)} (standard error)"


NO_MPO = "not in this run: only MPO has it"
REWARDS = tuple((f"reward_{part}", part) for part in ("prize", "steps", "format", "progress"))
SECONDS = (("seconds_sampling", "seconds sampling"), ("seconds_training", "training"))
VALUES: dict[str, Value] = {
    "language-model": of_preset(model),
    "token": of_llm(either(curve("tokens_per_second", "{} a second lately"), of_preset(model))),
    "tokenizer": of_preset(lambda p: f"that of {p.model.name}"),
    "prompt": of_preset(prompt),
    "chat-template": of_preset(lambda p: f"that of {p.model.name}"),
    "completion": of_llm(
        either(
            of_plans(lambda p: f"{p.algorithm.episodes} an update"),  # type: ignore[attr-defined]
            curve("completion_tokens", "{} tokens on average lately"),
        )
    ),
    "temperature": either(of_llm(setting("temperature")), temperature),
    "token-probability": of_llm(token_probability),
    "action-policy": policy_form("action"),
    "route-policy": policy_form("route"),
    "observation-text": of_preset(lambda p: f"{p.model.observation_text}: {prompt(p)}"),
    "base-model": of_preset(lambda p: p.model.name),
    "lora": of_preset(lora),
    "lora-rank": of_preset(lambda p: str(p.model.lora.rank)),
    "adapter": of_preset(lora),
    "best-adapters": told(best),
    "quantization": of_preset(lambda p: FORMATS[p.model.quantization]),
    "nf4": quantization_is("nf4"),
    "int8": quantization_is("int8"),
    "device": of_preset(lambda p: f"{p.model.device} in the preset"),
    "memory-use": of_llm(
        listed(("memory_gib", "GiB of the worker"), ("gpu_memory_gib", "of the GPU"))
    ),
    "packed-pass": of_preset(token_budget),
    "micro-batch": of_preset(token_budget),
    "gradient-checkpointing": of_preset(
        lambda p: f"{p.model.gradient_checkpointing} in the preset"
    ),
    "adam-8bit": of_preset(optimizer),
    "tokens-per-second": of_llm(either(curve("tokens_per_second", "{}"), listed(*SECONDS))),
    "warm-start": of_llm(either(of_preset(warm_start), curve("warmup_loss", "loss {}"))),
    "verifiable-reward": of_plans(reward_weights),
    "reward-parts": of_llm(either(of_plans(reward_weights), listed(*REWARDS))),
    "truncated-completion": of_llm(
        either(
            of_plans(lambda p: f"at most {p.model.max_tokens} tokens"),
            share("cut_off_share", "the completions"),
        )
    ),
    "unreadable-completion": of_llm(
        either(
            of_plans(lambda p: f"it may write {p.model.words}"),
            share("unreadable_share", "the completions"),
        )
    ),
    "group-advantage": of_llm(either(of_preset(groups), curve("advantage_std", "spread {}"))),
    "all-equal-group": of_llm(either(of_preset(groups), share("equal_groups", "them"))),
    "state-credit": only("credit", "by {}", "not a setting of this run's algorithm"),
    "dynamic-sampling": only("draws", "at most {} draws", "not in this run: only DAPO does it"),
    "overlong-shaping": only("overlong", "the last {} tokens", "not in this run: only DAPO has it"),
    "clip-higher": of_preset(clip_range),
    "clip-binding": of_llm(
        either(of_preset(clip_range), curve("clip_binding", "it binds in {} of the newest terms"))
    ),
    "ratio-statistics": of_llm(listed(("ratio_mean", "mean"), ("ratio_max", "largest"))),
    "training-inference-mismatch": of_llm(
        listed(("mismatch", "mean |Δ log π|"), ("mismatch_max", "largest"))
    ),
    "rollout-correction": of_preset(correction),
    "policy-loss": of_llm(curve("loss", "{} in the newest update")),
    "k3-estimator": of_llm(curve("reference_kl", "KL to the reference {}")),
    "adapter-off": of_llm(either(setting("kl", "β = {}"), curve("reference_kl", "KL {}"))),
    "gradient-clipping": of_llm(
        either(setting("max_grad_norm", "at most {}"), curve("gradient_norm", "length {} lately"))
    ),
    "value-head": told(critic),
    "uniform-mixture": of_llm(setting("uniform", "{} of the moves")),
    "importance-weight": of_llm(setting("uniform", "{} of the moves are drawn at random")),
    "e-step": only("eta", "η = {}", NO_MPO),
    "m-step": of_llm(either(only("floor", "floor {}", NO_MPO), setting("epochs", "{} passes"))),
    "held-out-mazes": told(held_out),
    "generalization-gap": told(gap),
    "map-blind-baseline": told(baselines),
    "sampled-success": told(sampled),
}
