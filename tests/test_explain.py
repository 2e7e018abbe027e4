"""What the planner's choices say of the share of the arithmetic that is of use."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fastnet
from fastnet.explain import _share
from fastnet.kernels import target


def network(*sizes):
    rng = np.random.default_rng(0)
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        W, b = rng.standard_normal((fan_in, fan_out)), rng.standard_normal(fan_out)
        layers += [fastnet.Affine(W, b), fastnet.Sigmoid()]
    return fastnet.Sequential(layers[:-1])


@pytest.mark.parametrize(
    ("batch", "piece", "share"),
    [(16, 16, 1.0), (17, 17, 17 / 24), (1, 1, 1 / 8), (40, 12, 40 / 56), (0, 1, 1 / 8)],
)
def test_samples_in_lanes_of_eight(batch, piece, share):
    assert _share([(2, 4), (4, 3)], batch, piece, 8, True) == pytest.approx(share)


@pytest.mark.parametrize(
    ("sizes", "share"),
    [
        ([(64, 128)], 1.0),
        ([(64, 1)], 1 / 8),
        ([(10, 9), (9, 8)], (90 + 72) / (160 + 72)),
        ([(0, 4)], 1.0),
    ],
)
def test_outputs_in_lanes_of_eight(sizes, share):
    assert _share(sizes, 5, 5, 8, False) == pytest.approx(share)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 7, 1000, 20_000])
@pytest.mark.parametrize("sizes", [(2, 4, 3), (784, 128, 10), (31, 33, 31)])
def test_the_share_is_of_the_plan(sizes, batch, dtype):
    [plan] = fastnet.explain(network(*sizes), batch, dtype)
    by_samples = plan.orientation == "samples in lanes"
    pairs, lanes = list(pairwise(sizes)), plan.tile[2]
    least = lanes // 2 if target.PART_BYTES and not by_samples else lanes
    assert plan.share == _share(pairs, batch, plan.piece, least, by_samples)
    assert 0 < plan.share <= 1
    assert str(plan).endswith(f", {plan.share:.0%} of the arithmetic used")


@pytest.mark.parametrize(
    ("sizes", "vectors"),
    [
        ((33, 300, 300), target.HELD_VECTORS),
        ((32, 300), target.PANEL_VECTORS),
        ((300, 20, 300), target.PANEL_VECTORS),
    ],
)
def test_tiles_of_many_inputs_may_be_narrower(sizes, vectors):
    [plan] = fastnet.explain(network(*sizes), 100, "float32")
    assert plan.tile[:2] == (target.TILE_ROWS, vectors)


def test_nothing_is_said_of_what_no_kernel_runs():
    [plan] = fastnet.explain(network(2, 4, 3), 10, np.complex128)
    assert plan.share == 0
    assert "used" not in str(plan)


def test_few_rows_through_large_weights_share_columns():
    before = fastnet.get_num_threads()
    fastnet.set_num_threads(2)
    try:
        [few], [many] = (fastnet.explain(network(1024, 1024, 1024), batch) for batch in (3, 600))
    finally:
        fastnet.set_num_threads(before)
    assert (few.shared, few.threads, few.piece) == ("columns", 2, 3)
    assert (many.shared, many.threads, many.piece) == ("rows", 2, 300)
    assert "2 thread(s) x 3 rows, columns shared" in str(few)


@pytest.mark.parametrize(
    ("params", "error"), [([], ValueError), ([np.eye(3)], ValueError), (None, TypeError)]
)
def test_params_that_are_no_pair(params, error):
    net = fastnet.Sequential([fastnet.Affine(np.eye(3), np.zeros(3)), fastnet.Sigmoid()])
    net.layers[0].params = params
    with pytest.raises(error):
        net.predict(np.zeros((2, 3)))
    with pytest.raises(error):
        fastnet.explain(net, 2)
