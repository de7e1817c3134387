"""The learner that drives methods which plan with the known model and never move: sweeps.

One sweep backs up every state once; the clock counts sweeps. S states, A actions, K outcomes,
W worlds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.errors import UserError
from engine.evaluate import greedy
from engine.events import AnyEvent, Episode, Live, Policy, Step, Tuned, Update
from engine.learner import Counters, State
from engine.solve import reachable
from engine.tabular import compiling
from engine.tabular.compiling import kernel
from engine.tabular.exact import exact_figures
from engine.tabular.tuning import tuned_settings
from engine.tabular.worlds import Worlds, next_point, summarise

if TYPE_CHECKING:
    from engine.mdp import MDP
    from engine.presets import Preset
    from engine.tabular.algorithm import Algorithm

Array = np.ndarray[Any, np.dtype[Any]]

GROWTH = 1.1
NO_LIMIT = 2**62


class Model(NamedTuple):
    """The rules of one world, as the planner knows them."""

    next_state: Array  # [S,A,K] int32
    probability: Array  # [S,A,K] float64
    reward: Array  # [S,A,K] float64
    terminal: Array  # [S,A,K] bool


class PlanTables(NamedTuple):
    """What is computed."""

    values: Array  # [S] float64
    q: Array  # [S,A] float64: the action values each backup maximised over
    visits: Array  # [S] int64: how often each state was backed up


class SweepTrace(NamedTuple):
    """The newest backup of every state."""

    sweep: Array  # [S] int64
    before: Array  # [S] float64
    target: Array  # [S] float64


@kernel
def expected_values(model: Model, values: Array, gamma: float, s: int, q: Array) -> None:
    """q[a] = Σ_k p(k|s,a) (r + γ V(s')) for every action of a state; nothing follows an end."""
    for a in range(q.size):
        total = 0.0
        for k in range(model.probability.shape[2]):
            future = 0.0 if model.terminal[s, a, k] else values[model.next_state[s, a, k]]
            total += model.probability[s, a, k] * (model.reward[s, a, k] + gamma * future)
        q[a] = total


@kernel
def note_backup(
    trace: SweepTrace, model: Model, tables: PlanTables, s: int, target: float, sweep: int
) -> None:
    """Note the backup of one state, before it is applied."""
    trace.sweep[s] = sweep
    trace.before[s] = tables.values[s]
    trace.target[s] = target


def check_planner(preset: Preset) -> None:
    """Raise UserError for presets a planner cannot carry out."""
    if preset.maze.observation != "cell":
        raise UserError(
            "maze.observation: a planner computes from the states themselves, so "
            f"'neighbourhood' does not fit {preset.algorithm.__struct_config__.tag}; use 'cell' "
            "or an algorithm that learns from what it sees."
        )
    if preset.budget.updates is None and preset.budget.seconds is None:
        raise UserError(
            "budget: a planner takes no steps and plays no episodes; expected updates (sweeps)."
        )


class PlanningLearner:
    """Drives a sweep kernel until nothing changes any more or the budget ends."""

    def __init__(self, preset: Preset, algorithm: Algorithm, tolerance: float) -> None:
        self.algorithm = algorithm
        self.settings = preset.algorithm
        self.tolerance = tolerance
        self.worlds = Worlds(preset.maze, preset.algorithm.gamma)
        self.limit = preset.budget.updates or NO_LIMIT
        self.clock = 0
        self.next_record = 1
        self.change = np.inf
        states, actions = self.worlds.mdps[0].n_states, self.worlds.mdps[0].n_actions
        self.tables = PlanTables(
            values=np.zeros(states),
            q=np.zeros((states, actions)),
            visits=np.zeros(states, np.int64),
        )
        self.trace = SweepTrace(
            sweep=np.zeros(states, np.int64), before=np.zeros(states), target=np.zeros(states)
        )

    @property
    def counters(self) -> Counters:
        return Counters(step=self.clock, updates=self.clock)

    @property
    def settled(self) -> bool:
        """Whether the last sweep changed nothing, with no other world to come."""
        coming = max(self.worlds.from_steps) > self.clock
        return self.change <= self.tolerance and not coming

    @property
    def done(self) -> bool:
        return self.clock >= self.limit or self.settled

    @property
    def watched_episodes(self) -> int:
        return self.clock

    def preparation(self) -> str:
        return compiling.announcement(self.algorithm.title, self.algorithm.kernel, exact_figures)

    def prepare(self) -> None:
        model = make_model(self.worlds.mdps[0])
        tables = PlanTables(*(array.copy() for array in self.tables))
        trace = SweepTrace(*(array.copy() for array in self.trace))
        compiling.compiled(self.algorithm.kernel)(model, tables, self.settings.gamma, trace, 0)
        self.worlds.prepare(greedy(self._q())[None])

    def begin(self) -> list[AnyEvent]:
        worlds: list[AnyEvent] = [self.worlds.event(w) for w in range(len(self.worlds.mazes))]
        return [*worlds, self._evaluation(), self._policy()]

    def advance(self, limit: int) -> list[AnyEvent]:
        sweep = compiling.compiled(self.algorithm.kernel)
        events: list[AnyEvent] = []
        until = min(self.clock + limit, self.limit)
        while self.clock < until and not self.done:
            world = self.worlds.current(self.clock)
            model = make_model(self.worlds.mdps[world])
            self.clock += 1
            gamma = self.settings.gamma
            self.change = float(sweep(model, self.tables, gamma, self.trace, self.clock))
            if self.clock >= self.next_record:
                self.next_record = next_point(self.clock, GROWTH)
                events += self._record()
        return events

    def conclude(self) -> list[AnyEvent]:
        return self._record()

    def live(self, since: int) -> Live:
        steps = self._backups() if self.clock > since else []
        return Live(
            step=self.clock,
            updates=self.clock,
            episodes=0,
            total_env_steps=0,
            steps=tuple(steps),
            policy=self._policy(),
        )

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        self.settings, shown = tuned_settings(self.settings, key, value)
        return [Tuned(step=self.clock, key=key, value=shown)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        event = self.worlds.edit(rows, self.clock)
        self.change = np.inf
        return [event]

    # ------------------------------------------------------------ saying what happened

    def _record(self) -> list[AnyEvent]:
        update = Update(
            step=self.clock,
            updates=self.clock,
            episodes=0,
            total_env_steps=0,
            metrics={"largest_change": summarise(np.array([self.change]))},
        )
        events: list[AnyEvent] = [update, self._evaluation(), self._policy()]
        backups = self._backups()
        if backups:
            events.append(_sweep(backups))
        return events

    def _q(self) -> Array:
        """Q(s,a) from the values as they are now, whatever was backed up when."""
        mdp = self.worlds.mdps[self.worlds.current(self.clock)]
        future = np.where(mdp.terminal, 0.0, self.tables.values[mdp.next_state])
        q: Array = (mdp.probability * (mdp.reward + self.settings.gamma * future)).sum(-1)
        return q

    def _evaluation(self) -> AnyEvent:
        policy = greedy(self._q())[None]
        return self.worlds.evaluation(self.clock, policy, policy)

    def _policy(self) -> Policy:
        q = self._q()
        policy = greedy(q)
        return Policy(
            step=self.clock,
            world_id=self.worlds.current(self.clock),
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
        trace = self.trace
        swept = reachable(mdp) & (trace.sweep == self.clock) & (self.clock > 0)
        steps = []
        for t, s in enumerate(np.flatnonzero(swept).tolist()):
            q = self.tables.q[s]
            action = int(q.argmax())
            likeliest = int(mdp.probability[s, action].argmax())
            before, target = float(trace.before[s]), float(trace.target[s])
            steps.append(
                Step(
                    step=self.clock,
                    kind="backup",
                    world_id=world,
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
                    after=target,
                    step_size=1.0,
                    gamma=self.settings.gamma,
                    values=tuple(q.tolist()),
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
        self.clock, self.next_record = (int(n) for n in state["learner"])
        self.change = float(state["change"][0])
        for name in ("tables", "trace"):
            for field, array in getattr(self, name)._asdict().items():
                array[...] = state[f"{name}.{field}"]


def make_model(mdp: MDP) -> Model:
    """The arrays of an MDP a sweep needs."""
    return Model(mdp.next_state, mdp.probability, mdp.reward, mdp.terminal)


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
