"""Features of observations: what they say, what they share, and where they cannot be told."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdps
from engine.env.settings import MazeSettings
from engine.tabular.kernels import features
from engine.tabular.kernels.features import Features, describe

MAP = "SFFFF\nFHF#F\nFFFFF\nFFHFG"
KINDS = ("cell", "row+column", "tiles", "distance", "surroundings")


def chosen(kind: str, tile_size: int = 2, tilings: int = 2) -> SimpleNamespace:
    return SimpleNamespace(features=kind, tile_size=tile_size, tilings=tilings)


def of(kind: str, tile_size: int = 2, tilings: int = 2, **settings: object) -> Features:
    table = msgspec.convert({"map": MAP} | settings, MazeSettings)
    mazes = [maze for _, maze in build_mazes(table)]
    n_observations = build_mdps(mazes)[0].n_observations
    return describe(chosen(kind, tile_size, tilings), mazes, n_observations)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_has_length_one_and_every_feature_is_used(kind: str) -> None:
    found = of(kind)
    x = found.matrix()
    assert x.shape == (20, found.n_features)
    np.testing.assert_allclose((x**2).sum(1), 1.0)
    assert set(np.unique(x)) <= {0.0, found.scale}
    assert sorted(np.unique(found.active)) == list(range(found.n_features))
    assert np.abs(x.sum(1) - 1 / found.scale).max() < 1e-12  # one feature of each group


def test_cells_are_a_table() -> None:
    assert (of("cell").matrix() == np.eye(20)).all()


def test_rows_and_columns_are_shared() -> None:
    found = of("row+column")
    assert found.n_features == 4 + 5
    shared = (found.matrix() @ found.matrix().T * 2).round()
    for a in range(20):
        for b in range(20):
            assert shared[a, b] == (a // 5 == b // 5) + (a % 5 == b % 5)


@pytest.mark.parametrize(("size", "tilings"), [(1, 1), (2, 1), (2, 4), (3, 3), (3, 9), (4, 4)])
def test_tiles_are_blocks_that_differ_by_their_shift(size: int, tilings: int) -> None:
    found = of("tiles", size, tilings)
    assert found.active.shape == (20, tilings)
    for layer in found.active.T:
        for block in np.unique(layer):
            rows, columns = np.divmod(np.flatnonzero(layer == block), 5)
            assert np.ptp(rows) < size and np.ptp(columns) < size
    borders = {
        (tuple(np.flatnonzero(np.diff(grid[:, 0]))), tuple(np.flatnonzero(np.diff(grid[0]))))
        for grid in found.active.T.reshape(tilings, 4, 5)
    }
    shifts = {features._shift(t, size) for t in range(size**2)}
    assert len(shifts) == size**2
    assert len(borders) == tilings or size > 3  # the map is too small to tell all of them apart


def test_coarse_coding_shares_with_neighbours_and_less_with_those_farther_off() -> None:
    x = of("tiles", 3, 9, map="S" + "F" * 8 + "G\n" + ("F" * 10 + "\n") * 9).matrix()
    middle = 5 * 10 + 5
    shared = [float(x[middle] @ x[middle + away]) for away in range(4)]
    np.testing.assert_allclose(shared, [1, 2 / 3, 1 / 3, 0], atol=1e-12)  # (3 − d)/3 of the blocks


def test_distance_knows_the_offset_and_the_neighbours() -> None:
    found = of("distance")
    assert found.active.shape[1] == 6
    same = {tuple(row) for row in found.active}
    assert len(same) == 20  # the offset alone tells all cells of one prize apart
    start, below = found.active[0], found.active[5]
    assert (start[[0, 3, 5]] == below[[0, 3, 5]])[[0, 2]].all()  # wall to the left, same column
    assert start[4] != below[4]
    assert start[3] == found.active[1, 3]  # the edge above looks like a wall
    assert found.active[8 + 10, 1] != found.active[0, 1]


def test_surroundings_look_alike_far_apart() -> None:
    found = of("surroundings", map="SFFFFF\nFFFFFF\nFFFFFF\nFFFFFF\nFFFFFG")
    inner = [r * 6 + c for r in (1, 2, 3) for c in (1, 2, 3, 4) if (r, c) not in ((3, 5),)]
    assert len({tuple(found.active[cell]) for cell in inner}) == 1
    assert found.n_features < 20


def test_a_table_of_a_partly_seen_maze_has_a_row_for_each_observation() -> None:
    found = of("cell", observation="neighbourhood")
    assert (found.matrix() == np.eye(found.n_features)).all()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_the_agent_cannot_see_is_no_feature(kind: str) -> None:
    with pytest.raises(UserError, match="sees only its neighbourhood"):
        of(kind, map="SFFFF\nFFFFF\nFFGFF\nFFFFF", observation="neighbourhood")


def test_maps_that_differ_have_no_common_description_of_a_cell() -> None:
    changes = [{"step": 10, "map": MAP.replace("FHF#F", "FFF#F")}]
    for kind in ("distance", "surroundings"):
        with pytest.raises(UserError, match="the maps of this run differ"):
            of(kind, changes=changes)
    for kind in ("cell", "row+column", "tiles"):
        assert of(kind, changes=changes).active.shape[0] == 20


def test_many_maps_share_their_surroundings() -> None:
    """What is seen means the same in every maze, so nothing is said twice."""
    changes = [{"step": 10, "map": MAP.replace("FHF#F", "FFF#F")}]
    found = of("surroundings", changes=changes, observation="neighbourhood+prize")
    table = of("cell", changes=changes, observation="neighbourhood+prize")
    assert found.n_features < table.n_features
    assert (found.active.max(0) < found.n_features).all()


KEYED = "SFkF\nFFFF\n##D#\nFFFG"


def test_keys_change_what_is_to_be_fetched_and_open_the_door() -> None:
    found = of("distance", map=KEYED).active.reshape(2, 16, 6)
    before_door, right_of_key = 6, 3
    assert found[0, before_door, 1] != found[1, before_door, 1]  # shut, then open
    without, with_key = found[:, right_of_key, 4:]
    assert (without != with_key).all()  # first the key to the left, then the prize below
    for kind in ("row+column", "tiles"):
        own = of(kind, map=KEYED).active.reshape(2, 16, -1)
        assert not set(own[0].ravel()) & set(own[1].ravel())


def test_more_tilings_than_shifts_are_refused() -> None:
    with pytest.raises(UserError, match="only 4 ways"):
        of("tiles", 2, 5)


def test_worlds_without_a_map_have_only_the_table() -> None:
    settings = MazeSettings(gymnasium="CliffWalking-v1", max_steps=50)
    mazes = [maze for _, maze in build_mazes(settings)]
    assert describe(chosen("cell"), mazes, 48).n_features == 48
    with pytest.raises(UserError, match="without a map"):
        describe(chosen("tiles"), mazes, 48)


def test_what_is_remembered_has_only_the_table() -> None:
    with pytest.raises(UserError, match=r"maze\.memory above 1"):
        of("tiles", memory=2, observation="neighbourhood")


def test_values_are_added_up_alike_in_kernel_and_table() -> None:
    rng = np.random.default_rng(0)
    found = of("tiles", 3, 5)
    w, v = rng.normal(size=(2, found.n_features, 4)), rng.normal(size=(2, found.n_features))
    table, values = features.linear_table(found.active, w), np.zeros(4)
    for s, on in enumerate(found.active):
        features.linear_values(on, w[1], values)
        assert (table[1, s] == values).all()
        assert features.linear_table(found.active, v)[0, s] == features.linear_value(on, v[0])
    np.testing.assert_allclose(table[0], found.matrix() @ w[0], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_even_weights_give_every_place_the_same_value(kind: str) -> None:
    found = of(kind)
    weight = features.even_weight(0.7, found)
    np.testing.assert_allclose(found.matrix() @ np.full(found.n_features, weight), 0.7)


def test_the_approximation_error_is_what_no_weights_take_away() -> None:
    rng = np.random.default_rng(1)
    found = of("row+column")
    inside = found.matrix() @ rng.normal(size=(found.n_features, 4))
    assert features.approximation_error(found, inside) < 1e-12
    values = rng.normal(size=(20, 4))
    error = features.approximation_error(found, values)
    q, _ = np.linalg.qr(found.matrix())
    q = np.linalg.svd(found.matrix(), full_matrices=False)[0][:, :8]  # rank: 9 groups share one sum
    left = values - q @ (q.T @ values)
    assert error == pytest.approx(np.sqrt((left**2).mean()))
    assert features.approximation_error(of("cell"), values) < 1e-12
