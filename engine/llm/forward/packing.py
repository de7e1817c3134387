"""Many token sequences as one: what they share is computed once.

The prompts of all states of a maze, or all completions of one prompt, begin alike. A `TokenTree`
merges them into a tree in which every node is one token and every sequence a path from a root.
Packed into one row of `L` tokens, with each token seeing its ancestors only and position ids that
count the depth, a single forward pass of a causal transformer computes for every node exactly what
it would compute at that place of the unpacked sequence. The idea is tree attention (Miao et al.
2023, "SpecInfer", section 4.2), there used to verify drafts.

Nothing is re-tokenised: the tree is built from the tokens of the full sequences, so packed and
plain tokens cannot differ. Sharing happens at every level by itself: the instructions of several
mazes, the map of several states, the row of several columns, the first moves of several routes.

Shapes: `L` packed tokens, `N` sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.arrays import Bools, Index

Tokens = Sequence[int]
Children = dict[tuple[int, int], int]  # the nodes of a tree by node before and token

ROOT = -1  # the parent of a first token
# Longer rows share more but every token is compared with every other: on a CPU, four mazes of 4x4
# with map and neighbours are fastest in rows of 400 to 500 tokens. A GPU takes more.
DEFAULT_TOKEN_BUDGET = 512
TOLERANCE = 1e-4  # largest |Δ log p| between packed and plain passes, in float32


@dataclass(frozen=True, eq=False)
class TokenTree:
    """`N` token sequences merged where they begin alike. Parents stand before their children."""

    tokens: Index  # [L]
    parent: Index  # [L] node before this one, ROOT for the first token of a sequence
    depth: Index  # [L] place in its sequence, from 0: the position id
    paths: tuple[Index, ...]  # N times [length] the nodes of each sequence, in order

    @classmethod
    def build(cls, sequences: Sequence[Tokens]) -> TokenTree:
        """The tree of some sequences. Raises ValueError for an empty one."""
        children: dict[tuple[int, int], int] = {}
        tokens: list[int] = []
        parent: list[int] = []
        depth: list[int] = []
        paths: list[Index] = []
        for n, sequence in enumerate(sequences):
            if len(sequence) == 0:
                raise ValueError(f"sequence {n} has no tokens")
            node, path = ROOT, np.empty(len(sequence), dtype=np.int64)
            for place, token in enumerate(sequence):
                child = children.setdefault((node, int(token)), len(tokens))
                if child == len(tokens):
                    tokens.append(int(token))
                    parent.append(node)
                    depth.append(place)
                path[place] = node = child
            paths.append(path)
        return cls(
            np.array(tokens, dtype=np.int64),
            np.array(parent, dtype=np.int64),
            np.array(depth, dtype=np.int64),
            tuple(paths),
        )

    def __len__(self) -> int:
        return int(self.tokens.size)

    @property
    def last(self) -> Index:
        """[N] the node of each sequence's last token."""
        return np.array([path[-1] for path in self.paths], dtype=np.int64)

    def ancestors(self) -> Bools:
        """[L, L] whether token k is on the path to token q, itself included: may q see k?"""
        sees = np.eye(len(self), dtype=bool)
        for q, parent in enumerate(self.parent):
            if parent != ROOT:
                sees[q, : parent + 1] = sees[parent, : parent + 1]
        return sees


def split_by_budget(sequences: Sequence[Tokens], budget: int) -> Iterator[list[int]]:
    """Indices of the sequences in consecutive groups whose trees hold at most `budget` tokens.

    A sequence longer than the budget stands alone. Sequences keep their order, so neighbours that
    begin alike stay together; what a split separates is computed once in each part.
    """
    group: list[int] = []
    size = 0
    children: Children = {}
    for n, sequence in enumerate(sequences):
        new = new_tokens(sequence, children)
        if group and size + new > budget:
            yield group
            group, size, children = [], 0, {}
        size += insert(sequence, children)
        group.append(n)
    if group:
        yield group


def new_tokens(sequence: Tokens, children: Children) -> int:
    """How many tokens a sequence would add to a tree."""
    node = ROOT
    for place, token in enumerate(sequence):
        child = children.get((node, int(token)))
        if child is None:
            return len(sequence) - place
        node = child
    return 0


def insert(sequence: Tokens, children: Children) -> int:
    """Add a sequence to a tree; the number of tokens that were new."""
    before, node = len(children), ROOT
    for token in sequence:
        node = children.setdefault((node, int(token)), len(children))
    return len(children) - before


def padded_groups(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Consecutive sequences whose padded batch holds at most `budget` tokens, at least one each."""
    groups: list[list[int]] = []
    longest = 0
    for n, length in enumerate(lengths):
        longest = max(longest, length)
        if groups and longest * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(n)
        else:
            groups.append([n])
            longest = length
    return groups
