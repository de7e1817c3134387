"""An action policy's update in four ways: see `llm.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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

from engine.llm.forward.attention import evaluating, plain_hidden
from engine.llm.forward.cell_policy import CellPolicy
from engine.llm.forward.output_head import OutputHead
from engine.llm.forward.packing import TOLERANCE
from engine.llm.learner import LlmLearner
from engine.llm.tasks.cells.batch import RolloutBatch
from engine.llm.tasks.cells.policy_table import PolicyTable
from engine.llm.tasks.cells.task import CellsTask

PER_STEP_BAR, BATCHED_BAR = 50.0, 3.0
PACKED, ONCE, BATCHED, PER_STEP = (
    "packed (Ice Maze)",
    "each state once, padded",
    "per step, batched over states",
    "per step and episode",
)
EPISODES = ["algorithm.episodes=64", "algorithm.group_size=64"]
EPISODES_AT_ONCE = 4
"""Of a training pass over whole episodes: their graph has to fit into memory."""


class Lake(NamedTuple):
    """One update of an action policy, to be done in several ways."""

    learner: LlmLearner
    batch: RolloutBatch  # the episodes that every way plays
    fresh: dict[str, Any]  # the learner's state before the update
    padded: CellPolicy  # the same policy, nothing shared

    @property
    def task(self) -> CellsTask:
        """The learner's task."""
        assert isinstance(self.learner.task, CellsTask)
        return self.learner.task

    @property
    def table(self) -> PolicyTable:
        """The policy before the update."""
        return self.batch.table

    def begin(self) -> None:
        """Back to before the update; the packed policy is known, as after any other update."""
        self.learner.load(self.fresh)
        self.learner.begin()

    def step(self) -> None:
        run = self.learner.run
        self.learner.optimizers.policy.step(run.learning_rate, run.settings.max_grad_norm)

    def moments(self) -> dict[str, Any]:
        """Adam's first moments: after one step a tenth of the gradient."""
        state = self.learner.optimizers.policy.state("policy")
        return {name: value for name, value in state.items() if name.endswith(".exp_avg")}

    def row(self, episode: Any, t: int) -> Any:
        """Which prompts of `table` some episodes [n] are asked at step t."""
        rollouts = self.batch.rollouts
        return self.table.prompt_row[rollouts.world[episode], rollouts.observation[episode, t]]


def make_lake(quantization: str) -> Lake:
    learner: LlmLearner = learner_of(quantization, [*AS_AGREED, *EPISODES])
    fresh = learner.state()
    learner.begin()
    padded = CellPolicy(learner.model.model, packed=False, token_budget=1 << 30)
    return Lake(learner, learner.task.collect(), fresh, padded)


def packed(lake: Lake) -> None:
    """The learner's own update, with its evaluation and events."""
    lake.learner.advance(1)


def once(lake: Lake) -> float:
    """The packed policy's way without packing: a padded batch of all states, used twice."""
    return fit(lake, np.arange(len(lake.table.rows)))


def batched(lake: Lake) -> float:
    """At every step a padded batch of the distinct states the episodes are in; then of all met."""
    rollouts, gap = lake.batch.rollouts, 0.0
    met = np.empty(0, int)
    for t in range(rollouts.mask.shape[1]):
        rows = np.unique(lake.row(np.flatnonzero(rollouts.mask[:, t]), t))
        met = np.union1d(met, rows)
        log_pi = lake.padded.log_probs(lake.task.model.prompts, [lake.table.rows[r] for r in rows])
        gap = max(gap, float((log_pi.cpu() - lake.table.log_pi[rows]).abs().max()))
    return max(gap, fit(lake, met))


def fit(lake: Lake, rows: np.ndarray[Any, Any]) -> float:
    """The gradient pass over a padded batch of states, and the step; the largest |Δ log π|."""
    log_pi = lake.padded.forward(
        lake.task.model.prompts, [lake.table.rows[r] for r in rows]
    ).log_probs
    objective = lake.task.score(lake.batch)
    objective.of_table.loss(log_pi.double().cpu(), rows.tolist()).loss.backward()
    lake.step()
    return float((log_pi.detach().cpu() - lake.table.log_pi[rows]).abs().max())


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
    learner, rollouts = lake.learner, lake.batch.rollouts
    prompts, tokenizer = lake.task.model.prompts, learner.model.tokenizer
    longest = learner.run.train.mdps[0].max_steps
    advantages = lake.task.score(lake.batch).scores.advantages
    weights = learner.algorithm.normaliser(rollouts.length, longest)
    told = []
    for e, length in enumerate(rollouts.length):
        tokens: list[int] = []
        before = []
        for t in range(length):
            prompt = lake.table.rows[int(lake.row(e, t))]
            if t == 0:
                tokens += prompts.tokens[prompt]
            else:  # its last line only: the rules and the map have been told
                place = prompts.texts[prompt].rpartition("\n")[2]
                tokens += tokenizer.encode(f".\n{place}", add_special_tokens=False)
            before.append(len(tokens))
            tokens.append(prompts.action_tokens[int(rollouts.action[e, t])])
        scale = advantages[e, :length] * weights[e]
        told.append(
            Story(tokens[:-1], before, rollouts.action[e, :length].tolist(), scale.tolist())
        )
    return sorted(told, key=lambda story: len(story.before))


def per_step(lake: Lake, told: list[Story]) -> float:
    """At every step of every episode the whole history anew; then the episodes, whole."""
    loaded = lake.learner.model
    head = OutputHead(loaded.model, lake.padded.temperature, lake.task.model.prompts.action_tokens)
    drawn: list[list[Tensor]] = [[] for _ in told]
    for t in range(max(len(story.before) for story in told)):
        going = [n for n, story in enumerate(told) if t < len(story.before)]
        with evaluating(loaded.model):
            hidden = plain_hidden(
                loaded.model, [told[n].tokens[: told[n].before[t]] for n in going]
            )
            last = torch.tensor([told[n].before[t] - 1 for n in going], device=loaded.device)
            log_pi = head.logits(hidden[torch.arange(len(going)), last]).log_softmax(-1)
        for n, row in zip(going, log_pi, strict=True):
            drawn[n].append(row)
    first = lake.table.log_pi[int(lake.row(0, 0))]
    gap = max(float((rows[0].cpu() - first).abs().max()) for rows in drawn)
    for i in range(0, len(told), EPISODES_AT_ONCE):
        some = told[i : i + EPISODES_AT_ONCE]
        hidden = plain_hidden(loaded.model, [story.tokens for story in some])
        loss = torch.zeros((), device=loaded.device)
        for n, story in enumerate(some):
            at = torch.tensor(story.before, device=loaded.device) - 1
            log_pi = head.logits(hidden[n, at]).log_softmax(-1)
            gap = max(gap, float((log_pi.detach() - torch.stack(drawn[i + n])).abs().max()))
            taken = log_pi[torch.arange(len(at)), story.actions]
            ratio = (taken - taken.detach()).exp()
            loss = loss - (ratio * torch.tensor(story.scale, device=loaded.device)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
    lake.step()
    return gap


def action(rounds: int, quantization: str, episodes: int) -> bool:
    """Seconds and tokens of 64 episodes and one update, in four ways."""
    lake = make_lake(quantization)
    told = stories(lake)
    lengths = lake.batch.rollouts.length
    picked = [told[int((i + 0.5) * len(told) / episodes)] for i in range(episodes)]
    scale = sum(story.cost for story in told) / sum(story.cost for story in picked)
    ways: dict[str, Callable[[Lake], float | None]] = {
        PACKED: packed,
        ONCE: once,
        BATCHED: batched,
        PER_STEP: lambda _: per_step(lake, picked),
    }
    print(
        f"\naction policy: {len(lengths)} episodes of {lengths.min()} to {lengths.max()} moves, "
        f"{lengths.sum()} in all, and one update"
    )
    meter = Meter(lake.learner.model.model)
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    expected: dict[str, Any] = {}
    for number in range(rounds + 1):  # the first one warms up, and is checked
        for name, way in ways.items():
            lake.begin()
            meter.start()
            gap = way(lake)
            cost = meter.stop()
            if way is ways[PER_STEP]:
                cost = Cost(cost.seconds * scale, cost.tokens * scale)
            if number:
                costs[name].append(cost)
                continue
            expected = expected or lake.moments()
            if gap is not None:
                check(f"log π, {name},", gap, lake.learner.model, TOLERANCE)
            if way in (once, batched):
                off = gradient_gap(lake.moments(), expected)
                check(f"the gradient, {name},", off, lake.learner.model, GRADIENT_TOLERANCE)
    print(f"  {PER_STEP}: {episodes} of the episodes measured, times {scale:.1f}")
    return report(costs, {BATCHED: BATCHED_BAR, PER_STEP: PER_STEP_BAR})
