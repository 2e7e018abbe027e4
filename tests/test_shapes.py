"""Every size around the edges of vectors, tiles and blocks; every layout of x and of the weights."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from tests.cases import (
    ACTIVATIONS,
    BATCHES,
    FAN_INS,
    FAN_OUTS,
    KERNEL_DTYPES,
    LABELS,
    LAYOUTS,
    NET_SIZES,
    NETS,
    case,
)
from tests.compare import answer, assert_within, error_bound, expected, same, same_case, same_kind


def assert_batches(c, batches):
    """Every leading part of x, against one run of the reference on all of x."""
    want, refusal = expected(c.ref, c.x)
    assert refusal is None, c.name
    allowed = 2 * error_bound(c.ref, c.x)
    for rows in batches:
        got, name = answer(c.fast)(c.x[:rows]), f"{c.name} rows={rows}"
        same_kind(got, want[:rows], name)
        assert_within(got, want[:rows], allowed[:rows], name)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("fan_in", FAN_INS)
@pytest.mark.parametrize("label", ["Affine", "AffineSigmoid"])
def test_layer_sizes(label, fan_in, dtype):
    for fan_out in FAN_OUTS:
        assert_batches(case(label, dtype, (fan_in, fan_out), (max(BATCHES),)), BATCHES)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("sizes", NET_SIZES, ids=str)
@pytest.mark.parametrize("label", NETS)
def test_net_sizes(label, sizes, dtype):
    assert_batches(case(label, dtype, sizes, (max(BATCHES),)), BATCHES)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ((2, 4, 3), [1000, 4097, 100_003]),
        ((16, 32, 8), [999, 4099, 10_000]),
        ((784, 128, 10), [1, 2, 63, 300]),
        ((1024, 1024, 1024), [1, 2, 8, 131]),
        ((3000, 5, 2), [1, 2, 7, 129]),
        ((2, 3000, 2), [1, 2, 7, 129]),
        ((20, 3, 3000), [1, 2, 7, 129]),
    ],
    ids=str,
)
def test_large(sizes, batches, dtype):
    assert_batches(case("TwoLayerNet", dtype, sizes, (max(batches),)), batches)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", ACTIVATIONS)
def test_activation_sizes(label, dtype):
    for size in [*range(140), 255, 256, 257, 1023, 1025, 100_003]:
        same_case(case(label, dtype, (size,), ()))
        same_case(case(label, dtype, (3,), (size,)))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_softmax_widths(dtype):
    """Behind an affine layer, in either orientation, at every width around its partial sums."""
    for width in [*range(1, 36), 47, 48, 49, 64, 65, 129]:
        assert_batches(case("SequentialReLUSoftmax", dtype, (5, 9, width), (70,)), (1, 2, 9, 17, 70))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize(
    "lead", [(), (0,), (1,), (0, 5), (5, 0), (4, 6), (1, 1, 1), (2, 3, 4), (2, 0, 4)], ids=str
)
@pytest.mark.parametrize("label", LABELS)
def test_dimensions(label, lead, dtype):
    for sizes in [(5, 9, 3), (0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (17, 33, 9)]:
        same_case(case(label, dtype, sizes, lead))


def whole_buffers(c):
    """The bytes of x and the weights with all that lies around them, to be compared later."""
    buffers = {}
    for name, a in c.arrays():
        while isinstance(a.base, np.ndarray):
            a = a.base
        buffers[name] = (a, a.tobytes())
    return buffers


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("label", LABELS)
def test_layouts(label, x_layout, dtype):
    """Same answer, nothing written to the inputs or beside them, and a result of its own."""
    for w_layout in LAYOUTS:
        for sizes, lead in [((5, 9, 3), (7,)), ((17, 33, 70), (67,)), ((17, 33, 5), ()), ((4, 6, 2), (2, 3))]:
            c = case(label, dtype, sizes, lead, x_layout, w_layout)
            before = whole_buffers(c)
            y = same_case(c)
            for name, (a, old) in before.items():
                assert a.tobytes() == old, f"{c.name}: {name} was modified"
            for name, a in c.arrays():
                assert not np.shares_memory(y, a), f"{c.name}: the result shares memory with {name}"
            assert y.flags.c_contiguous, c.name
            assert y.flags.writeable, c.name
            assert y.flags.owndata, c.name


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", LABELS)
def test_weights_and_bias_in_different_layouts(label, dtype):
    for w_layout in LAYOUTS:
        for b_layout in LAYOUTS:
            c = case(label, dtype, (5, 9, 3))
            for obj in (c.fast, c.ref):
                for layer in getattr(obj, "layers", [obj]):
                    if layer.params:
                        W, b = layer.params
                        layer.params[:] = LAYOUTS[w_layout](W), LAYOUTS[b_layout](b)
            same(c.fast, c.ref, c.x, f"{c.name} W={w_layout} b={b_layout}")


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", LABELS)
def test_zero_strides(label, dtype):
    """Broadcast arrays: one row seen many times, one value seen everywhere."""
    c = case(label, dtype, (5, 9, 3))
    for view in [
        np.broadcast_to(c.x[0], (70, 5)),
        np.broadcast_to(c.x[0, 0], (6, 5)),
        np.broadcast_to(c.x[:, :1], (7, 5)),
    ]:
        same(c.fast, c.ref, view, f"{c.name} strides={view.strides}")


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("w_layout", LAYOUTS)
@pytest.mark.parametrize("x_layout", LAYOUTS)
def test_layouts_of_narrow_layers(x_layout, w_layout, dtype):
    """Few outputs of many inputs, for which rows are turned into the lanes where they lie side by side."""
    for fan_out, rows in product((1, 3, 4), (4, 9, 17, 40)):
        same_case(case("Affine", dtype, (257, fan_out), (rows,), x_layout, w_layout))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("width", [0, 5])
def test_no_columns_of_any_number_of_rows(width, dtype):
    """A trillion rows of nothing are no work. In a process of its own, which may be ended."""
    program = f"""
import numpy as np
import fastnet
x = np.broadcast_to(np.zeros((1, {width}), "{dtype}"), (1 << 40, {width}))
layer = fastnet.Affine(np.zeros(({width}, 0), "{dtype}"), np.zeros(0, "{dtype}"))
out = np.empty((1 << 40, 0), "{dtype}")
for _ in range(2):
    assert layer.forward(x).shape == layer.forward(x, out).shape == out.shape
    assert fastnet.Sequential([layer, fastnet.Softmax()]).predict(x).shape == out.shape
if {width} == 0:
    predict, params = fastnet.njit_predict(layer)
    predict(x.copy(), params, out)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("label", LABELS)
def test_two_results_are_two_arrays(label):
    c = case(label, "float32", (17, 33, 9), (67,))
    first = answer(c.fast)(c.x)
    kept = first.copy()
    second = answer(c.fast)(-c.x)
    assert not np.shares_memory(first, second), c.name
    np.testing.assert_array_equal(first, kept, c.name)


def test_a_layer_alone_stays_within_its_scratch():
    """In a process of its own, as memory written past the end ends it, sooner or later."""
    program = """
import numpy as np
import fastnet
rng = np.random.default_rng(0)
for fan_in, fan_out in ((257, 2), (257, 3), (257, 20)):
    layer = fastnet.Affine(rng.standard_normal((fan_in, fan_out)), rng.standard_normal(fan_out))
    x = rng.standard_normal((4000, fan_in))
    for _ in range(200):
        layer.forward(x)
"""
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "85"}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
