"""A priority queue of table entries that never allocates: a binary heap in fixed arrays.

Pairs (o, a) are numbered o·A + a, P = O·A of them; each is in the queue at most once. N agents.
The most urgent one comes out first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.core.arrays import Array
from engine.core.compiling import kernel

OUTSIDE = -1


def empty_queue(agents: int, pairs: int) -> dict[str, Array]:
    """The tables of an empty queue."""
    return {
        "heap": np.zeros((agents, pairs), np.int32),  # pairs, no parent less urgent than its child
        "slot": np.full((agents, pairs), OUTSIDE, np.int32),  # where in the heap a pair is
        "priority": np.zeros((agents, pairs)),
        "queued": np.zeros(agents, np.int64),  # how many are in it
    }


@kernel
def put(tables: Any, i: int, pair: int, priority: float) -> None:
    """Insert a pair, or raise its priority if it waits with a lower one."""
    heap, slot, urgent = tables.heap[i], tables.slot[i], tables.priority[i]
    if slot[pair] == OUTSIDE:
        slot[pair] = tables.queued[i]
        tables.queued[i] += 1
    elif urgent[pair] >= priority:
        return
    urgent[pair] = priority
    k = slot[pair]
    while k > 0:
        parent = (k - 1) // 2
        if urgent[heap[parent]] >= priority:
            break
        heap[k] = heap[parent]
        slot[heap[k]] = k
        k = parent
    heap[k] = pair
    slot[pair] = k


@kernel
def take_first(tables: Any, i: int) -> int:
    """Remove the most urgent pair and return it. The queue must not be empty."""
    heap, slot, urgent = tables.heap[i], tables.slot[i], tables.priority[i]
    first = heap[0]
    slot[first] = OUTSIDE
    tables.queued[i] -= 1
    n = tables.queued[i]
    if n > 0:
        last = heap[n]
        k = 0
        while 2 * k + 1 < n:
            child = 2 * k + 1
            if child + 1 < n and urgent[heap[child + 1]] > urgent[heap[child]]:
                child += 1
            if urgent[heap[child]] <= urgent[last]:
                break
            heap[k] = heap[child]
            slot[heap[k]] = k
            k = child
        heap[k] = last
        slot[last] = k
    return int(first)
