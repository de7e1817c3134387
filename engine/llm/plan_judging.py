"""Routes asked for, written, read, walked and judged: what a plan policy's update learns from.

Shapes: `B` completions in groups of `G`, `T` tokens of the longest one, `W` worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.config.rewards import PlanRewards
from engine.core.arrays import Array, Bools, Floats
from engine.llm.advantages import (
    all_equal,
    gae,
    groups_to_keep,
    overlong_penalty,
    standardised,
)
from engine.llm.algorithm import LlmAlgorithm
from engine.llm.plan_policy import PlanPolicy
from engine.llm.prompts import ObservationText, PlanPrompt, plan_prompt
from engine.llm.rewards import Parsed, Walk, parse_moves, reward_plan, walk
from engine.llm.routes import distances
from engine.llm.worlds import WorldSet

Ask = tuple[int, int]
"""A world of a split and the state a route is to begin in."""


class Stream(NamedTuple):
    """The random numbers of one batch, of their own: nothing drawn elsewhere shifts them."""

    moves: np.random.Generator  # which mazes and starts, and where the ice takes one
    tokens: torch.Generator


def stream(seed: int, *place: int) -> Stream:
    """The stream of a run with `seed` at one place: the clock, and a number for the purpose."""
    moves, tokens = np.random.SeedSequence([seed, *place]).spawn(2)
    first = int(tokens.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return Stream(np.random.default_rng(moves), torch.Generator().manual_seed(first))


@dataclass(frozen=True, eq=False)
class Route:
    """One completion, and what came of it."""

    world: int
    start: int
    prompt: PlanPrompt
    tokens: tuple[int, ...]  # its end included
    log_probs: tuple[float, ...]  # at the sampling temperature, when it was drawn
    text: str
    parsed: Parsed
    walked: Walk
    parts: dict[str, float]  # of its reward, weighed
    cut_off: bool  # the token limit came before an end

    @property
    def total(self) -> float:
        """Its reward: what it is compared by."""
        return sum(self.parts.values())

    @property
    def unreadable(self) -> bool:
        return not self.parsed.moves

    @property
    def made(self) -> tuple[int, ...]:
        """The moves that were made: those written behind the end of the episode were not."""
        return self.parsed.moves[: len(self.walked.rewards)]


class RouteWriter:
    """Has the model write routes through the mazes of a split, and judges them."""

    def __init__(
        self,
        split: WorldSet,
        tokenizer: Any,
        weights: PlanRewards,
        ends: Sequence[int],
        told: ObservationText = "map",
    ) -> None:
        self.split, self.tokenizer, self.weights, self.told = split, tokenizer, weights, told
        self.ends = frozenset(ends)
        self.prompt: Callable[[int, int], PlanPrompt] = cache(self._prompt)
        self.distance: Callable[[int], Floats] = cache(lambda w: distances(split.mdps[w]))

    def _prompt(self, world: int, start: int) -> PlanPrompt:
        maze, mdp = self.split.mazes[world], self.split.mdps[world]
        return plan_prompt(maze, mdp, self.tokenizer, start, self.told)

    def asks(self, worlds: Sequence[int], rng: np.random.Generator) -> list[Ask]:
        """One question for each of `worlds`, its start drawn as the maze draws it."""
        return [(w, int(rng.choice(len(p), p=p))) for w in worlds for p in [self._starts(w)]]

    def all_asks(self, worlds: Sequence[int]) -> list[Ask]:
        """The questions of all start cells."""
        return [(w, int(s)) for w in worlds for s in np.flatnonzero(self._starts(w))]

    def _starts(self, world: int) -> Floats:
        return self.split.mdps[world].start

    def write(
        self,
        policy: PlanPolicy,
        asks: Sequence[Ask],
        group: int,
        numbers: Stream,
        overlong: int = 0,
        greedy: bool = False,
    ) -> list[Route]:
        """`group` routes for each of `asks`, in this order; with `greedy`, behind them the
        likeliest tokens' route for each of them."""
        prompts = [self.prompt(*ask).tokens for ask in asks]
        drawn = policy.sample(prompts, group, numbers.tokens, greedy=greedy)
        extra: list[dict[str, float]] = [{}] * len(drawn)
        if overlong:
            longest = policy.max_tokens
            penalty = overlong_penalty(drawn.lengths.numpy(), longest, min(overlong, longest))
            extra = [{"overlong": float(late)} for late in penalty]
        rows = zip(
            drawn.prompt.tolist(), drawn.rows(), drawn.log_probs.tolist(),
            drawn.truncated.tolist(), extra, strict=True,
        )  # fmt: skip
        return [
            self._judged(asks[asked], tokens, log_probs, cut_off, more, numbers.moves)
            for asked, tokens, log_probs, cut_off, more in rows
        ]

    def _judged(
        self,
        ask: Ask,
        tokens: list[int],
        log_probs: list[float],
        cut_off: bool,
        more: dict[str, float],
        rng: np.random.Generator,
    ) -> Route:
        """A completion read, walked and scored; `more` parts of its reward are known already."""
        world, start = ask
        mdp = self.split.mdps[world]
        words = tokens[:-1] if tokens[-1] in self.ends else tokens
        text = self.decode(words)
        parsed = parse_moves(text, names=self.split.mazes[world].actions)
        walked = walk(mdp, parsed.moves, start, rng)
        reward = reward_plan(mdp, parsed, walked, self.distance(world), self.weights, cut_off)
        return Route(
            world=world,
            start=start,
            prompt=self.prompt(*ask),
            tokens=tuple(tokens),
            log_probs=tuple(log_probs[: len(tokens)]),
            text=text,
            parsed=parsed,
            walked=walked,
            parts={name: part + 0.0 for name, part in {**reward.parts, **more}.items()},  # no −0
            cut_off=cut_off,
        )

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens, exactly."""
        text: str = self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
        return text


# ---------------------------------------------------------------- a batch


@dataclass(frozen=True, eq=False)
class Batch:
    """The routes of an update."""

    routes: tuple[Route, ...]  # [B], groups one behind the other
    group_size: int
    first: tuple[Route, ...]
    """Those of the first draw: a fair sample of the policy, which chosen groups are not."""
    greedy: Route | None
    draws: int
    drawn: int  # completions of all draws
    moves: int  # made in all draws
    tokens: int  # drawn in all draws
    equal_groups: float  # share of all groups drawn whose routes are all alike

    @property
    def worlds(self) -> tuple[int, ...]:
        """The worlds that were played, each once."""
        return tuple(dict.fromkeys(route.world for route in self.routes))

    @property
    def totals(self) -> Floats:
        """[B] what routes are compared by."""
        return np.array([route.total for route in self.routes])

    @property
    def lengths(self) -> Array:
        """[B] in tokens."""
        return np.array([len(route.tokens) for route in self.routes])


def draw_batch(
    writer: RouteWriter,
    policy: PlanPolicy,
    algorithm: LlmAlgorithm,
    settings: Any,
    per_update: int,
    numbers: Stream,
) -> Batch:
    """The routes an update learns from; for DAPO, groups that are all equal are drawn again.

    Groups go round the mazes of the update. Methods without groups ask for every route anew.
    """
    n, size = settings.episodes, algorithm.group_size(settings)
    together = size if hasattr(settings, "group_size") else 1
    chosen = list(range(len(writer.split)))
    if per_update < len(writer.split):
        picked = numbers.moves.choice(len(writer.split), per_update, replace=False)
        chosen = sorted(int(w) for w in picked)
    worlds = [chosen[i % per_update] for i in range(n // together)]
    overlong = getattr(settings, "overlong", 0)
    one_question = len(writer.all_asks(chosen)) == 1
    groups: list[list[Route]] = []  # those that are kept
    equal: list[Bools] = []
    all_routes: list[Route] = []
    first: tuple[Route, ...] = ()
    greedy: Route | None = None
    most = getattr(settings, "draws", 1)
    draw = 0
    while worlds:
        draw += 1
        asks = writer.asks(worlds, numbers.moves)
        if one_question:  # the prompt's cache and the beginnings of routes are shared by all
            routes = writer.write(
                policy, asks[:1], len(asks) * together, numbers, overlong, greedy=draw == 1
            )
            if draw == 1:
                greedy = routes.pop()
        else:
            routes = writer.write(policy, asks, together, numbers, overlong)
        first = first or tuple(routes)
        all_routes += routes
        cut = [routes[i : i + together] for i in range(0, len(routes), together)]
        keep = np.ones(len(cut), dtype=bool)
        compared = np.array([route.total for route in routes]).reshape(-1, size)
        equal.append(all_equal(compared))
        if draw < most:  # in the end what is missing is filled with groups that teach nothing
            keep = groups_to_keep([[route.total for route in group] for group in cut])
        groups += [group for group, kept in zip(cut, keep, strict=True) if kept]
        worlds = [world for world, kept in zip(worlds, keep, strict=True) if not kept]
    return Batch(
        routes=tuple(route for group in groups for route in group),
        group_size=size,
        first=first,
        greedy=greedy,
        draws=draw,
        drawn=len(all_routes),
        moves=sum(len(route.made) for route in all_routes),
        tokens=sum(len(route.tokens) for route in all_routes),
        equal_groups=float(np.concatenate(equal).mean()),
    )


def group_advantages(batch: Batch, algorithm: LlmAlgorithm, settings: Any) -> Floats:
    """[B] every token of a route gets its route's."""
    grouped = batch.totals.reshape(-1, batch.group_size)
    return algorithm.advantages(grouped, settings).reshape(-1)


def by_critic(batch: Batch, values: Tensor, gamma: float, lambda_: float) -> tuple[Tensor, Tensor]:
    """GAE over the tokens of each route, the reward paid at its last one: advantages [B, T] of the
    whole batch standardised, and λ-returns [B, T] that the values are to be fitted to.

    `values` [B, T]: of the hidden state each token was drawn from. A route that ran into the token
    limit is over too: it is walked and paid as it stands.
    """
    lengths = batch.lengths
    mask = np.arange(values.shape[1]) < lengths[:, None]  # [B, T]
    last = np.arange(values.shape[1]) == lengths[:, None] - 1
    known = np.where(mask, values.double().numpy(), 0.0)
    following = np.concatenate([known[:, 1:], np.zeros((len(known), 1))], axis=1)
    reward = np.where(last, batch.totals[:, None], 0.0)
    judged = gae(reward, known, following, last, np.zeros_like(last), gamma, lambda_)
    return (
        torch.from_numpy(standardised(judged.advantages, mask)).float(),
        torch.from_numpy(np.where(mask, judged.targets, 0.0)).float(),
    )


def batch_metrics(batch: Batch, advantages: Tensor) -> dict[str, float]:
    """What is said of an update's routes; `advantages` [B] or [B, T], 0 behind the ends. What DAPO
    leaves out was written too: but for the advantages, figures are those of the first draw."""
    routes = batch.first
    mask = np.arange(batch.lengths.max()) < batch.lengths[:, None]
    used = np.broadcast_to(advantages.numpy().reshape(len(batch.routes), -1), mask.shape)[mask]

    def mean(of: Callable[[Route], float]) -> float:
        return float(np.mean([of(route) for route in routes]))

    return {
        "online_return": mean(lambda r: r.total),
        "online_score": mean(lambda r: sum(r.walked.rewards)),
        "online_length": mean(lambda r: len(r.made)),
        "online_success_rate": mean(lambda r: r.walked.success),
        "completion_tokens": mean(lambda r: len(r.tokens)),
        "cut_off_share": mean(lambda r: r.cut_off),
        "unreadable_share": mean(lambda r: r.unreadable),
        "advantage_std": float(used.std()),
        "equal_groups": batch.equal_groups,
        "group_draws": float(batch.draws),
        **{f"reward_{name}": mean(lambda r, n=name: r.parts[n]) for name in routes[0].parts},  # type: ignore[misc]
    }
