"""A row's result is the same bits in any batch, whichever way through the kernels the batch takes.

Results are compared as integers, without a tolerance, with those of every row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numba
import numpy as np
import pytest

import fastnet
from fastnet.kernels import ways
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.threads import limited
from tests.cases import LAYOUTS

DTYPES = [np.float32, np.float64]
#: sizes of the layers: either orientation, tails of tiles and vectors, sums of one chunk and of several,
#: weights read where they lie, streamed, or packed
WAYS = [
    (2, 4, 3),
    (3, 1),
    (7, 10, 3),
    (16, 32, 8),
    (30, 101, 2),
    (257, 19, 5),
    (600, 300, 7),
    (770, 512, 10),
    (5, 4, 7, 6, 3, 9),
]
SMALL = 257
#: batches among which block edges are looked for
LARGE = 1100

Predict = Callable[[np.ndarray], np.ndarray]


def network(sizes, dtype, seed=0, activation=fastnet.Sigmoid):
    rng = np.random.RandomState(seed)
    layers: list[object] = []
    for fan_in, fan_out in pairwise(sizes):
        W = (rng.randn(fan_in, fan_out) / np.sqrt(fan_in)).astype(dtype)
        layers.extend((fastnet.Affine(W, rng.randn(fan_out).astype(dtype)), activation()))
    return fastnet.Sequential(layers[:-1]), rng


def bits(array):
    """As integers; every NaN is the same, as its payload is not promised."""
    kind = {4: np.uint32, 8: np.uint64}[array.itemsize]
    return np.where(np.isnan(array), kind(np.iinfo(kind).max), np.ascontiguousarray(array).view(kind))


def rows_of_all_kinds(rng: np.random.RandomState, width: int, dtype: type) -> np.ndarray:
    """Ordinary rows; and some that are, in one place or in all, NaN, infinite, subnormal, huge, a zero."""
    info = np.finfo(dtype)
    odd = [np.nan, np.inf, -np.inf, info.smallest_subnormal, -info.tiny / 4, info.max, -info.max, -0.0]
    x = rng.randn(61, width).astype(dtype)
    for i, value in enumerate(odd):
        x[7 * i] = value
        x[7 * i + 3, rng.randint(width)] = value
    return x


def moved(a: np.ndarray, offset: int) -> np.ndarray:
    """A copy that begins so many bytes into a cache line."""
    room = np.empty(a.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    view = room[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


class Harness:
    """Rows with their results alone, for batches drawn from them to be compared with."""

    def __init__(self, predict: Predict, x: np.ndarray) -> None:
        self.predict, self.x, self.rng = predict, x, np.random.RandomState(1)
        self.alone = bits(np.concatenate([predict(x[i : i + 1]) for i in range(len(x))]))

    def differing(self, batches: Iterable[int]) -> list[tuple[int, list[int]]]:
        """Batches, and the places in them whose results have other bits than the rows have alone."""
        found = []
        for batch in batches:
            # any rows at any places, in a random order: each row with random neighbours
            order = np.argsort(self.rng.rand(-(-batch // len(self.x)), len(self.x))).ravel()[:batch]
            wrong = (bits(self.predict(self.x[order])) != self.alone[order]).any(axis=1)
            if wrong.any():
                found.append((batch, np.flatnonzero(wrong).tolist()))
        return found


def block_edges(net: fastnet.Sequential, dtype: type) -> list[int]:
    """Batches of whole blocks, one row less and one more, and those from which on the plan is another."""

    edges, before = set(), None
    for batch in range(1, LARGE):
        [plan] = fastnet.explain(net, batch, dtype)
        blocks = -(-batch // plan.block)
        now = (plan.orientation, plan.weights, blocks)
        if before is not None and now != before:
            edges |= {batch - 2, batch - 1, batch, batch + 1}
        before = now
    return sorted(edges)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", WAYS, ids=str)
def test_any_batch(sizes, dtype):
    """Every batch up to 257, and those about every block edge, so every place in them."""
    net, rng = network(sizes, dtype)
    harness = Harness(net.predict, rows_of_all_kinds(rng, sizes[0], dtype))
    edges = block_edges(net, dtype)
    assert len(edges) > 4, "no blocks"
    assert harness.differing([*range(1, SMALL + 1), *edges]) == []
    one_dimensional = np.stack([net.predict(row) for row in harness.x])
    assert (bits(one_dimensional) == harness.alone).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("fan_in", "fan_out"), [(600, 515), (15_001, 32), (1035, 2080), (1035, 2101), (2080, 2080)]
)
def test_few_rows_through_large_weights(fan_in, fan_out, dtype):
    """Too large for the second-level cache, or any: streamed, by several rows in turns; packed for more."""
    net, rng = network((fan_in, fan_out, 3), dtype)
    x = rows_of_all_kinds(rng, fan_in, dtype)
    with limited(1):
        harness = Harness(net.predict, x)
        assert net.layers[0].params[0].nbytes > (ways.FAR_WEIGHTS if fan_out > 600 else ways.FEW_ROWS_WEIGHTS)
        assert harness.differing([*range(2, 28), 33, 40, 63, ways.STREAM_ROWS - 1, ways.STREAM_ROWS]) == []
    with limited(2):
        assert harness.differing((4, 7, 12, 16, 17, 25)) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", [*((601, n) for n in range(1, ways.NARROW + 1)), (600, 7), (101, 10), (8, 8, 8), (784, 32, 10)]
)
def test_more_rows_than_caches_hold(sizes, dtype):
    """Fetched before their turn, where that pays; up to the last row, behind which there is none."""
    net, rng = network(sizes, dtype)
    rows = 3 * (2 << 20) // (sizes[0] * np.dtype(dtype).itemsize)
    x = rng.randn(rows, sizes[0]).astype(dtype)
    with limited(1):
        whole = net.predict(x)
        parts = [net.predict(x[i : i + 1000]) for i in range(0, rows, 1000)]
    assert (bits(whole) == bits(np.concatenate(parts))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [fastnet.Tanh, fastnet.ReLU, fastnet.Softmax])
@pytest.mark.parametrize("sizes", [(16, 32, 8), (30, 101, 2), (600, 300, 7), (5, 4, 7, 6, 3, 9)], ids=str)
def test_any_batch_of_any_activation(sizes, activation, dtype):
    net, rng = network(sizes, dtype, activation=activation)
    net.layers.append(fastnet.Softmax())
    harness = Harness(net.predict, rows_of_all_kinds(rng, sizes[0], dtype))
    assert harness.differing((2, 3, 4, 5, 7, 8, 9, 13, 24, 25, 31, 32, 33, 61, 97, 193, 250, 300)) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_any_width(dtype):
    """Rows along the lanes, samples along the lanes, and the layer on its own: one order of sums."""
    rng = np.random.RandomState(0)
    for width in [*range(36), 47, 48, 49, 63, 64, 65, 100, 257]:
        W, b = rng.randn(5, width).astype(dtype), rng.randn(width).astype(dtype)
        net = fastnet.Sequential([fastnet.Affine(W, b), fastnet.Softmax()])
        x = 3 * rng.randn(70, 5).astype(dtype)
        assert Harness(net.predict, x).differing((2, 9, 70)) == [], f"width {width}"
        alone = fastnet.Softmax().forward(net.layers[0].forward(x))
        assert (bits(net.predict(x)) == bits(alone)).all(), f"width {width}, on its own"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [fastnet.Sigmoid, fastnet.Tanh, fastnet.ReLU, fastnet.Softmax])
def test_activation_alone_in_any_layout(activation, dtype):
    x = np.random.RandomState(1).randn(6, 5, 19).astype(dtype)
    want = activation().forward(x)
    assert (bits(activation().forward(np.asfortranarray(x))) == bits(want)).all()
    assert (bits(activation().forward(np.repeat(x, 2, -1)[..., ::2])) == bits(want)).all()
    assert (bits(activation().forward(x[2, 3])) == bits(want[2, 3])).all()
    out = np.zeros((6, 5, 40), dtype)[..., 1::2][..., :19]
    assert activation().forward(x, out=out) is out
    assert (bits(out) == bits(want)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_of_any_count(dtype):
    """The elementwise kernel: an element has the same bits at any place among any others."""
    x = rows_of_all_kinds(np.random.RandomState(0), 1, dtype)
    harness = Harness(lambda x: fastnet.Sigmoid().forward(x.ravel())[:, None], x)
    assert harness.differing(range(1, SMALL + 1)) == []
    for offset in range(64):
        assert (bits(fastnet.Sigmoid().forward(moved(x, offset))) == harness.alone).all(), f"at {offset}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [fastnet.Sigmoid, fastnet.Tanh])
def test_activation_of_every_vector_of_a_tile(activation, dtype):
    """Behind tiles of one to eight rows of any number of vectors: as on its own, once, and nowhere else."""
    rng, lanes = np.random.RandomState(0), VECTOR_BYTES // np.dtype(dtype).itemsize
    for width in [1, *(vecs * lanes + more for vecs in range(1, 11) for more in (0, 1))]:
        affine = fastnet.Affine(rng.randn(3, width).astype(dtype), rng.randn(width).astype(dtype))
        net = fastnet.Sequential([affine, activation()])
        for batch in [*range(1, 14), 12 * lanes + 1]:
            x = 3 * rng.randn(batch, 3).astype(dtype)
            want = activation().forward(affine.forward(x))
            assert (bits(net.predict(x)) == bits(want)).all(), f"{batch} rows of {width}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 20, 50])
@pytest.mark.parametrize("sizes", [(16, 32, 8), (600, 300, 7)], ids=str)
def test_alignment_does_not_matter(sizes, batch, dtype):
    """x, weights, biases and out at every place in a cache line."""
    net, rng = network(sizes, dtype)
    x = rng.randn(batch, sizes[0]).astype(dtype)
    want = bits(net.predict(x))

    first = net.layers[0].params
    W, b = first
    for offset in range(64):
        assert (bits(net.predict(moved(x, offset))) == want).all(), f"x at {offset}"
        out = moved(np.empty(want.shape, dtype), offset)
        net.predict(x, out=out)
        assert (bits(out) == want).all(), f"out at {offset}"
        first[:] = moved(W, offset), moved(b, offset)
        assert (bits(net.predict(x)) == want).all(), f"weights at {offset}"
        first[:] = W, b


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, 20, 50])
@pytest.mark.parametrize("sizes", [(16, 32, 8), (600, 300, 7)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_does_not_matter(layout, sizes, batch, dtype):
    net, rng = network(sizes, dtype)
    x = rng.randn(batch, sizes[0]).astype(dtype)
    want, laid_out = bits(net.predict(x)), LAYOUTS[layout]
    assert (bits(net.predict(laid_out(x))) == want).all(), "rows"
    for layer in net.layers[::2]:
        layer.params[:] = [laid_out(a) for a in layer.params]
    assert (bits(net.predict(x)) == want).all(), "weights"


# The harness itself: it has to catch what does depend on the batch


def wrong(predict: Predict, width: int = 600) -> list[tuple[int, list[int]]]:
    x = rows_of_all_kinds(np.random.RandomState(0), width, np.float32)
    with np.errstate(all="ignore"):
        return Harness(predict, x).differing([2, 7, 64, 101])


@numba.njit
def _sums(x, w, split, first):
    """One sum a row; from row `first` on, of two halves wherever `split`."""
    y = np.empty((len(x), 1), x.dtype)
    for i in range(len(x)):
        if split and i >= first:
            even, odd = x.dtype.type(0), x.dtype.type(0)
            for k in range(0, len(w) - 1, 2):
                even += x[i, k] * w[k]
                odd += x[i, k + 1] * w[k + 1]
            y[i, 0] = even + odd
        else:
            total = x.dtype.type(0)
            for k in range(len(w)):
                total += x[i, k] * w[k]
            y[i, 0] = total
    return y


W_CONTROL = np.random.RandomState(3).randn(600, 40).astype(np.float32)


def test_harness_passes_sums_in_one_order():
    assert wrong(lambda x: _sums(x, W_CONTROL[:, 0].copy(), False, 0)) == []


def test_harness_catches_numpy():
    assert wrong(lambda x: x @ W_CONTROL)


def test_harness_catches_a_sum_split_by_batch():
    found = wrong(lambda x: _sums(x, W_CONTROL[:, 0].copy(), len(x) >= 64, 0))
    assert [batch for batch, _ in found] == [64, 101]


def test_harness_catches_a_tail_summed_otherwise():
    """Rows that do not fill a tile of six, wherever the batch has several."""
    found = wrong(lambda x: _sums(x, W_CONTROL[:, 0].copy(), len(x) > 6, len(x) // 6 * 6))
    assert [batch for batch, _ in found] == [7, 64, 101]
    assert all(place >= batch // 6 * 6 for batch, places in found for place in places)


def test_harness_catches_neighbours_that_leak():
    """Zero times what is in the row before: nothing, unless that is NaN or infinite."""
    found = wrong(lambda x: _sums(x, W_CONTROL[:, 0].copy(), False, 0) + 0 * np.roll(x[:, :1], 1, axis=0))
    assert {64, 101} <= {batch for batch, _ in found}


def test_harness_catches_one_bit_of_one_row():
    def nudged(x):
        y = _sums(x, W_CONTROL[:, 0].copy(), False, 0)
        if len(y) == 64:
            y[63] = np.nextafter(y[63], np.float32(np.inf))
        return y

    assert wrong(nudged) == [(64, [63])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(5, 64), (33, 128), (64, 256), (300, 512), (1024, 640)])
def test_weights_may_begin_anywhere(sizes, dtype):
    """Anywhere in a cache line, between elements, too: few rows read vectors that begin where lines do."""
    net, rng = network(sizes, dtype)
    W = net.layers[0].params[0]
    x = rng.randn(6, sizes[0]).astype(dtype)
    want = [bits(net.predict(x[:rows])) for rows in range(1, 7)]
    memory = np.empty(W.nbytes + 128, np.uint8)
    first = -memory.ctypes.data % 64
    for place in [*range(0, 64, 4), 1, 2, 17, 63]:
        moved = memory[first + place :][: W.nbytes].view(dtype).reshape(sizes)
        moved[...] = W
        net.layers[0].params[0] = moved
        for rows in range(1, 7):
            np.testing.assert_array_equal(
                bits(net.predict(x[:rows])), want[rows - 1], f"{place}, {rows} rows"
            )
