"""Blackjack as Sutton & Barto play it (example 5.1), twice: as an exact table, and card by card.

States are (usable ace, player's sum 12 … 21, dealer's card 1 … 10); actions are 0 hit, 1 stick.
Cards come from an infinite deck. Below 12 a player always hits, so no such state exists.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Array = np.ndarray[Any, np.dtype[Any]]
HIT, STICK = 0, 1
CARDS = {**dict.fromkeys(range(1, 10), 1 / 13), 10: 4 / 13}
START = (True, 13, 2)
"""The state of example 5.4 and figure 5.3: a deuce shows, and an ace and a deuce are held."""
STATES = [(ace, total, card) for ace in (False, True) for total in range(12, 22)
          for card in range(1, 11)]  # fmt: skip
END = len(STATES)
NUMBER = {state: i for i, state in enumerate(STATES)}


def drawn(total: int, ace: bool, card: int) -> tuple[int, bool]:
    """Sum and usable ace after another card; a sum above 21 is bust."""
    total, aces = total + (11 if card == 1 else card), int(ace) + (card == 1)
    while total > 21 and aces:
        total, aces = total - 10, aces - 1
    return total, aces > 0


@cache
def dealer(total: int, ace: bool) -> dict[int, float]:
    """Where the dealer ends, who sticks from 17 on: chances by final sum, 22 for bust."""
    if total > 21:
        return {22: 1.0}
    if total >= 17:
        return {total: 1.0}
    ends: dict[int, float] = {}
    for card, chance in CARDS.items():
        for end, part in dealer(*drawn(total, ace, card)).items():
            ends[end] = ends.get(end, 0.0) + chance * part
    return ends


def outcomes(total: int, card: int) -> list[tuple[float, int, float, bool]]:
    """What sticking brings: chances of losing, drawing and winning."""
    chances = dict.fromkeys((-1, 0, 1), 0.0)
    for end, part in dealer(*drawn(0, False, card)).items():
        chances[1 if end > 21 or end < total else -1 if end > total else 0] += part
    return [(chance, END, float(reward), True) for reward, chance in chances.items()]


class BlackjackTable(gymnasium.Env[Any, Any]):
    """Its transition table; every episode starts in `START`."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Discrete(END + 1), spaces.Discrete(2)
        self.P: dict[int, dict[int, list[tuple[float, int, float, bool]]]] = {
            END: {a: [(1.0, END, 0.0, True)] for a in (HIT, STICK)}
        }
        for i, (ace, total, shown) in enumerate(STATES):
            hit = []
            for card, chance in CARDS.items():
                after, usable = drawn(total, ace, card)
                bust = after > 21
                landing = END if bust else NUMBER[usable, after, shown]
                hit.append((chance, landing, -1.0 if bust else 0.0, bust))
            self.P[i] = {HIT: hit, STICK: outcomes(total, shown)}
        self.initial_state_distrib = np.eye(END + 1)[NUMBER[START]]


def register() -> None:
    """Make the table known to Gymnasium."""
    if "BlackjackTable-v0" not in gymnasium.registry:
        gymnasium.register(id="BlackjackTable-v0", entry_point=BlackjackTable)


def stick_on_20() -> Array:
    """The target policy [S, A]: it sticks on 20 and 21."""
    policy = np.tile([1.0, 0.0], (END + 1, 1))
    for state, i in NUMBER.items():
        if state[1] >= 20:
            policy[i] = [0.0, 1.0]
    return policy


def card_by_card(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """n games from `START` in which the player hits or sticks with equal chances: the importance
    ratios [n] of the target policy, and the returns [n]."""

    def deal(total: Array, aces: Array, who: Array) -> None:
        cards = np.minimum(rng.integers(1, 14, who.sum()), 10)
        total[who] += np.where(cards == 1, 11, cards)
        aces[who] += cards == 1
        over = who & (total > 21) & (aces > 0)
        total[over] -= 10
        aces[over] -= 1

    total, aces = np.full(n, 13), np.ones(n, int)
    ratio, playing = np.ones(n), np.ones(n, bool)
    while playing.any():
        sticks = rng.random(n) < 0.5
        ratio[playing] *= np.where(sticks == (total >= 20), 2.0, 0.0)[playing]
        playing &= ~sticks
        deal(total, aces, playing)
        playing &= total <= 21
    house, house_aces = np.full(n, 2), np.zeros(n, int)
    deal(house, house_aces, np.ones(n, bool))
    while (hits := (house < 17) & (total <= 21)).any():
        deal(house, house_aces, hits)
    wins = (house > 21) | (total > house)
    return ratio, np.where(total > 21, -1, np.where(wins, 1, np.where(total == house, 0, -1)))
