"""The learner that drives methods which plan with the known model and never move: sweeps.

One sweep backs up every state once; the clock counts sweeps. S states, A actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core import compiling
from engine.core.arrays import Array
from engine.env.mdp import reachable
from engine.exact.evaluate import greedy
from engine.exact.evaluate_compiled import exact_figures
from engine.learning.events import AnyEvent, Episode, Live, PerAgent, Policy, Step, Tuned, Update
from engine.learning.learner import Counters, State, fill
from engine.learning.summary import next_point, summarise
from engine.learning.tuning import tuned_settings
from engine.tabular.kernels.planning import Model, PlanningAlgorithm, make_model, make_trace
from engine.tabular.worlds import TabularWorlds

if TYPE_CHECKING:
    from engine.config.preset import Preset


GROWTH = 1.1
NO_LIMIT = 2**62


class PlanningLearner:
    """Drives a sweep kernel until nothing changes any more or the budget ends."""

    def __init__(self, preset: Preset, algorithm: PlanningAlgorithm) -> None:
        self.algorithm = algorithm
        self.settings = preset.algorithm
        self.worlds = TabularWorlds(preset.maze, preset.algorithm.gamma, preset.deploy)
        self.limit = preset.budget.updates or NO_LIMIT
        self.clock = 0
        self.next_record = 1
        self.change = np.inf
        mdp = self.worlds.mdps[0]
        self.tables = algorithm.make_tables(mdp.n_states, mdp.n_actions)
        self.trace = make_trace(mdp.n_states)
        self._models: dict[int, Model] = {}

    def _model(self, world: int) -> Model:
        if world not in self._models:
            self._models[world] = make_model(self.worlds.mdps[world])
        return self._models[world]

    @property
    def counters(self) -> Counters:
        return Counters(step=self.clock, updates=self._updates)

    @property
    def _updates(self) -> int:
        return self.algorithm.updates(self.tables, self.clock)

    @property
    def settled(self) -> bool:
        """Whether another sweep would change nothing, and there was one in the last world."""
        coming = max(self.worlds.from_steps) >= self.clock
        return not coming and self.algorithm.settled(self.tables, self.settings, self.change)

    @property
    def done(self) -> bool:
        return self._updates >= self.limit or self.settled

    @property
    def watched_episodes(self) -> int:
        return self.clock

    def preparation(self) -> str:
        return compiling.announcement(self.algorithm.title, self.algorithm.kernel, exact_figures)

    def prepare(self) -> None:
        with compiling.compiling_fast():
            model = self._model(0)
            tables, trace = (
                type(each)(*(array.copy() for array in each)) for each in (self.tables, self.trace)
            )
            self.algorithm.sweep(model, tables, self.settings, trace, 0)
            self.worlds.prepare(self._target(self._q())[None])

    def begin(self) -> list[AnyEvent]:
        evaluation = self.worlds.evaluation(self.clock, self._evaluate())
        return [*self.worlds.events(), evaluation, self._policy()]

    def advance(self, limit: int) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        until = self.clock + limit
        while self.clock < until and not self.done:
            world = self.worlds.current(self.clock)
            if self.clock and world != self.worlds.current(self.clock - 1):
                self.algorithm.restart(self.tables)
            model = self._model(world)
            self.clock += 1
            self.change = self.algorithm.sweep(
                model, self.tables, self.settings, self.trace, self.clock
            )
            if self.clock >= self.next_record or self.algorithm.milestone(self.tables):
                self.next_record = max(self.next_record, next_point(self.clock, GROWTH))
                events += self._report()[0]
        return events

    def conclude(self) -> list[AnyEvent]:
        events, figures = self._report()
        return [*events, PerAgent(step=self.clock, figures=figures)]

    def live(self, since: int) -> Live:
        steps = self._backups() if self.clock > since else []
        return Live(
            step=self.clock,
            updates=self._updates,
            episodes=0,
            total_env_steps=0,
            steps=tuple(steps),
            policy=self._policy(),
        )

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        self.settings, shown = tuned_settings(self.settings, key, value)
        return [Tuned(step=self.clock, key=key, value=shown)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        events = self.worlds.edit(rows, self.clock)
        self._models.clear()
        return [*events]

    # ------------------------------------------------------------ saying what happened

    def _report(self) -> tuple[list[AnyEvent], dict[str, Array]]:
        """The events of a recording point, and the figures [1] in them."""
        metrics = {"largest_change": np.array([self.change])}
        for name, value in self.algorithm.metrics(self.tables).items():
            metrics[name] = np.array([value])
        metrics |= self.worlds.elsewhere(self.clock, self._target(self._q())[None])
        update = Update(
            step=self.clock,
            updates=self._updates,
            episodes=0,
            total_env_steps=0,
            metrics={name: summarise(values) for name, values in metrics.items()},
        )
        exact = self._evaluate()
        evaluation = self.worlds.evaluation(self.clock, exact)
        events: list[AnyEvent] = [update, evaluation, self._policy()]
        backups = self._backups()
        if backups:
            events.append(_sweep(backups))
        counted = {"updates": np.array([float(self._updates)])}
        return events, {**exact, **metrics, **counted}

    def _q(self) -> Array:
        """Q(s,a) from the values as they are now, whatever was backed up when."""
        mdp = self.worlds.mdps[self.worlds.current(self.clock)]
        future = np.where(mdp.terminal, 0.0, self.tables.values[mdp.next_state])
        q: Array = (mdp.probability * (mdp.reward + self.settings.gamma * future)).sum(-1)
        return q

    def _target(self, q: Array) -> Array:
        """π_target [S,A], as the arrays of exact figures need it."""
        return np.ascontiguousarray(self.algorithm.policy(self.tables, q), np.float64)

    def _evaluate(self) -> dict[str, Array]:
        """The exact figures [1] of the policy as it is now."""
        q = self._q()
        return self.worlds.evaluate(self.clock, self._target(q)[None], greedy(q)[None])

    def _policy(self) -> Policy:
        q = self._q()
        policy = self._target(q)
        return Policy(
            step=self.clock,
            world_id=self.worlds.id_at(self.clock),
            target=policy.astype(np.float32),
            behaviour=policy.astype(np.float32),
            q=q.astype(np.float32),
            values=self.tables.values.astype(np.float32),
            visits=np.repeat(self.tables.visits[:, None], q.shape[1], axis=1),
        )

    def _backups(self) -> list[Step]:
        """The newest sweep, one row per state that an episode can be in."""
        world = self.worlds.current(self.clock)
        mdp = self.worlds.mdps[world]
        trace, policy = self.trace, self._target(self.tables.q)
        swept = reachable(mdp) & (trace.sweep == self.clock) & (self.clock > 0)
        steps = []
        for t, s in enumerate(np.flatnonzero(swept).tolist()):
            q = self.tables.q[s]
            action = int(policy[s].argmax())
            likeliest = int(mdp.probability[s, action].argmax())
            before, target = float(trace.before[s]), float(trace.target[s])
            step_size = float(trace.step_size[s])
            steps.append(
                Step(
                    step=self.clock,
                    kind="backup",
                    world_id=self.worlds.records[world].id,
                    episode=self.clock,
                    t=t,
                    state=s,
                    observation=int(mdp.observation[s]),
                    action=action,
                    reward=float((mdp.probability[s, action] * mdp.reward[s, action]).sum()),
                    next_state=int(mdp.next_state[s, action, likeliest]),
                    next_observation=int(mdp.observation[mdp.next_state[s, action, likeliest]]),
                    before=before,
                    target=target,
                    error=target - before,
                    after=target if step_size == 1.0 else before,
                    step_size=step_size,
                    gamma=self.settings.gamma,
                    values=tuple(q.tolist()),
                    probabilities=tuple(policy[s].tolist()),
                )
            )
        return steps

    # ------------------------------------------------------------ saving

    def state(self) -> State:
        state: State = {
            "worlds": self.worlds.save(),
            "learner": np.array([self.clock, self.next_record], np.int64),
            "change": np.array([self.change]),
        }
        for name in ("tables", "trace"):
            for field, array in getattr(self, name)._asdict().items():
                state[f"{name}.{field}"] = array
        return state

    def load(self, state: State) -> None:
        self.worlds.load(state["worlds"])
        self._models.clear()
        self.clock, self.next_record = (int(n) for n in state["learner"])
        self.change = float(state["change"][0])
        for name in ("tables", "trace"):
            for field, array in getattr(self, name)._asdict().items():
                fill(array, state, f"{name}.{field}")


def _sweep(backups: list[Step]) -> Episode:
    """A sweep in the shape of an episode, so that the same log shows it."""
    last = backups[-1]
    return Episode(
        step=last.step,
        world_id=last.world_id,
        index=last.episode,
        steps=tuple(backups),
        returns_to_go=(),
        score=0.0,
        success=False,
        terminated=False,
        truncated=False,
    )
