"""The supervised warm start of a policy that writes routes: −log π of shortest ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.llm.algorithms.losses import Sums
from engine.llm.forward.completion_policy import CompletionPolicy
from engine.llm.tasks.base import Objective, PartFigures, PartLoss, RunState
from engine.llm.tasks.route_search import sample_route, shortest_actions
from engine.llm.tasks.routes.batch import RouteBatch
from engine.llm.tasks.routes.writer import RouteWriter
from engine.llm.tasks.streams import Stream


class RouteImitation(Objective[RouteBatch]):
    """−log π of the tokens of shortest routes, the mean over all tokens."""

    batch = None
    epochs = 1

    def __init__(
        self,
        run: RunState,
        policy: CompletionPolicy,
        writer: RouteWriter,
        per_update: int,
        end: int,
        numbers: Stream,
    ) -> None:
        """`end`: the token that ends a route."""
        assert run.preset.warmup is not None
        self.run, self.policy = run, policy
        worlds = numbers.moves.permutation(len(run.train))[:per_update]
        count = run.preset.warmup.routes
        asks = writer.asks([int(worlds[i % len(worlds)]) for i in range(count)], numbers.moves)
        best = {w: shortest_actions(run.train.mdps[w]) for w in {w for w, _ in asks}}
        self.prompts, self.written = [], []
        for w, start in sorted(asks):  # routes of one maze side by side share its prompt
            route = sample_route(run.train.mdps[w], start, numbers.moves, best[w])
            prompt = writer.prompt(w, start)
            self.prompts.append(prompt.tokens)
            self.written.append(prompt.completion(route, end))
        self.n_tokens = sum(len(tokens) for tokens in self.written)

    def parts(self) -> list[list[int]]:
        return self.policy.split(self.prompts, self.written)

    def loss(self, part: Sequence[int]) -> PartLoss:
        scores = self.policy.forward(
            [self.prompts[b] for b in part], [self.written[b] for b in part]
        )
        self.run.tokens += 3 * sum(len(self.written[b]) for b in part)
        zero = torch.zeros(())
        entropy = float(scores.entropy.detach().sum()) / self.n_tokens
        sums = Sums(
            terms=scores.mask.sum(),
            steps=scores.mask.sum(),
            outside=zero,
            clipped_low=zero,
            clipped_high=zero,
            ratio=zero,
            ratio_max=zero,
            approx_kl=zero,
            reference_kl=zero,
            entropy=torch.tensor(entropy, dtype=torch.float64),
        )
        return PartLoss(-scores.log_probs.sum() / self.n_tokens, None, sums)

    def metrics(self, figures: list[PartFigures], gradient_norm: float) -> dict[str, float]:
        return {
            "warmup_loss": sum(part.loss for part in figures),
            "gradient_norm": gradient_norm,
            "entropy": sum(float(part.sums.entropy) for part in figures),
        }
