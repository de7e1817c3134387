"""The transition table of a Gymnasium environment, read from its ``.P``.

Gymnasium is imported on use: the app must not wait for it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import UserError, nearest
from engine.env.registration import register
from engine.env.settings import MAX_REWARD

NAMED_ACTIONS = {
    "BairdEnv": ("dashed", "solid"),
    "FrozenLakeEnv": ("left", "down", "right", "up"),
    "CliffWalkingEnv": ("up", "right", "down", "left"),
    "MaximizationBiasEnv": tuple(f"{way}-{n}" for n in range(1, 6) for way in ("left", "right")),
    "TaxiEnv": ("south", "north", "east", "west", "pickup", "dropoff"),
}
CLIFF_ROWS = ("F" * 12, "F" * 12, "F" * 12, "S" + "H" * 10 + "G")
CLIFF_REWARD = -100


@dataclass(frozen=True)
class GymnasiumTable:
    """What an env with a ``.P`` table says of itself: arrays [S, A, K] and `start` [S].

    `rows` is its map, or empty; `kwargs` makes the very same env again (a random map is pinned).
    `rule` is what success was told by: the least terminal reward or the states that count, None
    where it is the goal on the map.
    """

    next_state: NDArray[np.int32]
    probability: NDArray[np.float64]
    reward: NDArray[np.float64]
    terminal: NDArray[np.bool_]
    success: NDArray[np.bool_]
    fall: NDArray[np.bool_]
    start: NDArray[np.float64]
    rows: tuple[str, ...]
    lattice: tuple[int, int]
    actions: tuple[str, ...]
    max_steps: int | None
    kwargs: dict[str, Any]
    noise: float = 0.0
    """Standard deviation of the rewards around those of the table: the env's `reward_noise`."""
    rule: float | tuple[int, ...] | None = None


def read_table(
    env_id: str, kwargs: dict[str, Any], success: float | tuple[int, ...] | None
) -> GymnasiumTable:
    """Make the env and read its table.

    `success` is the least terminal reward that counts, or the states that do; by default success is
    to reach the goal on the env's map, whatever it pays, and where there is no map, the largest
    terminal reward that can be met. Raises UserError naming the key for an unknown id, bad
    kwargs, an env without ``.P`` or ``initial_state_distrib``, and success that never happens.
    """
    env = _make(env_id, kwargs)
    try:
        inner = env.unwrapped
        kind = type(inner).__name__
        if kwargs.get("fickle_passenger"):
            raise UserError(
                "maze.kwargs.fickle_passenger: Taxi's .P table leaves the fickle passenger out, so "
                "its figures would be wrong; remove it."
            )
        if not hasattr(inner, "P"):
            raise UserError(
                f"maze.gymnasium: {env_id} has no .P transition table, so it cannot be solved "
                "exactly; use one that has, such as FrozenLake-v1, CliffWalking-v1 or Taxi-v4."
            )
        if not hasattr(inner, "initial_state_distrib"):
            raise UserError(
                f"maze.gymnasium: {env_id} has no initial_state_distrib, so where an episode "
                "starts is unknown; add that array to the env or use another."
            )
        table = _read_arrays(inner, env_id)
        rows: tuple[str, ...] = ()
        if kind == "FrozenLakeEnv":
            rows = tuple(b"".join(row).decode() for row in inner.desc)
            kwargs = {**kwargs, "desc": list(rows)}
            hole = np.array(list("".join(rows))) == "H"
            table = replace(table, fall=hole[table.next_state] & table.terminal)
        elif kind == "CliffWalkingEnv":
            rows = CLIFF_ROWS
            table = replace(table, fall=table.reward == CLIFF_REWARD)
        n_actions = table.probability.shape[1]
        table = replace(
            table,
            rows=rows,
            kwargs=kwargs,
            actions=NAMED_ACTIONS.get(kind, tuple(str(a) for a in range(n_actions))),
            max_steps=env.spec.max_episode_steps if env.spec else None,
            noise=float(getattr(inner, "reward_noise", 0.0)),
        )
    finally:
        env.close()
    if getattr(inner, "continuing", False):  # it says so itself: without an end, no success
        return table
    return _with_success(table, env_id, success)


def read_features(
    env_id: str, kwargs: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features [S,F] that an env brings itself, and the weights [F] its values start with.

    They are its arrays `features` and, where it has some, `initial_weights`. Raises UserError.
    """
    env = _make(env_id, kwargs)
    try:
        inner = env.unwrapped
        features = np.array(getattr(inner, "features", ()), dtype=np.float64)
        if features.ndim != 2 or len(features) != len(getattr(inner, "P", ())):
            raise UserError(
                f"algorithm.features = 'own': {env_id} brings no array `features` with a row for "
                "each state; use BairdCounterexample-v0, or other algorithm.features."
            )
        none = np.zeros(features.shape[1])
        weights = np.array(getattr(inner, "initial_weights", none), dtype=np.float64)
        if weights.shape != none.shape or not (
            np.isfinite(features).all() and np.isfinite(weights).all()
        ):
            raise UserError(
                f"algorithm.features = 'own': `initial_weights` of {env_id} must be "
                f"{features.shape[1]} finite numbers, one for each of its features."
            )
    finally:
        env.close()
    return features, weights


def _make(env_id: str, kwargs: dict[str, Any]) -> Any:
    """The env, or a UserError that says why not. Only registered ids: none names a module."""
    import gymnasium  # start-up time: only mazes of Gymnasium's need it

    register()

    if env_id not in gymnasium.registry:
        raise UserError(
            f"maze.gymnasium: Gymnasium knows no environment {env_id!r}."
            f"{nearest(env_id, list(gymnasium.registry)) if _is_near(env_id) else ''} "
            "Those with a .P table: FrozenLake-v1, FrozenLake8x8-v1, CliffWalking-v1, Taxi-v4."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    except Exception as error:
        about = f" with maze.kwargs = {kwargs}" if kwargs else ""
        raise UserError(
            f"maze.gymnasium: {env_id}{about} could not be made: {error}; mend maze.kwargs or "
            "install what it needs."
        ) from error


def _is_near(env_id: str) -> bool:
    import difflib

    import gymnasium

    return bool(difflib.get_close_matches(env_id, list(gymnasium.registry), n=1, cutoff=0.6))


def _read_arrays(inner: Any, env_id: str) -> GymnasiumTable:
    """`.P` as arrays. Unused branches keep probability 0 and lead to their own state."""
    start = np.asarray(inner.initial_state_distrib, dtype=np.float64).ravel()
    n_states = len(inner.P)
    n_actions = len(inner.P[0])
    n_branches = max(len(inner.P[s][a]) for s in range(n_states) for a in range(n_actions))
    shape = (n_states, n_actions, n_branches)
    own = np.arange(n_states, dtype=np.int32)
    next_state = np.broadcast_to(own[:, None, None], shape).copy()
    probability, reward = np.zeros(shape), np.zeros(shape)
    terminal = np.zeros(shape, dtype=bool)
    for s in range(n_states):
        for a in range(n_actions):
            for k, (p, landing, paid, ended) in enumerate(inner.P[s][a]):
                probability[s, a, k], next_state[s, a, k] = p, landing
                reward[s, a, k], terminal[s, a, k] = paid, ended
    if start.size != n_states or not math.isclose(start.sum(), 1.0, abs_tol=1e-6):
        raise UserError(
            f"maze.gymnasium: initial_state_distrib of {env_id} is no distribution over its "
            f"{n_states} states."
        )
    if not np.allclose(probability.sum(axis=2), 1.0, atol=1e-6):
        raise UserError(f"maze.gymnasium: the .P table of {env_id} has rows that do not sum to 1.")
    _check_arrays(next_state, probability, reward, start, env_id)
    nothing = np.zeros(shape, dtype=bool)
    return GymnasiumTable(
        next_state=next_state,
        probability=probability,
        reward=reward,
        terminal=terminal,
        success=nothing,
        fall=nothing,
        start=start / start.sum(),
        rows=(),
        lattice=_lattice(n_states),
        actions=(),
        max_steps=None,
        kwargs={},
    )


def _check_arrays(
    next_state: NDArray[np.int32],
    probability: NDArray[np.float64],
    reward: NDArray[np.float64],
    start: NDArray[np.float64],
    env_id: str,
) -> None:
    """Raise UserError for a table nothing can be computed with."""
    if not ((next_state >= 0) & (next_state < len(next_state))).all():
        raise UserError(
            f"maze.gymnasium: the .P table of {env_id} leads to states that it does not have; "
            f"expected 0 to {len(next_state) - 1}."
        )
    if (probability < 0).any() or (start < 0).any():
        raise UserError(f"maze.gymnasium: {env_id} has probabilities below 0.")
    if not (np.abs(reward) <= MAX_REWARD).all():
        worst = reward[~(np.abs(reward) <= MAX_REWARD)][0]
        raise UserError(
            f"maze.gymnasium: the .P table of {env_id} pays {worst:g}; expected numbers from "
            f"{-MAX_REWARD:g} to {MAX_REWARD:g} (see maze.kwargs)."
        )


def _lattice(n: int) -> tuple[int, int]:
    """(rows, columns) near a square: an exact factorisation when one is not too oblong."""
    side = math.isqrt(n)
    for height in range(side, side // 2, -1):
        if n % height == 0:
            return height, n // height
    height = max(side, 1)
    return height, math.ceil(n / height)


def _with_success(
    table: GymnasiumTable, env_id: str, success: float | tuple[int, ...] | None
) -> GymnasiumTable:
    """The table with the terminating transitions marked that count as success."""
    possible = table.terminal & (table.probability > 0) & _reached(table)[:, None, None]
    goals = np.array(list("".join(table.rows))) == "G"
    if goals.size and not (possible & goals[table.next_state]).any():
        raise UserError(f"maze.kwargs.desc: no way from a start to the goal of {env_id}.")
    if success is None and not goals.size:
        if not possible.any():
            raise UserError(
                f"maze.gymnasium: no episode of {env_id} can ever terminate, so nothing counts as "
                "success; use an env with an end."
            )
        success = float(table.reward[possible].max())
    if success is None:
        good = table.terminal & goals[table.next_state]
    elif isinstance(success, tuple):
        good = table.terminal & np.isin(table.next_state, success)
    else:
        good = table.terminal & (table.reward >= success)
    if not (good & possible).any():
        raise UserError(
            f"maze.success = {list(success) if isinstance(success, tuple) else success}: no "
            f"terminating transition of {env_id} meets it; the terminal rewards are "
            f"{sorted({float(r) for r in table.reward[possible]})}."
        )
    # A state that only ends in itself is where an episode has ended, not one more arrival.
    own = table.next_state == np.arange(table.start.size)[:, None, None]
    at_rest = (table.terminal & own | (table.probability == 0)).all(axis=(1, 2))
    good &= ~at_rest[:, None, None] & (table.probability > 0)
    return replace(table, success=good, rule=success)


def _reached(table: GymnasiumTable) -> NDArray[np.bool_]:
    """[S] states an episode can be in before it ends."""
    reached = table.start > 0
    onward = (table.probability > 0) & ~table.terminal
    while True:
        wider = reached.copy()
        wider[table.next_state[reached][onward[reached]]] = True
        if (wider == reached).all():
            return reached
        reached = wider
