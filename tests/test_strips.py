"""Few rows through large weights: columns shared out among threads, with the bits of one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

import fastnet
from fastnet import fused, threads
from tests.test_bits import DTYPES, bits

#: sizes and what follows each layer: narrower than a strip, no whole number of strips or of vectors, nothing
#: at all in a layer, and softmax, which needs whole rows
NETWORKS = [
    ((40, 700, 3), ("Sigmoid", "Sigmoid")),
    ((7, 300, 513, 260, 1), ("Tanh", "ReLU", "Sigmoid", "Tanh")),
    ((5, 333, 129), ("Softmax", "Softmax")),
    ((300, 64), ("ReLU",)),
    ((3, 0, 200), ("Sigmoid", "Sigmoid")),
    ((0, 500, 9), ("Sigmoid", "Tanh")),
]
ROWS = [1, 2, 3, 17, 200]


@pytest.fixture
def shared(monkeypatch):
    """How many threads shared each call."""
    calls, together = [], threads.together
    monkeypatch.setattr(fused, "together", lambda *args: calls.append(args[-1]) or together(*args))
    monkeypatch.setattr(threads, "_wanted", threads._wanted)
    return calls


@pytest.fixture
def always(shared, monkeypatch):
    """Strips for whatever there is to do."""
    monkeypatch.setattr(threads, "_WIDE", -1)
    monkeypatch.setattr(threads, "_PAYS", 1)
    return shared


def network(sizes, activations, dtype):
    rng, layers = np.random.default_rng(len(sizes)), []
    for (fan_in, fan_out), name in zip(pairwise(sizes), activations, strict=True):
        W, b = rng.standard_normal((fan_in, fan_out)), rng.standard_normal(fan_out)
        layers += [
            fastnet.Affine((W / max(fan_in, 1) ** 0.5).astype(dtype), b.astype(dtype)),
            getattr(fastnet, name)(),
        ]
    return fastnet.Sequential(layers), rng


def run_large(net, x, out):
    """The call as if it were a large one."""
    compiled = fused.kernels(x.dtype)
    layers = [layer for layer in net.layers if layer.params]
    program = compiled.program([layer._activation for layer in net.layers if not layer.params])
    assert fused.run_large(compiled, x, out, layers, program)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "activations"), NETWORKS, ids=str)
def test_same_bits_as_one_thread(always, sizes, activations, dtype):
    net, rng = network(sizes, activations, dtype)
    for rows in ROWS:
        x = rng.standard_normal((rows, sizes[0])).astype(dtype)
        want = net.predict(x)
        for count in (2, 3, 4):
            fastnet.set_num_threads(count)
            for given in (x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
                out = np.full((rows + 2, sizes[-1] + 3), 7, dtype)
                run_large(net, given, out[1:-1, 1:-2])
                np.testing.assert_array_equal(bits(out[1:-1, 1:-2]), bits(want))
                out[1:-1, 1:-2] = 7
                assert (out == 7).all(), "written beside the result"
    assert set(always) == {2, 3, 4}


def test_columns_of_out_that_lie_apart_are_not_shared_out(always):
    net, rng = network(*NETWORKS[0], np.float32)
    x = rng.standard_normal((5, 40)).astype(np.float32)
    out = np.empty((3, 5), np.float32).T
    fastnet.set_num_threads(2)
    run_large(net, x, out)
    np.testing.assert_array_equal(bits(out), bits(net.predict(x)))
    assert not always


def test_many_callers_at_once(always):
    """More threads than cores, each waiting for strips that others have claimed."""
    net, rng = network(*NETWORKS[1], np.float32)
    x = rng.standard_normal((9, 7)).astype(np.float32)
    want = bits(net.predict(x))
    always.clear()
    fastnet.set_num_threads(4)

    def call(_):
        out = np.empty((9, 1), np.float32)
        run_large(net, x, out)
        return bits(out)

    with ThreadPoolExecutor(8) as callers:
        for got in callers.map(call, range(400)):
            np.testing.assert_array_equal(got, want)
    assert len(always) == 400


def test_only_few_rows_through_large_weights_share_columns(shared):
    fastnet.set_num_threads(2)
    large = 8 << 20
    assert threads.strip_threads(1, large) == 2
    assert threads.strip_threads(100, 100 * threads._WIDE) == 1, "small weights: by rows"
    assert threads.strip_threads(512, 512 * large) == 1, "many rows"
    assert threads.strip_threads(1, threads._READING_PAYS) == 1, "not worth it"


def test_large_weights_and_few_rows_take_this_way(shared):
    net, rng = network((1024, 1024, 1024), ("Sigmoid", "Sigmoid"), np.float64)
    x = rng.standard_normal((2, 1024))
    fused.kernels(x.dtype).prepare()  # a call that has some compiled first comes back
    fastnet.set_num_threads(2)
    both = net.predict(x)
    fastnet.set_num_threads(1)
    np.testing.assert_array_equal(bits(both), bits(net.predict(x)))
    assert shared == [2]
