"""Memory while a network is trained: none kept, a MemoryError where there is none, and arrays let go."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fastnet
from benchmarks import common
from benchmarks.processes import printed
from tests.test_memory import MIB, forgotten, without_memory

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the size")


@pytest.mark.parametrize("pieces", [20, pytest.param(200, marks=pytest.mark.long)])
def test_little_address_space(pieces, record_property):
    """Next to no memory left, and a piece more each time: a MemoryError or the weights, and the next call."""
    found = without_memory("tight", pieces, "tests.scarce_training")
    assert found["calls without memory"] >= 10, "hardly any training was short of memory"
    record_property("tried", found["tried"])


STEPS = """
import gc, json, sys
import numpy as np
import fastnet
from benchmarks.memory import _status

np.random.seed(0)
count = {count}
net, x, t = fastnet.TwoLayerNet(2, 10, 3), np.random.randn(30, 2), np.arange(30) % 3
dense, wrong, optimizer = np.eye(3)[t], np.full(30, 3), fastnet.Adam()

def loop(n):
    for i in range(n):
        net.forward(x, dense if i % 2 else t)
        net.backward()
        optimizer.update(net.params, net.grads)

def fit(n):
    for _ in range(n // 10):
        fastnet.fit(net, x, t, 2, 6, optimizer, validation=(x, t))

def errors(n):
    for _ in range(n // 20):
        for call in (
            lambda: net.forward(x, wrong),
            lambda: net.backward(),
            lambda: fastnet.fit(net, x, wrong, 1, 6, optimizer),
            lambda: optimizer.update(net.params, net.grads[:3]),
        ):
            try:
                call()
            except (RuntimeError, ValueError):
                pass

found = {{}}
for function in (loop, fit, errors):
    function(count // 10)
    held = [net, x, t, dense, wrong, *net.params, *net.grads, *optimizer.m, *optimizer.v, np.dtype(float)]
    gc.collect()
    before = _status("VmRSS"), sys.getallocatedblocks(), [sys.getrefcount(a) for a in held]
    function(count)
    gc.collect()
    after = _status("VmRSS"), sys.getallocatedblocks(), [sys.getrefcount(a) for a in held]
    references = max(b - a for a, b in zip(before[2], after[2]))
    found[function.__name__] = [after[0] - before[0], after[1] - before[1], references]
print(json.dumps(found))
"""


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_flat_memory(count, record_property):
    """Resident memory, Python's blocks and references stay as they were after a tenth of the steps."""
    found = json.loads(printed(STEPS.format(count=count)))
    for name, (grown, blocks, references) in found.items():
        assert grown < MIB, name
        assert blocks < 200, name
        assert references < 20, name
    record_property("tried", count + count // 10 + count // 5)


def test_a_leak_is_seen():
    """What each step leaves behind shows in the figures above."""
    leak = "kept = []\nplain = net.forward\nnet.forward = lambda x, t: kept.append(plain(x, t)) or kept[-1]\n"
    found = json.loads(printed(STEPS.replace("found = {{}}", leak + "found = {{}}").format(count=10_000)))
    assert found["loop"][1] >= 10_000
    assert found["fit"][1] < 200


# nothing is kept


def trained(dtype, rows=30):
    net = fastnet.Sequential(
        [
            fastnet.Affine(np.full((8, 40), 0.1, dtype), np.zeros(40, dtype)),
            fastnet.Tanh(),
            fastnet.Affine(np.full((40, 3), 0.1, dtype), np.zeros(3, dtype)),
        ]
    )
    return net, np.ones((rows, 8), dtype), np.arange(rows) % 3


@pytest.mark.parametrize("rows", [1, 30, 3000])
@pytest.mark.parametrize("dtype", common.DTYPES)
def test_the_next_forward_lets_go(rows, dtype, record_property):
    """Of x, t and scores of the one before; `backward`, of what it was given and gives."""
    net, x, t = trained(dtype, rows)

    def step():
        mine, targets, dout = x.copy(), t.copy(), np.ones((rows, 3), dtype)
        net.forward(mine, targets)
        first = net.backward()
        scores = net.forward(mine)
        second = net.backward(dout)
        net.forward(x, t)
        return [mine, targets, dout, first, scores, second]

    def lets_go_at_once():
        targets, dout = t.copy(), np.ones((rows, 3), dtype)
        net.forward(x, targets)
        dx = net.backward()
        net.forward(x)
        return [targets, dout, dx, net.backward(dout)]

    for _ in range(3):
        assert all(forgotten(step))
        assert all(forgotten(lets_go_at_once))
    record_property("tried", 6)


@pytest.mark.parametrize("dtype", common.DTYPES)
@pytest.mark.parametrize("kind", ["SGD", "Momentum", "Adam"])
def test_fit_lets_go(kind, dtype, record_property):
    """Of all that it was given, when it ends and however it does; the optimiser keeps its own state only."""
    net, x, t = trained(dtype)
    optimizer = getattr(fastnet, kind)(1e-3)

    def fit(error=None, **options):
        mine, targets, others = x.copy(), np.eye(3, dtype=dtype)[t], x.copy()

        def callback(history):
            if error is not None:
                raise error("as if")

        with suppress(ArithmeticError if error is None else error):
            fastnet.fit(
                net,
                mine,
                targets,
                2,
                7,
                optimizer,
                validation=(others, targets),
                callback=callback,
                **options,
            )
        return [mine, targets, others]

    for error in (None, ValueError, KeyboardInterrupt, MemoryError):
        assert all(forgotten(lambda error=error: fit(error))), error
    assert all(forgotten(lambda: fit(TypeError, seed="no seed")))
    record_property("tried", 5)


@pytest.mark.parametrize("way", ["fit", "loop"])
def test_replaced_weights_are_let_go(way, record_property):
    net, x, t = trained("float64")
    net.params.clear()  # the book's list of all of them, gathered once

    def train():
        if way == "fit":
            fastnet.fit(net, x, t, 1, 7)
        else:
            net.forward(x, t)
            net.backward()
            for layer in net.layers[::2]:
                fastnet.SGD().update(layer.params, layer.grads)

    def arrays():
        old = list(net.layers[0].params)
        net.layers[0].params = [np.full((8, 40), 0.1), np.zeros(40)]
        train()
        return old

    def layers():
        old = net.layers[0]
        gradients = list(old.grads)
        net.layers[0] = fastnet.Affine(np.full((8, 40), 0.1), np.zeros(40))
        vars(net).pop("grads", None)
        net.forward(x, t)
        train()
        return [old, *old.params, *gradients]

    train()
    for change in (arrays, layers) * 3:
        assert all(forgotten(change)), change.__name__
    record_property("tried", 6)
