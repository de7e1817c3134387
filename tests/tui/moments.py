"""Snapshots made by hand for the widget tests: no store, no worker, no learner."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
from rich.style import Style
from textual.app import App, ComposeResult
from textual.message import Message
from textual.widget import Widget

from engine import presets
from engine.algorithms import registry
from engine.config.preset import Preset
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.mdp import MDP
from engine.exact.solve import Solution, solve
from engine.learning.events import Policy, Step, World
from engine.runs.records import Head
from tui.model.snapshot import Snapshot

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
GAMMA = 0.99
LEFT, DOWN, RIGHT, UP = range(4)


def greedy(q: np.ndarray) -> np.ndarray:
    """Exact ties shared evenly."""
    best = q == q.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def epsilon_greedy(q: np.ndarray, epsilon: float) -> np.ndarray:
    return (1 - epsilon) * greedy(q) + epsilon / q.shape[1]


def policy_of(q: np.ndarray, visits: np.ndarray | None = None, epsilon: float = 0.2) -> Policy:
    """What an agent with these action values [O, A] would have to show."""
    counts = np.ones(q.shape, dtype=np.int64) if visits is None else visits
    return Policy(
        step=0,
        target=greedy(q),
        behaviour=epsilon_greedy(q, epsilon),
        q=q,
        values=q.max(axis=1),
        visits=counts,
    )


def walk(mdp: MDP, actions: list[int], q: np.ndarray, **changes: Any) -> tuple[Step, ...]:
    """The steps of one episode that takes these actions along each one's intended branch."""
    state = int(mdp.start.argmax())
    steps = []
    for t, action in enumerate(actions):
        branch = int(mdp.probability[state, action].argmax())
        following = int(mdp.next_state[state, action, branch])
        seen, next_seen = int(mdp.observation[state]), int(mdp.observation[following])
        terminal = bool(mdp.terminal[state, action, branch])
        reward = float(mdp.reward[state, action, branch])
        future = 0.0 if terminal else float(q[next_seen].max())
        target, before = reward + GAMMA * future, float(q[seen, action])
        fields: dict[str, Any] = {
            "step": t + 1, "episode": 3, "t": t, "state": state, "observation": seen,
            "action": action, "reward": reward, "next_state": following,
            "next_observation": next_seen, "terminated": terminal,
            "success": bool(mdp.success[state, action, branch]),
            "fell": bool(mdp.fall[state, action, branch]),
            "before": before, "target": target, "error": target - before,
            "after": before + 0.1 * (target - before), "step_size": 0.1, "gamma": GAMMA,
            "exploration": 0.2, "bootstrap": future, "values": tuple(q[seen].tolist()),
            "next_values": tuple(q[next_seen].tolist()),
            "explored": bool(q[seen, action] < q[seen].max()),
        }  # fmt: skip
        steps.append(Step(**(fields | changes)))
        state = following
    return tuple(steps)


@cache
def preset_of(algorithm: str = "q-learning") -> Preset:
    """A small preset of an algorithm for tables, with its default settings."""
    budget = "updates" if registry.for_tables(algorithm).family == "planning" else "env_steps"
    lake = "map = '''\n" + "\n".join(LAKE) + "\n'''"
    maze = 'gymnasium = "Bandit-v0"' if algorithm.endswith("bandit") else lake
    return presets.parse(
        f"""
title = "A lake"
[maze]
{maze}
[algorithm]
name = "{algorithm}"
[budget]
{budget} = 100
[run]
agents = 1
"""
    )


BUILT: dict[str, MDP] = {}
SOLVED: dict[int, tuple[MDP, Solution]] = {}
"""Most moments are of the same few lakes, and solving one in plain Python is what they would cost.
To be read only. By the id of an MDP, which is kept so that no other can get it."""


def mdp_of(maze: Maze) -> MDP:
    key = repr(maze)
    if key not in BUILT:
        BUILT[key] = build_mdp(maze)
    return BUILT[key]


def solution_of(mdp: MDP) -> Solution:
    if id(mdp) not in SOLVED:
        SOLVED[id(mdp)] = mdp, solve(mdp, GAMMA)
    return SOLVED[id(mdp)][1]


def moment(
    maze: Maze,
    *,
    q: np.ndarray | None = None,
    policy: Policy | None = None,
    actions: list[int] | None = None,
    steps: tuple[Step, ...] | None = None,
    path: tuple[int, ...] = (),
    episodes: tuple[Any, ...] = (),
    mdp: MDP | None = None,
    optimum: Solution | None = None,
    algorithm: str = "q-learning",
) -> Snapshot:
    """A snapshot of an agent with action values `q` [O, A] that has just taken `actions`."""
    mdp = mdp or mdp_of(maze)
    table = np.zeros((mdp.n_observations, mdp.n_actions)) if q is None else q
    done = walk(mdp, actions or [], table) if steps is None else steps
    shown: dict[str, Any] = {
        "run_id": "run",
        "head": Head(state="running"),
        "preset": preset_of(algorithm),
        "algorithm": registry.for_tables(algorithm),
        "at": done[-1].step if done else 0,
        "following": True,
        "world": World(step=0, id=0, split="train", maze=maze),
        "mdp": mdp,
        "optimum": optimum or solution_of(mdp),
        "optimal_path": path,
        "policy": policy or policy_of(table),
        "curves": {},
        "episodes": episodes,
        "steps": done,
        "notes": (),
    }
    # What the widgets never look at stays None.
    return Snapshot(**{field.name: shown.get(field.name) for field in fields(Snapshot)})


class Stage(App[None]):
    """One widget on an empty screen; keeps the messages it sends."""

    def __init__(self, widget: Widget, *kinds: type[Message]) -> None:
        super().__init__()
        self.widget, self.kinds = widget, kinds
        self.heard: list[Any] = []

    def compose(self) -> ComposeResult:
        yield self.widget

    async def _on_message(self, message: Message) -> None:
        if isinstance(message, self.kinds):
            self.heard.append(message)
        await super()._on_message(message)


def lines(widget: Widget) -> list[str]:
    """What the widget draws, line by line."""
    return [widget.render_line(y).text.rstrip() for y in range(widget.size.height)]


def style_at(widget: Widget, x: int, y: int) -> Style:
    """The style of one character the widget draws."""
    segment = next(iter(widget.render_line(y).crop(x, x + 1)))
    assert segment.style is not None
    return segment.style
