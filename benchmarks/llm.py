"""Language models: an update of Ice Maze against the same update done as others do it.

One process, alternating, the same model and settings, adapters put back after every measurement so
that each does the same work; before anything is timed it is checked that all compute the same.

plan    One GRPO update of 16 completions of at most 24 tokens, any token allowed: Ice Maze (one
        prefill, shared cache, packed training pass) against TRL's GRPOTrainer. TRL is given float32
        adapters and no gradient checkpointing, as Ice Maze has them; its defaults are slower.
action  64 episodes on the 4x4 lake without slip and one GRPO update of them: packed; each state
        once, padded; one padded batch over the distinct states per step, and one to train on; and
        as TRL's environment rollouts do it: per step and episode the prompt with all that was said
        so far, regenerated, and then a pass over each whole episode. All play the episodes that
        the packed policy drew. The last is measured on a few of them, of evenly spread lengths, and
        scaled by tokens; it is the least such a rollout can cost (no tool-call markup, one token a
        move, logits of the four moves only), not TRL's own code.
solve   Updates, and seconds after loading, until the exact success on this lake is 0.95; the median
        of three seeds.

    python benchmarks/llm.py [--only plan|action|solve] [--rounds 3] [--quantization nf4|none]

Tokens are those the model is fed, padding included, three times where gradients follow (a backward
pass costs about two forward passes). Exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine import factory, presets
from engine.errors import UserError
from engine.events import Evaluation
from engine.llm import judging, loading
from engine.llm.action_learner import ActionLearner, Look
from engine.llm.action_policy import TOLERANCE, ActionPolicy
from engine.llm.advantages import grpo_advantages
from engine.llm.attention import decoder_of, evaluating, plain_hidden
from engine.llm.judging import Played
from engine.llm.losses import TokenBatch, sequence_weights, token_loss
from engine.llm.output_head import OutputHead
from engine.llm.plan_judging import Batch, draw_batch, stream
from engine.llm.plan_learner import PlanLearner
from engine.llm.plan_objective import PlanObjective
from engine.llm.rewards import parse_moves, reward_plan, walk

PLAN_BAR, PER_STEP_BAR, BATCHED_BAR = 3.0, 50.0, 3.0
SUCCESS, UPDATES_BAR, SECONDS_BAR = 0.95, 30, 60.0
PRESET = "llm-grpo-maze"
GROUP, MAX_TOKENS = 16, 24
PLAN = [
    "model.policy=plan", "model.words=any", f"model.max_tokens={MAX_TOKENS}",
    f"algorithm.episodes={GROUP}", f"algorithm.group_size={GROUP}",
]  # fmt: skip
SEEDS = (0, 1, 2)
EPISODES_AT_ONCE = 4
"""Of a training pass over whole episodes: their graph has to fit into memory."""
GRADIENT_TOLERANCE = 1e-3  # relative, in float32


class Cost(NamedTuple):
    """What one update cost."""

    seconds: float
    tokens: float


class Meter:
    """Seconds, and tokens fed to a model."""

    def __init__(self, model: Any) -> None:
        self.device, self.tokens = decoder_of(model).device, 0
        decoder_of(model).register_forward_pre_hook(self._fed, with_kwargs=True)

    def _fed(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if kwargs.get("input_ids") is not None else args[0]
        self.tokens += ids.numel() * (3 if torch.is_grad_enabled() else 1)

    def start(self) -> None:
        gc.collect()
        self.tokens, self.started = 0, self._now()

    def stop(self) -> Cost:
        return Cost(self._now() - self.started, self.tokens)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def check(what: str, difference: float, loaded: loading.Loaded, limit: float) -> None:
    """Stop when two ways do not compute the same. Not float32: only gross errors show."""
    allowed = limit if loaded.dtype == torch.float32 else 0.25
    print(f"  same: {what} differs by {difference:.1e} (allowed {allowed:g})")
    if not difference <= allowed:
        raise SystemExit(f"{what}: the ways do not compute the same; nothing was measured.")


def report(rows: dict[str, list[Cost]], bars: dict[str, float]) -> bool:
    """A table of medians, and the ratios to the first row; whether the bars hold."""
    names = list(rows)
    for name in names:
        cost = Cost(*(statistics.median(values) for values in zip(*rows[name], strict=True)))
        print(f"  {name:38}{cost.seconds:9.2f} s{cost.tokens:12,.0f} tokens")
    held = True
    for name in names[1:]:
        pairs = zip(rows[name], rows[names[0]], strict=True)
        ratio = statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)
        bar = f" (bar {bars[name]:g})" if name in bars else ""
        print(f"  {name} / {names[0]}: {ratio:.2f} times{bar}")
        held &= ratio >= bars.get(name, 0.0)
    return held


def learner_of(quantization: str, overrides: list[str]) -> Any:
    """A learner of the benchmark's preset with its model loaded."""
    preset = presets.load(PRESET, [f"model.quantization={quantization}", *overrides])
    learner: Any = factory.make_learner(preset)
    learner.prepare()
    return learner


def gradient_gap(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """‖found − expected‖ / ‖expected‖ over all adapters."""
    assert found.keys() == expected.keys()
    gaps = [float(((found[name] - wanted) ** 2).sum()) for name, wanted in expected.items()]
    return float((sum(gaps) / sum(float((w**2).sum()) for w in expected.values())) ** 0.5)


# ---------------------------------------------------------------- plan policy


def our_plan_update(learner: PlanLearner, update: int) -> Batch:
    """What TRL does in a step and no more: sample, judge, one optimizer step; no evaluation."""
    numbers = stream(learner.preset.run.seed, update, 0)
    settings = learner.settings
    batch = draw_batch(learner.writer, learner.policy, learner.algorithm, settings, 1, numbers)
    objective = PlanObjective(batch, learner.algorithm, settings, learner.policy, None, 0.0)
    terms = objective.terms(lambda: False)
    assert terms is not None
    for part in objective.split():
        objective.backward(terms, part)
    learner.optimizer.step(learner.rate, settings.max_grad_norm)
    return batch


def reward_of(learner: PlanLearner, tokens: list[int]) -> float:
    """What a completion earns, as the learner's own are paid."""
    writer = learner.writer
    world, start = writer.all_asks([0])[0]
    ended = tokens[-1] in writer.ends
    parsed = parse_moves(writer.decode(tokens[:-1] if ended else tokens))
    mdp = writer.split.mdps[world]
    walked = walk(mdp, parsed.moves, start, np.random.default_rng(0))
    return reward_plan(
        mdp, parsed, walked, writer.distance(world), writer.weights, cut_off=not ended
    ).total


def our_gradient(learner: PlanLearner, completions: list[list[int]]) -> dict[str, Tensor]:
    """The clipped gradient of our packed loss on these completions, by parameter."""
    prompt = learner.writer.prompt(*learner.writer.all_asks([0])[0])
    rewards = [reward_of(learner, tokens) for tokens in completions]
    if len(set(rewards)) == 1:
        raise SystemExit("All completions earned the same, so there is no gradient to compare.")
    lengths = [len(tokens) for tokens in completions]
    scores = learner.policy.forward([prompt.tokens] * len(completions), completions)
    batch = TokenBatch(
        log_p=scores.log_probs,
        log_p_old=scores.log_probs.detach(),
        advantages=torch.from_numpy(grpo_advantages([rewards])[0]).to(scores.log_probs),
        mask=scores.mask,
        weights=torch.from_numpy(sequence_weights("grpo", lengths, MAX_TOKENS)).to(
            scores.log_probs
        ),
    )
    token_loss("grpo", batch).loss.backward()  # type: ignore[no-untyped-call]
    parameters = learner.optimizer.parameters
    torch.nn.utils.clip_grad_norm_(parameters.values(), learner.settings.max_grad_norm)
    gradient = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    learner.optimizer.zero()
    return gradient


def trl_trainer(learner: PlanLearner, loaded: loading.Loaded, steps: int, folder: str) -> Any:
    """TRL's GRPOTrainer with the learner's settings, on a model of its own."""
    import datasets
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    prompt = learner.writer.prompt(*learner.writer.all_asks([0])[0])
    tokenizer: Any = loaded.tokenizer
    assert tuple(tokenizer(text=[prompt.text])["input_ids"][0]) == prompt.tokens
    written: list[list[int]] = []

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        written[:] = completion_ids
        return [reward_of(learner, tokens) for tokens in completion_ids]

    config = GRPOConfig(
        output_dir=folder, max_steps=steps, use_cpu=loaded.device.type == "cpu",
        per_device_train_batch_size=GROUP, num_generations=GROUP, gradient_accumulation_steps=1,
        max_completion_length=MAX_TOKENS, temperature=1.0, loss_type="grpo", beta=0.0,
        epsilon=0.2, learning_rate=learner.rate, lr_scheduler_type="constant", weight_decay=0.0,
        max_grad_norm=learner.settings.max_grad_norm, gradient_checkpointing=False,
        bf16=loaded.dtype == torch.bfloat16, fp16=loaded.dtype == torch.float16,
        report_to="none", save_strategy="no", disable_tqdm=True, log_level="error",
    )  # fmt: skip
    trainer: Any = GRPOTrainer(
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


def plan(rounds: int, quantization: str) -> bool:
    """Seconds per update of a plan policy: after each of TRL's updates comes one of ours."""
    from transformers import TrainerCallback

    learner: PlanLearner = learner_of(quantization, PLAN)
    on, settings = learner.on, learner.preset.model
    theirs = loading.load_model(settings.name, quantization, settings.device, on.lora)  # type: ignore[arg-type]
    fresh = {n: w.detach().clone() for n, w in loading.adapter_weights(on.model).items()}
    meters = {"Ice Maze": Meter(on.model), "TRL GRPOTrainer": Meter(theirs.model)}
    costs: dict[str, list[Cost]] = {name: [] for name in meters}
    lengths: dict[str, list[float]] = {name: [] for name in meters}

    def put_back() -> None:
        for model in (on.model, theirs.model):
            for name, weight in loading.adapter_weights(model).items():
                weight.data.copy_(fresh[name])

    def noted(name: str, written: list[int]) -> None:
        costs[name].append(meters[name].stop())
        lengths[name].append(statistics.mean(written))

    class Alternate(TrainerCallback):
        """The first round of both warms up and is not counted."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            put_back()
            meters["TRL GRPOTrainer"].start()

        def on_pre_optimizer_step(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step == 0:
                found = {
                    name: p.grad.clone()
                    for name, p in theirs.model.named_parameters()
                    if p.grad is not None
                }
                gap = gradient_gap(our_gradient(learner, trainer.written), found)
                check("the gradient of TRL's completions", gap, on, GRADIENT_TOLERANCE)

        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            noted("TRL GRPOTrainer", [len(tokens) for tokens in trainer.written])
            meters["Ice Maze"].start()
            batch = our_plan_update(learner, state.global_step)
            noted("Ice Maze", [len(route.tokens) for route in batch.routes])

    print(f"\nplan policy: an update of {GROUP} completions of at most {MAX_TOKENS} tokens")
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainer(learner, theirs, rounds + 1, folder)
        put_back()
        trainer.add_callback(Alternate())
        trainer.train()
    for name, mean in lengths.items():
        print(f"  {name}: {statistics.mean(mean[1:]):.1f} tokens a completion")
    counted = {name: found[1:] for name, found in costs.items()}
    return report(counted, {"TRL GRPOTrainer": PLAN_BAR})


# ---------------------------------------------------------------- action policy


class Lake(NamedTuple):
    """One update of an action policy, to be done in several ways."""

    learner: ActionLearner
    look: Look
    played: Played  # the episodes that every way plays
    fresh: dict[str, Any]  # the learner's state before the update
    padded: ActionPolicy  # the same policy, nothing shared

    def begin(self) -> None:
        """Back to before the update; the packed policy is known, as after any other update."""
        self.learner.load(self.fresh)
        self.learner.begin()

    def step(self) -> None:
        settings: Any = self.learner.settings
        self.learner.optimizer.step(self.learner.rate, settings.max_grad_norm)

    def moments(self) -> dict[str, Any]:
        """Adam's first moments: after one step a tenth of the gradient."""
        state = self.learner.optimizer.state("policy")
        return {name: value for name, value in state.items() if name.endswith(".exp_avg")}

    def row(self, episode: Any, t: int) -> Any:
        """Which prompts of `look` some episodes [n] are asked at step t."""
        rollouts = self.played.rollouts
        return self.look.place[rollouts.world[episode], rollouts.observation[episode, t]]


def lake(quantization: str) -> Lake:
    learner: ActionLearner = learner_of(quantization, [])
    fresh = learner.state()
    learner.begin()
    look = learner.look(learner.batch, learner.train, keep_graph=False)
    played = judging.play(learner, look)
    padded = ActionPolicy(learner.on.model, packed=False, token_budget=1 << 30)
    return Lake(learner, look, played, fresh, padded)


def packed(lake: Lake) -> float:
    """The learner's own update, with its evaluation and events."""
    lake.learner.advance(1)
    return 0.0


def fit_padded(lake: Lake) -> float:
    """The gradient pass over the states that were met, padded; the largest |Δ log π|."""
    rows = [int(row) for row in np.unique(lake.look.place[lake.look.place >= 0])]
    log_pi = lake.padded.forward(lake.learner.prompts, [lake.look.rows[r] for r in rows]).log_probs
    objective = judging.objective(lake.learner, lake.look, lake.played, None)
    objective.loss(log_pi.double().cpu(), rows).loss.backward()
    lake.step()
    return float((log_pi.detach().cpu() - lake.look.log_pi[rows]).abs().max())


def batched(lake: Lake) -> float:
    """At every step one padded batch over the distinct states the episodes are in."""
    rollouts, gap = lake.played.rollouts, 0.0
    for t in range(rollouts.mask.shape[1]):
        rows = np.unique(lake.row(np.flatnonzero(rollouts.mask[:, t]), t))
        log_pi = lake.padded.log_probs(lake.learner.prompts, [lake.look.rows[r] for r in rows])
        gap = max(gap, float((log_pi.cpu() - lake.look.log_pi[rows]).abs().max()))
    return max(gap, fit_padded(lake))


class Story(NamedTuple):
    """An episode as a conversation: all its tokens, and how many stand before each move."""

    tokens: list[int]
    before: list[int]  # [T]
    actions: list[int]  # [T]
    scale: list[float]  # [T] advantage times weight of each move

    @property
    def cost(self) -> int:
        """Tokens to be fed: the history again at each move, and all of it to train on."""
        return sum(self.before) + 3 * len(self.tokens)


def stories(lake: Lake) -> list[Story]:
    """All episodes, the shortest first."""
    learner, rollouts = lake.learner, lake.played.rollouts
    prompts, tokenizer = learner.prompts, learner.on.tokenizer
    longest = learner.train.mdps[0].max_steps
    weights = sequence_weights(learner.algorithm.weighting, rollouts.length, longest)
    told = []
    for e, length in enumerate(rollouts.length):
        tokens: list[int] = []
        before = []
        for t in range(length):
            prompt = lake.look.rows[int(lake.row(e, t))]
            if t == 0:
                tokens += prompts.tokens[prompt]
            else:  # its last line only: the rules and the map have been told
                place = prompts.texts[prompt].rpartition("\n")[2]
                tokens += tokenizer.encode(f".\n{place}", add_special_tokens=False)
            before.append(len(tokens))
            tokens.append(prompts.action_tokens[int(rollouts.action[e, t])])
        scale = lake.played.advantages[e, :length] * weights[e]
        told.append(
            Story(tokens[:-1], before, rollouts.action[e, :length].tolist(), scale.tolist())
        )
    return sorted(told, key=lambda story: len(story.before))


def per_step(lake: Lake, told: list[Story]) -> float:
    """At every step of every episode the whole history anew; then the episodes, whole."""
    on = lake.learner.on
    head = OutputHead(on.model, lake.padded.temperature, lake.learner.prompts.action_tokens)
    drawn: list[list[Tensor]] = [[] for _ in told]
    for t in range(max(len(story.before) for story in told)):
        going = [n for n, story in enumerate(told) if t < len(story.before)]
        with evaluating(on.model):
            hidden = plain_hidden(on.model, [told[n].tokens[: told[n].before[t]] for n in going])
            last = torch.tensor([told[n].before[t] - 1 for n in going], device=on.device)
            log_pi = head.logits(hidden[torch.arange(len(going)), last]).log_softmax(-1)
        for n, row in zip(going, log_pi, strict=True):
            drawn[n].append(row)
    first = lake.look.log_pi[int(lake.row(0, 0))]
    gap = max(float((rows[0].cpu() - first).abs().max()) for rows in drawn)
    for i in range(0, len(told), EPISODES_AT_ONCE):
        some = told[i : i + EPISODES_AT_ONCE]
        hidden = plain_hidden(on.model, [story.tokens for story in some])
        loss = torch.zeros((), device=on.device)
        for n, story in enumerate(some):
            at = torch.tensor(story.before, device=on.device) - 1
            log_pi = head.logits(hidden[n, at]).log_softmax(-1)
            gap = max(gap, float((log_pi.detach() - torch.stack(drawn[i + n])).abs().max()))
            taken = log_pi[torch.arange(len(at)), story.actions]
            ratio = (taken - taken.detach()).exp()
            loss = loss - (ratio * torch.tensor(story.scale, device=on.device)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
    lake.step()
    return gap


def action(rounds: int, quantization: str, episodes: int) -> bool:
    """Seconds and tokens of 64 episodes and one update, in four ways."""
    here = lake(quantization)
    told = stories(here)
    lengths = here.played.rollouts.length
    picked = [told[int((i + 0.5) * len(told) / episodes)] for i in range(episodes)]
    scale = sum(story.cost for story in told) / sum(story.cost for story in picked)
    ways: dict[str, Callable[[Lake], float]] = {
        "packed (Ice Maze)": packed,
        "each state once, padded": fit_padded,
        "per step, batched over states": batched,
        "per step and episode": lambda lake: per_step(lake, picked),
    }
    print(
        f"\naction policy: {len(lengths)} episodes of {lengths.min()} to {lengths.max()} moves, "
        f"{lengths.sum()} in all, and one update"
    )
    meter = Meter(here.learner.on.model)
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    expected: dict[str, Any] = {}
    for number in range(rounds + 1):  # the first one warms up, and is checked
        for name, way in ways.items():
            here.begin()
            meter.start()
            gap = way(here)
            cost = meter.stop()
            if way is ways["per step and episode"]:
                cost = Cost(cost.seconds * scale, cost.tokens * scale)
            if number:
                costs[name].append(cost)
                continue
            expected = expected or here.moments()
            check(f"log π, {name},", gap, here.learner.on, TOLERANCE)
            if way in (fit_padded, batched):
                off = gradient_gap(here.moments(), expected)
                check(f"the gradient, {name},", off, here.learner.on, GRADIENT_TOLERANCE)
    print(f"  per step and episode: {episodes} of the episodes measured, times {scale:.1f}")
    return report(
        costs, {"per step, batched over states": BATCHED_BAR, "per step and episode": PER_STEP_BAR}
    )


# ---------------------------------------------------------------- until it is solved


def solve(quantization: str) -> bool:
    """Updates and seconds until the exact success is 0.95, from the first look on."""
    print(f"\nuntil the exact success is {SUCCESS:g}")
    found: list[tuple[float, float]] = []
    for seed in SEEDS:
        learner: ActionLearner = learner_of(quantization, [f"run.seed={seed}"])
        started, reached = time.perf_counter(), False
        events = learner.begin()
        while not reached and not learner.done:
            events = learner.advance(1)
            reached = any(
                event.figures["success_rate"].mean >= SUCCESS
                for event in events
                if isinstance(event, Evaluation)
            )
        seconds = time.perf_counter() - started
        end = "" if reached else " without success"
        print(f"  seed {seed}: {learner.clock} updates, {seconds:.1f} s{end}")
        found.append((learner.clock, seconds) if reached else (np.inf, np.inf))
    updates, seconds = (statistics.median(values) for values in zip(*found, strict=True))
    print(
        f"  median: {updates:g} updates (bar at most {UPDATES_BAR}), "
        f"{seconds:.1f} s (bar at most {SECONDS_BAR:g})"
    )
    return updates <= UPDATES_BAR and seconds <= SECONDS_BAR


@contextlib.contextmanager
def spelled_out() -> Iterator[None]:
    """A user's mistake (an unknown model, no network) is a sentence, not a traceback."""
    try:
        yield
    except UserError as error:
        raise SystemExit(str(error)) from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["plan", "action", "solve"])
    parser.add_argument("--rounds", type=int, default=3, help="one more warms up")
    parser.add_argument("--quantization", choices=["nf4", "none"], default="nf4")
    parser.add_argument(
        "--episodes", type=int, default=4, help="measured per step and episode, of 64"
    )
    wanted = parser.parse_args()
    if wanted.only in (None, "plan") and importlib.util.find_spec("trl") is None:
        parser.error(
            "TRL is not installed, so there is nothing to compare plan policies with; "
            "pip install -e '.[llm,bench]', or leave them out with --only action (or solve)."
        )
    packages = ("torch", "transformers", "peft", "bitsandbytes", "trl")
    known = [name for name in packages if importlib.util.find_spec(name)]
    print(
        f"SmolLM2-135M, {wanted.quantization}, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in known)
    )
    held = True
    with spelled_out():
        if wanted.only in (None, "plan"):
            held &= plan(wanted.rounds, wanted.quantization)
        if wanted.only in (None, "action"):
            held &= action(wanted.rounds, wanted.quantization, wanted.episodes)
        if wanted.only in (None, "solve"):
            held &= solve(wanted.quantization)
    return int(not held)


if __name__ == "__main__":
    raise SystemExit(main())
