"""An update of a policy over cells as events: groups of episodes, one whole episode, the policy.

Shapes: `O` observations, `A` actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.core.arrays import Array
from engine.env.mdp import MDP
from engine.learning.events import Episode, Group, Member, Policy, Step
from engine.llm.forward.prompts import NO_PROMPT, CellPrompts
from engine.llm.tasks import recorded
from engine.llm.tasks.base import RunState
from engine.llm.tasks.cells.batch import RolloutBatch, behaviour_of
from engine.llm.tasks.cells.policy_table import PolicyTable
from engine.llm.tasks.cells.scores import Scores


def group_events(
    run: RunState, batch: RolloutBatch, scores: Scores, prompts: CellPrompts
) -> list[Group]:
    """The first groups of an update; without groups, the batch is one."""
    rollouts = batch.rollouts

    def group(first: int) -> tuple[int, str]:
        world = batch.worlds[int(rollouts.world[first])]
        row = prompts.row[run.train.first + world, rollouts.observation[first, 0]]
        return world, "" if row == NO_PROMPT else prompts.texts[row]

    return recorded.group_events(
        run, batch.group_size, batch.returns, group, lambda b: _member(batch, scores, b)
    )


def _member(batch: RolloutBatch, scores: Scores, b: int) -> Member:
    rollouts = batch.rollouts
    length = int(rollouts.length[b])
    return Member(
        actions=tuple(int(a) for a in rollouts.action[b, :length]),
        states=(*(int(s) for s in rollouts.state[b, :length]), int(rollouts.final_state[b])),
        total=float(batch.returns[b]),
        advantage=float(scores.advantages[b, :length].mean()),
        success=bool(rollouts.success[b]),
        terminated=bool(rollouts.terminated[b]),
        truncated=bool(rollouts.truncated[b]),
        log_probs=tuple(float(x) for x in rollouts.log_behaviour[b, :length]),
    )


def episode_event(
    run: RunState, batch: RolloutBatch, scores: Scores, after: PolicyTable | None
) -> Episode:
    """The update's first episode, with π in every cell before the update and `after` it."""
    rollouts, b = batch.rollouts, 0
    length = int(rollouts.length[b])
    told = _Told(run, batch, scores, after, float(batch.returns[: batch.group_size].mean()))
    to_go = rollouts.returns_to_go(float(run.settings.gamma))[b, :length]
    return Episode(
        step=run.clock,
        world_id=batch.worlds[int(rollouts.world[b])],
        index=run.clock - 1,
        steps=tuple(told.step(b, t) for t in range(length)),
        returns_to_go=tuple(float(g) for g in to_go),
        score=float(rollouts.score[b]),
        success=bool(rollouts.success[b]),
        terminated=bool(rollouts.terminated[b]),
        truncated=bool(rollouts.truncated[b]),
    )


@dataclass(frozen=True, eq=False)
class _Told:
    """What the steps of an episode are told with."""

    run: RunState
    batch: RolloutBatch
    scores: Scores
    after: PolicyTable | None
    group_mean: float

    def step(self, b: int, t: int) -> Step:
        run, rollouts = self.run, self.batch.rollouts
        w, o = int(rollouts.world[b]), int(rollouts.observation[b, t])
        world = self.batch.worlds[w]
        last = t == int(rollouts.length[b]) - 1
        landing = int(rollouts.final_state[b] if last else rollouts.state[b, t + 1])
        total, reward = float(self.batch.returns[b]), float(rollouts.reward[b, t])
        state, action = int(rollouts.state[b, t]), int(rollouts.action[b, t])
        return Step(
            step=run.clock,
            world_id=world,
            episode=run.clock - 1,
            t=t,
            state=state,
            observation=o,
            action=action,
            log_prob=float(rollouts.log_behaviour[b, t]),
            reward=reward,
            next_state=landing,
            next_observation=int(rollouts.next_observation[b, t]),
            terminated=last and bool(rollouts.terminated[b]),
            truncated=last and bool(rollouts.truncated[b]),
            success=last and bool(rollouts.success[b]),
            fell=_fell(run.train.mdps[world], state, action, landing, reward),
            before=self.group_mean,
            target=total,
            error=total - self.group_mean,
            after=math.nan,
            step_size=run.last_learning_rate,
            gamma=float(run.settings.gamma),
            probabilities=_pi(self.batch.table, w, o),
            probabilities_after=() if self.after is None else _pi(self.after, w, o),
            advantage_estimate=float(self.scores.advantages[b, t]),
        )


def _pi(table: PolicyTable, w: int, o: int) -> tuple[float, ...]:
    """π(·|o) at the sampling temperature."""
    row = int(table.prompt_row[w, o])
    n = table.policy.shape[-1]
    log_pi: Array = np.full(n, -math.log(n)) if row == NO_PROMPT else table.log_pi[row].numpy()
    return tuple(np.exp(log_pi).tolist())


def _fell(mdp: MDP, state: int, action: int, landing: int, reward: float) -> bool:
    """Whether the move led through a hole, read from the outcome it must have been."""
    met = (mdp.next_state[state, action] == landing) & (mdp.reward[state, action] == reward)
    return bool((mdp.fall[state, action] & met & (mdp.probability[state, action] > 0)).any())


def policy_event(
    run: RunState,
    table: PolicyTable,
    batch: RolloutBatch | None = None,
    scores: Scores | None = None,
) -> Policy:
    """What the model would do in the world that is shown, and what that is really worth: the values
    [O] are exact, visits [O, A] and the layer of mean advantages those of the update's episodes."""
    world = table.worlds[0]
    mdp, pi = run.train.mdps[world], table.policy[0]
    visits: Array = np.zeros((mdp.n_observations, mdp.n_actions), np.int64)
    layers = {}
    if batch is not None and scores is not None and batch.worlds[0] == world:
        visits = scores.visits[0]
        layers = {"advantage": scores.mean_advantages[0].astype(np.float32)}
    return Policy(
        step=run.clock,
        world_id=world,
        target=pi.astype(np.float32),
        behaviour=behaviour_of(table, run.settings, run.clock)[0].astype(np.float32),
        q=None,
        values=recorded.exact_values(mdp, pi, run.settings.gamma).astype(np.float32),
        visits=visits,
        layers=layers,
    )
