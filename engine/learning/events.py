"""What a learner says happened: plain frozen structs, the only language between engine and screens.

Shapes: O observations, A actions, T steps of an episode. Counts (`step`, `updates`, `episodes`)
are per agent. Arrays are NumPy; `encode` and `decode` turn an event into bytes and back.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, Literal

import msgspec
import numpy as np

from engine.core.arrays import Array
from engine.env.maze import Maze


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of all events. `step` is the environment-step (or sweep) count per agent."""

    step: int


class World(Event, frozen=True, kw_only=True):
    """A maze the run meets. Episodes, policies and evaluations carry its `id`.

    It learns in those of split "train"; in the others its policy is only judged: held-out mazes
    ("test"), and where it is used in the end ("deploy").
    """

    id: int
    split: Literal["train", "test", "deploy"]
    maze: Maze

    @property
    def from_step(self) -> int:
        """The step count from which the world holds (at each agent's next episode)."""
        return self.step


class Step(Event, frozen=True, kw_only=True):
    """One transition of the watched agent, with the arithmetic of the update it caused.

    `kind` is "real" for a move in the environment, "planning" for an update from a model and
    "backup" for one state of a dynamic-programming sweep (then `action` is the best action,
    `reward` its expected reward and `next_state` its likeliest successor).

    `error` is `target - before`; `after` is `before + step_size * error`. `values` and
    `next_values` are the learned action values [A] of this and of the next observation, before
    the update. `bootstrap` is the part of the target that was itself an estimate, undiscounted
    (0 after a terminating step); `next_action` is -1 unless the update used it.
    `planned` counts the updates from a learned model that followed this move. `extra` is what the
    learner was paid besides the environment's `reward`: shaping, less the price of a fall.

    Methods that learn a policy give its `probabilities` [A] instead of values. Once they have
    learned from the step, `advantage_estimate` is the advantage their update used (NaN before),
    `probabilities_after` [A] what that update made of the policy here, and `policy_step_size` the
    step size of the logits where it is a plain number. `before`, `target` and `after` are then
    about the baseline their advantage is measured from.

    `importance_ratio` is ρ, by which an off-policy Monte Carlo method weighed the return from here:
    how much likelier its target policy was to do what was done than the one that did it. NaN for
    methods that weigh none, and before the episode is over.

    `told` are the formula, the numbers and the words by which a user's own algorithm explains the
    update: its code is not run to show them. Algorithms of Ice Maze tell them when they are asked.
    """

    kind: Literal["real", "planning", "backup"] = "real"
    agent: int = 0
    world_id: int = 0
    episode: int
    t: int
    state: int
    observation: int
    action: int
    explored: bool = False
    log_prob: float = 0.0
    reward: float
    extra: float = 0.0
    next_state: int
    next_observation: int
    next_action: int = -1
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    fell: bool = False
    before: float
    target: float
    error: float
    after: float
    step_size: float
    gamma: float
    exploration: float = math.nan
    bootstrap: float = 0.0
    planned: int = 0
    values: tuple[float, ...] = ()
    next_values: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    probabilities_after: tuple[float, ...] = ()
    policy_step_size: float = math.nan
    advantage_estimate: float = math.nan
    importance_ratio: float = math.nan
    told: tuple[str, ...] = ()

    @property
    def paid(self) -> float:
        """What the learner learns from: the reward and what came on top of it."""
        return self.reward + self.extra

    @property
    def advantage(self) -> float:
        """A(s, a): the estimate the update used, else Q(s, a) - V(s), V the best value."""
        if not math.isnan(self.advantage_estimate):
            return self.advantage_estimate
        return self.values[self.action] - max(self.values) if self.values else math.nan


class Episode(Event, frozen=True, kw_only=True):
    """A whole episode of one agent (or one sweep of a planner), T steps.

    `returns_to_go[t]` is the discounted sum of rewards from step t on; `returns_to_go[0]` is the
    episode's return, `score` its undiscounted sum of rewards.
    """

    agent: int = 0
    world_id: int = 0
    index: int
    steps: tuple[Step, ...]
    returns_to_go: tuple[float, ...]
    score: float
    success: bool
    terminated: bool
    truncated: bool


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One episode or completion of a group, as it was compared with the others. T moves.

    `states` are the T + 1 cells it went through. The rest is for completions: `tokens` as text with
    their `log_probs`, the moves' places in the text (`spans`, characters from and to), the reward's
    named `parts`, whether it ran into the token limit (`cut_off`) and whether not a single move
    could be read (`unreadable`).
    """

    actions: tuple[int, ...]
    states: tuple[int, ...]
    total: float
    """What it was compared by: its return, or its reward."""
    advantage: float
    success: bool
    terminated: bool
    truncated: bool
    text: str = ""
    tokens: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    parts: dict[str, float] = {}
    cut_off: bool = False
    unreadable: bool = False


class Group(Event, frozen=True, kw_only=True):
    """Episodes from one start that update number `step` of a language model compared.

    `size` is how many there were; of many only the first are kept as `members`. `mean` and `spread`
    (the standard deviation) are of what all of them were compared by; NaN in records of older
    versions. `prompt` is what the model read at the start.
    """

    world_id: int
    index: int
    size: int
    prompt: str
    members: tuple[Member, ...]
    mean: float = math.nan
    spread: float = math.nan


class Pair(Event, frozen=True, kw_only=True):
    """Two completions of one prompt, shown to whoever judges: which one is preferred?

    `index` counts the pairs of a run from 0.
    """

    index: int
    prompt: str
    texts: tuple[str, str]


class Preference(Event, frozen=True, kw_only=True):
    """What was answered about pair `index`, by "you" or by a "rule".

    `target` is the chance that the first is preferred as the answer says it (1, 0, or 0.5 for a
    tie), NaN for a skipped pair. `scores` are those typed, if any. `guess` is what the reward model
    in use had expected before the answer was known, NaN where there was none yet.
    """

    index: int
    choice: Literal["first", "second", "tie", "skip"]
    target: float
    guess: float
    scores: tuple[float, float] | None = None
    by: Literal["you", "rule"] = "you"


class Metric(msgspec.Struct, frozen=True, array_like=True):
    """Mean over agents, the 10th and 90th percentile over agents, and how many agents."""

    mean: float
    low: float
    high: float
    n: int


class Update(Event, frozen=True, kw_only=True):
    """Counters and the learner's own metrics since the previous recording point."""

    updates: int
    episodes: int
    total_env_steps: int
    metrics: dict[str, Metric]


class PerAgent(Event, frozen=True, kw_only=True):
    """The last value of every figure for each agent, among a run's last words.

    `figures` maps a name to float64 [N], one number for each of the N agents, NaN where an agent
    has none: the exact figures of its target policy (averaged over training worlds), and the
    learner's own metrics. What compares groups of agents with an interval starts from these.
    """

    figures: dict[str, Array]


class Policy(Event, frozen=True, kw_only=True):
    """What the watched agent has learned at `step`.

    target, behaviour: π(a|o) [O, A]; q: action values [O, A] or None; values: V [O];
    visits: how often each (o, a) was taken [O, A]; layers: further [O] or [O, A] tables by name.
    """

    world_id: int = 0
    agent: int = 0
    target: Array
    behaviour: Array
    q: Array | None
    values: Array
    visits: Array
    layers: dict[str, Array] = {}


class Evaluation(Event, frozen=True, kw_only=True):
    """The exact figures of the target policy in one world, averaged over start cells.

    `figures` has success_rate, greedy_success_rate, expected_return, expected_score,
    expected_length. `success_stderr` is 0 when `success_kind` is "exact".
    """

    world_id: int
    split: Literal["train", "test", "deploy"] = "train"
    success_kind: Literal["exact", "sampled"] = "exact"
    success_stderr: float = 0.0
    figures: dict[str, Metric]
    optimal_return: float
    horizon_optimum: float


class Note(Event, frozen=True, kw_only=True):
    """Something the user should know, and what to do about it. `term` is a glossary entry."""

    level: Literal["info", "warning", "error"]
    text: str
    remedy: str = ""
    term: str = ""


class Tuned(Event, frozen=True, kw_only=True):
    """A setting changed while running: at `step`, `key` became `value`."""

    key: str
    value: float | int | str | bool | dict[str, float | int | str]


class Checkpoint(Event, frozen=True, kw_only=True):
    """The learner's state was saved at `step`."""

    path: str = ""


class Finished(Event, frozen=True, kw_only=True):
    """The last event of a run."""

    status: Literal["finished", "stopped", "failed"]
    updates: int
    episodes: int
    total_env_steps: int
    seconds: float
    error: str = ""


class Live(Event, frozen=True, kw_only=True):
    """The live edge: the watched agent's newest steps and tables. Shown, not kept.

    `late`: steps of earlier live edges as they are now that their update has come.
    """

    updates: int
    episodes: int
    total_env_steps: int
    steps: tuple[Step, ...]
    late: tuple[Step, ...] = ()
    policy: Policy | None


AnyEvent = (
    World
    | Step
    | Episode
    | Group
    | Pair
    | Preference
    | Update
    | PerAgent
    | Policy
    | Evaluation
    | Note
    | Tuned
    | Checkpoint
    | Finished
    | Live
)


LARGEST = 2**28
"""More bytes than any event has."""


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), np.ascontiguousarray(value).tobytes()]
    raise TypeError(f"an event cannot hold {type(value).__name__}")


def _decode_array(kind: type, value: Any) -> Any:
    dtype, shape, data = value
    if np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"an array of {dtype!r}")
    if any(not 0 <= n <= LARGEST for n in shape):
        raise ValueError(f"an array of the shape {shape}")
    return np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_decoder = msgspec.msgpack.Decoder(AnyEvent, dec_hook=_decode_array)


def encode(event: Event) -> bytes:
    """The event as compressed MessagePack."""
    return zlib.compress(_encoder.encode(event), 1)


def decode(data: bytes) -> AnyEvent:
    """The inverse of `encode`. What other bytes raise may be any exception; none makes more of
    itself than `LARGEST` bytes."""
    unpacking = zlib.decompressobj()
    packed = unpacking.decompress(data, LARGEST)
    if not unpacking.eof:
        raise ValueError("it is cut short, or too large for an event")
    event: AnyEvent = _decoder.decode(packed)
    return event
