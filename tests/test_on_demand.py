"""Kernels are compiled, or loaded, for the calls that need them, and no call runs without what it needs."""

from __future__ import annotations

from itertools import pairwise, product

import numba
import numpy as np
import pytest
from numba.core.types.functions import BaseFunction

import fastnet
from fastnet import fused
from fastnet.arguments import aligned_copy
from fastnet.kernels import jit, table, ways
from fastnet.kernels.jit import OPTIONS, njit
from tests.test_bits import DTYPES, bits

SIZES = [*range(6), 8, 12, 16, 17, 20, 23, 24, 25, 31, 32, 33, 64, 66, 68, 100, 257, 500, 700, 1025]
BATCHES = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 48, 49, 95, 96, 97, 98, 192, 193, 500, 10_000]

#: by their numbers in `entries._KERNELS`
SWEEP, STEPS, LAYER, NARROW, STREAMS, OUTPUTS, SAMPLES, FEW = range(8)
ALWAYS = {SWEEP, STEPS, LAYER, OUTPUTS}


@njit(**OPTIONS)
def way(zero, layer, rows):
    return ways.way(zero, layer, rows)


@njit(**OPTIONS)
def foreseen(zero, layer):
    return ways.may_be_narrow(zero, layer), ways.may_be_streamed(zero, layer)


def layer(dtype, fan_in, fan_out, turned, first):
    """Fields of a layer whose weights nobody reads: one after the other, from `first` on."""
    size, fields = np.dtype(dtype).itemsize, np.zeros(table.LAYER_BYTES // 8, np.int64)
    rows = (size, size * fan_in) if turned else (size * fan_out, size)
    by_name = {"W": first, "W_ROW": rows[0], "W_COL": rows[1], "FAN_IN": fan_in, "FAN_OUT": fan_out}
    for name, value in by_name.items():
        fields[getattr(table, name) // 8] = value
    return fields


@pytest.mark.parametrize("dtype", DTYPES)
def test_ways_are_foreseen(dtype):
    """Whatever way a layer, or a strip of its columns, takes: what that needs is asked for before."""
    zero, unit = dtype(0), ways.STRIP_UNIT // np.dtype(dtype).itemsize
    chosen = set()
    for fan_in, fan_out, turned, first in product(SIZES, SIZES, (False, True), (0, 16)):
        whole = layer(dtype, fan_in, fan_out, turned, first)
        narrow, streamed = foreseen(zero, whole.ctypes.data)
        for columns in {fan_out, fan_out % unit or fan_out, min(fan_out, unit)}:
            part = whole.copy()
            part[table.FAN_OUT // 8] = columns
            for rows in BATCHES:
                found = way(zero, part.ctypes.data, rows)
                chosen.add(found)
                assert narrow or found not in (ways.NARROWLY, ways.TURNED), (fan_in, fan_out, columns, rows)
                assert streamed or found not in (ways.STREAMED, ways.STRADDLING), (fan_in, fan_out, rows)
    assert chosen >= {ways.NARROWLY, ways.TURNED, ways.STREAMED, ways.PACKED, ways.IN_PLACE}


def by_layers(sizes, turned=False):
    rng, layers = np.random.default_rng(0), []
    for fan_in, fan_out in pairwise(sizes):
        shape = (fan_out, fan_in) if turned else (fan_in, fan_out)
        W = aligned_copy(rng.standard_normal(shape) / fan_in**0.5, np.dtype(float))
        layers += [fastnet.Affine(W.T if turned else W, rng.standard_normal(fan_out)), fastnet.Sigmoid()]
    return fastnet.Sequential(layers)


@pytest.mark.parametrize(
    ("sizes", "rows", "turned", "needed"),
    [
        ((784, 128, 16), 64, False, ALWAYS),
        ((784, 128, 3), 64, False, {*ALWAYS, NARROW}),
        ((40, 40), 3, True, {*ALWAYS, NARROW}),
        ((704, 704, 16), 4, False, {*ALWAYS, STREAMS}),
        ((704, 704, 4), 100, False, {*ALWAYS, NARROW, STREAMS}),
        ((300, 0, 40), 100, False, {*ALWAYS, NARROW}),
        ((1024, 1028), 2, False, {*ALWAYS, NARROW, STREAMS}),  # four columns in the last strip
        ((2, 4, 3), 1000, False, {SWEEP, STEPS, SAMPLES}),
        ((2, 4, 3), 1, False, {FEW}),
    ],
    ids=str,
)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_brings_what_it_needs(monkeypatch, sizes, rows, turned, needed, threads):
    net = by_layers(sizes, turned)
    x = np.random.default_rng(1).standard_normal((rows, sizes[0]))
    want, compiled = net.predict(x), fused.kernels(x.dtype)
    monkeypatch.setattr(compiled, "kernels", {})
    with fastnet.threads.limited(threads):
        np.testing.assert_array_equal(bits(by_layers(sizes, turned).predict(x)), bits(want))
    assert set(compiled.kernels) == needed


def test_large_calls_ask_once(monkeypatch):
    """A network whose first call was small is told of what its large ones had compiled."""
    net, rng = by_layers((30, 100, 2)), np.random.default_rng(1)
    x, compiled, supplied = rng.standard_normal((5000, 30)), fused.kernels(np.dtype(float)), []
    want, supply = bits(net.predict(x)), compiled.supply
    monkeypatch.setattr(compiled, "supply", lambda *args: supplied.append(args[1]) or supply(*args))
    monkeypatch.setattr(compiled, "kernels", {})
    net = by_layers((30, 100, 2))
    with fastnet.threads.limited(1):
        net.predict(x[:1])
        for _ in range(3):
            before = len(supplied)
            np.testing.assert_array_equal(bits(net.predict(x)), want)
    assert len(supplied) == before <= 3


def test_numba_is_left_as_it_was(monkeypatch):
    """While kernels compile, signatures of Numba's functions are looked up; nobody else's code is in this."""
    during, make = [], jit._find_call_type

    def find(*args):
        during.append(BaseFunction.get_call_type is jit._call_type)
        return make(*args)

    monkeypatch.setattr(jit, "_find_call_type", find)
    monkeypatch.setattr(jit, "_call_types", {})

    @jit.kernel
    def twice(x):
        return x + x

    @jit.njit(**OPTIONS)
    def compiled(x):
        return twice(x) + x

    compiled.compile((numba.int64,))
    assert compiled(3) == 9
    assert during
    assert all(during)
    assert BaseFunction.get_call_type is make
