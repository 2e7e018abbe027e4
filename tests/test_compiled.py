"""Networks inside other compiled code: the same bits, and no way to reach beyond an array."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys

import fastnet
from tests.cases import IMPLEMENTATIONS, KERNEL_DTYPES, LAYOUTS, NET_SIZES, case
from tests.compare import answer
from tests.test_bits import bits

PACKAGE = Path(fastnet.__file__).parent
ACTIVATIONS = [fastnet.Sigmoid, fastnet.Tanh, fastnet.ReLU, fastnet.Softmax]
CHAINS = [label for label, i in IMPLEMENTATIONS.items() if i.affines]


def network(sizes, dtype="float64", activation=fastnet.Sigmoid, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        W = (rng.standard_normal((fan_in, fan_out)) / max(fan_in, 1) ** 0.5).astype(dtype)
        layers += [fastnet.Affine(W, rng.standard_normal(fan_out).astype(dtype)), activation()]
    return fastnet.Sequential(layers), rng


def guarded(shape, dtype):
    """An array of NaN with other numbers around it, and a check that these are what they were."""
    big = np.full(int(np.prod(shape)) + 64, 7, dtype)
    view = big[32 : len(big) - 32].reshape(shape)
    view[...] = np.nan

    def intact():
        return (big[:32] == 7).all() and (big[len(big) - 32 :] == 7).all()

    return view, intact


def assert_same_bits(model, x):
    want = answer(model)(x)
    predict, params = fastnet.njit_predict(model)
    out, intact = guarded(want.shape, want.dtype)
    before = x.copy()
    predict(x, params, out)
    np.testing.assert_array_equal(bits(out), bits(want))
    assert intact()
    np.testing.assert_array_equal(x, before)


# -- the same bits


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("label", CHAINS)
def test_every_implementation(label, dtype):
    for lead in ((), (1,), (5,)):
        one = case(label, dtype, lead=lead)
        assert_same_bits(one.fast, one.x)


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("sizes", NET_SIZES, ids=str)
def test_sizes(sizes, dtype):
    """Rows one by one and together, in either orientation."""
    net, rng = network(sizes, dtype)
    for batch in (0, 1, 2, 3, 4, 9, 33, 100, 300):
        assert_same_bits(net, rng.standard_normal((batch, sizes[0])).astype(dtype))
    assert_same_bits(net, rng.standard_normal(sizes[0]).astype(dtype))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, dtype):
    net, rng = network((7, 21, 10), dtype, activation)
    for batch in (1, 2, 5, 64):
        assert_same_bits(net, (10 * rng.standard_normal((batch, 7))).astype(dtype))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("fan_in", [255, 256, 257, 511, 512, 513, 1000])
def test_long_sums(fan_in, dtype):
    """The chunks of the canonical order, in panels of four vectors, two, one and a part of one."""
    net, rng = network((fan_in, 16 * 7 + 5, 3), dtype)
    assert_same_bits(net, rng.standard_normal(fan_in).astype(dtype))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_every_width(dtype):
    for fan_out in range(1, 140):
        net, rng = network((3, fan_out), dtype)
        assert_same_bits(net, rng.standard_normal(3).astype(dtype))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_odd_values(dtype):
    net, _ = network((3, 20, 2), dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    for value in (np.nan, np.inf, -np.inf, tiny, np.finfo(dtype).max, -0.0):
        assert_same_bits(net, np.array([1, value, -1], dtype))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte-swapped"])
def test_layouts(layout):
    """Of x, of out and of the weights; biases are contiguous."""
    net, rng = network((5, 9, 4))
    for layer in net.layers[::2]:
        layer.params[0] = LAYOUTS[layout](layer.params[0])
    x = LAYOUTS[layout](rng.standard_normal((6, 5)))
    for rows in (x, x[:1], x[2]):
        assert_same_bits(net, rows)
        if layout in ("read-only", "memory-mapped"):
            continue
        predict, params = fastnet.njit_predict(net)
        out = LAYOUTS[layout](np.zeros((*rows.shape[:-1], 4)))
        predict(rows, params, out)
        np.testing.assert_array_equal(out, net.predict(rows))


@pytest.mark.parametrize("sizes", [(20_000, 3), (3, 20_000, 2), (900, 1100, 1000), (5, 300, 4)], ids=str)
def test_beyond_the_stack(sizes):
    """Layers that want scratch from the heap, or weights that do: C and Fortran order."""
    for order in "CF":
        net, rng = network(sizes)
        for layer in net.layers[::2]:
            layer.params[0] = np.asarray(layer.params[0], order=order)
        for batch in (1, 30):
            assert_same_bits(net, rng.standard_normal((batch, sizes[0])))


def test_deep():
    net, rng = network([3] * 41)
    assert_same_bits(net, rng.standard_normal(3))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(0, 70)] * 3),
    batch=st.integers(0, 40),
    dtype=st.sampled_from(KERNEL_DTYPES),
    activation=st.sampled_from(ACTIVATIONS),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_network(sizes, batch, dtype, activation, seed):
    if activation is fastnet.Softmax and 0 in sizes[1:]:
        return  # the largest of no elements is an error, in NumPy and here
    net, rng = network(sizes, dtype, activation, seed)
    assert_same_bits(net, rng.standard_normal((batch, sizes[0])).astype(dtype))


# -- within the user's code


@numba.njit
def rollout(x, params, steps):
    y = np.empty_like(x)
    for _ in range(steps):
        fastnet_predict(x, params, y)
        x[:] = y
    return x


fastnet_predict, _ = fastnet.njit_predict(fastnet.TwoLayerNet(1, 1, 1))


def by_python(net, x, steps):
    for _ in range(steps):
        x = net.predict(x)
    return x


def test_loop():
    net, rng = network((3, 8, 3))
    x = rng.standard_normal(3)
    _, params = fastnet.njit_predict(net)
    np.testing.assert_array_equal(rollout(x.copy(), params, 10), by_python(net, x, 10))


def test_weights_are_arguments():
    """Edits in place, other arrays, other activations, other widths: nothing is compiled again."""
    net, rng = network((3, 8, 3))
    x = rng.standard_normal(3)
    _, params = fastnet.njit_predict(net)
    rollout(x.copy(), params, 1)
    compiled = len(rollout.signatures)

    net.layers[0].params[0] *= -0.5
    net.layers[2].params[1] += 1
    np.testing.assert_array_equal(rollout(x.copy(), params, 3), by_python(net, x, 3))

    for other, _ in (network((3, 8, 3), seed=1), network((3, 5, 3), activation=fastnet.Tanh)):
        _, others = fastnet.njit_predict(other)
        np.testing.assert_array_equal(rollout(x.copy(), others, 3), by_python(other, x, 3))

    net.layers[0].params[0] = rng.standard_normal((3, 8))
    fresh = params.with_arrays(array for layer in net.layers for array in layer.params)
    np.testing.assert_array_equal(rollout(x.copy(), fresh, 3), by_python(net, x, 3))
    assert len(rollout.signatures) == compiled


def test_weights_made_in_compiled_code():
    """A search over weights that never leaves compiled code."""
    net, rng = network((3, 8, 3))
    x = rng.standard_normal(3)
    predict, params = fastnet.njit_predict(net)

    @numba.njit
    def shrink(x, params, out):
        W1, b1, W2, b2, program = params
        W1 *= 0.5
        b1 -= 1
        predict(x, (W1, b1, 2 * W2, b2, program), out)

    out = np.empty(3)
    shrink(x, params, out)
    net.layers[2].params[0] *= 2
    np.testing.assert_array_equal(out, net.predict(x))


def test_nothing_is_allocated():
    net, rng = network((16, 32, 8))
    predict, params = fastnet.njit_predict(net)

    @numba.njit
    def repeat(x, params, out, times):
        for _ in range(times):
            predict(x, params, out)

    def allocations(x, out, times):
        before = rtsys.get_allocation_stats().alloc
        repeat(x, params, out, times)
        return rtsys.get_allocation_stats().alloc - before

    _nrt_python.memsys_enable_stats()
    try:
        for batch in (1, 2, 7, 1000):
            x, out = rng.standard_normal((batch, 16)), np.empty((batch, 8))
            assert allocations(x, out, 50) == allocations(x, out, 1), batch
        wide, _ = network((16, 20_000, 8))
        _, params = fastnet.njit_predict(wide)
        assert allocations(x, out, 50) > allocations(x, out, 1), "nothing is counted"
    finally:
        _nrt_python.memsys_disable_stats()


def test_no_references_are_counted():
    """Counting takes longer than a small network, and is what threads would wait for."""
    net, rng = network((2, 4, 3))
    predict, params = fastnet.njit_predict(net)

    @numba.njit
    def repeat(x, params, out, times):
        for _ in range(times):
            predict(x, params, out)

    repeat(rng.standard_normal(2), params, np.empty(3), 1)
    [signature] = repeat.signatures
    text = repeat.inspect_llvm(signature)
    loop = text[text.index("define") : text.index("define", text.index("define") + 1)]
    assert 0 < loop.count("@NRT_incref") <= 7  # once each for the arrays, before the loop


def test_threads_hold_no_lock():
    """Many threads, each with a net and rows of its own, through one function that releases the lock."""
    predict, _ = fastnet.njit_predict(network((5, 9, 4))[0])

    @numba.njit(nogil=True)
    def repeat(x, params, out, times):
        for _ in range(times):
            predict(x, params, out)

    def task(seed):
        net, rng = network((5, 9, 4), seed=seed)
        _, params = fastnet.njit_predict(net)
        x = rng.standard_normal((1 + seed % 40, 5))
        out = np.empty((len(x), 4))
        repeat(x, params, out, 300)
        return (out == net.predict(x)).all()

    task(0)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(task, range(64)))


def run(code, folder, **settings):
    """What a fresh interpreter prints."""
    path = folder / "program.py"
    path.write_text(code)
    env = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), **settings}
    done = subprocess.run([sys.executable, str(path)], env=env, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


PRANGE = """
import numba
import numpy as np
import fastnet

np.random.seed(0)
net = fastnet.TwoLayerNet(4, 20, 3)
predict, params = fastnet.njit_predict(net)

@numba.njit(parallel=True)
def every_row(x, params, out):
    for i in numba.prange(len(x)):
        predict(x[i], params, out[i])

x = np.random.randn(5000, 4)
out = np.empty((5000, 3))
numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
for _ in range(20):
    out[...] = 0
    every_row(x, params, out)
    assert (out == net.predict(x)).all()
print(numba.config.NUMBA_NUM_THREADS)
"""


def test_prange(tmp_path):
    assert run(PRANGE, tmp_path, NUMBA_NUM_THREADS="4")[0] == "4"


# -- in a cache


CACHED = """
import numba
import numpy as np
import fastnet

np.random.seed(0)
net = fastnet.TwoLayerNet(4, 20, 3)
predict, params = fastnet.njit_predict(net)

@numba.njit(cache=True)
def call(x, params, out):
    predict(x, params, out)

def factory(predict):
    @numba.njit(cache=True)
    def call(x, params, out):
        predict(x, params, out)
    return call

x, out, other = np.random.randn(4), np.empty(3), np.empty(3)
inner = factory(predict)
call(x, params, out)
inner(x, params, other)
print((out == net.predict(x)).all(), (other == out).all())
print(sum(call.stats.cache_hits.values()), sum(inner.stats.cache_hits.values()))
print(out[0])
"""


def test_user_code_in_a_cache(tmp_path):
    """Two processes: the second one compiles nothing, and finds its own addresses; a closure, too.

    For another version of the kernels, the third finds no user code that was compiled against this one.
    """
    source = tmp_path / "src"
    shutil.copytree(PACKAGE, source / "fastnet", ignore=shutil.ignore_patterns("__pycache__"))
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(source)}
    first = run(CACHED, tmp_path, **places)
    second = run(CACHED, tmp_path, **places)
    assert first[:2] == ["True True", "0 0"]
    # Numba 0.62 finds none of the two again, and compiles them anew
    hits = "1 1" if numba.version_info[:2] > (0, 62) else "0 0"
    assert second[:2] == ["True True", hits]
    assert first[2] == second[2]
    path = source / "fastnet" / "kernels" / "sigmoid.py"
    text = path.read_text()
    edited = text.replace("    return residual", "    return x.like(2.0) * residual")
    assert edited != text
    path.write_text(edited)
    third = run(CACHED, tmp_path, **places)
    assert third[:2] == ["True True", "0 0"]
    assert third[2] != first[2]


SENT = """
import pickle
from pathlib import Path
import numpy as np
from fastnet import njit_predict, TwoLayerNet

predict, _ = njit_predict(TwoLayerNet(1, 1, 1))
x, params = pickle.loads(Path("sent").read_bytes())
out = np.empty(4)
predict(x, params, out)
print(out.tobytes().hex())
"""


def test_params_reach_another_process(tmp_path):
    net, rng = network((3, 8, 4))
    x = rng.standard_normal(3)
    _, params = fastnet.njit_predict(net)
    (tmp_path / "sent").write_bytes(pickle.dumps((x, params)))
    assert run(SENT, tmp_path)[0] == net.predict(x).tobytes().hex()


def test_copies_are_independent():
    net, rng = network((3, 8, 4))
    x = rng.standard_normal(3)
    predict, params = fastnet.njit_predict(net)
    want, twin, out = net.predict(x), copy.deepcopy(params), np.empty(4)
    net.layers[0].params[0][...] = 0
    predict(x, twin, out)
    np.testing.assert_array_equal(out, want)


# -- what does not fit


@pytest.mark.parametrize(
    ("x", "out", "words"),
    [
        (np.zeros(3, np.float32), np.zeros(4), "x has dtype float32, but W of layer 0 has float64"),
        (np.zeros(3), np.zeros(4, np.float32), "out has dtype float32"),
        (np.zeros(3, np.int64), np.zeros(4), "x has dtype int64"),
        (np.zeros(3), np.zeros((1, 4)), "1 dimension or 2, not 1 and 2"),
        (np.zeros((1, 1, 3)), np.zeros((1, 1, 4)), "not 3 and 3"),
        (1.0, np.zeros(4), "x must be an array of float64, not float64"),
        (np.zeros(3), np.broadcast_to(0.0, 4), "out is read-only"),
    ],
    ids=str,
)
def test_types_are_checked_where_the_caller_is_compiled(x, out, words):
    predict, params = fastnet.njit_predict(network((3, 8, 4))[0])

    @numba.njit
    def never(x, params, out):
        if len(params[0]) > 5:
            predict(x, params, out)

    with pytest.raises(numba.TypingError, match=words):
        never(x, params, out)


def test_params_are_checked_where_the_caller_is_compiled():
    predict, params = fastnet.njit_predict(network((3, 8, 4))[0])
    single = fastnet.njit_predict(network((3, 8, 4), "float32")[0])[1]
    W1, b1, W2, b2, program = params
    for bad, words in [
        ([W1, b1], "params must be what fastnet.njit_predict returned"),
        ((program,), "params must be what"),
        ((W1, b1, W2, b2), "params must be what"),
        ((W1, b1, b2, W2, program), r"W of layer 1 must have 2 dimension\(s\), not 1"),
        ((W1, b1, W2.astype(np.float32), b2, program), "W of layer 1 has dtype float32, but W of layer 0"),
        ((*(a.astype(int) for a in params[:-1]), program), "x has dtype float64, but W of layer 0"),
        ((*params[:-1], single[-1]), "params are not for float64"),
        ((*params[:-1], program.view(np.int64)), "params are not for float64"),
        ((*params[:-1], 0), "params are not for float64"),
    ]:
        with pytest.raises(numba.TypingError, match=words):
            predict(np.zeros(3), bad, np.zeros(4))


def test_params_as_a_global_are_refused():
    """Their addresses would be frozen into code that a cache may keep."""
    predict, params = fastnet.njit_predict(network((3, 8, 4))[0])

    @numba.njit
    def frozen(x, out):
        predict(x, params, out)

    with pytest.raises(TypeError, match="pass them to the compiled function"):
        frozen(np.zeros(3), np.zeros(4))


@pytest.mark.parametrize(
    ("x", "out", "words"),
    [
        ((4,), (4,), r"fit together.*0, 3, 8, 4\)"),
        ((2,), (4,), r"fit together.*0, 3, 8, 2\)"),
        ((0,), (4,), "fit together"),
        ((3,), (3,), r"out has another shape.*1, 3, 1, 4\)"),
        ((3,), (5,), "out has another shape"),
        ((6, 3), (5, 4), r"out has another shape.*5, 4, 6, 4\)"),
        ((6, 3), (7, 4), "out has another shape"),
        ((6, 3), (0, 4), "out has another shape"),
        ((0, 3), (1, 4), "out has another shape"),
    ],
    ids=str,
)
def test_shapes_are_checked_before_anything_is_written(x, out, words):
    predict, params = fastnet.njit_predict(network((3, 8, 4))[0])
    out, intact = guarded(out, float)
    with pytest.raises(ValueError, match=words):
        predict(np.zeros(x), params, out)
    assert intact()
    assert np.isnan(out).all()


def test_weights_that_do_not_fit_are_caught():
    predict, params = fastnet.njit_predict(network((3, 8, 4))[0])
    W1, b1, W2, b2, _ = params
    for bad, words in [
        (((W1, b1[:7]), (W2, b2)), r"fit together.*\(.*0, 3, 8, 3\)|0, 3, 8, 3"),
        (((W1, b1), (W2[:7], b2)), "1, 7, 4, 3"),
        (((W1, b1), (W2, np.zeros(5))), "1, 8, 4, 3"),
        (((W1, np.zeros(16)[::2]), (W2, b2)), "not contiguous"),
        (((W1, b1),), "another number of layers.*2, 1"),
        (((W1, b1), (W2, b2), (np.eye(4), b2)), "another number of layers.*2, 3"),
    ]:
        out, intact = guarded(4, float)
        with pytest.raises(ValueError, match=words):
            predict(np.zeros(3), params.with_arrays(array for pair in bad for array in pair), out)
        assert intact()
        assert np.isnan(out).all()


def test_overlap():
    net, rng = network((4, 8, 4))
    predict, params = fastnet.njit_predict(net)
    x = rng.standard_normal(12)
    for one, other in ((x[:4], x[:4]), (x[:4], x[3:7]), (x[3:7], x[:4]), (x[:8:2], x[1:9:2])):
        with pytest.raises(ValueError, match="out overlaps x"):
            predict(one, params, other)
    with pytest.raises(ValueError, match=r"out overlaps the weights of a layer.*1"):
        predict(x[:4], params, net.layers[2].params[0][0])
    with pytest.raises(ValueError, match=r"out overlaps the weights of a layer.*0"):
        predict(x[:4], params, net.layers[0].params[1][4:])
    rows = rng.standard_normal((5, 10))
    with pytest.raises(ValueError, match="out overlaps x"):
        predict(rows[:, :4], params, rows[:, 3:7])
    with pytest.raises(ValueError, match="out overlaps x"):
        predict(rows[:4, :4], params, rows[1:, :4])
    for one, other in ((rows[:, :4], rows[:, 4:8]), (rows[:, 5:9], rows[:, :4])):  # share nothing
        want = net.predict(one)
        predict(one, params, other)
        np.testing.assert_array_equal(other, want)
    predict(x[:4], params, x[4:8])  # side by side
    np.testing.assert_array_equal(x[4:8], net.predict(x[:4]))


class Doubling(fastnet.Affine):
    def forward(self, x, out=None):
        return 2 * super().forward(x, out)


@pytest.mark.parametrize("make", [fastnet.njit_predict, fastnet.cfunc_predict])
def test_models_that_do_not_fuse(make):
    W, b = np.eye(3), np.zeros(3)
    affine = fastnet.Affine(W, b)
    for layers, words in [
        ([affine, fastnet.Sigmoid(), Doubling(W, b)], r"layer 2 \(Doubling\) does not fuse"),
        ([fastnet.Sigmoid(), affine], r"layer 0 \(Sigmoid\)"),
        ([affine, fastnet.Sigmoid(), fastnet.Sigmoid()], r"layer 2 \(Sigmoid\)"),
        ([fastnet.Sequential([affine])], r"layer 0 \(Sequential\)"),
        ([], "no layers"),
    ]:
        with pytest.raises(TypeError, match=words):
            make(fastnet.Sequential(layers))


@pytest.mark.parametrize("make", [fastnet.njit_predict, fastnet.cfunc_predict])
def test_weights_that_are_not_taken(make):
    W, b = np.eye(3), np.zeros(3)
    single, swapped = W.astype(np.float32), W.astype(W.dtype.newbyteorder("S"))
    for first, second, error, words in [
        (
            (W, b),
            (single, b),
            TypeError,
            "W of affine layer 1 has dtype float32, but W of layer 0 has float64",
        ),
        ((W, b.astype(np.float32)), (W, b), TypeError, "b of affine layer 0 has dtype float32"),
        ((W.astype(int), b), (W, b), TypeError, "W of affine layer 0 must be .*not of dtype int64"),
        ((swapped, b), (W, b), TypeError, "W of affine layer 0 must be .*not of dtype >f8"),
        ((W.tolist(), b), (W, b), TypeError, "not of class list"),
        ((W, 0.0), (W, b), TypeError, "b of affine layer 0 must be .*not of class float"),
        ((W, np.zeros(2)), (W, b), ValueError, r"shape \(3, 3\) and b \(2,\)"),
        ((W[0], b), (W, b), ValueError, r"shape \(3,\)"),
        ((W, b), (np.eye(4), np.zeros(4)), ValueError, r"layer 1 has shape \(4, 4\), but 3 values come in"),
        ((W, np.zeros(6)[::2]), (W, b), ValueError, r"strides \(16,\), must be contiguous"),
    ]:
        with pytest.raises(error, match=words):
            make(fastnet.Sequential([fastnet.Affine(*first), fastnet.Affine(*second)]))


def test_a_bias_in_a_row_of_its_own():
    W, b = np.arange(6.0).reshape(2, 3), np.array([[1.0, 2.0, 3.0]])
    predict, params = fastnet.njit_predict(fastnet.Affine(W, b))
    out = np.empty(3)
    b += 1
    predict(np.ones(2), params, out)
    np.testing.assert_array_equal(out, W.sum(0) + b[0])


# -- C functions


def pointer(array):
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(np.ctypeslib.as_ctypes_type(array.dtype)))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_c_functions(activation, dtype):
    net, rng = network((5, 33, 4), dtype, activation)
    integrand, filters, row = (fastnet.cfunc_predict(net, form, 2) for form in ("integrand", "filter", "row"))
    for _ in range(5):
        x = rng.standard_normal(5)
        want = net.predict(x.astype(dtype))
        assert integrand.ctypes(5, pointer(x), integrand.user_data) == want[2]
        value, _ = guarded(1, float)
        assert filters.ctypes(pointer(x), 5, pointer(value), filters.user_data) == 1
        assert value[0] == want[2]
        out, intact = guarded(4, dtype)
        assert row.ctypes(pointer(x.astype(dtype)), pointer(out), row.user_data) == 0
        np.testing.assert_array_equal(bits(out), bits(want))
        assert intact()


def test_c_functions_refuse_a_wrong_number_of_values():
    net, _ = network((5, 33, 4))
    x, value = np.zeros(9), np.zeros(1)
    integrand, filters = fastnet.cfunc_predict(net), fastnet.cfunc_predict(net, "filter")
    for n in (-1, 0, 4, 6):
        assert np.isnan(integrand.ctypes(n, pointer(x), integrand.user_data))
        assert filters.ctypes(pointer(x), n, pointer(value), filters.user_data) == 0
        assert np.isnan(value[0])


def test_a_c_function_keeps_the_weights_alive_and_sees_edits():
    net, rng = network((2, 4, 1))
    twin = copy.deepcopy(net)
    f = fastnet.cfunc_predict(net)
    bias = net.layers[0].params[1]
    x, data, function = rng.standard_normal(2), f.user_data, f.ctypes
    del net, f
    gc.collect()
    np.full(10_000, np.nan)  # whatever was freed is likely to be taken
    assert function(2, pointer(x), data) == twin.predict(x)[0]
    bias += 1
    twin.layers[0].params[1] += 1
    assert function(2, pointer(x), data) == twin.predict(x)[0]


def test_a_c_function_is_made_for_what_fits():
    net, _ = network((5, 33, 4))
    for arguments, words in [
        ({"form": "odd"}, "form must be one of integrand, filter, row, not 'odd'"),
        ({"output": 4}, r"output must be in 0..3, not 4"),
        ({"output": -1}, "not -1"),
    ]:
        with pytest.raises(ValueError, match=words):
            fastnet.cfunc_predict(net, **arguments)
    with pytest.raises(ValueError, match="at most 64 layers, not 65"):
        fastnet.cfunc_predict(network([2] * 66)[0])
    with pytest.raises(ValueError, match="at most 512 float64"):
        fastnet.cfunc_predict(network((2, 513))[0])
    with pytest.raises(ValueError, match="too wide for the stack"):
        fastnet.cfunc_predict(network((3, 20_000, 1))[0])
    assert fastnet.cfunc_predict(network((3, 3000, 1))[0]).address > 0
    net = network((3, 1000, 1))[0]
    net.layers[0].params[0] = np.asfortranarray(net.layers[0].params[0])
    assert fastnet.cfunc_predict(net).address > 0


def test_many_threads_call_one_c_function():
    net, rng = network((3, 40, 1))
    f = fastnet.cfunc_predict(net)
    rows = rng.standard_normal((64, 3))
    want = net.predict(rows)[:, 0]

    def task(i):
        return all(f.ctypes(3, pointer(rows[i]), f.user_data) == want[i] for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(task, range(64)))


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_scipy_integrates_it(dtype):
    integrate = pytest.importorskip("scipy.integrate")
    net, _ = network((2, 6, 1), dtype)
    f = fastnet.cfunc_predict(net).low_level_callable()

    def by_python(x, y):
        return float(net.predict(np.array([x, y], dtype))[0])

    options = {"epsabs": 1e-5, "epsrel": 1e-5}
    got = integrate.nquad(f, [[0, 1], [-1, 2]], opts=options)
    assert got == integrate.nquad(by_python, [[0, 1], [-1, 2]], opts=options)
    assert got[0] > 0


@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
def test_scipy_filters_with_it(dtype):
    ndimage = pytest.importorskip("scipy.ndimage")
    net, rng = network((9, 12, 2), dtype)
    f = fastnet.cfunc_predict(net, "filter", output=1).low_level_callable()
    picture = rng.standard_normal((8, 11))
    got = ndimage.generic_filter(picture, f, size=3)
    want = ndimage.generic_filter(picture, lambda x: net.predict(x.astype(dtype))[1], size=3)
    np.testing.assert_array_equal(got, want)
    with pytest.raises(RuntimeError):
        ndimage.generic_filter(picture, f, size=2)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install"):
        fastnet.cfunc_predict(network((2, 1))[0]).low_level_callable()
