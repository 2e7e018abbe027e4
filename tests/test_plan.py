"""What `explain` and `warmup` say, and that it is so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.caching import FunctionCache

import fastnet
from fastnet import Affine, Sequential, Sigmoid
from fastnet.arguments import aligned_copy
from fastnet.kernels import entry, target
from fastnet.threads import limited


class Own:
    def forward(self, x):
        return x


@pytest.fixture(autouse=True)
def two_threads():
    before = fastnet.get_num_threads()
    fastnet.set_num_threads(2)
    yield
    fastnet.set_num_threads(before)


def only(model, batch, dtype=np.float64):
    [plan] = fastnet.explain(model, batch, dtype)
    return plan


def test_narrow_and_wide():
    narrow, wide = fastnet.TwoLayerNet(2, 4, 3), fastnet.TwoLayerNet(1024, 1024, 1024)
    assert only(narrow, 1).orientation == "outputs in lanes"
    assert only(narrow, 1000)[:3] == ("2-4-3", "float64", "samples in lanes")
    assert only(narrow, 1000).weights == ("broadcast",) * 2
    assert only(wide, 1).weights == ("streamed",) * 2
    assert only(wide, 512).weights == ("packed",) * 2
    assert only(fastnet.TwoLayerNet(160, 160, 160), 512).weights == ("in place",) * 2


def test_rows_from_memory_are_not_turned():
    """Outputs leave many of the lanes empty, but wait less for rows that no cache holds: on a Zen 4."""
    layer = Affine(np.zeros((64, 9), np.float32), np.zeros(9, np.float32))
    with limited(1):
        few, many = (only(layer, rows, np.float32).orientation for rows in (10_000, 100_000))
    expected = ("samples in lanes", "outputs in lanes") if target.zen() == 4 else (few, few)
    assert (few, many) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(300, 1), (64, 1), (784, 1), (100, 2)])
def test_rows_of_narrow_layers_are_turned_in_registers(sizes, dtype):
    """Through memory it took 1.2 to 2 times as long."""
    layer = Affine(np.zeros(sizes, dtype), np.zeros(sizes[1], dtype))
    with limited(1):
        for rows in (100, 1000, 10_000):
            plan = only(layer, rows, dtype)
            assert (plan.orientation, plan.weights) == ("outputs in lanes", ("broadcast",)), rows


def test_half_a_vector_is_half_of_the_work():
    """Of outputs in the lanes, where halves of vectors are multiplied in half of the time."""
    expected = "outputs in lanes" if target.PART_BYTES else "samples in lanes"
    with limited(1):
        for fan_out, orientation in ((8, expected), (9, "samples in lanes")):
            layer = Affine(np.zeros((64, fan_out), np.float32), np.zeros(fan_out, np.float32))
            if target.VECTOR_BYTES == 64:
                assert only(layer, 10_000, np.float32).orientation == orientation


def test_activations_count():
    """Of outputs in the lanes some of each row go alone, and wait for themselves: two vectors, not four."""
    layer = Affine(np.zeros((16, 16)), np.zeros(16))
    activated = "samples in lanes" if target.VECTOR_BYTES == 64 else "outputs in lanes"
    with limited(1):
        assert only(layer, 1000).orientation == "outputs in lanes"
        assert only(Sequential([layer, Sigmoid()]), 1000).orientation == activated


def test_weights_are_looked_at_as_they_lie():
    memory = aligned_copy(np.zeros(160 * 160 + 2), np.dtype(float))
    few, many = ("streamed", "packed") if target.SPLITS_COST else ("in place", "in place")
    for start, batch, way in [(0, 1, "in place"), (0, 50, "in place"), (2, 2, few), (2, 50, many)]:
        W = memory[start : start + 160 * 160].reshape(160, 160)
        with limited(1):  # threads would share out so many rows
            assert only(Affine(W, np.zeros(160)), batch).weights == (way,), (start, batch)
        assert only(Affine(W.T, np.zeros(160)), 50).weights == ("packed",)


def test_weights_that_are_made_here_lie_well():
    """Each vector within a cache line, wherever NumPy puts them."""
    for size in range(1, 70):
        for array in fastnet.TwoLayerNet(size, 2 * size, 3).params:
            assert array.ctypes.data % 64 == 0
            assert array.flags.c_contiguous


def test_threads_where_they_pay():
    net = fastnet.TwoLayerNet(64, 128, 10)
    small, large = only(net, 10), only(net, 100_000)
    assert (small.threads, small.piece) == (1, 10)
    assert large.threads == 2
    assert large.block <= large.piece < 100_000
    fastnet.set_num_threads(1)
    assert (only(net, 100_000).threads, only(net, 100_000).piece) == (1, 100_000)


def test_every_run_has_its_line():
    W, b = np.eye(3), np.zeros(3)
    net = Sequential([Affine(W, b), Sigmoid(), Own(), Affine(W, b), Affine(W, b)])
    plans = fastnet.explain(net, 7)
    assert [plan.layers for plan in plans] == ["3-3", "Own", "3-3-3"]
    assert str(plans[1]) == "Own: its own forward"
    assert "blocks of 7 rows" in str(plans[2])
    deep = fastnet.explain(Sequential([Affine(W, b)] * 40), 7)
    assert [plan.layers.count("-") for plan in deep] == [32, 8]


def test_dtypes():
    net = fastnet.TwoLayerNet(2, 4, 3)
    assert only(net, 5, np.float32).dtype == "float64"  # what NumPy promotes to
    assert only(net, 5, np.longdouble).orientation == "NumPy reference, layer by layer"
    net.layers[0].params[:] = [p.astype(np.float32) for p in net.layers[0].params]
    net.layers[2].params[:] = [p.astype(np.float32) for p in net.layers[2].params]
    assert only(net, 5, np.float32)[1] == "float32"
    assert only(net, 5, np.float32).tile[2] == 2 * only(net, 5).tile[2]


@pytest.mark.parametrize("batch", [0, 1, 10**9])
def test_any_batch(batch):
    assert 0 < only(fastnet.TwoLayerNet(3, 4, 5), batch).block <= max(batch, 1)


def test_negative_batch():
    with pytest.raises(ValueError, match="-1"):
        fastnet.explain(fastnet.TwoLayerNet(3, 4, 5), -1)


def test_warmup_in_this_process():
    net = fastnet.TwoLayerNet(2, 4, 3)
    net.predict(np.ones((1, 2)))
    [done] = fastnet.warmup(net)
    assert done[:2] == ("float64", "was there already")
    assert [done.dtype for done in fastnet.warmup()] == ["float32", "float64"]
    assert fastnet.warmup(Sigmoid()) == []
    with pytest.raises(TypeError, match="int"):
        fastnet.warmup(3)


def test_warmup_says_where_kernels_come_from(tmp_path, monkeypatch):
    """Of a cache that lacks one kernel, and then of a whole one."""
    fastnet.warmup(fastnet.TwoLayerNet(2, 4, 3))
    usual = FunctionCache(entry.make_entries).cache_path
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    folder = Path(FunctionCache(entry.make_entries).cache_path)
    shutil.copytree(usual, folder, dirs_exist_ok=True)
    for path in folder.glob("*.predict-*.nbc"):
        path.unlink()
    code = "import fastnet\nfor done in fastnet.warmup(fastnet.TwoLayerNet(2, 4, 3)): print(*done)"
    command = [sys.executable, "-c", code]
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    seconds = {}
    for origin in ("compiled", "loaded from the cache"):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        name, _, said = done.stdout.strip().partition(" ")
        said, _, took = said.rpartition(" ")
        assert (name, said) == ("float64", origin)
        seconds[origin] = float(took)
    assert seconds["compiled"] > 2 * seconds["loaded from the cache"] > 0
