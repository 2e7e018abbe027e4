"""Threads and processes that predict or train, begin and end, under each threading layer of Numba and none.

Each scenario runs in a process of its own, where a signal, a hang and a wrong bit all fail it.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.hosts import LAYERS, tried

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

each_layer = pytest.mark.parametrize("layer", LAYERS)
THREADS = {"settings": 300, "edited": 200, "replaced": 200, "dropped": 64}
PROCESSES = {"interrupts": 100, "ends": 3}
TRAINING = {"trains": 4, "same": 10, "forks": 2, "workers": 1, "interrupts": 80, "ends": 1}


@pytest.mark.parametrize("count", [64])
def test_first_calls(count, tmp_path, record_property):
    done = tried("tests.host_threads", "first_calls", "none", count, NUMBA_CACHE_DIR=str(tmp_path))
    record_property("tried", done)
    assert done == count


@each_layer
def test_threads_predict(layer, record_property):
    record_property("tried", tried("tests.host_threads", "predicts", layer, 300))


@pytest.mark.parametrize("scenario", THREADS)
def test_threads_disturbed(scenario, record_property):
    record_property("tried", tried("tests.host_threads", scenario, "none", THREADS[scenario]))


@each_layer
def test_forks(layer, record_property):
    record_property("tried", tried("tests.host_processes", "forks", layer, 10))


def test_workers(record_property):
    record_property("tried", tried("tests.host_processes", "workers", "none", 2))


@pytest.mark.parametrize("scenario", PROCESSES)
def test_ends(scenario, record_property):
    record_property("tried", tried("tests.host_processes", scenario, "none", PROCESSES[scenario]))


@pytest.mark.parametrize("scenario", TRAINING)
def test_training(scenario, record_property):
    record_property("tried", tried("tests.host_training", scenario, "none", TRAINING[scenario]))


@pytest.mark.parametrize(
    "scenario", ["fork_while_compiling", "fork_while_importing", "interrupted_compilation"]
)
def test_while_compiling(scenario, tmp_path, record_property):
    done = tried("tests.host_processes", scenario, "none", 1, NUMBA_CACHE_DIR=str(tmp_path))
    record_property("tried", done)


@pytest.mark.long
@each_layer
@pytest.mark.parametrize(
    ("program", "scenario", "count"),
    [
        ("tests.host_threads", "predicts", 10_000),
        *[("tests.host_threads", scenario, 20 * count) for scenario, count in THREADS.items()],
        ("tests.host_processes", "forks", 400),
        ("tests.host_processes", "workers", 20),
        ("tests.host_processes", "interrupts", 2000),
        ("tests.host_processes", "ends", 50),
        ("tests.host_training", "trains", 100),
        ("tests.host_training", "same", 200),
        ("tests.host_training", "forks", 60),
        ("tests.host_training", "workers", 10),
        ("tests.host_training", "interrupts", 1000),
        ("tests.host_training", "ends", 20),
    ],
)
def test_long(program, scenario, count, layer, record_property):
    if (scenario, layer) == ("ends", "tbb"):
        return  # Numba's TBB layer itself hangs when a forked child ends
    record_property("tried", tried(program, scenario, layer, count, patience=1800))


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
    exec_in = lambda code: interpreters.exec(interpreters.create("legacy"), code)
except ImportError:
    import _xxsubinterpreters as interpreters
    exec_in = lambda code: interpreters.run_string(interpreters.create(isolated=False), code)
import fastnet, numpy as np
net = fastnet.TwoLayerNet(2, 4, 3)
want = net.predict(np.ones((1, 2)))
failed = exec_in('''
try:
    import numpy as np, fastnet
    assert fastnet.TwoLayerNet(2, 4, 3).predict(np.ones((5, 2))).shape == (5, 3)
    print("works", flush=True)
except ImportError as error:
    print("refused:", str(error).strip().splitlines()[0], flush=True)
''')
assert not failed, failed
assert (net.predict(np.ones((1, 2))) == want).all()
print("done")
"""


def test_subinterpreter(record_property):
    """Works, or is refused by NumPy or Numba in so many words; the main one goes on."""
    command = [sys.executable, "-c", SUBINTERPRETER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr)
    said, last = done.stdout.strip().splitlines()
    assert last == "done"
    assert said == "works" or len(said) > len("refused: ")
    record_property("tried", 1)
