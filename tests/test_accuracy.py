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


def exact_softmax(row):
    e = [mpmath.exp(v) for v in row]
    return [v / mpmath.fsum(e) for v in e]


def ulps_off(got, x, exact_function=exact_sigmoid):
    """Distance from the exact function of x, in units of the last place of a value of that size."""
    return ulps_between(got, exact_function(mpmath.mpf(float(x))))


def ulps_between(got, true):
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


def tanh_points(dtype):
    """Where it moves, both sides of where its exponential changes exponent, and down to subnormals."""
    rng = np.random.default_rng(6)
    end = {"float32": 10, "float64": 20}[dtype]
    info = np.finfo(dtype)
    parts = [
        np.linspace(0, end, 400),
        rng.uniform(0.1, 0.6, 3000),
        rng.uniform(0, 3, 400),
        np.exp2(rng.uniform(info.minexp - info.nmant, 0, 400)),
        np.log(2) / 4 * (2 * np.arange(60)[:, None] + 1 + np.linspace(-1e-4, 1e-4, 9)).ravel(),
    ]
    x = np.concatenate(parts).astype(dtype)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_tanh_within_2_ulp(dtype):
    x = tanh_points(dtype)
    y = fastnet.Tanh().forward(x)
    assert y.dtype == dtype
    worst = max(zip((ulps_off(a, b, mpmath.tanh) for a, b in zip(y, x, strict=True)), x, strict=True))
    assert worst[0] <= 2, f"{dtype}: {worst[0]} ulp at {worst[1]!r}"


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_fused_tanh_and_relu_are_the_same_functions(dtype):
    """An identity matrix adds no rounding, and one function serves the epilogue and the layer alone."""
    x = tanh_points(dtype)
    x = x[: x.size // 3 * 3].reshape(-1, 3)
    affine = fastnet.Affine(np.eye(3, dtype=dtype), np.full(3, -0.0, dtype))
    for activation in (fastnet.Tanh(), fastnet.ReLU()):
        y = fastnet.Sequential([affine, activation]).predict(x)
        np.testing.assert_array_equal(y, activation.forward(x))


@pytest.mark.parametrize("size", [1, 7, 64, 67])
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_exact_values_of_tanh(dtype, size):
    info = np.finfo(dtype)
    tiny = [info.smallest_subnormal, info.tiny, info.tiny * 1.5, info.eps**2]
    for x, y in [(0.0, 0.0), (np.inf, 1.0), (info.max, 1.0), (30.0, 1.0), *zip(tiny, tiny, strict=True)]:
        for sign in (1, -1):
            got = fastnet.Tanh().forward(np.full(size, sign * x, dtype))
            np.testing.assert_array_equal(got, np.full(size, sign * y, dtype), f"tanh({sign * x})")
            assert (np.signbit(got) == (sign < 0)).all(), f"the sign of tanh({sign * x})"
    assert np.isnan(fastnet.Tanh().forward(np.full(size, np.nan, dtype))).all()


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_tanh_rises_is_odd_and_stays_in_range(dtype):
    x = np.linspace(0, 21, 400_001).astype(dtype)
    steps = [np.arange(-500, 500) * np.spacing(dtype(c)) + dtype(c) for dtype in [np.dtype(dtype).type]
             for c in np.log(2) / 4 * np.arange(1, 100)]  # fmt: skip
    far = np.exp2(np.arange(5, np.finfo(dtype).maxexp)).astype(dtype)
    for part in (x, far, *steps):
        y = fastnet.Tanh().forward(part)
        assert (y >= 0).all()
        assert (y <= 1).all()
        falls = np.flatnonzero(np.diff(y) < 0)
        assert falls.size == 0, f"{dtype}: falls after {part[falls[:3]]}"
        np.testing.assert_array_equal(fastnet.Tanh().forward(-part), -y)


@pytest.mark.long
def test_tanh_over_all_floats():
    """float32 from 0 to 10, every one: monotone, and at most 2 ulp from NumPy's in float64."""
    last, piece = int(np.float32(10).view(np.uint32)), 1 << 22
    worst, before = 0.0, np.float32(0)
    for start in range(0, last + 1, piece):
        x = np.arange(start, min(start + piece, last + 1), dtype=np.uint32).view(np.float32)
        y = fastnet.Tanh().forward(x)
        assert (np.diff(y, prepend=before) >= 0).all(), f"falls between {x[0]} and {x[-1]}"
        before = y[-1]
        true = np.tanh(x.astype(np.float64))
        ulp = np.ldexp(1.0, np.maximum(np.frexp(true)[1] - 1, -126) - 23)
        worst = max(worst, float((abs(y - true) / ulp).max()))
    assert worst <= 2


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_relu_is_exact(dtype):
    info = np.finfo(dtype)
    positive = [0.0, info.smallest_subnormal, info.tiny, 1.0, info.max, np.inf]
    for size in (1, 7, 64, 67):
        for value in positive:
            for sign in (1, -1):
                y = fastnet.ReLU().forward(np.full(size, sign * value, dtype))
                np.testing.assert_array_equal(y, np.full(size, max(sign * value, 0), dtype))
        assert np.isnan(fastnet.ReLU().forward(np.full(size, np.nan, dtype))).all()


@pytest.mark.parametrize("scale", [1, 20, 100])
@pytest.mark.parametrize("width", [1, 2, 3, 10, 16, 17, 33, 100])
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_softmax_within_few_ulp(dtype, width, scale):
    """However far an element is from the largest: what x - max(x) loses is known."""
    rng = np.random.default_rng(width)
    x = (scale * rng.standard_normal((6, width))).astype(dtype)
    x[-1] += 1000
    for rows in (6, 1):  # alone or after an affine layer, rows or samples along the lanes
        y = fastnet.Softmax().forward(x[:rows])
        worst = max(
            ulps_between(got, true)
            for row, shares in zip(x, y, strict=False)
            for got, true in zip(shares, exact_softmax([mpmath.mpf(float(v)) for v in row]), strict=True)
        )
        assert worst <= 4 + width / 32
        np.testing.assert_allclose(
            y.sum(-1, dtype=np.float64), 1, rtol=(4 + width / 32) * np.finfo(dtype).eps
        )


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
    if isinstance(layer, reference.Softmax):
        return np.array([exact_softmax(row) for row in x], dtype=object)
    if isinstance(layer, reference.Tanh):
        return np.vectorize(mpmath.tanh, otypes=[object])(x)
    if isinstance(layer, reference.ReLU):
        return np.maximum(x, 0)
    assert isinstance(layer, reference.Sigmoid)
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
