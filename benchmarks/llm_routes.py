"""An update of a policy that writes routes, against TRL's GRPOTrainer: see `llm.py`."""

from __future__ import annotations

import importlib
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from llm_measure import (
    AS_AGREED,
    GRADIENT_TOLERANCE,
    Cost,
    Meter,
    check,
    gradient_gap,
    learner_of,
    report,
)
from torch import Tensor

from engine.llm.algorithms.advantages import grpo_advantages
from engine.llm.algorithms.losses import TokenBatch
from engine.llm.learner import LlmLearner
from engine.llm.models import adapters, loading
from engine.llm.tasks.completions import CompletionObjective, TokenTerms
from engine.llm.tasks.routes.batch import RouteBatch, collect
from engine.llm.tasks.routes.rewards import parse_moves, reward_route, walk
from engine.llm.tasks.streams import stream

BAR = 3.0
GROUP = 16
ROUTES = [
    "model.policy=route", "model.words=any",
    f"algorithm.episodes={GROUP}", f"algorithm.group_size={GROUP}",
]  # fmt: skip
OURS, TRL = "Ice Maze", "TRL GRPOTrainer"


def our_update(learner: LlmLearner, update: int) -> RouteBatch:
    """What TRL does in a step and no more: sample, judge, one optimizer step; no evaluation."""
    run, task = learner.run, learner.task
    numbers = stream(run.seed, update, 0)
    batch = collect(task.writer, task.policy, run.algorithm, run.settings, 1, numbers)
    grouped = batch.totals.reshape(-1, batch.group_size)
    compared = run.algorithm.advantages(grouped, run.settings).reshape(-1)
    terms = TokenTerms(torch.from_numpy(compared).float())
    objective = CompletionObjective(run, task.policy, None, batch, batch.totals, terms, {})
    for part in objective.parts():
        objective.loss(part).total.backward()  # type: ignore[no-untyped-call]
    learner.optimizers.policy.step(run.learning_rate, run.settings.max_grad_norm)
    return batch


def reward_of(learner: LlmLearner, tokens: list[int]) -> float:
    """What a completion earns, as the learner's own are paid."""
    writer = learner.task.writer
    world, start = writer.all_asks([0])[0]
    ended = tokens[-1] in writer.ends
    parsed = parse_moves(writer.decode(tokens[:-1] if ended else tokens))
    mdp = writer.split.mdps[world]
    walked = walk(mdp, parsed.moves, start, np.random.default_rng(0))
    return reward_route(
        mdp, parsed, walked, writer.distance(world), writer.weights, cut_off=not ended
    ).total


Judge = Callable[[LlmLearner, list[int]], float]
"""What a completion is paid."""


def our_gradient(
    learner: LlmLearner, completions: list[list[int]], judge: Judge
) -> dict[str, Tensor]:
    """The clipped gradient of our packed loss on these completions, by parameter."""
    prompt = learner.task.writer.prompt(*learner.task.writer.all_asks([0])[0])
    rewards = [judge(learner, tokens) for tokens in completions]
    if len(set(rewards)) == 1:
        raise SystemExit("All completions earned the same, so there is no gradient to compare.")
    lengths = [len(tokens) for tokens in completions]
    scores = learner.task.policy.forward([prompt.tokens] * len(completions), completions)
    batch = TokenBatch(
        log_p=scores.log_probs,
        log_p_old=scores.log_probs.detach(),
        advantages=torch.from_numpy(grpo_advantages([rewards])[0]).to(scores.log_probs),
        mask=scores.mask,
        weights=torch.from_numpy(
            learner.algorithm.normaliser(lengths, learner.preset.model.max_tokens)
        ).to(scores.log_probs),
    )
    loss = learner.algorithm.token_loss(batch, learner.run.settings, entropy=0.0).loss
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = learner.optimizers.policy.parameters
    torch.nn.utils.clip_grad_norm_(parameters.values(), learner.run.settings.max_grad_norm)
    gradient = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    learner.optimizers.policy.zero()
    return gradient


def trl_trainer(
    learner: LlmLearner, loaded: loading.Loaded, steps: int, folder: str, judge: Judge
) -> Any:
    """TRL's GRPOTrainer with the learner's settings, on a model of its own."""
    from transformers import PrinterCallback

    trl: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    prompt = learner.task.writer.prompt(*learner.task.writer.all_asks([0])[0])
    tokenizer: Any = loaded.tokenizer
    assert tuple(tokenizer(text=[prompt.text])["input_ids"][0]) == prompt.tokens
    written: list[list[int]] = []

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        written[:] = completion_ids
        return [judge(learner, tokens) for tokens in completion_ids]

    config = trl.GRPOConfig(
        output_dir=folder, max_steps=steps, use_cpu=loaded.device.type == "cpu",
        per_device_train_batch_size=GROUP, num_generations=GROUP, gradient_accumulation_steps=1,
        max_completion_length=learner.preset.model.max_tokens,
        temperature=1.0, loss_type="grpo", beta=0.0,
        epsilon=0.2, learning_rate=learner.run.learning_rate, lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=learner.run.settings.max_grad_norm, gradient_checkpointing=False,
        bf16=loaded.dtype == torch.bfloat16, fp16=loaded.dtype == torch.float16,
        report_to="none", save_strategy="no", disable_tqdm=True, log_level="error",
    )  # fmt: skip
    trainer: Any = trl.GRPOTrainer(
        model=loaded.model,
        reward_funcs=reward,
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": [prompt.text] * steps}),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in loaded.adapter_parameters():  # TRL made those of a quantized model bfloat16
        parameter.data = parameter.data.to(loading.ADAPTER_DTYPE)
    trainer.written = written
    return trainer


def routes(rounds: int, quantization: str, max_tokens: int) -> bool:
    """An update of a policy that writes routes, and one of TRL's; whether the bar is held."""
    return report(measure(rounds, quantization, max_tokens), {TRL: BAR})


def measure(
    rounds: int,
    quantization: str,
    max_tokens: int,
    more: Sequence[str] = (),
    judge: Judge = reward_of,
    checked: Callable[[str, float, loading.Loaded, float], None] = check,
) -> dict[str, list[Cost]]:
    """What updates of a policy that writes routes cost: after each of TRL's comes one of ours.

    `more` overrides of the preset; `judge` pays what TRL's side writes; `checked` is told how far
    the two gradients are apart.
    """
    length = f"model.max_tokens={max_tokens}"
    learner: LlmLearner = learner_of(quantization, [*AS_AGREED, *ROUTES, length, *more])
    from transformers import TrainerCallback

    warnings.simplefilter("ignore", FutureWarning)  # TRL's way of calling transformers
    ours, settings = learner.model, learner.preset.model
    theirs = loading.load_model(settings.name, quantization, settings.device, ours.lora)  # type: ignore[arg-type]
    fresh = {n: w.detach().clone() for n, w in adapters.adapter_weights(ours.model).items()}
    meters = {OURS: Meter(ours.model), TRL: Meter(theirs.model)}
    costs: dict[str, list[Cost]] = {name: [] for name in meters}
    lengths: dict[str, list[float]] = {name: [] for name in meters}

    def put_back() -> None:
        for model in (ours.model, theirs.model):
            for name, weight in adapters.adapter_weights(model).items():
                weight.data.copy_(fresh[name])

    def noted(name: str, written: list[int]) -> None:
        costs[name].append(meters[name].stop())
        lengths[name].append(statistics.mean(written))

    class Alternate(TrainerCallback):
        """The first round of both warms up and is not counted."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            put_back()
            meters[TRL].start()

        def on_pre_optimizer_step(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step == 0:
                found = {
                    name: p.grad.clone()
                    for name, p in theirs.model.named_parameters()
                    if p.grad is not None
                }
                gap = gradient_gap(our_gradient(learner, trainer.written, judge), found)
                checked("the gradient of TRL's completions", gap, ours, GRADIENT_TOLERANCE)

        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            noted(TRL, [len(tokens) for tokens in trainer.written])
            meters[OURS].start()
            batch = our_update(learner, state.global_step)
            noted(OURS, [len(route.tokens) for route in batch.routes])

    print(
        f"\nroutes: an update of {GROUP} completions of at most {max_tokens} tokens, {quantization}"
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainer(learner, theirs, rounds + 1, folder, judge)
        put_back()
        trainer.add_callback(Alternate())
        trainer.train()
    for name, mean in lengths.items():
        print(f"  {name}: {statistics.mean(mean[1:]):.1f} tokens a completion")
    return {name: found[1:] for name, found in costs.items()}
