"""An update of an action policy as events: groups of episodes, one whole episode, the policy.

Shapes: `O` observations, `A` actions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.core.arrays import Array
from engine.core.errors import UserError
from engine.env.mdp import MDP
from engine.exact.evaluate import state_values
from engine.learning.events import Episode, Group, Member, Policy, Step
from engine.llm import judging
from engine.llm.judging import Played
from engine.llm.look import Look
from engine.llm.prompts import NO_PROMPT

if TYPE_CHECKING:
    from engine.llm.action_learner import ActionLearner

KEPT_GROUPS = 4
KEPT_MEMBERS = 16
"""Of an update's episodes so many are recorded: more than anybody reads."""


def listed(totals: Array) -> list[int]:
    """Which members of a group are recorded, by what they are compared by, [G]: the best, the
    worst, and between them at even distances in rank."""
    best_first = np.argsort(-totals, kind="stable")
    places = np.linspace(0, len(totals) - 1, min(len(totals), KEPT_MEMBERS)).round().astype(int)
    return sorted(int(n) for n in best_first[places])


def action_groups(learner: ActionLearner, played: Played) -> list[Group]:
    """The first groups of an update; without groups, the batch is one."""
    rollouts, size = played.rollouts, played.group_size
    groups = []
    for index in range(min(KEPT_GROUPS, len(rollouts.length) // size)):
        first = index * size
        world = played.worlds[int(rollouts.world[first])]
        prompt = ""
        row = learner.prompts.row[learner.train.first + world, rollouts.observation[first, 0]]
        if row != NO_PROMPT:
            prompt = learner.prompts.texts[row]
        kept = [first + n for n in listed(played.compared[first : first + size])]
        groups.append(
            Group(
                step=learner.clock,
                world_id=world,
                index=index,
                size=size,
                prompt=prompt,
                members=tuple(_member(played, b) for b in kept),
                mean=float(played.compared[first : first + size].mean()),
                spread=float(played.compared[first : first + size].std()),
            )
        )
    return groups


def _member(played: Played, b: int) -> Member:
    rollouts = played.rollouts
    length = int(rollouts.length[b])
    advantage = float(played.advantages[b, :length].mean())
    return Member(
        actions=tuple(int(a) for a in rollouts.action[b, :length]),
        states=(*(int(s) for s in rollouts.state[b, :length]), int(rollouts.final_state[b])),
        total=float(played.compared[b]),
        advantage=advantage,
        success=bool(rollouts.success[b]),
        terminated=bool(rollouts.terminated[b]),
        truncated=bool(rollouts.truncated[b]),
        log_probs=tuple(float(x) for x in rollouts.log_behaviour[b, :length]),
    )


def told_episode(
    learner: ActionLearner, before: Look, played: Played, after: Look | None
) -> Episode:
    """The update's first episode, with π in every cell before the update and after it."""
    rollouts, b = played.rollouts, 0
    length = int(rollouts.length[b])
    gamma = float(learner.settings.gamma)
    group = played.compared[: played.group_size]
    steps = tuple(
        _step(learner, before, played, after, b, t, float(group.mean())) for t in range(length)
    )
    to_go = rollouts.returns_to_go(gamma)[b, :length]
    return Episode(
        step=learner.clock,
        world_id=played.worlds[int(rollouts.world[b])],
        index=learner.clock - 1,
        steps=steps,
        returns_to_go=tuple(float(g) for g in to_go),
        score=float(rollouts.score[b]),
        success=bool(rollouts.success[b]),
        terminated=bool(rollouts.terminated[b]),
        truncated=bool(rollouts.truncated[b]),
    )


def _step(
    learner: ActionLearner,
    before: Look,
    played: Played,
    after: Look | None,
    b: int,
    t: int,
    mean: float,
) -> Step:
    rollouts = played.rollouts
    w, o = int(rollouts.world[b]), int(rollouts.observation[b, t])
    world = played.worlds[w]
    mdp = learner.train.mdps[world]
    last = t == int(rollouts.length[b]) - 1
    landing = int(rollouts.final_state[b] if last else rollouts.state[b, t + 1])
    total, reward = float(played.compared[b]), float(rollouts.reward[b, t])
    state, action = int(rollouts.state[b, t]), int(rollouts.action[b, t])
    return Step(
        step=learner.clock,
        world_id=world,
        episode=learner.clock - 1,
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
        fell=_fell(mdp, state, action, landing, reward),
        before=mean,
        target=total,
        error=total - mean,
        after=math.nan,
        step_size=learner.last_rate,
        gamma=float(learner.settings.gamma),
        probabilities=tuple(np.exp(_log_pi(before, w, o)).tolist()),
        probabilities_after=() if after is None else tuple(np.exp(_log_pi(after, w, o)).tolist()),
        advantage_estimate=float(played.advantages[b, t]),
    )


def _log_pi(look: Look, w: int, o: int) -> np.ndarray:
    place = int(look.place[w, o])
    n = look.policy.shape[-1]
    return np.full(n, -math.log(n)) if place == NO_PROMPT else look.log_pi[place].numpy()


def _fell(mdp: MDP, state: int, action: int, landing: int, reward: float) -> bool:
    """Whether the move led through a hole, read from the outcome it must have been."""
    met = (mdp.next_state[state, action] == landing) & (mdp.reward[state, action] == reward)
    return bool((mdp.fall[state, action] & met & (mdp.probability[state, action] > 0)).any())


def told_policy(learner: ActionLearner, look: Look, played: Played | None) -> Policy:
    """What the model would do in the world that is shown, and what that is really worth: the values
    [O] are exact, visits [O, A] and the layer of mean advantages those of the update's episodes."""
    world = look.worlds[0]
    mdp, pi = learner.train.mdps[world], look.policy[0]
    try:
        values = state_values(mdp, pi, learner.settings.gamma)
    except UserError:  # γ = 1 and a policy that may never end
        values = np.zeros(mdp.n_states)
    by_observation = np.zeros(mdp.n_observations)
    by_observation[mdp.observation] = values
    visits = np.zeros((mdp.n_observations, mdp.n_actions), np.int64)
    layers = {}
    if played is not None and played.worlds[0] == world:
        visits = played.visits[0]
        layers = {"advantage": played.mean_advantages[0].astype(np.float32)}
    return Policy(
        step=learner.clock,
        world_id=world,
        target=pi.astype(np.float32),
        behaviour=judging.behaviour(learner, look)[0].astype(np.float32),
        q=None,
        values=by_observation.astype(np.float32),
        visits=visits,
        layers=layers,
    )
