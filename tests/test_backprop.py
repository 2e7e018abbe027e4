"""Gradients, losses and steps of optimisers: the bits of an oracle, and of the reference's operations."""

from __future__ import annotations

import numpy as np
import pytest

from fastnet import backprop, reference
from fastnet.kernels.table import RELU, SIGMOID, SOFTMAX, TANH
from tests.cases import LAYOUTS
from tests.test_bits import DTYPES, bits
from tests.test_order import oracle

#: rows, fan_in, fan_out: on both sides of chunks, vectors and tiles; wide enough to be packed
SHAPES = [
    (1, 1, 1), (30, 2, 10), (30, 10, 3), (31, 17, 1), (32, 3, 16), (33, 9, 33), (65, 64, 2), (97, 131, 4),
    (2, 5, 131), (300, 31, 65), (40, 700, 512), (520, 13, 1030), (1, 400, 300), (7, 0, 3), (7, 3, 0),
    (0, 4, 3),
]  # fmt: skip


def draw(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def gradients(dout, x, W):
    dx, dW, db = np.full(x.shape, 9, x.dtype), np.full(W.shape, 9, W.dtype), np.full(W.shape[1], 9, W.dtype)
    backprop.affine_backward(dout, x, W, dx, dW, db)
    return dx, dW, db


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_beside_what_is_written(dtype):
    """An empty array overlaps nothing, wherever it lies: its strides alone reach into what is before it."""
    memory = np.full(64, 9, dtype)
    dW, x, dout, db = memory[:12].reshape(3, 4), memory[12:12].reshape(0, 3), memory[20:20], memory[20:24]
    backprop.affine_backward(dout.reshape(0, 4), x, draw((3, 4), dtype), np.empty((0, 3), dtype), dW, db)
    assert (dW == 0).all()
    assert (db == 0).all()
    assert (memory[[*range(12, 20), *range(24, 64)]] == 9).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_have_the_bits_of_the_oracle(shape, dtype):
    rows, fan_in, fan_out = shape
    x, W, dout = (
        draw((rows, fan_in), dtype, 1),
        draw((fan_in, fan_out), dtype, 2),
        draw((rows, fan_out), dtype, 3),
    )
    dx, dW, db = gradients(dout, x, W)
    none = np.zeros(max(shape) + 1, dtype)
    # some rows and columns of each: an oracle of scalars takes its time
    some = [
        np.unique(np.r_[:3, n // 2 : n // 2 + 3, max(n - 3, 0) : n].clip(0, max(n - 1, 0))) for n in shape
    ]
    r, i, o = (s[:n] for s, n in zip(some, shape, strict=True))
    want = oracle(dout[r], W[i].T, none[: len(i)]).reshape(len(r), len(i))
    np.testing.assert_array_equal(bits(dx[np.ix_(r, i)]), bits(want), "dx")
    want = oracle(x[:, i].T, dout[:, o], none[: len(o)]).reshape(len(i), len(o))
    np.testing.assert_array_equal(bits(dW[np.ix_(i, o)]), bits(want), "dW")
    want = oracle(np.ones((1, rows), dtype), dout[:, o], none[: len(o)])[0]
    np.testing.assert_array_equal(bits(db[o]), bits(want), "db")
    bound = {"rtol": 1e-4, "atol": 2e-3} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-10}
    for got, exact in ((dx, dout @ W.T), (dW, x.T @ dout), (db, dout.sum(0))):
        np.testing.assert_allclose(got, exact, **bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "layout", ["F", "strided", "padded", "reversed", "read-only", "misaligned", "offset"]
)
def test_layouts_have_the_same_bits(layout, dtype):
    for rows, fan_in, fan_out in [(30, 10, 3), (100, 33, 70)]:
        x, W, dout = draw((rows, fan_in), dtype), draw((fan_in, fan_out), dtype), draw((rows, fan_out), dtype)
        plain = gradients(dout, x, W)
        change = LAYOUTS[layout]
        for got, want in zip(gradients(dout, change(x), change(W)), plain, strict=True):
            np.testing.assert_array_equal(bits(got), bits(want))
        if layout == "offset":
            shifted = [change(a) for a in (dout, x, W, *plain)]
            backprop.affine_backward(*shifted)
            for got, want in zip(shifted[3:], plain, strict=True):
                np.testing.assert_array_equal(bits(got), bits(want))


def test_the_first_layer_needs_no_gradient_of_its_input():
    x, W, dout = draw((30, 2), float), draw((2, 10), float), draw((30, 10), float)
    dW, db = np.empty((2, 10)), np.empty(10)
    backprop.affine_backward(dout, x, W, None, dW, db)
    _, want, sums = gradients(dout, x, W)
    assert (dW == want).all()
    assert (db == sums).all()


def test_nothing_is_written_beside_the_gradients():
    room = {name: np.full(400, 7.0) for name in ("dx", "dW", "db")}
    for rows, fan_in, fan_out in [(30, 2, 10), (7, 9, 3), (3, 5, 17)]:
        x, W, dout = draw((rows, fan_in), float), draw((fan_in, fan_out), float), draw((rows, fan_out), float)
        shapes = {"dx": x.shape, "dW": W.shape, "db": (fan_out,)}
        inside = {name: room[name][10 : 10 + int(np.prod(s))].reshape(s) for name, s in shapes.items()}
        backprop.affine_backward(dout, x, W, *inside.values())
        for name, whole in room.items():
            size = inside[name].size
            assert (whole[:10] == 7).all()
            assert (whole[10 + size :] == 7).all()
            whole[:] = 7


REFUSED = {
    "dout of another dtype": {"dout": np.zeros((4, 2), np.float32)},
    "dout not contiguous": {"dout": np.zeros((4, 4))[:, ::2]},
    "dout of integers": {"dout": np.zeros((4, 2), np.int64)},
    "dout with a row more": {"dout": np.zeros((5, 2))},
    "x with a column more": {"x": np.zeros((4, 4))},
    "x of one axis": {"x": np.zeros(12)},
    "x a list": {"x": [[0.0] * 3] * 4},
    "W of another dtype": {"W": np.zeros((3, 2), np.float32)},
    "dW of another shape": {"dW": np.zeros((2, 3))},
    "dW read-only": {"dW": LAYOUTS["read-only"](np.zeros((3, 2)))},
    "db too long": {"db": np.zeros(3)},
    "db read-only": {"db": LAYOUTS["read-only"](np.zeros(2))},
    "dx not contiguous": {"dx": np.zeros((4, 6))[:, ::2]},
    "dx of another shape": {"dx": np.zeros((3, 4))},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_written(change):
    arrays = {"dout": np.ones((4, 2)), "x": np.ones((4, 3)), "W": np.ones((3, 2))}
    arrays |= {"dx": np.full((4, 3), 7.0), "dW": np.full((3, 2), 7.0), "db": np.full(2, 7.0)} | change
    before = {name: np.array(arrays[name]) for name in ("dx", "dW", "db")}
    with pytest.raises(ValueError, match=r"do not fit|float32 or float64"):
        backprop.affine_backward(*arrays.values())
    for name, values in before.items():
        assert (np.asarray(arrays[name]) == values).all()


SLOPES = {SIGMOID: reference.Sigmoid, TANH: reference.Tanh, RELU: reference.ReLU, SOFTMAX: reference.Softmax}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("code", SLOPES)
@pytest.mark.parametrize("shape", [(1, 1), (30, 10), (7, 33), (3, 4, 5), (17,), (0, 3)], ids=str)
def test_activations(shape, code, dtype):
    twin = SLOPES[code]()
    y = twin.out = twin.forward(draw(shape, dtype))
    dout, dz = draw(shape, dtype, 1), np.full(shape, 9, dtype)
    backprop.activation_backward(code, dout, y, dz)
    want = twin.backward(dout)
    if code == SOFTMAX:
        np.testing.assert_allclose(dz, want, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-7)
    else:
        np.testing.assert_array_equal(dz, want)
    backprop.activation_backward(code, dout, y, dout)
    np.testing.assert_array_equal(dout, dz, "in place")


def test_activations_of_arrays_that_differ_are_refused():
    a, b = np.ones((3, 4)), np.ones((4, 3))
    for arrays in ((a, a, b), (a, b, a), (a, a, a.astype(np.float32)), (a, a, LAYOUTS["read-only"](a))):
        with pytest.raises(ValueError, match="do not fit"):
            backprop.activation_backward(SIGMOID, *arrays)


def exact_losses(x, t):
    """(softmax and classes, sigmoid) in longdouble, the targets one-hot."""
    x = x.astype(np.longdouble)
    below = x - x.max(axis=1, keepdims=True)
    hot = np.eye(x.shape[1])[t]
    softmax = np.log(np.exp(below).sum(axis=1)) - (below * hot).sum(axis=1)
    sigmoid = np.maximum(x, 0) - x * hot + np.log1p(np.exp(-abs(x)))
    return softmax.mean(), sigmoid.sum() / len(x), ((x - hot) ** 2).mean()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 30, 1000])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (30, 3), (33, 10), (100, 300), (2000, 17)], ids=str)
def test_losses_and_their_gradients(shape, scale, dtype):
    rows, width = shape
    x, t = (scale * draw(shape, dtype)).astype(dtype), np.random.default_rng(1).integers(0, width, rows)
    hot, n = np.eye(width, dtype=dtype)[t], dtype(rows)
    bound = {"rtol": 3e-6, "atol": 1e-7} if dtype == np.float32 else {"rtol": 1e-13, "atol": 1e-15}
    softmax, sigmoid, squared = exact_losses(x, t)
    y, dz, y2, dz2 = (np.full(shape, 9, dtype) for _ in range(4))
    np.testing.assert_allclose(backprop.softmax_cross_entropy(x, t, y, dz), softmax, **bound)
    np.testing.assert_allclose(backprop.softmax_cross_entropy_dense(x, hot, y2, dz2), softmax, **bound)
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(y, reference.softmax(x), rtol=rtol, atol=1e-38)
    assert (dz == (y - hot) / n).all()
    assert (dz2 == dz).all()
    assert (y2 == y).all()
    np.testing.assert_allclose(backprop.sigmoid_cross_entropy(x, hot, y, dz), sigmoid, **bound)
    assert (dz == (y - hot) / n).all()
    np.testing.assert_allclose(backprop.squared_error(x, hot, dz), squared, **bound)
    assert (dz == 2 * (x - hot) / dtype(x.size)).all()


def test_losses_without_gradients_are_the_same():
    x, t, y, dz = draw((30, 3), float), np.arange(30) % 3, np.empty((30, 3)), np.empty((30, 3))
    hot = np.eye(3)[t]
    for loss, arrays in (
        (backprop.softmax_cross_entropy, (x, t, y)),
        (backprop.softmax_cross_entropy_dense, (x, hot, y)),
        (backprop.sigmoid_cross_entropy, (x, hot, y)),
        (backprop.squared_error, (x, hot)),
    ):
        assert loss(*arrays, None) == loss(*arrays, dz)


def test_the_bits_of_a_loss_depend_on_no_other_row():
    """Nor on where the arrays lie: the terms of rows are the same in any batch."""
    x, t = draw((300, 3), float), np.arange(300) % 3
    y, dz = np.empty((300, 3)), np.empty((300, 3))
    backprop.softmax_cross_entropy(x, t, y, dz)
    for i in (0, 31, 299):
        one, gradient = np.empty((1, 3)), np.empty((1, 3))
        backprop.softmax_cross_entropy(x[i : i + 1], t[i : i + 1], one, gradient)
        assert (one == y[i]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_have_a_loss_of_nan(bad):
    x, t, y, dz = draw((30, 3), float), np.arange(30) % 3, np.empty((30, 3)), np.empty((30, 3))
    x[7, 1] = bad
    assert np.isnan(backprop.softmax_cross_entropy(x, t, y, dz))
    assert np.isnan(backprop.softmax_cross_entropy_dense(x, np.eye(3)[t], y, dz))


def test_classes_out_of_range_are_refused():
    for wrong in (-1, 3, 2**40):
        t, y, dz = np.array([0, wrong]), np.full((2, 3), 7.0), np.full((2, 3), 7.0)
        with pytest.raises(ValueError, match="a class is out of range"):
            backprop.softmax_cross_entropy(np.zeros((2, 3)), t, y, dz)
        assert (y == 7).all()
        assert (dz == 7).all()


@pytest.mark.parametrize("t", [np.zeros(3, np.int64), np.zeros(2, np.int32), np.zeros(2), [0, 0]], ids=repr)
def test_classes_of_another_kind_are_refused(t):
    with pytest.raises(ValueError, match="do not fit"):
        backprop.softmax_cross_entropy(np.zeros((2, 3)), t, np.zeros((2, 3)), None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3,), (16,), (17,), (10, 33), (2, 3, 4), (0, 3)], ids=str)
def test_optimisers_have_the_bits_of_the_reference(shape, dtype):
    p, g = draw(shape, dtype), draw(shape, dtype, 1)
    ours, theirs = p.copy(), p.copy()
    backprop.sgd(ours, g, 0.1)
    reference.SGD(0.1).update([theirs], [g])
    assert (ours == theirs).all()
    v, twin = np.zeros(shape, dtype), reference.Momentum(0.1, 0.8)
    for _ in range(3):
        backprop.momentum(ours, g, v, 0.1, 0.8)
        twin.update([theirs], [g])
    assert (ours == theirs).all()
    m, v, adam = np.zeros(shape, dtype), np.zeros(shape, dtype), reference.Adam(0.01, 0.9, 0.99, 1e-6)
    for i in range(3):
        backprop.adam(ours, g, m, v, 0.01, 0.9, 0.99, 1e-6, i + 1)
        adam.update([theirs], [g])
    assert (ours == theirs).all()
    assert (v == adam.v[0]).all()


def test_a_step_that_does_not_fit_changes_nothing():
    p, q = np.ones((2, 3)), np.ones(4)
    frozen = LAYOUTS["read-only"](q)
    for params, grads in (
        ([p, q], [p, p]),
        ([p, q], [p]),
        ([p, frozen], [p, q]),
        ([p, q.astype("f4")], [p, q]),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            backprop.sgd_all(params, grads, 0.5)
        assert (p == 1).all()
        assert (q == 1).all()
    with pytest.raises(ValueError, match="do not fit"):
        backprop.momentum_all([p, q], [p, q], [p.copy()], 0.5, 0.9)
    assert (q == 1).all()


def test_gradients_are_those_of_central_differences():
    x, W, b = draw((9, 4), float), draw((4, 5), float, 1), draw((5,), float, 2)
    t = np.arange(9) % 5

    def loss(W, b):
        return exact_losses(x.astype(np.longdouble) @ W + b, t)[0]

    scores = x @ W + b
    y, dz = np.empty_like(scores), np.empty_like(scores)
    backprop.softmax_cross_entropy(scores, t, y, dz)
    _, dW, db = gradients(dz, x, W)
    step = np.longdouble(1e-6)
    for found, at in ((dW, (2, 3)), (dW, (0, 0)), (db, (4,))):
        pairs = []
        for sign in (1, -1):
            moved = [W.astype(np.longdouble), b.astype(np.longdouble)]
            moved[found is db][at] += sign * step
            pairs.append(loss(*moved))
        np.testing.assert_allclose(found[at], float((pairs[0] - pairs[1]) / (2 * step)), rtol=1e-8)
