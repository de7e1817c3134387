"""The steps of `gpu.py` that check and measure; `gpu_recovery` has those in which something breaks.

Each gives its rows one by one.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from gpu_measure import ACTION, ROUTE, Passes, Scale, format_of, make, memory_of, updates
from gpu_models import label, model_for
from gpu_process import sentence_of
from gpu_report import Row, failed, verdict

from engine.llm.forward.packing import TOLERANCE, Tokens
from engine.llm.learner import LlmLearner
from engine.llm.models import device as devices
from engine.llm.models.catalog import DEFAULT

ANY_WORD = ["model.words=any", "algorithm.episodes=16", "algorithm.group_size=16"]
HALVINGS = 4
GROSS = 0.1
"""Mean |Δ log p| between sampler and training pass that 16 bits do not explain: three times what
they cost SmolLM2 on a CPU."""
REFERENCE = {
    "qwen3-0.6b": "reference, other hardware: 13.3k tokens/s, 5.1 GiB",
    "qwen3-4b": "reference, other hardware: 6.2k tokens/s, 23.3 GiB",
}
"""LoRA of rank 16 on an H100 with sequences of 16k tokens, prime-rl's figures."""
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "trl")


def machine() -> Iterator[Row]:
    """What this is measured on, and that torch computes there."""
    choice = devices.choose("auto")
    here = [choice.reason, f"driver {_driver()}" if choice.device.type == "cuda" else ""]
    if choice.device.type == "cuda":
        size = torch.cuda.get_device_properties(choice.device).total_memory / 2**30
        here.append(f"{size:.0f} GiB, CUDA {torch.version.cuda}")
    here += [f"Python {platform.python_version()}", *(f"{n} {_version(n)}" for n in PACKAGES)]
    made = torch.randn(64, 64, device=choice.device, dtype=choice.dtype)
    figures = {"cuda": float(choice.device.type == "cuda"), "sum": float((made @ made).sum())}
    yield verdict(Row("machine", ", ".join(filter(None, here)), figures=figures), True, "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _driver() -> str:
    """NVIDIA's, as nvidia-smi tells it."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip()


# ---------------------------------------------------------------- right?


def right(scale: Scale, quantization: str) -> Iterator[Row]:
    """Gradients, packing, and sampler against training pass, once the adapters are not fresh."""
    model = model_for(DEFAULT, scale.scratch, scale.tiny)
    # Refuses a model whose packed pass is wrong. Over all words: moves alone are soon certain.
    learner = make(scale, ROUTE, model, quantization, ["model.words=any"])
    learner.begin()
    learner.advance(2)
    name = f"{label(DEFAULT, model)}, {format_of(learner)}"
    looks: dict[str, Callable[[LlmLearner, str], Row]] = {
        "gradients after an evaluation": _gradients,
        "packed against plain passes": _packed,
        "sampler against training pass": _mismatch,
    }
    for what, look in looks.items():
        try:
            yield look(learner, f"{what}: {name}")
        except Exception as error:  # the others can still be looked at
            yield failed(f"{what}: {name}", sentence_of(error))


def _asked(learner: LlmLearner, count: int) -> list[Tokens]:
    """`count` times the prompt of the preset's only maze."""
    writer = learner.task.writer
    return [writer.prompt(*writer.all_asks([0])[0]).tokens] * count


def _some(learner: LlmLearner) -> tuple[list[Tokens], Any]:
    """16 completions as the sampler draws them, and their prompts."""
    prompts = _asked(learner, 16)
    numbers = torch.Generator().manual_seed(1)
    return prompts, learner.task.policy.sample(prompts[:1], 16, numbers)


def _gradients(learner: LlmLearner, what: str) -> Row:
    """Every adapter has one: bitsandbytes may repack weights in evaluation, and lose them."""
    policy, (prompts, drawn) = learner.task.policy, _some(learner)
    policy.log_probs(prompts, drawn.rows())  # the evaluation
    policy.forward(prompts, drawn.rows()).log_probs.sum().backward()
    norms = {
        name: 0.0 if p.grad is None else float(p.grad.norm())
        for name, p in learner.optimizers.policy.parameters.items()
    }
    learner.optimizers.zero()
    without = sum(norm == 0 for norm in norms.values())
    figures = {"adapters": len(norms), "without": without, "norm": sum(norms.values())}
    row = Row(what, f"{len(norms) - without} of {len(norms)} adapters have one", figures=figures)
    return verdict(row, without == 0, f"{without} adapters have no gradient")


def _packed(learner: LlmLearner, what: str) -> Row:
    """The engine's own check, without which it does not train."""
    found = learner.task.agreement()
    text = f"|Δ log p| in float32 at most {found.error:.1e}"
    figures = {"largest": found.error}
    if found.dtype != "float32":
        text += f"; in {found.dtype} {found.packed:.1e} on average, plain {found.plain:.1e}"
        figures |= {"packed": found.packed, "plain": found.plain}
    return verdict(Row(what, text, figures=figures), found.good, "packed and plain disagree")


def _mismatch(learner: LlmLearner, what: str) -> Row:
    """|Δ log p| of tokens between the cached sampler and a packed pass with gradients."""
    prompts, drawn = _some(learner)
    trained = learner.task.policy.forward(prompts, drawn.rows()).log_probs.detach().cpu()
    away = (trained - drawn.log_probs.cpu()).abs()[drawn.mask.cpu()]
    figures = {"mean": float(away.mean()), "largest": float(away.max())}
    text = f"|Δ log p| {figures['mean']:.1e} on average, {figures['largest']:.1e} at most"
    allowed = TOLERANCE if learner.model.dtype == torch.float32 else GROSS
    held = figures["mean"] <= allowed
    return verdict(Row(what, text, figures=figures), held, f"more than {allowed:g} on average")


# ---------------------------------------------------------------- how fast, how much memory?


def preset(scale: Scale, name: str, quantization: str) -> Iterator[Row]:
    """A shipped preset with its own model."""
    model = model_for(DEFAULT, scale.scratch, scale.tiny)
    learner = make(scale, name, model, quantization)
    yield updates(learner, scale, f"`{name}`, {label(DEFAULT, model)}, {format_of(learner)}")


def shape(scale: Scale, alias: str, quantization: str) -> Iterator[Row]:
    """A model of that shape: both presets, long text over all words, and a long training pass."""
    model = model_for(alias, scale.scratch, scale.tiny)
    text = [*ANY_WORD, f"model.max_tokens={scale.written}"]
    for name, more, told in (
        (ACTION, [], f"`{ACTION}`"),
        (ROUTE, [], f"`{ROUTE}`"),
        (ROUTE, text, f"16 × {scale.written} tokens over all words"),
    ):
        learner = make(scale, name, model, quantization, more)
        what = f"{told}, {label(alias, model)}, {format_of(learner)}"
        try:
            yield updates(learner, scale, what)
        except torch.cuda.OutOfMemoryError as error:
            yield failed(what, sentence_of(error))
        if more:
            yield long_pass(learner, scale, alias, model)
        del learner  # or its memory would be among the next one's


def long_pass(learner: LlmLearner, scale: Scale, alias: str, model: str) -> Row:
    """Tokens per second of training alone: 16 completions of random tokens, in as many passes as
    the token budget asks for, and one step of Adam."""
    rng = np.random.default_rng(0)
    prompts, policy = _asked(learner, 16), learner.task.policy
    words = rng.integers(3, learner.model.limits.vocabulary, (16, scale.trained)).tolist()
    meter = Passes(learner.model.model)
    if learner.model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(learner.model.device)

    def step() -> float:
        for part in policy.split(prompts, words):
            scores = policy.forward([prompts[b] for b in part], [words[b] for b in part])
            (-scores.log_probs.sum() / (16 * scale.trained)).backward()
        return learner.optimizers.policy.step(1e-6, 1.0)

    for _ in range(HALVINGS):
        try:
            step()
            break
        except torch.cuda.OutOfMemoryError:
            learner.optimizers.zero()
            policy.token_budget //= 2
            torch.cuda.empty_cache()
    seconds, norms = [], []
    for _ in range(scale.updates[0]):
        meter.start()
        norms.append(step())
        seconds.append(meter.stop().seconds)
    speed = meter.trained / statistics.median(seconds)
    peaks, told = memory_of(learner, meter.largest)
    what = (
        f"training pass of 16 × {scale.trained} tokens, {label(alias, model)}, {format_of(learner)}"
    )
    figures = {"trained_per_second": speed, "norm": norms[-1], **peaks}
    return verdict(
        Row(what, f"**{speed:,.0f} tokens/s**; {told}", REFERENCE.get(alias, ""), figures),
        norms[-1] > 0,
        "there is no gradient",
    )


def against_trl(scale: Scale, quantization: str, max_tokens: int) -> Iterator[Row]:
    """Seconds of one update, ours and TRL's taking turns; see `llm_routes`."""
    from llm_routes import GROUP, OURS, TRL, measure, reward_of

    model = model_for(DEFAULT, scale.scratch, scale.tiny)
    gaps: list[float] = []
    costs = measure(
        1 if scale.tiny else 3,
        quantization,
        max_tokens,
        [f"model.name={model}"],
        # What a model that knows nothing writes is no route, and all of it would be paid alike.
        reward_of if model == DEFAULT else _evenness,
        lambda what, gap, loaded, limit: gaps.append(gap),
    )
    ours, theirs = (statistics.median(c.seconds for c in costs[name]) for name in (OURS, TRL))
    ratio = statistics.median(
        b.seconds / a.seconds for a, b in zip(costs[OURS], costs[TRL], strict=True)
    )
    figures = {"ours": ours, "trl": theirs, "ratio": ratio, "gradient_gap": gaps[0]}
    what = (
        f"an update of {GROUP} completions of at most {max_tokens} tokens against TRL's "
        f"GRPOTrainer: {label(DEFAULT, model)}, {quantization}"
    )
    text = f"{ours:.3f} s against {theirs:.3f}: **{ratio:.2f} times**"
    beside = f"gradients on TRL's completions differ by {gaps[0]:.1e} (relative)"
    yield verdict(Row(what, text, beside, figures), True, "")


def _evenness(learner: LlmLearner, tokens: list[int]) -> float:
    """A reward by which completions of random tokens differ: how many of them are even."""
    return sum(token % 2 == 0 for token in tokens) / len(tokens)
