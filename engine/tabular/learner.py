"""The learner that drives any algorithm which moves through the maze.

It calls the algorithm's kernel up to the next recording point and turns what the kernel left in
its arrays into events. Nothing here knows which algorithm it drives.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from engine.config.preset import Preset
from engine.core import compiling, interpreting
from engine.core.arrays import Array
from engine.core.errors import LastingError, UserError
from engine.exact.evaluate_compiled import exact_figures
from engine.learning.events import AnyEvent, Episode, Live, PerAgent, Policy, Step, Tuned, Update
from engine.learning.learner import Counters, State, fill
from engine.learning.summary import next_point, summarise
from engine.learning.tuning import tuned_settings
from engine.tabular import divergence, reward_hacking
from engine.tabular import metrics as run_metrics
from engine.tabular.kernels import environment as environ
from engine.tabular.kernels.experience import MovingAlgorithm, Size
from engine.tabular.kernels.trace import (
    WATCHED,
    changed_steps,
    make_trace,
    shown,
    steps_between,
    steps_of_episode,
)
from engine.tabular.sanity import check_figures, check_moved
from engine.tabular.worlds import TabularWorlds

METRIC_GROWTH = 1.03
"""Each recording point of the curves is 3 % later than the one before."""
PICTURE_GROWTH = 1.1
"""Policies and episodes are larger, so they are recorded less often."""
STEP_SIZES = ("learning_rate", "value_learning_rate", "trace_decay")
VERY_LARGE = 1e6
"""Settings above this are the first to be blamed where values grow without bound."""
LITTLE_WORK = 50_000
"""Agents × states × time limit up to which a step takes plain Python no more than a few hundredths
of a second, the exact figures of a recording point included."""
NO_LIMIT = 2**62


class TabularLearner:
    """N independent agents of one algorithm, advanced in step with each other."""

    def __init__(self, preset: Preset, algorithm: MovingAlgorithm) -> None:
        self.algorithm = algorithm
        settings: Any = preset.algorithm  # of the type this algorithm declares
        self.settings = settings
        self.maze = preset.maze
        self.worlds = TabularWorlds(preset.maze, preset.algorithm.gamma, preset.deploy)
        self.agents = environ.make_agents(preset.run.agents, preset.run.seed)
        mdp = self.worlds.mdps[0]
        longest = max(m.max_steps for m in self.worlds.mdps)
        self.tables = algorithm.make_tables(
            self.settings,
            Size(
                agents=preset.run.agents,
                observations=mdp.n_observations,
                actions=mdp.n_actions,
                longest=longest,
                mazes=tuple(record.maze for record in self.worlds.all_records),
            ),
        )
        self.hyperparameters = algorithm.make_hyperparameters(self.settings)
        self.trace = make_trace(min(max(1024, 2 * longest), 16_384), mdp.n_actions)
        self.progress = run_metrics.make_progress(preset.run.agents)
        self.monitor = reward_hacking.make_monitor()
        self.watch = divergence.make_watch()
        budget = preset.budget
        self.step_limit = budget.env_steps or NO_LIMIT
        self.episode_limit = budget.episodes or NO_LIMIT
        self.update_limit = budget.updates or NO_LIMIT
        self.clock = 0
        self.next_metrics = 1
        self.next_picture = 1
        self.shown_episode = -1  # the newest episode that was recorded
        self._shown = shown(self.trace)  # what the last live edge knew; no part of the state
        self._use_worlds()
        self.first_size = float(np.abs(self._state_values()).max()) if algorithm.can_diverge else 0

    def _use_worlds(self) -> None:
        worlds, budget = self.worlds, self.maze.fall_budget
        potentials = [mdp.potential for mdp in worlds.mdps if mdp.potential is not None]
        self.env = environ.stack_mdps(
            worlds.mdps,
            worlds.from_steps,
            self.settings.random_starts,
            revisit=1.0 if worlds.drawn else self.maze.revisit,
            potentials=potentials or None,
            gamma=self.settings.gamma,
            fall_budget=math.inf if budget is None else budget.per_1000_steps / 1000.0,
            price_rate=0.0 if budget is None else budget.learning_rate,
        )

    # ------------------------------------------------------------ how far

    @property
    def counters(self) -> Counters:
        n = self.agents.steps.size
        total = int(self.agents.steps.sum())
        return Counters(
            step=self.clock,
            env_steps=round(total / n),
            episodes=round(int(self.agents.episode.sum()) / n),
            updates=round(int(self.agents.updates.sum()) / n),
            total_env_steps=total,
        )

    @property
    def done(self) -> bool:
        return self.clock >= self.step_limit or bool(self._used_up.all())

    @property
    def _used_up(self) -> Array:
        """[N] whether an agent has used up its episodes or updates."""
        agents = self.agents
        used: Array = (agents.episode >= self.episode_limit) | (agents.updates >= self.update_limit)
        return used

    @property
    def watched_episodes(self) -> int:
        return int(self.agents.episode[WATCHED])

    # ------------------------------------------------------------ going on

    def interpret(self) -> bool:
        """Go on as plain Python, if a step is little work and gives the same bits so. Gives
        whether it does; `compile` ends it."""
        mdp = self.worlds.mdps[0]
        work = self.agents.steps.size * mdp.n_states * mdp.max_steps
        kernels = (self.algorithm.kernel, exact_figures)
        same = all(interpreting.gives_the_same(kernel) for kernel in kernels)
        self.worlds.in_python = same and work <= LITTLE_WORK
        return self.worlds.in_python

    def compile(self) -> None:
        """Go on in machine code; `prepare` compiles what has not been compiled yet."""
        self.worlds.in_python = False

    def preparation(self) -> str:
        if self.worlds.in_python:
            return ""
        return compiling.announcement(self.algorithm.title, self.algorithm.kernel, exact_figures)

    def prepare(self) -> None:
        if self.worlds.in_python:
            return
        with compiling.compiling_fast():
            self._run_kernel(0)
            self.worlds.prepare(self.algorithm.greedy(self.tables))

    def _run_kernel(self, steps: int) -> None:
        limits = environ.Limits(steps, self.episode_limit, self.update_limit)
        code = interpreting.interpreted if self.worlds.in_python else compiling.compiled
        run = code(self.algorithm.kernel)
        run(self.env, self.agents, self.tables, self.hyperparameters, self.trace, limits)

    def begin(self) -> list[AnyEvent]:
        target, greedy = self._policies()
        exact, evaluations = self._evaluate(target, greedy)
        self._mark(exact)
        return [*self.worlds.events(), *evaluations, self._policy()]

    def advance(self, limit: int) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        until = min(self.clock + limit, self.step_limit)
        while self.clock < until and not self.done:
            n = min(until, self.next_metrics) - self.clock
            before = self.agents.steps.copy()
            self._run_kernel(n)
            if n > 0:
                check_moved(self.algorithm, self.agents, before, self._used_up)
            self.clock += n
            if self.done:
                self.clock = int(self.agents.steps.max())
            if self.clock >= self.next_metrics:
                if events and self._diverged.any():
                    break  # what was recorded before is handed over; the next call says the rest
                events += self._record()
        return events

    def conclude(self) -> list[AnyEvent]:
        events: list[AnyEvent] = []
        episode = self._newest_episode()
        if episode:
            events.append(episode)
        found, each = self._report()
        # Online figures may have nothing to count since the last recording point.
        each |= run_metrics.online(self.progress.recent)
        each |= run_metrics.counted(self.agents)
        shape = self.agents.steps.shape
        figures = {name: np.broadcast_to(values, shape).copy() for name, values in each.items()}
        last_words = PerAgent(step=self.clock, figures=figures)
        return [*events, *found, self._policy(), last_words]

    def live(self, since: int) -> Live:
        counters = self.counters
        until = int(self.agents.steps[WATCHED])
        gamma = self.settings.gamma
        steps = steps_between(self.trace, self.env, since, until, gamma)
        late = changed_steps(self.trace, self.env, self._shown, since, gamma)
        self._shown = shown(self.trace)
        return Live(
            step=self.clock,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            steps=tuple(self._with_policy(step) for step in steps),
            late=tuple(self._with_policy(step) for step in late),
            policy=self._policy(),
        )

    def tune(self, key: str, value: Any) -> list[AnyEvent]:
        self.settings, shown = tuned_settings(self.settings, key, value)
        self.hyperparameters = self.algorithm.make_hyperparameters(self.settings)
        return [Tuned(step=self.clock, key=key, value=shown)]

    def edit(self, rows: list[str]) -> list[AnyEvent]:
        if self.worlds.mdps[0].pattern is not None:
            raise UserError(
                "This maze cannot be edited while it runs: the agent does not see which cell it is "
                "in, and a new map would bring observations its table has no rows for."
            )
        self.algorithm.check_edit(self.settings)
        worlds = self.worlds.edit(rows, self.clock)
        self._use_worlds()
        return [*worlds]

    # ------------------------------------------------------------ saying what happened

    def _record(self) -> list[AnyEvent]:
        self.next_metrics = next_point(self.clock, METRIC_GROWTH)
        events, figures = self._report()
        if self.algorithm.family != "prediction":
            events += reward_hacking.update_monitor(
                self.monitor, self.clock, figures, self.worlds, self.maze
            )
        if self.algorithm.can_diverge:
            events += self._look_for_divergence()
        if self.clock >= self.next_picture:
            self.next_picture = next_point(self.clock, PICTURE_GROWTH)
            events.append(self._policy())
            episode = self._newest_episode()
            if episode:
                events.append(episode)
        return events

    def _state_values(self) -> Array:
        """V [N,O] as learned so far."""
        target = self.algorithm.target(self.tables, self.hyperparameters, self.clock)
        return self.algorithm.state_values(self.tables, target)

    def _look_for_divergence(self) -> list[AnyEvent]:
        most = divergence.most_earned(self.worlds.mdps, self.settings.gamma)
        remedy = self.algorithm.divergence_remedy(self.settings)
        values = self._state_values()
        return [*divergence.look(self.watch, self.clock, values, self.first_size, most, remedy)]

    @property
    def _diverged(self) -> Array:
        """[N] whether something an agent has learned is no longer a finite number."""
        diverged = np.zeros(self.agents.steps.size, bool)
        for table in self.algorithm.learned_parameters(self.tables):
            diverged |= ~np.isfinite(table).reshape(diverged.size, -1).all(1)
        return diverged

    def _check_finite(self) -> None:
        """Raise UserError when agents have diverged: nothing true could be recorded of them."""
        count = int(self._diverged.sum())
        if count:
            raise LastingError(
                f"By step {self.clock:,} the values of {count} of {self.agents.steps.size} agents "
                "have grown without bound, beyond what a number can hold; lower "
                f"{' or '.join(self._suspects()) or 'the step size'} and train again."
            )

    def _suspects(self) -> list[str]:
        """The settings by which values may have grown so: very large ones, else step sizes."""
        data = msgspec.to_builtins(self.settings)
        large = [name for name, value in data.items() if _largest(value) > VERY_LARGE]
        names = large or [name for name in STEP_SIZES if data.get(name)]
        return [f"algorithm.{name}" for name in names]

    def _policies(self) -> tuple[Array, Array]:
        """The target policies and the greedy ones [N,O,A] now."""
        target = self.algorithm.target(self.tables, self.hyperparameters, self.clock)
        return target, self.algorithm.greedy(self.tables)

    def _evaluate(self, target: Array, greedy: Array) -> tuple[dict[str, Array], list[AnyEvent]]:
        """The exact figures [N] of these policies, and the evaluations that say them."""
        exact = self.worlds.evaluate(self.clock, target, greedy)
        check_figures(self.algorithm, self.clock, target, exact)
        evaluations: list[AnyEvent] = [self.worlds.evaluation(self.clock, exact)]
        held_out = self.worlds.held_out(self.clock, target, greedy)
        if held_out is not None:
            evaluations.append(held_out[0])
            exact["held_out_success_rate"] = held_out[1]
        return exact, evaluations

    def _report(self) -> tuple[list[AnyEvent], dict[str, Array]]:
        """The events of a recording point, and the same figures for each agent ([N], or [1]
        where they are of all together)."""
        self._check_finite()
        target, greedy = self._policies()
        exact, evaluations = self._evaluate(target, greedy)
        metrics = self._metrics(target, exact)
        counters = self.counters
        update = Update(
            step=self.clock,
            updates=counters.updates,
            episodes=counters.episodes,
            total_env_steps=counters.total_env_steps,
            metrics={name: summarise(values) for name, values in metrics.items()},
        )
        return [update, *evaluations], {**exact, **metrics}

    def _metrics(self, target: Array, exact: dict[str, Array]) -> dict[str, Array]:
        """The learner's own figures since the last recording point, [N] or [1] each."""
        stats = self.agents.stats
        run_metrics.book(self.progress, stats, self.worlds.optimal_return(max(self.clock - 1, 0)))
        self._mark(exact)
        metrics = run_metrics.online(stats)
        stats[:] = 0.0
        for name, value in self.algorithm.hyperparameter_metrics(
            self.hyperparameters, self.clock
        ).items():
            metrics[name] = np.full(1, value)
        metrics |= self.algorithm.metrics(self.tables)
        metrics |= self._extra_metrics()
        metrics["falls_total"] = self.progress.falls.copy()
        initial = float(getattr(self.settings, "initial_value", 0.0))
        values = self.algorithm.state_values(self.tables, target)
        away = self.worlds.away(self.clock)
        metrics["value_reach"] = run_metrics.value_reach(values, initial, away)
        if self.algorithm.family != "prediction":
            metrics |= run_metrics.milestones(self.progress)
        if self.maze.fall_budget is not None:
            metrics["fall_price"] = self.agents.price.copy()
        if self.maze.shield is not None:
            behaviour = self.algorithm.behaviour(self.tables, self.hyperparameters, self.clock)
            metrics["shielded_share"] = self.worlds.shielded_share(self.clock, behaviour)
        if "held_out_success_rate" in exact:
            metrics["held_out_success_rate"] = exact["held_out_success_rate"]
        return metrics | self.worlds.elsewhere(self.clock, target)

    def _extra_metrics(self) -> dict[str, Array]:
        """Metrics of only some learners, [N] or [1] each."""
        return {}

    def _mark(self, exact: dict[str, Array]) -> None:
        """Note who has an optimal policy now."""
        near = self.worlds.nearly_optimal(self.clock, exact["expected_return"])
        changed_at = self.worlds.changed_at(self.clock)
        run_metrics.mark(self.progress, self.clock, self.agents.episode, near, changed_at)

    def _policy(self) -> Policy:
        algorithm, hyperparameters = self.algorithm, self.hyperparameters
        tables = type(self.tables)(*(array[WATCHED : WATCHED + 1] for array in self.tables))
        target = algorithm.target(tables, hyperparameters, self.clock)
        behaviour = algorithm.behaviour(tables, hyperparameters, self.clock)
        q = algorithm.action_values(tables)
        return Policy(
            step=self.clock,
            world_id=self._shown_world(),
            agent=WATCHED,
            target=target[0].astype(np.float32),
            behaviour=behaviour[0].astype(np.float32),
            q=None if q is None else q[0].astype(np.float32),
            values=algorithm.state_values(tables, target)[0].astype(np.float32),
            visits=tables.visits[0].copy(),
            layers=algorithm.layers(tables, 0),
        )

    def _shown_world(self) -> int:
        """The id of the world the watched agent's policy is shown in."""
        worlds = self.worlds
        w = int(self.agents.world[WATCHED]) if worlds.drawn else worlds.current(self.clock)
        return worlds.records[w].id

    def _with_policy(self, step: Step) -> Step:
        """The step with π_behaviour as it was when the action was chosen, and its world's id, which
        the kernel knows by number only."""
        step = msgspec.structs.replace(step, world_id=self.worlds.records[step.world_id].id)
        if self.algorithm.family == "policy":
            chances, learned = step.values, not math.isnan(step.advantage_estimate)
            return msgspec.structs.replace(
                step,
                values=(),
                next_values=(),
                probabilities=chances,
                probabilities_after=step.next_values if learned else (),
                log_prob=math.log(chances[step.action]),
            )
        if not math.isnan(step.log_prob):  # noted when the action was chosen, before an update
            return step
        return msgspec.structs.replace(
            step, log_prob=self.algorithm.log_prob(step, self.hyperparameters)
        )

    def _newest_episode(self) -> Episode | None:
        """The watched agent's newest finished episode, unless it was recorded before.

        A method that learns a policy from whole batches may not have learned from that one yet:
        then the newest it has learned from, which says what became of each step.
        """
        for index in range(self.watched_episodes - 1, self.shown_episode, -1):
            steps = steps_of_episode(self.trace, self.env, index, self.settings.gamma)
            if not steps:
                return None
            waits = any(math.isnan(step.advantage_estimate) for step in steps)
            if self.algorithm.family != "policy" or not waits:
                self.shown_episode = index
                return make_episode([self._with_policy(step) for step in steps])
        return None

    # ------------------------------------------------------------ saving

    def state(self) -> State:
        state: State = {
            "worlds": self.worlds.save(),
            "settings": np.frombuffer(msgspec.json.encode(self.settings), np.uint8),
            "learner": np.array(
                [self.clock, self.next_metrics, self.next_picture, self.shown_episode], np.int64
            ),
        }
        for name, arrays in self._saved().items():
            for field, array in arrays._asdict().items():
                state[f"{name}.{field}"] = array
        return state

    def load(self, state: State) -> None:
        self.worlds.load(state["worlds"])
        self._use_worlds()
        self.settings = msgspec.json.decode(state["settings"].tobytes(), type=type(self.settings))
        self.hyperparameters = self.algorithm.make_hyperparameters(self.settings)
        self.clock, self.next_metrics, self.next_picture, self.shown_episode = (
            int(n) for n in state["learner"]
        )
        for name, arrays in self._saved().items():
            for field, array in arrays._asdict().items():
                fill(array, state, f"{name}.{field}")

    def _saved(self) -> dict[str, Any]:
        """The NamedTuples of arrays that a checkpoint keeps, by their names in it."""
        saved: dict[str, Any] = {
            "agents": self.agents,
            "tables": self.tables,
            "trace": self.trace,
            "progress": self.progress,
            "suspicion": self.monitor,
        }
        return saved | ({"divergence": self.watch} if self.algorithm.can_diverge else {})


def _largest(setting: Any) -> float:
    """The largest number with a fraction in a setting: counts of steps make nothing grow."""
    if isinstance(setting, dict):
        return max(map(_largest, setting.values()), default=0.0)
    return abs(setting) if isinstance(setting, float) else 0.0


def make_episode(steps: list[Step]) -> Episode:
    """A finished episode from its steps, with the return from each step on."""
    returns, following = [], 0.0
    for step in reversed(steps):
        following = step.reward + step.gamma * following
        returns.append(following)
    last = steps[-1]
    return Episode(
        step=last.step,
        agent=last.agent,
        world_id=last.world_id,
        index=last.episode,
        steps=tuple(steps),
        returns_to_go=tuple(reversed(returns)),
        score=sum(step.reward for step in steps),
        success=last.success,
        terminated=last.terminated,
        truncated=last.truncated,
    )
