"""Live values of the agent-environment loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tui import kinds
from tui.glossary.values.words import (
    LONGEST_WAY,
    Value,
    action,
    discounted,
    last_episode,
    number,
    per_action,
    place,
    plural,
    real_step,
    shown_observation,
    shown_state,
)

if TYPE_CHECKING:
    from tui.model.snapshot import Snapshot


def agent(snapshot: Snapshot) -> str:
    watched = snapshot.step.agent if snapshot.step else 0
    count = snapshot.preset.run.agents
    if kinds.of(snapshot.preset).plans:
        return f"{snapshot.algorithm.title}: it computes, nobody moves"
    where = place(snapshot, shown_state(snapshot))
    return f"agent {watched} (of {count}) at {where}"


def environment(snapshot: Snapshot) -> str:
    maze = snapshot.world.maze
    rows, columns = maze.shape
    name = maze.gymnasium or f"{rows}×{columns} maze"
    states, limit = plural(snapshot.mdp.n_states, "state"), plural(maze.max_steps, "step")
    return f"{name}: {states}, at most {limit} an episode"


def simulated(snapshot: Snapshot) -> str:
    return f"yes: world {snapshot.world.id} is computed, like every world here"


def state(snapshot: Snapshot) -> str:
    return place(snapshot, shown_state(snapshot))


def next_state(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    likeliest = "likeliest: " if step.kind == "backup" else ""
    return f"{likeliest}{place(snapshot, step.next_state)}"


def observation(snapshot: Snapshot) -> str:
    seen = shown_observation(snapshot)
    maze = snapshot.world.maze
    if maze.observation == "cell" and maze.memory == 1:
        return f"{seen}: the agent sees its cell"
    mdp = snapshot.mdp
    alike = (mdp.observation == seen) & snapshot.optimum.reachable
    look = plural(np.unique(mdp.cell[alike]).size, "cell")
    sees = "its neighbours only" if maze.observation == "neighbourhood" else "its neighbours"
    if maze.observation == "neighbourhood+prize":
        sees += " and where the prize lies"
    if maze.memory > 1:
        sees += f", and remembers {maze.memory} observations"
    return f"number {seen}: the agent sees {sees}; {look} look so"


def action_taken(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    if step.kind == "backup":
        return f"{action(snapshot, step.action)}, the best in this backup"
    if kinds.of(snapshot.preset).policy_given:
        return f"{action(snapshot, step.action)}, drawn from the given policy"
    return f"{action(snapshot, step.action)}, {'explored' if step.explored else 'exploited'}"


def time_step(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None:
        return None
    return f"t = {step.t} (of at most {snapshot.world.maze.max_steps:,})"


def episode(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    if step.kind == "backup":
        return f"sweep {step.episode}"
    ended = ", ended here" if step.terminated or step.truncated else ""
    return f"number {step.episode} of this agent, at t = {step.t}{ended}"


def trajectory(snapshot: Snapshot) -> str | None:
    steps = [step for step in snapshot.episode_steps if step.kind == "real"]
    if not steps:
        return None
    newest = steps[-LONGEST_WAY:]
    arrows = snapshot.world.maze.arrows
    way = " ".join(f"{step.state} {arrows[step.action]}" for step in newest)
    before = "… " if len(newest) < len(steps) or steps[0].t > 0 else ""
    return f"{before}{way} {newest[-1].next_state}"


def reward(snapshot: Snapshot) -> str | None:
    step = snapshot.step
    if step is None:
        return None
    expected = " expected" if step.kind == "backup" else ""
    return f"{number(step.reward)}{expected} on this step"


def total_return(snapshot: Snapshot) -> str | None:
    ended = last_episode(snapshot)
    if ended is None:
        return None
    return f"{number(ended.total_return)} for the last finished episode (number {ended.index})"


def return_to_go(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None:
        return None
    if step.terminated or step.truncated:
        return f"{number(step.reward)} from this last step: the reward alone"
    steps = list(snapshot.episode_steps)
    earned = number(discounted(steps))
    return f"not known before the episode ends; from t = {steps[0].t} to here {earned}"


def score(snapshot: Snapshot) -> str | None:
    ended = last_episode(snapshot)
    return None if ended is None else f"{number(ended.score)} for the last finished episode"


def length(snapshot: Snapshot) -> str | None:
    ended = last_episode(snapshot)
    if ended is None:
        return None
    outcome = "reached the prize" if ended.success else "without the prize"
    return f"{plural(ended.length, 'step')} in the last finished episode, {outcome}"


def discount_factor(snapshot: Snapshot) -> str:
    gamma = snapshot.step.gamma if snapshot.step else snapshot.preset.algorithm.gamma
    return f"{number(gamma)}: a reward 10 steps away counts {number(gamma**10)}"


def terminated(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None:
        return None
    if not step.terminated:
        return "no: this step did not end the episode"
    return "yes: at the prize" if step.success else "yes: without success"


def truncated(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None:
        return None
    left = snapshot.world.maze.max_steps - step.t - 1
    if step.truncated:
        return "yes: the time limit was reached on this step"
    return f"no: {plural(left, 'step')} left before the limit"


def horizon(snapshot: Snapshot) -> str:
    return f"{plural(snapshot.world.maze.max_steps, 'step')} an episode"


def log_probability(snapshot: Snapshot) -> str | None:
    step = real_step(snapshot)
    if step is None:
        return None
    taken, chance = action(snapshot, step.action), math.exp(step.log_prob)
    return f"{number(step.log_prob)} for {taken} on this step: probability {number(chance)}"


def policy(snapshot: Snapshot) -> str | None:
    if snapshot.policy is None:
        return None
    here = place(snapshot, shown_state(snapshot))
    chances = snapshot.policy.target[shown_observation(snapshot)]
    return f"target policy at {here}: {per_action(snapshot, chances)}"


def action_space(snapshot: Snapshot) -> str:
    maze = snapshot.world.maze
    names = ", ".join(maze.actions[:LONGEST_WAY])
    more = ", …" if len(maze.actions) > LONGEST_WAY else ""
    return f"{plural(snapshot.mdp.n_actions, 'action')}: {names}{more}"


def reward_function(snapshot: Snapshot) -> str:
    """What the rewards of a maze are made of; of other environments their range."""
    if snapshot.world.maze.gymnasium is None:
        pay = snapshot.world.maze.rewards
        parts = [(name, getattr(pay, name)) for name in pay.__struct_fields__]
        paid = ", ".join(f"{name} {number(amount)}" for name, amount in parts if amount)
        return paid or "it pays nothing"
    met = snapshot.mdp.reward[snapshot.mdp.probability > 0]
    low, high = number(float(met.min())), number(float(met.max()))
    return f"always {low}" if low == high else f"from {low} to {high} a step"


def finite_horizon(snapshot: Snapshot) -> str:
    gamma = number(snapshot.preset.algorithm.gamma)
    steps = plural(snapshot.world.maze.max_steps, "step")
    return f"episodes and figures: {steps}; values: no limit, γ = {gamma}"


VALUES: dict[str, Value] = {
    "agent": agent,
    "environment": environment,
    "simulated-environment": simulated,
    "state": state,
    "next-state": next_state,
    "observation": observation,
    "action": action_taken,
    "action-space": action_space,
    "time-step": time_step,
    "episode": episode,
    "trajectory": trajectory,
    "reward": reward,
    "reward-function": reward_function,
    "return": total_return,
    "return-to-go": return_to_go,
    "score": score,
    "episode-length": length,
    "discount-factor": discount_factor,
    "terminated": terminated,
    "truncated": truncated,
    "horizon": horizon,
    "finite-horizon": finite_horizon,
    "log-probability": log_probability,
    "policy": policy,
}
