"""``out=``: filled and handed back, or refused and left alone."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fastnet
from tests.cases import KERNEL_DTYPES, LABELS, LAYOUTS, NETS, WITH_WEIGHTS, case
from tests.compare import answer, assert_within, error_bound, expected, outcome
from tests.poisons import LIARS

SHAPES = [
    ((5, 9, 3), (7,)),
    ((17, 33, 70), (67,)),
    ((5, 9, 3), ()),
    ((4, 6, 2), (2, 3)),
    ((5, 9, 3), (0,)),
    ((3, 0, 2), (4,)),
]
OUT_LAYOUTS = [layout for layout in LAYOUTS if layout not in ("read-only", "byte-swapped")]


def like_result(c, layout="C"):
    """An array fit for the result, of the given layout, filled with 7."""
    want, refusal = expected(c.ref, c.x)
    assert refusal is None, c.name
    return LAYOUTS[layout](np.full_like(want, 7, order="C", subok=False))


def assert_fills(c, out, name):
    """The answer goes into out, out comes back, and what surrounds it stays."""
    want, _ = expected(c.ref, c.x)
    frame = out
    while isinstance(frame.base, np.ndarray):
        frame = frame.base
    kept, old = out.copy(), frame.copy()
    for known in (False, True):  # the first call, and one like it
        name = f"{name}, known" if known else name
        got = answer(c.fast)(c.x, out=out)
        assert got is out, f"{name}: another object came back"
        with np.errstate(all="ignore"):
            assert_within(out, want, 2 * error_bound(c.ref, c.x), name)
        out[...] = kept
        assert frame.tobytes() == old.tobytes(), f"{name}: written beside out"


def assert_refuses(c, out, error_type, name, words=(), x=None):
    """The error of that type exactly, its message with those words, and not a byte written."""
    old = out.tobytes() if isinstance(out, np.ndarray) else None
    x = c.x if x is None else x
    for known in (False, True):
        name = f"{name}, after a call without out" if known else name
        _, error = outcome(answer(c.fast), x, out=out)
        assert type(error) is error_type, f"{name}: {error!r}"
        for word in words:
            assert word.replace(" ", "") in str(error).replace(" ", ""), f"{name}: {word} is not in {error}"
        assert old is None or out.tobytes() == old, f"{name}: out was written to"
        outcome(answer(c.fast), x)


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16", "longdouble", "complex128"])
@pytest.mark.parametrize("layout", OUT_LAYOUTS)
@pytest.mark.parametrize("label", LABELS)
def test_fills_any_layout(label, layout, dtype):
    for sizes, lead in SHAPES:
        c = case(label, dtype, sizes, lead)
        assert_fills(c, like_result(c, layout), f"{c.name} out={layout}")


@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("label", LABELS)
def test_fills_from_any_input_layout(label, x_layout):
    for dtype in KERNEL_DTYPES:
        c = case(label, dtype, (17, 33, 5), (67,), x_layout, x_layout)
        for layout in ("C", "strided"):
            assert_fills(c, like_result(c, layout), f"{c.name} out={layout}")


@pytest.mark.parametrize("label", LABELS)
def test_out_by_position_and_none(label):
    c = case(label)
    want, out = answer(c.fast)(c.x), like_result(c)
    assert answer(c.fast)(c.x, out) is out
    np.testing.assert_array_equal(out, want, c.name)
    np.testing.assert_array_equal(answer(c.fast)(c.x, out=None), want, c.name)


@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_mixed_dtypes_and_lists(label):
    c = case(label, "float32", w_dtype="float64")
    assert_fills(c, like_result(c), c.name)
    c = case(label, "int64", w_dtype="float32")
    assert_fills(c, like_result(c), c.name)
    c = case(label, "float64", (3, 4, 2), (1,))
    c.x = [[1, 2.5, -1]]
    assert_fills(c, like_result(c), f"{c.name} of a list")


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16"])
@pytest.mark.parametrize("label", LABELS)
def test_wrong_shape(label, dtype):
    for sizes, lead in SHAPES:
        c = case(label, dtype, sizes, lead)
        shape = like_result(c).shape
        for wrong in {
            (*shape, 1),
            (1, *shape),
            shape[:-1],
            (*shape[:-1], shape[-1] + 1),
            (*shape[1:], shape[0] + 1),
        }:
            if wrong != shape:
                out = np.full(wrong, 7, dtype)
                assert_refuses(c, out, ValueError, f"{c.name} out={wrong}", [str(wrong), str(shape)])


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16"])
@pytest.mark.parametrize("label", LABELS)
def test_wrong_dtype(label, dtype):
    c = case(label, dtype)
    shape = like_result(c).shape
    for wrong in {"float16", "float32", "float64", "longdouble", "complex128", "int64", "object"} - {dtype}:
        out = np.full(shape, 7, wrong)
        assert_refuses(c, out, TypeError, f"{c.name} out={wrong}", [str(out.dtype), dtype])


@pytest.mark.parametrize("label", LABELS)
def test_no_array(label):
    c = case(label)
    for wrong in (
        [[0.0] * 3] * 7,
        (),
        "out",
        0.0,
        np.float64(0),
        memoryview(bytearray(168)),
        (np.empty((7, 3)),),
    ):
        assert_refuses(c, wrong, TypeError, f"{c.name} out={type(wrong)}")


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16"])
@pytest.mark.parametrize("label", LABELS)
def test_read_only(label, dtype):
    for sizes, lead in SHAPES:
        c = case(label, dtype, sizes, lead)
        assert_refuses(c, like_result(c, "read-only"), ValueError, f"{c.name} read-only out")


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16"])
@pytest.mark.parametrize("label", LABELS)
def test_overlapping_x(label, dtype):
    """All of x, a shifted part, one element in a corner, x backwards."""
    c = case(label, dtype, (3, 3, 3), (7,))
    for layout in ("C", "reversed"):
        c.x = LAYOUTS[layout](c.x)
        assert_refuses(c, c.x, ValueError, f"{c.name} out=x {layout}")
        assert_refuses(c, c.x[::-1], ValueError, f"{c.name} out=x[::-1] {layout}")
    buffer = np.ones(60, dtype)
    c.x = buffer[:21].reshape(7, 3)
    for start in (1, 20):
        out = buffer[start : start + 21].reshape(7, 3)
        assert_refuses(c, out, ValueError, f"{c.name} out begins {start} values into x")
    assert_fills(c, buffer[21:42].reshape(7, 3), f"{c.name} out begins where x ends")


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_overlapping_weights(label, dtype):
    c = case(label, dtype, (5, 5, 5), (5,))
    for name, a in list(c.arrays())[1:]:
        if a.ndim == 2:
            assert_refuses(c, a, ValueError, f"{c.name} out={name}")
            assert_refuses(c, a.T, ValueError, f"{c.name} out={name}.T")
        else:
            assert_refuses(c, a, ValueError, f"{c.name} out={name}", x=c.x[0])


@pytest.mark.parametrize("label", LABELS)
def test_interleaved_with_x_is_no_overlap(label):
    """Inputs and scores as columns of one table share bounds, and no memory."""
    c = case(label, "float64", (3, 3, 3), (7,))
    table = np.ones((7, 6))
    c.x = table[:, :3]
    assert_fills(c, table[:, 3:], f"{c.name} neighbouring columns")
    c.x = table[:, ::2]
    assert_fills(c, table[:, 1::2], f"{c.name} alternating columns")


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16"])
@pytest.mark.parametrize("label", LABELS)
def test_overlapping_itself(label, dtype):
    c = case(label, dtype, (3, 3, 3), (7,))
    item = np.dtype(dtype).itemsize
    for strides in [(0, item), (item, 0), (0, 0), (item, item), (2 * item, item)]:
        out = as_strided(np.full(30, 7, dtype), (7, 3), strides)
        assert_refuses(c, out, ValueError, f"{c.name} out strides={strides}")


@pytest.mark.parametrize("dtype", [*KERNEL_DTYPES, "float16"])
@pytest.mark.parametrize("label", LABELS)
def test_out_is_what_it_is_not_what_it_says(label, dtype):
    """A subclass may say what it likes of shape, dtype and flags: the memory counts."""
    c = case(label, dtype)
    want, shape = answer(c.fast)(c.x), like_result(c).shape
    for name, liar in LIARS.items():
        out = like_result(c).view(liar)
        assert answer(c.fast)(c.x, out=out) is out, f"{c.name} out={name}"
        np.testing.assert_array_equal(np.ndarray.view(out, np.ndarray), want, f"{c.name} out={name}")
    locked = like_result(c, "read-only").view(LIARS["LyingFlags"])
    assert_refuses(c, locked, ValueError, f"{c.name} read-only", ["read-only", str(shape)])
    other = np.full(shape, 7, "float32" if dtype != "float32" else "float64")
    assert_refuses(c, other.view(LIARS["LyingDtype"]), TypeError, f"{c.name} dtype", [str(other.dtype)])


@pytest.mark.parametrize("label", WITH_WEIGHTS)
def test_untouched_when_x_is_refused(label):
    c = case(label)
    for x, error in [(np.ones((7, 4)), ValueError), ("abc", None), (np.ones((6, 5)), ValueError)]:
        _, refusal = expected(c.ref, x)
        error = error or type(refusal)
        assert_refuses(c, like_result(c), error, f"{c.name} x={np.shape(x)}", x=x)


@pytest.mark.parametrize("label", NETS)
def test_untouched_when_a_later_layer_refuses(label):
    c = case(label)
    out = like_result(c)
    [layer for layer in c.fast.layers if layer.params][-1].params[1] = np.ones(13)
    assert_refuses(c, out, ValueError, f"{c.name} with a wrong last bias")


class Shift:
    lipschitz = 1.0

    def forward(self, x):
        return x + 1


@pytest.mark.parametrize("at", range(4))
def test_users_layer_anywhere(at):
    """It never sees out: the reference would not hand it one."""
    c = case("Sequential2")
    c.fast.layers.insert(at, Shift())
    c.ref.layers.insert(at, Shift())
    for layout in OUT_LAYOUTS:
        assert_fills(c, like_result(c, layout), f"{c.name} user's layer at {at} out={layout}")
    wrong = np.full((7, 4), 7.0)
    assert_refuses(c, wrong, ValueError, f"{c.name} user's layer at {at}", ["(7, 4)", "(7, 3)"])


def test_users_layer_hides_no_overlap():
    """Whatever lies between the inputs and the layer that writes to out."""
    for at in range(4):
        c = case("Sequential2", sizes=(5, 5, 5), lead=(5,))
        c.fast.layers.insert(at, Shift())
        for name, a in c.arrays():
            if a.ndim == 2:
                assert_refuses(c, a, ValueError, f"{c.name} user's layer at {at} out={name}", ["overlaps"])


@pytest.mark.parametrize("batch", [None, 1, 3, 5000])
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_known_calls_go_straight_into_out(batch, dtype, monkeypatch):
    """As fast as calls without out: nothing is looked at twice."""
    rng = np.random.default_rng(0)
    net = fastnet.TwoLayerNet(5, 70, 3)
    for layer in net.layers[::2]:
        layer.params[:] = [p.astype(dtype) for p in layer.params]
    x = rng.standard_normal(5 if batch is None else (batch, 5)).astype(dtype)
    want = net.predict(x)
    monkeypatch.setattr(net, "_predict", None)
    monkeypatch.setattr("fastnet.fused.chain", None)
    out = np.empty_like(want)
    assert net.predict(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    wide = np.zeros((*want.shape[:-1], 9), dtype)
    assert net.predict(x, out=wide[..., :3]) is not None
    np.testing.assert_array_equal(wide, np.pad(want, [(0, 0)] * (want.ndim - 1) + [(0, 6)]))


def test_empty_sequential_copies():
    x, out = np.arange(6.0).reshape(2, 3), np.zeros((2, 3))
    assert fastnet.Sequential([]).predict(x, out=out) is out
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("label", [label for label in NETS if label != "TwoLayerNet"])
def test_sequential_forward_takes_out(label):
    c = case(label)
    out = like_result(c)
    assert c.fast.forward(c.x, out=out) is out
    np.testing.assert_array_equal(out, c.fast.predict(c.x), c.name)
