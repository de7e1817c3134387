"""Token trees: what is shared, who sees whom, how they are cut."""

from itertools import pairwise

import numpy as np
import pytest

from engine.llm.forward.packing import TokenTree, split_by_budget

SEQUENCES = [[5, 6, 7, 1], [5, 6, 7, 2, 3], [5, 6], [5, 6, 8, 2, 3], [9, 6, 7]]


def test_shared_beginnings_are_stored_once():
    tree = TokenTree.build(SEQUENCES)
    assert tree.tokens.tolist() == [5, 6, 7, 1, 2, 3, 8, 2, 3, 9, 6, 7]
    assert tree.depth.tolist() == [0, 1, 2, 3, 3, 4, 2, 3, 4, 0, 1, 2]
    assert tree.last.tolist() == [3, 5, 1, 8, 11]


def test_paths_spell_the_sequences_and_depths_are_their_positions():
    tree = TokenTree.build(SEQUENCES)
    for path, sequence in zip(tree.paths, SEQUENCES, strict=True):
        assert tree.tokens[path].tolist() == sequence
        assert tree.depth[path].tolist() == list(range(len(sequence)))


def test_a_token_sees_its_path_and_nothing_else():
    tree = TokenTree.build(SEQUENCES)
    sees = tree.ancestors()
    for path in tree.paths:
        for i, node in enumerate(path):
            assert np.flatnonzero(sees[node]).tolist() == sorted(path[: i + 1].tolist())


def test_an_empty_sequence_is_an_error():
    with pytest.raises(ValueError, match="sequence 1"):
        TokenTree.build([[1], []])


@pytest.mark.parametrize("budget", [1, 4, 5, 6, 8, 100])
def test_parts_keep_order_and_budget(budget):
    groups = list(split_by_budget(SEQUENCES, budget))
    assert [n for group in groups for n in group] == list(range(len(SEQUENCES)))
    for group in groups:
        size = len(TokenTree.build([SEQUENCES[n] for n in group]))
        assert size <= budget or len(group) == 1
    for group, later in pairwise(groups):  # no part could take one more
        assert len(TokenTree.build([SEQUENCES[n] for n in [*group, later[0]]])) > budget
