"""Routes that the model writes: asked for, written, read, walked and paid for.

Shapes: `B` completions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from engine.config.rewards import PlanRewards
from engine.core.arrays import Floats
from engine.llm.algorithms.advantages import overlong_penalty
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.forward.prompts import ObservationText, RoutePrompt, route_prompt
from engine.llm.models.tokenizer import Limits
from engine.llm.tasks.route_search import distances
from engine.llm.tasks.routes.rewards import Parsed, Walk, parse_moves, reward_route, walk
from engine.llm.tasks.streams import Stream
from engine.llm.worlds import WorldSet

Ask = tuple[int, int]
"""A world of a split and the state a route is to begin in."""


@dataclass(frozen=True, eq=False)
class Route:
    """One completion, and what came of it."""

    world: int
    start: int
    prompt: RoutePrompt
    tokens: tuple[int, ...]  # its end included
    log_probs: tuple[float, ...]  # at the sampling temperature, when it was drawn
    text: str
    parsed: Parsed
    walked: Walk
    parts: dict[str, float]  # of its reward, weighed
    cut_off: bool  # the token limit came before an end

    @property
    def total(self) -> float:
        """The route's reward: what it is compared by."""
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
        """`told`: what the model is told of a maze; `ends`: the tokens that end a route."""
        self.split, self.tokenizer, self.weights, self.told = split, tokenizer, weights, told
        self.ends = frozenset(ends)
        self.prompt: Callable[[int, int], RoutePrompt] = cache(self._prompt)
        self.distance: Callable[[int], Floats] = cache(lambda w: distances(split.mdps[w]))

    def _prompt(self, world: int, start: int) -> RoutePrompt:
        maze, mdp = self.split.mazes[world], self.split.mdps[world]
        return route_prompt(maze, mdp, self.tokenizer, start, self.told)

    def asks(self, worlds: Sequence[int], rng: np.random.Generator) -> list[Ask]:
        """One question for each of `worlds`, its start drawn as the maze draws it."""
        return [(w, int(rng.choice(len(p), p=p))) for w in worlds for p in [self._starts(w)]]

    def all_asks(self, worlds: Sequence[int]) -> list[Ask]:
        """The questions of all start cells."""
        return [(w, int(s)) for w in worlds for s in np.flatnonzero(self._starts(w))]

    def check(self, limits: Limits, max_tokens: int) -> None:
        """Raise UserError unless the model can read all questions, and answer them."""
        asked = [self.prompt(*ask) for ask in self.all_asks(range(len(self.split)))]
        words = {token for prompt in asked for word in prompt.word_tokens for token in word}
        prompts = [prompt.tokens for prompt in asked]
        limits.check_answers(self.tokenizer, prompts, words, sorted(self.ends), max_tokens)

    def _starts(self, world: int) -> Floats:
        return self.split.mdps[world].start

    def write(
        self,
        policy: CompletionPolicy,
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
            self._walked(asks[asked], tokens, log_probs, cut_off, more, numbers.moves)
            for asked, tokens, log_probs, cut_off, more in rows
        ]

    def _walked(
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
        reward = reward_route(mdp, parsed, walked, self.distance(world), self.weights, cut_off)
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
