"""Calls on several threads: every row once, the same bits, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastnet
from fastnet import fused, pool, threads
from fastnet.kernels.guard import Guard
from tests.test_bits import DTYPES, WAYS, bits, network

COUNTS = [1, 2, 3, 4]


@pytest.fixture(autouse=True)
def number_of_threads():
    before = threads._wanted
    yield
    threads._wanted = before


@pytest.fixture
def always(monkeypatch):
    """Threads for whatever there is to do."""
    monkeypatch.setattr(threads, "_PAYS", 1)
    monkeypatch.setattr(threads, "_ROWS", 1)


@given(rows=st.integers(0, 5000), work=st.integers(0, 1 << 40), count=st.integers(1, 70))
def test_every_row_once(rows, work, count):
    threads.set_num_threads(count)
    ranges = []
    threads.in_pieces(lambda first, stop: ranges.append((first, stop)), rows, work)
    done = [row for first, stop in sorted(ranges) for row in range(first, stop)]
    assert done == list(range(rows))


def test_small_calls_stay_on_one_thread():
    assert threads.piece_rows(1000, threads._PAYS, 8) == 1000
    assert threads.piece_rows(1000, 2 * threads._PAYS, 8) == 500
    assert threads.piece_rows(1000, 8 * threads._PAYS, 2) == 252
    assert threads.piece_rows(10_000, 80 * threads._PAYS, 2) == 1260
    assert threads.piece_rows(64, 2 * threads._PAYS, 8) == 32
    assert threads.piece_rows(1, 1 << 40, 8) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", WAYS, ids=str)
def test_same_bits_on_any_count(always, sizes, dtype):
    net, rng = network(sizes, dtype)
    x = rng.randn(40_000_000 // (sum(sizes) * 300), sizes[0]).astype(dtype)
    results = []
    for count in COUNTS:
        fastnet.set_num_threads(count)
        results.append(bits(net.predict(x)))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_threads_do_share_the_work(always):
    """The test above would pass without any second thread."""
    fastnet.set_num_threads(2)
    seen = set()
    meet = threading.Barrier(2, timeout=30)

    def run(first, stop):
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            meet.wait()

    threads.in_pieces(run, 1000, 1 << 30)
    assert len(seen) == 2


def test_many_callers(always):
    """Large calls and small ones of either dtype, through networks of their own and shared ones."""
    fastnet.set_num_threads(3)
    calls = []
    for sizes, rows in [((16, 32, 8), 6000), ((600, 300, 7), 100), ((2, 4, 3), 1), ((64, 128, 10), 700)]:
        for dtype in DTYPES:
            net, rng = network(sizes, dtype)
            calls += [(net, rng.randn(rows + i, sizes[0]).astype(dtype)) for i in range(2)]
    expected = [bits(net.predict(x)) for net, x in calls]
    with ThreadPoolExecutor(8) as callers:
        results = list(callers.map(lambda call: bits(call[0].predict(call[1])), calls * 12))
    for result, right in zip(results, expected * 12, strict=True):
        np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("in_caller", [True, False])
def test_an_error_ends_the_call(always, error, in_caller):
    fastnet.set_num_threads(2)
    caller, raised, running = threading.get_ident(), threading.Event(), []

    def run(first, stop):
        running.append(first)
        if (threading.get_ident() == caller) == in_caller:
            raised.set()
            raise error
        assert raised.wait(30)
        running.remove(first)

    with pytest.raises(error):
        threads.in_pieces(run, 1000, 1 << 30)
    assert len(running) == 1, "somebody else is still at work"


def test_an_interrupt_that_comes_with_the_end_of_a_task():
    """Whoever has waited and is interrupted before knowing it waits again, for nothing."""
    task = pool._Task(lambda: None, Guard())
    task.run()
    waiter = threading.Thread(target=lambda: [task.finish() for _ in range(2)], daemon=True)
    waiter.start()
    waiter.join(10)
    assert not waiter.is_alive()


def test_an_interrupt_while_asking_for_help(always, monkeypatch):
    """Helpers that have begun are waited for, and do not go on."""
    running = []

    def ask(*args):
        pool.ask_for_help(*args)
        time.sleep(0.01)
        raise KeyboardInterrupt

    def run(first, stop):
        running.append(first)
        time.sleep(0.05)
        running.remove(first)

    monkeypatch.setattr(threads, "ask_for_help", ask)
    fastnet.set_num_threads(3)
    with pytest.raises(KeyboardInterrupt):
        threads.in_pieces(run, 1000, 1 << 30)
    assert not running


@pytest.mark.parametrize("part", ["collect", "give up"])
def test_interrupts_that_keep_the_wait_from_its_end(always, monkeypatch, part):
    """However many come, and wherever: nobody is at work when the call is over, and nobody begins."""
    running, caller, begun = [], threading.get_ident(), threading.Event()

    def interrupted(*args):
        raise KeyboardInterrupt

    def take():
        if threading.get_ident() == caller:
            assert begun.wait(30)
            raise KeyboardInterrupt
        running.append(1)
        begun.set()
        time.sleep(0.2)
        running.pop()

    if part == "collect":
        monkeypatch.setattr(threads, "collect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads.together(take, 2, 2, interrupted if part == "give up" else lambda: None)
    assert not running


def test_nobody_begins_after_the_end_of_a_call():
    guard, did = Guard(), []
    first, late = (pool._Task(lambda: did.append(1), guard) for _ in range(2))
    first.run()
    guard.retire()
    late.run()
    late.finish()
    assert did == [1]


def test_without_more_threads(always, monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    pool._forget()  # those that idle
    monkeypatch.setattr(pool, "start_new_thread", refuse)
    fastnet.set_num_threads(4)
    ranges = []
    threads.in_pieces(lambda first, stop: ranges.append(range(first, stop)), 100, 1 << 30)
    assert sorted(row for r in ranges for row in r) == list(range(100))


def test_replaced_weights_outlive_the_call():
    layer = fastnet.Affine(np.ones((200, 200)), np.zeros(200))
    x, out = np.ones((1000, 200)), np.empty((1000, 200))
    compiled = fused.kernels(x.dtype)
    kept = weakref.ref(layer.params[0])

    def run(table, first, stop):
        layer.params[0] = np.zeros((200, 200))
        assert kept() is not None
        compiled.run(table, first, stop)

    slow = SimpleNamespace(bind=compiled.bind, new_table=compiled.new_table, run=run)
    assert fused.run_large(slow, x, out, [layer], compiled.program([fused.IDENTITY]))
    np.testing.assert_array_equal(out, np.full((1000, 200), 200.0))
    assert kept() is None


def test_nothing_spins_after_a_call(always):
    fastnet.set_num_threads(4)
    net, rng = network((64, 128, 10), np.float32)
    net.predict(rng.randn(20_000, 64).astype(np.float32))
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_predicts(always):
    fastnet.set_num_threads(2)
    net, rng = network((64, 128, 10), np.float32)
    x = rng.randn(20_000, 64).astype(np.float32)
    expected = net.predict(x)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if np.array_equal(net.predict(x), expected) else 1)
        finally:
            os._exit(2)
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert ended, "the child hangs"
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(net.predict(x), expected)


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError)]
)
def test_wrong_number(n, error):
    before = fastnet.get_num_threads()
    with pytest.raises(error, match=str(n) if error is ValueError else "integer"):
        fastnet.set_num_threads(n)
    assert fastnet.get_num_threads() == before


def in_a_process(code, **environment):
    env = {k: v for k, v in os.environ.items() if k != "FASTNET_NUM_THREADS"} | environment
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


PRINT = "import fastnet; print(fastnet.get_num_threads())"


@pytest.mark.parametrize("text", ["1", "3", " 7 "])
def test_environment(text):
    assert in_a_process(PRINT, FASTNET_NUM_THREADS=text) == text.strip()


@pytest.mark.parametrize("text", ["0", "-2", "many", "1.5"])
def test_wrong_environment(text):
    answer = in_a_process(PRINT, FASTNET_NUM_THREADS=text)
    assert answer == f"ValueError: FASTNET_NUM_THREADS must be a whole number from 1 up, not '{text}'"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_affinity():
    cpus = os.sched_getaffinity(0)
    assert in_a_process(PRINT) == str(len(cpus))
    pinned = f"import os; os.sched_setaffinity(0, {{{min(cpus)}}}); {PRINT}"
    assert in_a_process(pinned) == "1"
