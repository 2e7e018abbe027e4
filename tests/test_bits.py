"""A row's result is the same bits in any batch, whichever way through the kernels the batch takes."""

from __future__ import annotations

import ctypes
import ctypes.util
from itertools import pairwise

import numpy as np
import pytest

import fastnet

DTYPES = [np.float32, np.float64]
#: sizes of the layers -> batches that take different ways: either orientation, tails of tiles and vectors,
#: sums of one chunk and of several, weights read where they lie, streamed, or packed
WAYS = {
    (2, 4, 3): (2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 95, 96, 97, 192, 193, 257),
    (3, 1): (2, 8, 96, 100),
    (16, 32, 8): (2, 6, 7, 13, 64, 97),
    (30, 101, 2): (2, 5, 12, 25, 50, 97, 300),
    (257, 19, 5): (2, 7, 24, 40, 250),
    (600, 300, 7): (2, 5, 13, 24, 30, 61, 250),
    (770, 512, 10): (2, 9, 23, 24, 40, 241),
    (5, 4, 7, 6, 3, 9): (2, 8, 33, 96),
}


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


def differing(predict, x, batches):
    """Batches in which some row's bits differ from those it has alone."""
    alone = bits(np.concatenate([predict(x[i : i + 1]) for i in range(len(x))]))
    return [
        (batch, start)
        for batch in batches
        for start in sorted({0, 1, len(x) - batch})
        if start >= 0 and (bits(predict(x[start : start + batch])) != alone[start : start + batch]).any()
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", WAYS, ids=str)
def test_any_batch(sizes, dtype):
    net, rng = network(sizes, dtype)
    x = rng.randn(max(WAYS[sizes]) + 1, sizes[0]).astype(dtype)
    assert differing(net.predict, x, WAYS[sizes]) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [fastnet.Tanh, fastnet.ReLU, fastnet.Softmax])
@pytest.mark.parametrize("sizes", [(16, 32, 8), (30, 101, 2), (600, 300, 7), (5, 4, 7, 6, 3, 9)], ids=str)
def test_any_batch_of_any_activation(sizes, activation, dtype):
    net, rng = network(sizes, dtype, activation=activation)
    net.layers.append(fastnet.Softmax())
    x = rng.randn(max(WAYS[sizes]) + 1, sizes[0]).astype(dtype)
    assert differing(net.predict, x, WAYS[sizes]) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_any_width(dtype):
    """Rows along the lanes, samples along the lanes, and the layer on its own: one order of sums."""
    rng = np.random.RandomState(0)
    for width in [*range(36), 47, 48, 49, 63, 64, 65, 100, 257]:
        W, b = rng.randn(5, width).astype(dtype), rng.randn(width).astype(dtype)
        net = fastnet.Sequential([fastnet.Affine(W, b), fastnet.Softmax()])
        x = 3 * rng.randn(70, 5).astype(dtype)
        assert differing(net.predict, x, (2, 9, 70)) == [], f"width {width}"
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
def test_every_batch_of_a_small_network(dtype):
    net, rng = network((7, 10, 3), dtype)
    x = rng.randn(257, 7).astype(dtype)
    assert differing(net.predict, x, range(1, 258)) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(7, 10, 3), (300, 40, 5), (600, 300, 7)], ids=str)
def test_neighbours_do_not_matter(sizes, dtype):
    """Rows of NaN, infinities and subnormals around a row leave its bits alone."""
    net, rng = network(sizes, dtype)
    x = rng.randn(100, sizes[0]).astype(dtype)
    odd = x.copy()
    tiny = np.finfo(dtype).smallest_subnormal
    for i, value in enumerate((np.nan, np.inf, -np.inf, tiny, np.finfo(dtype).max)):
        odd[i::6] = value
    kept = np.arange(100) % 6 == 5
    assert (bits(net.predict(odd))[kept] == bits(net.predict(x))[kept]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(16, 32, 8), (600, 300, 7)], ids=str)
@pytest.mark.parametrize("batch", [1, 20, 50])
def test_layout_does_not_matter(sizes, batch, dtype):
    net, rng = network(sizes, dtype)
    x = rng.randn(batch, sizes[0]).astype(dtype)
    want = bits(net.predict(x))
    room = np.zeros(x.nbytes + 64, np.uint8)
    for offset in range(0, 33, 1):
        moved = room[offset : offset + x.nbytes].view(dtype).reshape(x.shape)
        moved[...] = x
        assert (bits(net.predict(moved)) == want).all(), f"at offset {offset}"
    assert (bits(net.predict(np.asfortranarray(x))) == want).all()
    assert (bits(net.predict(np.repeat(x, 2, 0)[::2])) == want).all()
    assert (bits(net.predict(x[:, ::-1].copy()[:, ::-1])) == want).all()
    for layer in net.layers[::2]:
        layer.params[0] = np.asfortranarray(layer.params[0])
    assert (bits(net.predict(x)) == want).all(), "weights in Fortran order"


def test_harness_catches_numpy():
    """The negative control: NumPy's matrix product does depend on the batch."""
    rng = np.random.RandomState(0)
    W = rng.randn(600, 40).astype(np.float32)
    assert differing(lambda x: x @ W, rng.randn(64, 600).astype(np.float32), (2, 7, 64))


def _scalar_fma(dtype):
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    fma = libm.fmaf if dtype is np.float32 else libm.fma
    number = ctypes.c_float if dtype is np.float32 else ctypes.c_double
    fma.argtypes, fma.restype = (number,) * 3, number
    return fma


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fan_in", [1, 5, 255, 256, 257, 600])
def test_sums_run_in_the_canonical_order(fan_in, dtype):
    """Against a scalar chain in C's fma: chunks of 256 inputs, the first from the bias."""
    fma = _scalar_fma(dtype)
    rng = np.random.RandomState(fan_in)
    W, b = rng.randn(fan_in, 3).astype(dtype), rng.randn(3).astype(dtype)
    x = rng.randn(2, fan_in).astype(dtype)
    want = np.empty((2, 3), dtype)
    for i, j in np.ndindex(2, 3):
        total = b[j]
        for start in range(0, max(fan_in, 1), 256):
            chain = b[j] if start == 0 else dtype(0)
            for k in range(start, min(start + 256, fan_in)):
                chain = dtype(fma(x[i, k], W[k, j], chain))
            total = chain if start == 0 else total + chain
        want[i, j] = total
    assert (bits(fastnet.Affine(W, b).forward(x)) == bits(want)).all()
