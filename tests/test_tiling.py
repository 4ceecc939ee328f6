import numpy as np
import pytest

from perceiver_runtime.processing.tiling import blend_weights, tile_grid, tile_origins


@pytest.mark.parametrize("tile", [40, 368, 496])
@pytest.mark.parametrize("extra", [0, 1, 7, 19, 20, 21, 300, 475, 476, 477, 1000, 3000])
def test_tiles_cover_overlap_and_are_spread_evenly(tile: int, extra: int) -> None:
    length = tile + extra
    origins = tile_origins(length, tile)
    assert origins[0] == 0
    assert origins[-1] == length - tile
    steps = np.diff(origins)
    assert len(set(origins)) == len(origins)
    assert (steps <= tile - 20).all()
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    fewest = 1 if extra == 0 else -(-(length - 20) // (tile - 20))
    assert len(origins) == fewest


def test_an_exact_fit_is_one_tile_and_1080p_sixteen() -> None:
    assert tile_grid(368, 496, (368, 496)) == [(0, 0)]
    assert len(tile_grid(1080, 1920, (368, 496))) == 16
    assert tile_grid(436, 1024, (368, 496)) == [(0, 0), (0, 264), (0, 528), (68, 0), (68, 264), (68, 528)]


def test_smaller_than_a_tile_is_one_tile() -> None:
    assert tile_grid(10, 20, (368, 496)) == [(0, 0)]


def test_weights_are_distances_to_the_edge() -> None:
    expected = [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]
    assert blend_weights(4, 5).tolist() == expected
