"""Memory: at most 8 MiB beyond a call's output, none kept after it, and a MemoryError where there is none."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fastnet
from benchmarks import common, memory
from benchmarks.processes import environment, printed
from fastnet import fused, threads
from fastnet.kernels.ranges import NO_MEMORY
from tests.ranges import Range

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")

MIB = 2**20


@pytest.mark.parametrize("dtype", common.DTYPES)
@pytest.mark.parametrize(
    "label", ["784-128-10 x 20000", "4096-4096-4096 x 1", "4096-4096-4096 x 64", "10-4096-2 x 20000"]
)
def test_a_call_takes_little_beyond_its_output(label, dtype):
    assert memory.growth(label, dtype) <= memory.ALLOWED


@pytest.mark.long
@pytest.mark.parametrize("dtype", common.DTYPES)
@pytest.mark.parametrize("label", memory.EXTREMES)
def test_no_call_takes_much_beyond_its_output(label, dtype):
    assert memory.growth(label, dtype) <= memory.ALLOWED


@pytest.mark.parametrize("before", ["", "np.ones(6 << 20).sum()  # freed again, but perhaps kept by malloc"])
def test_growth_is_seen(before):
    """Even where the memory was there before, and was freed: an allocator set to hand it back does."""
    code = f"""
import numpy as np
from benchmarks.memory import beyond_output
{before}
def predict(x):
    hidden = np.ones(5 << 17)  # 5 MiB
    return np.ones(3 << 17) * hidden[0]
grown, out = beyond_output(predict, None)
print(grown, out.nbytes)
"""
    settings = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536")
    grown, output = map(int, printed(code, **settings).split())
    assert output == 3 * MIB
    assert 5 * MIB - 2**19 <= grown <= 9 * MIB  # NumPy's product may take another 3 MiB


def test_the_suite_and_the_command(monkeypatch, capsys):
    monkeypatch.setattr(memory, "growth", lambda label, dtype, max_size=None: 3 * MIB)
    assert memory.Growth().track_mebibytes("784-128-10 x 1", "float32") == 3
    assert memory.main(["--only", "784-128-10 x 1", "--check"]) == 0
    assert "| 784-128-10 x 1 | 3.00 MiB | 3.00 MiB |" in capsys.readouterr().out
    monkeypatch.setattr(memory, "growth", lambda label, dtype: 9 * MIB)
    assert memory.main(["--only", "784", "--check"]) == 1
    assert memory.main(["--only", "784"]) == 0
    with pytest.raises(SystemExit, match="no problem"):
        memory.main(["--only", "no such"])


def test_peak_of_the_command(monkeypatch, tmp_path, capsys):
    """Of a process of its own that predicts."""
    pytest.importorskip("safetensors")
    size, peak = memory.command_peak(2500)
    assert size == 2500 * 16 * 4 + 128
    assert 30 * MIB < peak < 2000 * MIB
    monkeypatch.setattr(memory, "command_peak", lambda rows: (64 * rows, 10**8 + rows))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- predict-memory: begin -->\n<!-- predict-memory: end -->\n")
    assert memory.main(["--predict", "--write", str(readme)]) == 0
    assert "\n| 1,000,000 | 64 MB | 101 MB |\n" in readme.read_text()
    assert capsys.readouterr().out.strip() in readme.read_text()
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="predict-memory: begin"):
        memory.main(["--predict", "--write", str(readme)])
    with pytest.raises(SystemExit, match="2"):
        memory.main(["--write", str(readme)])


# no memory

MALLOC = {"MALLOC_TOP_PAD_": "0", "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}


def without_memory(what, number, program="tests.scarce_memory"):
    """What such a program tried; a signal, a hang or another error there is one here."""
    settings = environment(OPENBLAS_NUM_THREADS="1", **MALLOC)
    command = [sys.executable, "-P", "-m", program, what, str(number)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=1800)
    assert done.returncode >= 0, f"{signal.Signals(-done.returncode).name}\n{done.stderr}"
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("pieces", [10, pytest.param(200, marks=pytest.mark.long)])
def test_little_address_space(pieces, record_property):
    """Next to no memory left, and a piece more each time: a MemoryError or the answer, and the next call."""
    found = without_memory("tight", pieces)
    assert found["calls without memory"] >= 20, "hardly a call was short of memory"
    record_property("tried", found["tried"])


if sys.version_info < (3, 12):  # later ones crash on their own where their allocations fail

    @pytest.mark.parametrize("most", [25, pytest.param(1000, marks=pytest.mark.long)])
    def test_each_allocation_fails_once(most, record_property):
        """Of those that Python makes in a call, alone and with all that follow."""
        pytest.importorskip("_testcapi")
        found = without_memory("nth", most)
        assert found["without memory"] > found["tried"] // 4
        record_property("tried", found["tried"])


# calls by the million

CALLS = """
import gc, json, sys
import numpy as np
import fastnet
from benchmarks.memory import _status
from fastnet import threads

threads.set_num_threads(2)
threads._PAYS = 1 << 16
np.random.seed(0)
one, many = {one}, {many}
net, large = fastnet.TwoLayerNet(2, 10, 3), fastnet.TwoLayerNet(64, 128, 10)
row, table, counted = np.ones((1, 2)), np.ones((16, 2)), [None, np.dtype(float), np.ndarray]
rows, out = np.random.randn(1000, 64), np.empty((1000, 10))
wrong = np.ones((3, 5))

def single(n):
    for _ in range(n):
        net.predict(row)

def batches(n):
    for i in range(n):
        large.predict(rows[: 100 + i % 900])  # one thread and two, scratch from the stack and the heap
        large.predict(rows, out)
        net.layers[0].forward(table)

def errors(n):
    for _ in range(n):
        for x, o in ((wrong, None), (None, None), (rows, wrong)):
            try:
                large.predict(x, o)
            except (TypeError, ValueError):
                pass

found = {{}}
runs = ("one row", single, one), ("batches", batches, many), ("errors", errors, many // 10)
for name, function, count in runs:
    function(count // 10)
    held = [net, large, row, table, rows, out, wrong, *net.params, *large.params]
    gc.collect()
    before = _status("VmRSS"), sys.getallocatedblocks(), [sys.getrefcount(a) for a in (*held, *counted)]
    function(count)
    gc.collect()
    after = _status("VmRSS"), sys.getallocatedblocks(), [sys.getrefcount(a) for a in (*held, *counted)]
    references = max(b - a for a, b in zip(before[2], after[2]))
    found[name] = [count, after[0] - before[0], after[1] - before[1], references]
{then}
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "counts", [(100_000, 1000), pytest.param((1_000_000, 10_000), marks=pytest.mark.long)]
)
def test_flat_memory(counts, record_property):
    """Resident memory, Python's blocks and references stay as they were after a tenth of the calls."""
    found = json.loads(printed(CALLS.format(one=counts[0], many=counts[1], then="")))
    for name, (_, grown, blocks, references) in found.items():
        assert grown < MIB, name
        assert blocks < 200, name
        assert references < 20, name
    record_property("tried", sum(counts) + 3 * counts[1] // 10)


def test_a_leak_is_seen():
    """A reference kept at each call, and arrays kept: the figures above show it."""
    leak = "kept = []\nplain = net.predict\nnet.predict = lambda x: kept.append(plain(x))\n"
    code = CALLS.replace("found = {{}}", leak + "found = {{}}")
    found = json.loads(printed(code.format(one=40_000, many=10, then="")))
    count, grown, blocks, references = found["one row"]
    assert grown >= MIB
    assert blocks >= count
    if sys.version_info < (3, 12):  # from then on classes are immortal
        assert references >= count


# nothing is kept


def forgotten(make):
    """Whether each of what `make` returns is gone when nobody but the library might keep it."""
    references = [weakref.ref(array) for array in make()]
    if any(reference() is not None for reference in references):
        gc.collect()  # errors and their frames hold each other
    return [reference() is None for reference in references]


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(threads, "_PAYS", 1 << 12)
    monkeypatch.setattr(threads, "_wanted", 2)


@pytest.mark.parametrize("rows", [1, 30, 3000])
@pytest.mark.parametrize("dtype", common.DTYPES)
def test_inputs_and_results_are_let_go(two_threads, rows, dtype, record_property):
    net = fastnet.Sequential([fastnet.Affine(np.ones((8, 70), dtype), np.ones(70, dtype)), fastnet.Tanh()])

    class Own(np.ndarray):
        pass

    ways = [
        lambda x: [x, net.predict(x)],
        lambda x: [x, net.predict(x, out := np.empty((rows, 70), dtype)), out],
        lambda x: [x := x.view(Own), net.predict(x)],
        lambda x: [x := np.asfortranarray(x), net.predict(x)],
        lambda x: [x := x.astype(np.int32), net.predict(x)],
    ]
    net.predict(np.ones((2, 8), dtype))
    for way in ways * 2:
        assert all(forgotten(lambda: way(np.ones((rows, 8), dtype))))  # noqa: B023
    record_property("tried", 2 * len(ways))


@pytest.mark.parametrize("which", [0, 1])
def test_a_layer_lets_go_of_all_but_the_last(which, record_property):
    """``forward`` of a layer alone remembers what ``backward`` needs, of one call."""
    layer = [fastnet.Affine(np.ones((8, 70)), np.ones(70)), fastnet.Tanh()][which]

    def before_the_last():
        x = np.ones((30, 8))
        y = layer.forward(x)
        layer.forward(np.ones((1, 8)))
        return [x, y]

    for _ in range(3):
        assert all(forgotten(before_the_last))
    record_property("tried", 3)


def test_inputs_of_failed_calls_are_let_go(two_threads, monkeypatch, record_property):
    """Refused, interrupted in the calling thread, and failed in a helper's."""
    net = fastnet.TwoLayerNet(8, 70, 5)
    net.predict(np.ones((5000, 8)))

    def refused(error, *arguments):
        with suppress(error):
            net.predict(*arguments)
        return arguments

    assert all(forgotten(lambda: refused(ValueError, np.ones((3, 9)))))
    assert all(forgotten(lambda: refused(TypeError, np.ones((3, 8)), np.ones((3, 5), "f4"))))
    assert all(forgotten(lambda: refused(ValueError, np.ones((3, 8)), np.ones((3, 6)))))
    compiled, caller = fused.kernels(np.dtype(float)), threading.get_ident()
    for in_helper in (False, True):
        failed = threading.Event()

        def failing(first, stop, in_helper=in_helper, failed=failed):
            if (threading.get_ident() != caller) is in_helper:
                failed.set()
                return NO_MEMORY
            assert failed.wait(60)
            return 0

        def fail(x, failed=failed):
            failed.clear()
            with pytest.raises(MemoryError):
                net.predict(x)
            return (x,)

        run = Range(failing)
        with monkeypatch.context() as patched:
            for name in ("run", "run_strips"):
                patched.setitem(vars(compiled), name, run.address)
            fail(np.ones((5000, 8)))
            assert all(forgotten(lambda: fail(np.ones((5000, 8)))))
        assert net.predict(np.ones((5000, 8))).shape == (5000, 5)
    record_property("tried", 5)


@pytest.mark.parametrize("batch", [1, 5000])
def test_replaced_weights_are_let_go(two_threads, batch, record_property):
    net, x = fastnet.TwoLayerNet(8, 70, 5), np.ones((batch, 8))
    net.params.clear()  # the book's list of all of them, gathered once
    net.predict(x)

    def arrays():
        old = list(net.layers[0].params)
        net.layers[0].params[0] = np.ones((8, 70))
        net.layers[0].params = [net.layers[0].params[0], np.ones(70)]
        return old

    def layers():
        old = net.layers[0]
        net.layers[0] = fastnet.Affine(np.ones((8, 70)), np.ones(70))
        net.predict(x)
        return [old, *old.params]

    for way in (arrays, layers) * 3:
        assert all(forgotten(way)), way.__name__
        net.predict(x)
    record_property("tried", 6)
