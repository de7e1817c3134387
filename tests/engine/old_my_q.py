"""An algorithm of your own: hysteretic Q-learning (Matignon et al., 2007).

Q-learning that is slow to believe bad news: an update downwards takes only a part of the step size.
Copy this file beside a preset of yours, change what you like, and name it there:

    [algorithm]
    name = "file:my_q.py"

It is built like the files in `engine/tabular`: settings, a kernel with the textbook loop, a class
that says what the method is, and `ALGORITHM` at the end. A kernel is compiled by Numba: it works on
the arrays it is given, makes none of its own, and calls only functions marked with `@kernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from engine.events import Step
from engine.maze import ACTION_NAMES
from engine.settings import TUNABLE, TemporalDifferenceSettings
from engine.tabular.algorithm import Array, Explanation
from engine.tabular.behaviour import choose, exploration_knob, highest, schedule_knob, step_size
from engine.tabular.compiling import kernel
from engine.tabular.environment import (
    TERMINAL,
    Agents,
    Env,
    Limits,
    begin_episode,
    finish_step,
    is_done,
    move,
)
from engine.tabular.q_table import QTableAlgorithm, QTables, explain_update
from engine.tabular.trace import WATCHED, Trace, note


class MyQSettings(TemporalDifferenceSettings, frozen=True, kw_only=True):
    """The keys of `[algorithm]`: those of Q-learning and `bad_news`."""

    bad_news: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="share of the step size that an update downwards takes; 1 is Q-learning",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.3


class MyQKnobs(NamedTuple):
    """The settings as the kernel reads them; those that `QTableAlgorithm` uses must be there."""

    gamma: float
    alpha: Array  # [4], see behaviour.schedule_knob
    exploration: Array  # [5], see behaviour.exploration_knob
    bad_news: float


@kernel
def my_q(
    env: Env, agents: Agents, tables: QTables, knobs: MyQKnobs, trace: Trace, limits: Limits
) -> None:
    """Up to `limits.steps` steps of every agent."""
    gamma = knobs.gamma
    for i in range(agents.state.size):
        q, visits, random = tables.q[i], tables.visits[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            s = env.observation[agents.state[i]]
            a, explored, level = choose(q[s], visits[s], knobs.exploration, agents.steps[i], random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            visits[s, a] += 1

            future = 0.0 if flags & TERMINAL else highest(q[s2])
            target = r + gamma * future
            error = target - q[s, a]
            alpha = step_size(knobs.alpha, agents.steps[i], visits[s, a])
            if error < 0.0:
                alpha *= knobs.bad_news
            if i == WATCHED and left <= trace.ints.shape[0]:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    q[s, a], target, alpha, level, future, q[s], q[s2],
                )  # fmt: skip
            q[s, a] += alpha * error  # Q(s,a) ← Q(s,a) + α δ, and with β α δ when δ < 0

            agents.updates[i] += 1
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class MyQ(QTableAlgorithm):
    title = "Hysteretic Q-learning"
    settings = MyQSettings
    source = "Matignon, Laurent and Le Fort-Piat, IROS 2007"
    policy_type = "off-policy"
    target_policy = "greedy on Q"
    formula = "Q(s,a) ← Q(s,a) + α δ, with β α instead of α when δ < 0;  δ = r + γ max Q(s′,·) − Q"
    kernel = staticmethod(my_q)

    def make_knobs(self, settings: Any) -> Any:
        return MyQKnobs(
            gamma=settings.gamma,
            alpha=schedule_knob(settings.learning_rate),
            exploration=exploration_knob(settings.exploration),
            bad_news=settings.bad_news,
        )

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        return explain_update(
            self.formula,
            step,
            follow="if it plays its best move from there; had this been bad news, it would have "
            "believed only a part of it",
            actions=actions,
        )


ALGORITHM = MyQ()
