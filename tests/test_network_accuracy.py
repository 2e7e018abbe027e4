"""Sums and networks beside exact arithmetic: within the bound, also where sums cancel; and the reference."""

from __future__ import annotations

import math

import gmpy2
import numpy as np
import pytest

import fastnet
from fastnet import reference
from tests import golden
from tests.cases import KERNEL_DTYPES
from tests.test_order import CHUNK

#: bits of MPFR: no rounding of it shows
PRECISION = 300

_mpfr = np.frompyfunc(gmpy2.mpfr, 1, 1)
_sigmoid = np.frompyfunc(lambda v: 1 / (1 + gmpy2.exp(-v)), 1, 1)


@pytest.fixture(autouse=True)
def precision():
    with gmpy2.context(gmpy2.get_context(), precision=PRECISION):
        yield


def exact(a: np.ndarray) -> np.ndarray:
    return np.asarray(_mpfr(a.astype(np.float64).astype(object)))


def exact_network(net: fastnet.Sequential, x: np.ndarray) -> np.ndarray:
    y = exact(x)
    for layer in net.layers:
        if layer.params:
            W, b = map(exact, layer.params)
            y = y @ W + b
        if not layer.params or isinstance(layer, fastnet.AffineSigmoid):
            y = _sigmoid(y)
    return y


def twin(net: fastnet.Sequential) -> list:
    layers: list = []
    for layer in net.layers:
        layers += [reference.Affine(*layer.params)] if layer.params else [reference.Sigmoid()]
        layers += [reference.Sigmoid()] if isinstance(layer, fastnet.AffineSigmoid) else []
    return layers


def by_reference(net: fastnet.Sequential, x: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        for layer in twin(net):
            x = layer.forward(x)
    return x


# One layer, of any size: products without an error, summed by math.fsum


def exact_products(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """Arrays whose sum is a * b without an error (Dekker 1971), for float64 of moderate size."""

    def halves(v):
        big = v * 134217729.0  # 2**27 + 1
        high = big - (big - v)
        return high, v - high

    product = a * b
    (a1, a2), (b1, b2) = halves(a), halves(b)
    return [product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)]


def exact_sums(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> list[list[list[float]]]:
    """Of every row and output, the terms whose sum is the exact result."""
    x, W, b = (a.astype(np.float64) for a in (x, W, b))
    return [
        [[bias, *np.concatenate(exact_products(row, w)).tolist()] for w, bias in zip(W.T, b, strict=True)]
        for row in x
    ]


def ordinary(rng, fan_in, fan_out, rows):
    W = rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
    return rng.standard_normal((rows, fan_in)), W, rng.standard_normal(fan_out)


def cancelling(rng, fan_in, fan_out, rows):
    """Terms up to 2**20 apart in size, nearly each with another that takes it away but for a millionth."""
    x, W, b = ordinary(rng, fan_in, fan_out, rows)
    W *= 2.0 ** rng.integers(-10, 11, (fan_in, 1))
    half, order = fan_in // 2, rng.permutation(fan_in)
    W[half : 2 * half] = -W[:half] * (1 + 1e-6 * rng.standard_normal((half, fan_out)))
    x[:, half : 2 * half] = x[:, :half]
    return x[:, order], W[order], b


def sum_bound(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The classical bound for the canonical order: no term is rounded more often than k times.

    A chunk has at most CHUNK fused multiply-adds, and then comes one addition for each later chunk.
    """
    fan_in, info = len(W), np.finfo(x.dtype)
    k, u = min(fan_in, CHUNK) + max(-(-fan_in // CHUNK) - 1, 0), info.eps / 2
    x, W, b = (abs(a.astype(np.float64)) for a in (x, W, b))
    return k * u / (1 - k * u) * (x @ W + b) * (1 + 1e-10) + fan_in * float(info.smallest_subnormal)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("draw", [ordinary, cancelling])
@pytest.mark.parametrize("sizes", [(2, 3), (40, 9), (300, 5), (1000, 33), (5000, 4)], ids=str)
def test_affine_layer_within_the_bound(sizes, draw, dtype):
    rng = np.random.default_rng(sizes)
    x, W, b = (a.astype(dtype) for a in draw(rng, *sizes, rows=9))
    terms = exact_sums(x, W, b)
    if draw is cancelling and sizes[0] > 2:
        condition = np.mean([[math.fsum(map(abs, t)) / abs(math.fsum(t)) for t in row] for row in terms])
        assert condition > 100, "nothing cancels"
    for rows in (1, 9):
        y = fastnet.Affine(W, b).forward(x[:rows]).astype(np.float64)
        off = [
            [abs(math.fsum([*t, -v])) for t, v in zip(*pair, strict=True)]
            for pair in zip(terms, y, strict=False)
        ]
        bound = sum_bound(x[:rows], W, b)
        assert (off <= bound).all(), f"{np.max(off / bound):.3g} times the bound"


# Networks


def largest_score_errors(dtype: str) -> tuple[float, float]:
    """Of fastnet and the reference, over the networks of golden.py: in eps of a network's largest score."""
    largest = []
    for sizes, batch in golden.NETWORKS:
        if max(sizes) > 128 and batch > 50:
            continue  # exact arithmetic takes long
        net, x = golden.network(sizes, batch, dtype)
        rows = np.unique(np.linspace(0, batch - 1, 8).astype(int))
        true = exact_network(net, x[rows])
        unit = np.finfo(dtype).eps * float(abs(true).max())
        answers = net.predict(x), by_reference(net, x)
        largest.append([float(abs(exact(y[rows]) - true).max()) / unit for y in answers])
    fast, ref = np.max(largest, axis=0)
    return fast, ref


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_scores_are_closer_than_those_of_the_reference(dtype):
    """Not everywhere, but the farthest one is: short chains lose less than the long ones of BLAS."""
    fast, ref = largest_score_errors(dtype)
    assert fast < ref, f"{fast:.2f} eps, the reference {ref:.2f}"


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_probabilities_are_closer_than_those_of_the_reference(dtype):
    """Layers that end in a sigmoid, rows from small ones to those whose results are far out in the tails."""
    info, largest = np.finfo(dtype), []
    for fan_in, fan_out in [(1, 1), (2, 4), (16, 32), (30, 10), (257, 8)]:
        W, b = (golden.numbers(s, fan_in, dtype) for s in ((fan_in, fan_out), (fan_out,)))
        x = golden.numbers((24, fan_in), fan_out, dtype)
        x *= np.exp2(np.arange(24) % 8)[:, None].astype(dtype) * {"float32": 1, "float64": 8}[dtype]
        net = fastnet.Sequential([fastnet.AffineSigmoid(W / np.sqrt(fan_in).astype(dtype), b)])
        true = exact_network(net, x)
        exponents = np.frompyfunc(gmpy2.get_exp, 1, 1)(true).astype(int) - 1
        units = np.ldexp(1.0, np.maximum(exponents, info.minexp) - info.nmant)
        answers = net.predict(x), by_reference(net, x)
        largest.append([float(np.max(abs(exact(y) - true) / units)) for y in answers])
    fast, ref = np.max(largest, axis=0)
    assert fast < ref, f"{fast:.0f} ulp, the reference {ref:.0f}"
