"""Reward hacking, noticed while a table learns: what is earned rises, the prize is reached less.

One note a run, given when the exact figures show it. It says what happened, whether the rewards
themselves ask for it (the best policy for them does the same), and which of them to change. No
clock and no random numbers: a resumed run says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from engine.core.arrays import Array
from engine.env.mdp import MDP
from engine.env.settings import MazeSettings
from engine.exact.evaluate import optimal_figures
from engine.learning.events import Note
from engine.tabular.worlds import TabularWorlds

TERM = "reward-design"
"""The glossary entry on reward hacking."""
FELL_BY = 0.3
"""Success that must be lost since its best before the rewards are suspected."""
ROSE_BY = 0.1
"""Of the larger of the two scores: what must be gained meanwhile."""
LASTS_STEPS, LASTS_SHARE = 200, 0.1
"""How long that must go on: so many steps, and so large a part of all steps until it began.
Learning is uneven, and a dip is no hacking."""
SELDOM = 0.5
"""Of the success that is possible: below, the rewards do not ask for the prize."""
MOST = 0.9
"""The share of agents that must have learned what the rewards ask for."""


class RewardHackingMonitor(NamedTuple):
    """The state of the watch for reward hacking in one run, [1] each.

    Checkpoints name it `suspicion`, by its fields.
    """

    best: Array  # float64: the highest success rate so far on this map; -1 before the first
    score: Array  # float64: the expected score at that time
    since: Array  # int64: the step since which the score is up and success is down; -1: it is not
    changed_at: Array  # int64: the step of the newest change of the map
    possible: Array  # float64: the success of seeking the prize alone; NaN: not computed
    said: Array  # bool: whether the note was given


def make_monitor() -> RewardHackingMonitor:
    """Before the first step."""
    return RewardHackingMonitor(
        best=np.full(1, -1.0),
        score=np.full(1, np.nan),
        since=np.full(1, -1, np.int64),
        changed_at=np.zeros(1, np.int64),
        possible=np.full(1, np.nan),
        said=np.zeros(1, np.bool_),
    )


def update_monitor(
    monitor: RewardHackingMonitor,
    step: int,
    exact: Mapping[str, Array],
    worlds: TabularWorlds,
    maze: MazeSettings,
) -> list[Note]:
    """The note, if it is due now. `exact` are the target policies' figures [N] at `step`."""
    if monitor.said[0]:
        return []
    changed_at = worlds.changed_at(step)
    if changed_at != monitor.changed_at[0]:  # another map, another best
        monitor.changed_at[0] = changed_at
        monitor.best[0], monitor.since[0], monitor.possible[0] = -1.0, -1, np.nan
    success, score = float(exact["success_rate"].mean()), float(exact["expected_score"].mean())
    if success > monitor.best[0]:
        monitor.best[0], monitor.score[0] = success, score
    hacked = _hacked(monitor, step, success, score)
    if not hacked and not _as_asked(monitor, step, exact, worlds):
        return []
    monitor.said[0] = True
    text = _what_happened(monitor, success, score, hacked) + _what_is_asked(monitor, step, worlds)
    return [Note(step=step, level="warning", text=text, remedy=_remedy(maze), term=TERM)]


def possible_success(mdp: MDP, gamma: float) -> float:
    """The success of the policy that is best where only the prize pays, with the same discount and
    the same time limit. So what it misses is not the fault of the rewards."""
    return optimal_figures(replace(mdp, reward=mdp.success.astype(np.float64)), gamma).success_rate


# ---------------------------------------------------------------- what is wrong


def _hacked(monitor: RewardHackingMonitor, step: int, success: float, score: float) -> bool:
    """Whether the score has been up, and success down, for long enough."""
    before = float(monitor.score[0])
    rose = score - before > ROSE_BY * max(abs(score), abs(before))
    if not rose or success > monitor.best[0] - FELL_BY:
        monitor.since[0] = -1
        return False
    if monitor.since[0] < 0:
        monitor.since[0] = step
    since = int(monitor.since[0])
    return step - since >= max(LASTS_STEPS, LASTS_SHARE * since)


def _as_asked(
    monitor: RewardHackingMonitor, step: int, exact: Mapping[str, Array], worlds: TabularWorlds
) -> bool:
    """Whether most agents do what is best for these rewards, and seldom reach the prize by it."""
    best = _best_success(step, worlds)
    if best > SELDOM or exact["success_rate"].mean() > SELDOM:  # settled without solving
        return False
    if worlds.nearly_optimal(step, exact["expected_return"]).mean() < MOST:
        return False
    possible = _possible(monitor, step, worlds)
    return best <= SELDOM * possible and best <= possible - FELL_BY


def _best_success(step: int, worlds: TabularWorlds) -> float:
    """The success of the best policies for the rewards as they are."""
    evaluated = worlds.evaluated(step)
    return sum(worlds.optimum(w).success_rate for w in evaluated) / len(evaluated)


def _possible(monitor: RewardHackingMonitor, step: int, worlds: TabularWorlds) -> float:
    """The success of whoever seeks the prize alone; solved once for each map."""
    if np.isnan(monitor.possible[0]):
        evaluated = worlds.evaluated(step)
        chances = [possible_success(worlds.mdps[w], worlds.gamma) for w in evaluated]
        monitor.possible[0] = sum(chances) / len(chances)
    return float(monitor.possible[0])


# ---------------------------------------------------------------- what is said


def _what_happened(
    monitor: RewardHackingMonitor, success: float, score: float, hacked: bool
) -> str:
    if hacked:
        return (
            f"The policy earns {score:.3g} an episode, up from {monitor.score[0]:.3g}, but "
            f"reaches the prize in {success:.0%} of its episodes, down from "
            f"{monitor.best[0]:.0%}: it has found something that pays and is not the prize."
        )
    return (
        f"The policy earns {score:.3g} an episode, nearly all there is to earn, and reaches the "
        f"prize in {success:.0%} of its episodes: what pays is not the prize."
    )


def _what_is_asked(monitor: RewardHackingMonitor, step: int, worlds: TabularWorlds) -> str:
    best, possible = _best_success(step, worlds), _possible(monitor, step, worlds)
    if best > SELDOM * possible:
        return ""
    return (
        f" No fault of the learner: the best policy for these rewards reaches it in {best:.0%}, "
        f"where {possible:.0%} is possible for one that seeks the prize alone."
    )


def _remedy(maze: MazeSettings) -> str:
    """The settings to change, by what is paid besides the prize."""
    rewards = maze.rewards
    if rewards is None:
        return "Look at the episodes that earn most and never reach the prize."
    if rewards.bonus > 0:
        remedy = f"Set maze.rewards.bonus to 0 (it is {rewards.bonus:g})."
        if maze.shaping is None:
            remedy += " To guide the agent without changing which policy is best, set "
            remedy += "maze.shaping = {weight = 1.0}."
        return remedy
    for name in ("step", "bump", "hole"):
        if (paid := getattr(rewards, name)) > 0:
            return f"Set maze.rewards.{name} to 0 (it is {paid:g}): it pays without the prize."
    if rewards.lesser > 0:
        half = rewards.lesser / 2
        return f"Set maze.rewards.lesser to {half:.3g} (it is {rewards.lesser:g}), or more γ."
    if rewards.step < 0:
        return (
            f"Set maze.rewards.step to {rewards.step / 2:.3g} (it is {rewards.step:g}), or "
            f"maze.rewards.hole to {rewards.hole - 0.5:.3g}: now it pays to end early."
        )
    return f"Set maze.rewards.goal to {2 * rewards.goal:.3g} (it is {rewards.goal:g})."
