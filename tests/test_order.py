"""Every sum runs in the canonical order: an oracle of scalar fused multiply-adds gives the very bits."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from fractions import Fraction

import numpy as np
import pytest

import fastnet
from tests.test_bits import DTYPES, bits

CHUNK = 32
FAN_INS = [0, 1, 2, 31, 32, 33, 64, 255, 257, 513, 1000]
BATCHES = [1, 2, 7, 31, 97, 300]
#: one output, a few, a vector or half of one, more than the widest tile has columns
FAN_OUTS = [1, 3, 8, 131]
#: rows and columns that differ: longer ones repeat them
ROWS, COLUMNS = 7, 11


def scalar_fma(dtype):
    """C's fused multiply-add; Python's own where there is one, from 3.13 on."""
    if dtype is np.float64 and hasattr(math, "fma"):
        return math.fma
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    fma = libm.fmaf if dtype is np.float32 else libm.fma
    number = ctypes.c_float if dtype is np.float32 else ctypes.c_double
    fma.argtypes, fma.restype = (number,) * 3, number
    return fma


def canonical_sum(fma, dtype, x, w, bias):
    """The sum of x times w: chunks of 256 inputs, the first from the bias, later ones added."""
    total = bias
    for start in range(0, len(x), CHUNK):
        chain = 0.0 if start else bias
        for a, b in zip(x[start : start + CHUNK], w[start : start + CHUNK], strict=True):
            chain = fma(a, b, chain)
        total = float(dtype(total) + dtype(chain)) if start else chain
    return total


def oracle(x, W, b):
    dtype = x.dtype.type
    fma, columns, biases = scalar_fma(dtype), W.T.tolist(), b.tolist()
    rows = [
        [canonical_sum(fma, dtype, row, *c) for c in zip(columns, biases, strict=True)] for row in x.tolist()
    ]
    return np.array(rows, dtype).reshape(len(x), len(b))


def repeated(a, count, axis=0):
    return np.take(a, np.arange(count) % a.shape[axis], axis)


def draw(fan_in, dtype):
    rng = np.random.default_rng(fan_in)
    x, W, b = (rng.standard_normal(s) for s in ((ROWS, fan_in), (fan_in, COLUMNS), (COLUMNS,)))
    x[0] *= 2.0 ** rng.integers(-12, 12, fan_in)  # of very different sizes
    return x.astype(dtype), W.astype(dtype), b.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fan_in", FAN_INS)
def test_affine_layers_have_the_bits_of_the_oracle(fan_in, dtype):
    x, W, b = draw(fan_in, dtype)
    expected = oracle(x, W, b)
    ways = set()
    for fan_out in FAN_OUTS:
        weights = repeated(W, fan_out, 1), repeated(b, fan_out)
        affine, fused = fastnet.Affine(*weights), fastnet.AffineSigmoid(*weights)
        for batch in BATCHES:
            rows, want = repeated(x, batch), repeated(repeated(expected, batch), fan_out, 1)
            label = f"{fan_in}-{fan_out} x {batch}"
            np.testing.assert_array_equal(bits(affine.forward(rows)), bits(want), label)
            activated = fastnet.Sigmoid().forward(want)
            np.testing.assert_array_equal(bits(fused.forward(rows)), bits(activated), f"{label}, sigmoid")
            ways |= {plan.orientation for plan in fastnet.explain(affine, batch, dtype)}
    assert ways == {"samples in lanes", "outputs in lanes"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_oracle_tells_other_orders(dtype):
    """The negative control: chunks of another length, or the bias added last, have other bits."""
    x, W, b = draw(513, dtype)
    y = bits(fastnet.Affine(W, b).forward(x))
    assert (bits(oracle(x, W, b)) == y).all()
    assert (bits(oracle(x, W, 0 * b) + b) != y).any()
    assert (bits(oracle(x[:, ::-1], W[::-1], b)) != y).any()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "CHUNK", 512)
        assert (bits(oracle(x, W, b)) != y).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_fma_of_the_oracle_rounds_once(dtype):
    fma, rng = scalar_fma(dtype), np.random.default_rng(0)
    twice = 0
    for a, b, c in rng.standard_normal((500, 3)).astype(dtype).tolist():
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        got = dtype(fma(a, b, c))
        assert all(
            abs(Fraction(float(got)) - exact) <= abs(Fraction(float(near)) - exact)
            for near in (np.nextafter(got, dtype(np.inf)), np.nextafter(got, dtype(-np.inf)))
        )
        twice += got != dtype(a) * dtype(b) + dtype(c)
    assert twice > 20, "two roundings would have given the same"
