"""DQN: Q-learning with a small network, experience replay and a target network. Mnih et al. 2015,
algorithm 1; Sutton & Barto, 16.5; double DQN: van Hasselt, Guez and Silver 2016.

Q-learning with function approximation is the deadly triad (Sutton & Barto, 11.3), and learning move
by move makes it worse: neighbouring moves look alike, and each update moves its own target. DQN has
two remedies. Moves are put into a memory, and updates learn from batches drawn from it at random.
And targets come from a copy of the network that stands still until it is made anew. Neither is a
guarantee; both are what made it work.

What was left out of the paper's: pictures and convolutions, since the features of the maze are
given; RMSProp and clipped errors, since plain steps down the mean squared error suffice here. The
network has one layer of rectified units, scaled so that a step size means about what it means in a
table; its output weights begin at 0, so that all values begin at `initial_value`. Without hidden
units the values are linear.

N agents, O observations, F features, M of them on at a time, A actions, H hidden units, D = H (or F
without any), R moves remembered, B of them in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import Meta

from engine.config.algorithm import TUNABLE, TableStepSize, TemporalDifferenceSettings
from engine.config.preset import Preset
from engine.core.arrays import Array
from engine.core.compiling import kernel
from engine.env.maze import ACTION_NAMES
from engine.learning.algorithm import Explanation, pay_of
from engine.learning.events import Step
from engine.tabular.algorithms.approximation.network import copy_network, draw_weights, evaluate
from engine.tabular.algorithms.approximation.vectors import make_vectors
from engine.tabular.kernels import features as described
from engine.tabular.kernels.behaviour import (
    choose,
    encode_exploration,
    encode_schedule,
    highest,
    scheduled,
)
from engine.tabular.kernels.environment import (
    TERMINAL,
    Agents,
    Limits,
    StackedMDPs,
    begin_episode,
    finish_step,
    is_done,
    move,
)
from engine.tabular.kernels.experience import Size
from engine.tabular.kernels.features import LARGEST, FeatureKind, TileSize, Tilings
from engine.tabular.kernels.q_table import QTableAlgorithm
from engine.tabular.kernels.replay_memory import Replay, check_memory, keep
from engine.tabular.kernels.rng import uniform
from engine.tabular.kernels.trace import WATCHED, Trace, note, note_planned


class DqnSettings(TemporalDifferenceSettings, frozen=True, kw_only=True, tag="dqn"):
    """DQN: Q-learning by a network with a memory, towards targets that stand still."""

    features: FeatureKind = "tiles"
    tile_size: TileSize = 2
    tilings: Tilings = 4
    hidden: Annotated[
        int, Meta(ge=0, le=256, description="units of the network's hidden layer; 0: linear")
    ] = 32
    replay: Annotated[
        Replay, Meta(description="the memory (experience replay): its size, and moves in a batch")
    ] = Replay(size=10_000, batch=16)
    target_every: Annotated[
        int,
        Meta(
            ge=1,
            description="a target network: targets use a copy of the weights, made anew after so "
            "many updates; 1 is none",
        ),
    ] = 100
    double: Annotated[
        bool,
        Meta(
            description="double DQN: the network chooses the next move of the target, its copy "
            "says what it is worth"
        ),
    ] = False
    learning_rate: Annotated[
        TableStepSize,
        Meta(
            description="step size α of each batch, down its mean squared error; a number or a "
            "schedule",
            extra_json_schema=TUNABLE,
        ),
    ] = 0.2


class DqnTables(NamedTuple):
    """The network, its copy, the memory, and room to work in; agents share `places`, `worth`."""

    w1: Array  # [N,F,H] float64: into the hidden units; without any, empty
    b1: Array  # [N,H]
    w2: Array  # [N,D,A] float64: out of them
    b2: Array  # [N,A]
    still_w1: Array  # the copy that targets are taken from: w⁻
    still_b1: Array
    still_w2: Array
    still_b2: Array
    visits: Array  # [N,O,A] int64: how often each pair was met
    places: Array  # [1,O,M] int32: the features that are on in each observation
    worth: Array  # [1,O,M] float64
    kept: Array  # [N] int64: moves remembered so far; the newest R of them are still there
    moves: Array  # [N,R,4] int32: s, a, s′, whether the episode ended there
    rewards: Array  # [N,R] float64
    begun: Array  # [N] bool: whether the weights were drawn
    learned: Array  # [N] int64: batches learned from
    here: Array  # [N,A] float64: q̂ of the state at hand
    there: Array  # [N,A] float64: q̂ of the next one, by the copy
    best: Array  # [N,A] float64: q̂ of the next one, by the network itself
    units: Array  # [N,H] float64: hidden units
    drawn: Array  # [N,B] int64: the newest batch, as places in the memory
    errors: Array  # [N,B] float64
    fired: Array  # [N,B,H] float64: the hidden units of each of its moves


class DqnHyperparameters(NamedTuple):
    """The settings the kernel reads."""

    gamma: float
    alpha: Array  # [4], see behaviour.encode_schedule
    exploration: Array  # [5], see behaviour.encode_exploration
    target_every: int
    double: bool


@kernel
def expected_after(tables: DqnTables, i: int, s2: int, copied: bool, double: bool) -> float:
    """What the target adds for the next state: max q̂(s′,·,w⁻), or of double DQN q̂(s′,a*,w⁻) with
    a* the best move by w. Leaves q̂(s′,·,w⁻) in `there`; without a copy w⁻ is w."""
    on, x = tables.places[0, s2], tables.worth[0, s2]
    there, best, units = tables.there[i], tables.best[i], tables.units[i]
    if copied:
        evaluate(
            on, x, tables.still_w1[i], tables.still_b1[i], tables.still_w2[i], tables.still_b2[i],
            units, there,
        )  # fmt: skip
    else:
        evaluate(on, x, tables.w1[i], tables.b1[i], tables.w2[i], tables.b2[i], units, there)
    if not (double and copied):
        return highest(there)
    evaluate(on, x, tables.w1[i], tables.b1[i], tables.w2[i], tables.b2[i], units, best)
    chosen = 0
    for a in range(1, best.size):
        chosen = a if best[a] > best[chosen] else chosen
    return float(there[chosen])


@kernel
def learn(
    tables: DqnTables, i: int, hyperparameters: DqnHyperparameters, alpha: float, random: Array
) -> None:
    """One step down ½ mean (y − q̂(s,a,w))² of a batch drawn from the memory; y counts as given."""
    w1, b1, w2, b2 = tables.w1[i], tables.b1[i], tables.w2[i], tables.b2[i]
    here, units = tables.here[i], tables.units[i]
    size = min(tables.kept[i], tables.rewards.shape[1])
    n_batch, n_hidden = tables.drawn.shape[1], units.size
    for j in range(n_batch):
        k = int(uniform(random) * size)
        s, a, s2, ends = tables.moves[i, k]
        future = 0.0
        if not ends:
            copied = hyperparameters.target_every > 1
            future = expected_after(tables, i, s2, copied, hyperparameters.double)
        evaluate(tables.places[0, s], tables.worth[0, s], w1, b1, w2, b2, units, here)
        error = tables.rewards[i, k] + hyperparameters.gamma * future - here[a]
        tables.drawn[i, j] = k
        tables.errors[i, j] = error if -LARGEST < error < LARGEST else 0.0
        for h in range(n_hidden):
            tables.fired[i, j, h] = units[h]

    rate = alpha / n_batch
    scale = math.sqrt(2.0 / max(n_hidden, 1))
    for j in range(n_batch):  # the hidden layer first: its gradient needs W₂ as it was
        s, a = tables.moves[i, tables.drawn[i, j], 0], tables.moves[i, tables.drawn[i, j], 1]
        on, x = tables.places[0, s], tables.worth[0, s]
        change = rate * tables.errors[i, j]
        for h in range(n_hidden):
            if tables.fired[i, j, h] > 0.0:
                back = change * scale * w2[h, a]
                b1[h] += back
                for m in range(on.size):
                    w1[on[m], h] += back * x[m]  # w ← w + α [y − q̂(s,a,w)] ∇q̂(s,a,w)
    for j in range(n_batch):
        s, a = tables.moves[i, tables.drawn[i, j], 0], tables.moves[i, tables.drawn[i, j], 1]
        change = rate * tables.errors[i, j]
        if n_hidden == 0:
            on, x = tables.places[0, s], tables.worth[0, s]
            for m in range(on.size):
                w2[on[m], a] += change * x[m]
        else:
            b2[a] += change
            for h in range(n_hidden):
                w2[h, a] += change * tables.fired[i, j, h]
    tables.learned[i] += 1


@kernel
def dqn(
    env: StackedMDPs,
    agents: Agents,
    tables: DqnTables,
    hyperparameters: DqnHyperparameters,
    trace: Trace,
    limits: Limits,
) -> None:
    """Up to `limits.steps` real steps of every agent, each followed by a batch from memory."""
    gamma = hyperparameters.gamma
    copied = hyperparameters.target_every > 1
    for i in range(agents.state.size):
        visits, here, random = tables.visits[i], tables.here[i], agents.random[i]
        for left in range(limits.steps, 0, -1):
            if is_done(agents, i, limits):
                break
            if not tables.begun[i]:
                draw_weights(tables, i, random)
            if agents.time[i] < 0:
                begin_episode(env, agents, i)
            clock = agents.steps[i]
            s = env.observation[agents.state[i]]
            evaluate(
                tables.places[0, s], tables.worth[0, s], tables.w1[i], tables.b1[i], tables.w2[i],
                tables.b2[i], tables.units[i], here,
            )  # fmt: skip
            a, explored, level = choose(here, visits[s], hyperparameters.exploration, clock, random)
            landing, r, flags = move(env, agents, i, a)
            s2 = env.observation[landing]
            visits[s, a] += 1
            ahead = expected_after(tables, i, s2, copied, hyperparameters.double)
            future = 0.0 if flags & TERMINAL else ahead
            target = r + gamma * future  # y ← R + γ max q̂(S',·,w⁻)
            error = target - here[a]
            shown = i == WATCHED and left <= trace.ints.shape[0]
            if shown:
                note(
                    trace, env, agents, i, a, explored, r, landing, flags, -1,
                    here[a], target, 0.0, level, future, here, tables.there[i],
                )  # fmt: skip
            keep(tables, i, s, a, r, s2, (flags & TERMINAL) != 0)
            if tables.kept[i] >= min(tables.drawn.shape[1], tables.rewards.shape[1]):
                learn(tables, i, hyperparameters, scheduled(hyperparameters.alpha, clock), random)
                agents.updates[i] += 1
                if copied and tables.learned[i] % hyperparameters.target_every == 0:
                    copy_network(tables, i)
                if shown:
                    note_planned(trace, clock + 1, tables.drawn.shape[1])
            finish_step(env, agents, i, landing, r, flags, explored, error, gamma)


class Dqn(QTableAlgorithm):
    name = "dqn"
    title = "DQN"
    settings = DqnSettings
    source = "Mnih et al. 2015, algorithm 1; double DQN: van Hasselt et al. 2016"
    policy_type = "off-policy"
    target_policy = "greedy on q̂"
    behaviour_policy = "explores on q̂ (ε-greedy, softmax or UCB)"
    update_name = "batch"
    formula = (
        "w ← w + α · mean over a batch of [ r + γ max q̂(s′,·,w⁻) − q̂(s,a,w) ] ∇q̂(s,a,w),   "
        "w⁻ ← w now and then"
    )
    idea = "Q-learning with a network learns from its memory, towards targets that stand still."
    needs = "Many moves, and memory for them. The deadly triad is held off, not banned."
    chosen_when = "Observations are too many for a table, actions are few, and moves may be reused."
    with_llms = (
        "Seldom used: its target takes a maximum over the whole vocabulary at each token, and "
        "carries one reward back through hundreds of one-step targets."
    )
    can_diverge = True
    kernel = staticmethod(dqn)

    def check(self, preset: Preset) -> None:
        settings: Any = preset.algorithm
        described.check(preset)
        check_memory(settings.replay, preset)

    def check_edit(self, settings: Any) -> None:
        described.check_edit(settings)

    def divergence_remedy(self, settings: Any) -> str:
        if settings.target_every == 1:
            return "Set algorithm.target_every to 100 or more (a target network)."
        return "Lower algorithm.learning_rate, or raise algorithm.target_every."

    def make_tables(self, settings: Any, size: Size) -> DqnTables:
        x = make_vectors(settings, size)
        n, hidden, batch = size.agents, settings.hidden, settings.replay.batch
        inputs, outputs = (x.first.size, hidden) if hidden else (0, x.first.size)
        w2, b2 = np.zeros((n, outputs, size.actions)), np.zeros((n, size.actions))
        if hidden:
            b2[:] = settings.initial_value
        else:
            w2[:] = x.first[:, None]
        return DqnTables(
            w1=np.zeros((n, inputs, hidden)),
            b1=np.zeros((n, hidden)),
            w2=w2,
            b2=b2,
            still_w1=np.zeros((n, inputs, hidden)),
            still_b1=np.zeros((n, hidden)),
            still_w2=w2.copy(),
            still_b2=b2.copy(),
            visits=np.zeros(size.table, np.int64),
            places=x.places[None].copy(),
            worth=x.worth[None].copy(),
            kept=np.zeros(n, np.int64),
            moves=np.zeros((n, settings.replay.size, 4), np.int32),
            rewards=np.zeros((n, settings.replay.size)),
            begun=np.zeros(n, np.bool_),
            learned=np.zeros(n, np.int64),
            here=np.zeros((n, size.actions)),
            there=np.zeros((n, size.actions)),
            best=np.zeros((n, size.actions)),
            units=np.zeros((n, hidden)),
            drawn=np.zeros((n, batch), np.int64),
            errors=np.zeros((n, batch)),
            fired=np.zeros((n, batch, hidden)),
        )

    def make_hyperparameters(self, settings: Any) -> DqnHyperparameters:
        return DqnHyperparameters(
            gamma=settings.gamma,
            alpha=encode_schedule(settings.learning_rate),
            exploration=encode_exploration(settings.exploration),
            target_every=settings.target_every,
            double=settings.double,
        )

    def values(self, tables: DqnTables) -> Array:
        into = tables.w1 if tables.w1.size else tables.w2
        total = np.zeros((len(into), tables.places.shape[1], into.shape[2]))
        for m in range(tables.places.shape[2]):
            total += into[:, tables.places[0, :, m]] * tables.worth[0, :, m, None]
        if not tables.w1.size:
            return total + tables.b2[:, None]
        units = math.sqrt(2.0 / total.shape[2]) * np.maximum(total + tables.b1[:, None], 0.0)
        found: Array = units @ tables.w2 + tables.b2[:, None]
        return found

    def learned_parameters(self, tables: DqnTables) -> list[Array]:
        return [tables.w1, tables.b1, tables.w2, tables.b2]

    def metrics(self, tables: DqnTables) -> dict[str, Array]:
        return {"largest_weight": np.abs(tables.w2).max(axis=(1, 2))}

    def explain(self, step: Step, actions: Sequence[str] = ACTION_NAMES) -> Explanation:
        ahead = f" + {step.gamma:g} × {step.bootstrap:.4g}" if not step.terminated else ""
        numbers = (
            f"y = {step.paid:.4g}{ahead} = {step.target:.4g}\n"
            f"δ = y − q̂(s,a,w) = {step.target:.4g} − {step.before:.4g} = {step.error:+.4g}"
        )
        chosen = "explored" if step.explored else "took the action that looks best"
        words = f"The agent {chosen}: {actions[step.action]}. It was paid {pay_of(step)}"
        if step.terminated:
            words += ", and the episode ended."
        else:
            words += f"; by its target network it can still earn {step.bootstrap:.4g} from there."
        if step.truncated:
            words += " The time limit cut the episode here, but that is not an end."
        words += " Nothing is learned from the move itself now: it was put into the memory."
        if step.planned:
            count = "one move" if step.planned == 1 else f"{step.planned} moves"
            words += f" Then the network learned from {count} drawn from there at random."
        else:
            words += " It begins to learn when there are enough for a batch."
        return Explanation(self.formula, numbers, words)


ALGORITHM = Dqn()
