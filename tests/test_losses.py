"""The losses: by hand, against the reference, differences and PyTorch; and what they refuse."""

import numpy as np
import pytest

import fastnet
from fastnet import reference
from tests.cases import KERNEL_DTYPES, LAYOUTS

LOSSES = ["SoftmaxWithLoss", "SigmoidWithLoss", "MeanSquaredError"]
RTOL = {"float32": 1e-5, "float64": 1e-12}
SHAPES = [(1, 1), (1, 3), (2, 1), (7, 10), (30, 3), (33, 17), (257, 5), (64, 300), (5, 1000)]


def pair(name):
    return getattr(fastnet, name)(), getattr(reference, name)()


def draw(name, shape, dtype="float64", seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    x = (scale * rng.standard_normal(shape)).astype(dtype)
    if name == "SoftmaxWithLoss":
        return x, rng.integers(0, shape[1], shape[0])
    if name == "SigmoidWithLoss":
        return x, rng.integers(0, 2, shape)
    return x, rng.standard_normal(shape).astype(dtype)


def one_hot(t, classes):
    return np.eye(classes, dtype=int)[t]


def same(fast, twin, x, t, dtype):
    wide = np.longdouble
    loss = fast.forward(x, t)
    want = twin.forward(np.asarray(x).astype(wide), t)
    assert isinstance(loss, float)
    assert loss == pytest.approx(float(want), rel=RTOL[dtype], abs=RTOL[dtype])
    got, expected = fast.backward(), twin.backward()
    assert (got.dtype, got.shape) == (np.dtype(dtype), expected.shape)
    np.testing.assert_allclose(
        got, expected.astype(float), rtol=RTOL[dtype], atol=RTOL[dtype] * float(abs(expected).max())
    )


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_shapes(name, dtype):
    fast, twin = pair(name)
    for seed, shape in enumerate(SHAPES):
        x, t = draw(name, shape, dtype, seed)
        same(fast, twin, x, t, dtype)
        if name == "SoftmaxWithLoss":
            same(fast, twin, x, one_hot(t, shape[1]), dtype)
            for kind in ("int8", "uint8", "int32", "uint64"):
                if shape[1] < 100:
                    assert fast.forward(x, t.astype(kind)) == fast.forward(x, t)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", LOSSES)
def test_layouts(name, layout, dtype):
    """Of x and of t, with the same bits as side by side."""
    fast, _ = pair(name)
    x, t = draw(name, (7, 5), dtype)
    want, gradient = fast.forward(x, t), fast.backward()
    assert fast.forward(LAYOUTS[layout](x), LAYOUTS[layout](t)) == want
    np.testing.assert_array_equal(fast.backward(), gradient, strict=True)


@pytest.mark.parametrize("name", LOSSES)
def test_lists(name):
    fast, _ = pair(name)
    x, t = draw(name, (4, 3))
    assert fast.forward(x.tolist(), t.tolist()) == fast.forward(x, t)


@pytest.mark.parametrize("name", LOSSES)
def test_differences(name):
    """The gradient is that of the loss, in extended precision."""
    fast, twin = pair(name)
    x, t = draw(name, (5, 4))
    wide = x.astype(np.longdouble)
    fast.forward(x, t)
    got, h = fast.backward(), np.longdouble(2) ** -20
    for i in np.ndindex(x.shape):
        here, sums = wide[i], []
        for step in (h, -h):
            wide[i] = here + step
            sums.append(twin.forward(wide, t))
        wide[i] = here
        assert got[i] == pytest.approx(float((sums[0] - sums[1]) / (2 * h)), rel=1e-10, abs=1e-12)


def test_pytorch():
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    for shape in SHAPES:
        for name in LOSSES:
            x, t = draw(name, shape)
            wanted = torch.tensor(x, requires_grad=True)
            if name == "SoftmaxWithLoss":
                loss = functional.cross_entropy(wanted, torch.tensor(t))
            elif name == "SigmoidWithLoss":
                loss = functional.binary_cross_entropy_with_logits(
                    wanted, torch.tensor(t, dtype=torch.float64), reduction="sum"
                )
                loss = loss / len(x)
            else:
                loss = functional.mse_loss(wanted, torch.tensor(t))
            loss.backward()
            fast, _ = pair(name)
            assert fast.forward(x, t) == pytest.approx(loss.item(), rel=1e-12, abs=1e-14)
            want = wanted.grad.numpy()
            np.testing.assert_allclose(fast.backward(), want, rtol=1e-10, atol=1e-13 * abs(want).max())


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_far_out(dtype):
    """Nothing overflows, and no logarithm is that of 0."""
    x = np.array([[1000.0, 0, -1000], [-1000, 0, 1000]], dtype)
    fast = fastnet.SoftmaxWithLoss()
    assert fast.forward(x, np.array([2, 0])) == 2000
    np.testing.assert_array_equal(fast.backward(), [[0.5, 0, -0.5], [-0.5, 0, 0.5]])
    assert fast.forward(x, np.array([0, 2])) == 0
    fast = fastnet.SigmoidWithLoss()
    assert fast.forward(x[:, :1], np.array([[0], [1]])) == 1000
    np.testing.assert_array_equal(fast.backward(), [[0.5], [-0.5]])


def test_probabilities_as_targets():
    fast, twin = pair("SoftmaxWithLoss")
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((6, 4)), rng.dirichlet(np.ones(4), 6)
    same(fast, twin, x, t, "float64")


def test_one_output_may_have_flat_targets():
    for name in ("SigmoidWithLoss", "MeanSquaredError"):
        fast, _ = pair(name)
        x, t = draw(name, (5, 1))
        assert fast.forward(x, t[:, 0]) == fast.forward(x, t)


def test_dout():
    for name in LOSSES:
        fast, twin = pair(name)
        x, t = draw(name, (5, 3))
        fast.forward(x, t), twin.forward(x, t)
        for dout in (2, 0.5, np.float32(3), np.array(0.25), 0):
            np.testing.assert_allclose(fast.backward(dout), twin.backward(dout), rtol=1e-12, atol=1e-15)
        with pytest.raises(ValueError, match="dout must be a number"):
            fast.backward(np.ones(3))


def test_batches_of_changing_size():
    for name in LOSSES:
        fast, twin = pair(name)
        for batch in (30, 30, 7, 30, 1, 31):
            same(fast, twin, *draw(name, (batch, 3), seed=batch), "float64")


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "int64"])
@pytest.mark.parametrize("name", LOSSES)
def test_other_dtypes(name, dtype):
    fast, twin = pair(name)
    x, t = draw(name, (6, 3), dtype)
    assert float(fast.forward(x, t)) == pytest.approx(float(twin.forward(x, t)), rel=1e-3)
    np.testing.assert_allclose(fast.backward(), twin.backward(), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "x", "t", "error", "words"),
    [
        ("SoftmaxWithLoss", np.ones((2, 3)), [0, 3], ValueError, r"t\[1\] is 3, but .* 3 classes"),
        ("SoftmaxWithLoss", np.ones((2, 3)), [-1, 0], ValueError, r"t\[0\] is -1"),
        ("SoftmaxWithLoss", np.ones((2, 3)), np.array([2**63, 0], np.uint64), ValueError, r"t\[0\] is"),
        ("SoftmaxWithLoss", np.ones((2, 3)), [0], ValueError, r"t must be of shape \(2,\).*not \(1,\)"),
        ("SoftmaxWithLoss", np.ones((2, 3)), [[0], [1]], ValueError, "t must be of shape"),
        ("SoftmaxWithLoss", np.ones((2, 3)), np.ones((2, 2)), ValueError, "t must be of shape"),
        ("SoftmaxWithLoss", np.ones((2, 3)), 0, ValueError, "t must be of shape"),
        ("SoftmaxWithLoss", np.ones((2, 3)), [0.0, 1.0], TypeError, "whole numbers"),
        ("SoftmaxWithLoss", np.ones((2, 3)), ["a", "b"], TypeError, "whole numbers"),
        ("SoftmaxWithLoss", np.ones((2, 3)), np.ones((2, 3), complex), TypeError, "real numbers"),
        ("SoftmaxWithLoss", np.ones((0, 3)), np.zeros(0, int), ValueError, "at least one row"),
        ("SoftmaxWithLoss", np.ones(3), [0], ValueError, "at least one row"),
        ("SoftmaxWithLoss", np.ones((2, 3, 1)), [0, 0], ValueError, "at least one row"),
        ("SoftmaxWithLoss", [[1.0, np.nan]], [0], ValueError, "the loss is NaN: row 0 of x"),
        ("SoftmaxWithLoss", np.array([[1.0, 2], [np.inf, 1]]), [0, 0], ValueError, "NaN: row 1 of x"),
        ("SigmoidWithLoss", np.ones((2, 3)), np.ones((2, 2)), ValueError, "t has shape"),
        ("SigmoidWithLoss", np.ones((2, 3)), np.ones(2), ValueError, "t has shape"),
        ("SigmoidWithLoss", np.array([[np.nan]]), [[1]], ValueError, "the loss is NaN"),
        ("MeanSquaredError", np.ones((2, 3)), np.ones((3, 2)), ValueError, "t has shape"),
        ("MeanSquaredError", np.ones((2, 3)), np.full((2, 3), np.nan), ValueError, "the loss is NaN"),
        ("MeanSquaredError", np.ones((0, 3)), np.ones((0, 3)), ValueError, "at least one row"),
        ("MeanSquaredError", np.ones((2, 1)), np.array([None, None]), TypeError, "real numbers"),
    ],
)
def test_refused(name, x, t, error, words):
    """And nothing to go back from is left."""
    fast, _ = pair(name)
    good_x, good_t = draw(name, (2, 3))
    fast.forward(good_x, good_t)
    with pytest.raises(error, match=words):
        fast.forward(x, t if isinstance(t, np.ndarray | int) else np.array(t))
    with pytest.raises(RuntimeError, match="before forward"):
        fast.backward()
