"""Against exact arithmetic, so that fastnet and the reference cannot be wrong together."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

import fastnet
from fastnet import reference
from tests.cases import KERNEL_DTYPES, NETS, AffineSigmoid, case
from tests.compare import affine_bound, answer, error_bound

mpmath.mp.prec = 200


def exact_sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def ulps_off(got, x):
    """Distance from the exact sigmoid, in units of the last place of a value of that size."""
    true = exact_sigmoid(mpmath.mpf(float(x)))
    info = np.finfo(got.dtype)
    exponent = max(mpmath.frexp(true)[1] - 1, int(info.minexp))
    return float(abs(mpmath.mpf(float(got)) - true) / mpmath.ldexp(1, exponent - info.nmant))


def sigmoid(x):
    return fastnet.Sigmoid().forward(x)


def points(dtype):
    """All of the range in which the sigmoid moves, both tails down to 0 and up to 1, and near 0."""
    rng = np.random.default_rng(5)
    end = {"float32": 104, "float64": 746}[dtype]
    parts = [
        np.linspace(-end, 45, 400),
        rng.uniform(-20, 20, 400),
        rng.uniform(-1, 1, 200),
        np.geomspace(1e-30, 1, 40),
        -np.geomspace(1e-30, 1, 40),
        np.log(2) * (np.arange(-60, 61) + 0.5),
        np.log(2) * np.arange(-60, 61),
    ]
    return np.concatenate(parts).astype(dtype)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_sigmoid_within_1_5_ulp(dtype):
    x = points(dtype)
    y = sigmoid(x)
    assert y.dtype == dtype
    worst = max(zip(map(ulps_off, y, x), x, strict=True))
    assert worst[0] <= 1.5, f"{dtype}: {worst[0]} ulp at {worst[1]!r}"


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_fused_sigmoid_within_1_5_ulp(dtype):
    """The epilogue of the fused layer is the same sigmoid: an identity matrix adds no rounding."""
    x = points(dtype)
    x = x[: x.size // 3 * 3].reshape(-1, 3)
    layer = fastnet.AffineSigmoid(np.eye(3, dtype=dtype), np.zeros(3, dtype))
    y = layer.forward(x)
    worst = max(zip(map(ulps_off, y.ravel(), x.ravel()), x.ravel(), strict=True))
    assert worst[0] <= 1.5, f"{dtype}: {worst[0]} ulp at {worst[1]!r}"


@pytest.mark.parametrize(
    ("dtype", "start", "stop"), [("float32", -103.9, -87.4), ("float64", -745.1, -708.5)]
)
def test_tail_goes_down_to_subnormals(dtype, start, stop):
    x = np.linspace(start, stop, 300).astype(dtype)
    y = sigmoid(x)
    assert (y > 0).all(), "flushed to zero"
    assert y[0] < np.finfo(dtype).tiny, "the sample reaches no subnormal result"
    worst = max(map(ulps_off, y, x))
    assert worst <= 1.5, f"{dtype}: {worst} ulp"


@pytest.mark.parametrize("size", [1, 7, 64, 67])
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_exact_values(dtype, size):
    """In the body of a vector and in its tail alike."""
    largest, smallest = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    for x, y in [
        (0.0, 0.5),
        (-0.0, 0.5),
        (smallest, 0.5),
        (-smallest, 0.5),
        (np.inf, 1.0),
        (-np.inf, 0.0),
        (largest, 1.0),
        (-largest, 0.0),
        (1e4, 1.0),
        (-1e4, 0.0),
        (np.nan, np.nan),
        (-np.nan, np.nan),
    ]:
        np.testing.assert_array_equal(
            sigmoid(np.full(size, x, dtype)), np.full(size, y, dtype), f"sigmoid({x})"
        )


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_sigmoid_rises_and_stays_in_range(dtype):
    x = np.linspace(-110, 110, 200_001).astype(dtype)
    far = np.exp2(np.arange(7, np.finfo(dtype).maxexp)).astype(dtype)
    x = np.concatenate([-far[::-1], x, far])
    y = sigmoid(x)
    assert y[0] == 0
    assert y[-1] == 1
    assert (y >= 0).all()
    assert (y <= 1).all()
    falls = np.flatnonzero(np.diff(y) < 0)
    assert falls.size == 0, f"{dtype}: falls after {x[falls[:3]]}"


def exact(number, a):
    """An object array of exact numbers, which NumPy multiplies and adds exactly."""
    return np.vectorize(lambda v: number(float(v)), otypes=[object])(a)


def exact_forward(layer, x):
    """A reference layer on arbitrary precision."""
    if isinstance(layer, AffineSigmoid):
        return exact_forward(reference.Sigmoid(), exact_forward(reference.Affine(*layer.params), x))
    if layer.params:
        W, b = layer.params
        return x @ exact(mpmath.mpf, W) + exact(mpmath.mpf, b)
    return np.vectorize(exact_sigmoid, otypes=[object])(x)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("sizes", [(1, 1), (5, 9), (17, 3), (64, 5), (257, 2), (600, 1)], ids=str)
def test_affine_against_fractions(sizes, dtype):
    """One gamma: fastnet's own error, with no share for the reference's."""
    for rows in (1, 2, 7, 17):
        c = case("Affine", dtype, sizes, (rows,))
        (W, b), y = c.weights[0], answer(c.fast)(c.x)
        true = exact(Fraction, c.x) @ exact(Fraction, W) + exact(Fraction, b)
        off = abs(exact(Fraction, y) - true).astype(float)
        bound = affine_bound(c.x, W, b)
        assert (off <= bound).all(), f"{c.name}: off by {(off / bound).max():.3g} times the bound"


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", NETS)
def test_network_against_exact_arithmetic(label, dtype):
    for sizes, rows in [((2, 4, 3), 5), ((7, 5, 1), 17), ((17, 33, 5), 3)]:
        c = case(label, dtype, sizes, (rows,))
        true = exact(mpmath.mpf, c.x)
        for layer in c.ref.layers:
            true = exact_forward(layer, true)
        off = abs(exact(mpmath.mpf, answer(c.fast)(c.x)) - true).astype(float)
        bound = error_bound(c.ref, c.x)
        assert (off <= bound).all(), f"{c.name}: off by {(off / bound).max():.3g} times the bound"
