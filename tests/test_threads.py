"""Calls on several threads: every row once, the same bits, and nothing left behind."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastnet
from fastnet import fused, pool, threads
from fastnet.kernels import crew, table
from fastnet.kernels.ranges import NO_MEMORY
from tests.ranges import NO_CONTEXT, Range
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


def share(function, rows, threads_wanted, piece=1):
    """Have a Python function of (first, stop) called by so many threads."""
    made = Range(function)
    return threads.together(made.address, NO_CONTEXT, rows, piece, threads_wanted)


@given(rows=st.integers(0, 5000), work=st.integers(0, 1 << 40), count=st.integers(1, 70))
def test_every_row_once(rows, work, count):
    threads.set_num_threads(count)
    ranges = []
    made = Range(lambda first, stop: ranges.append((first, stop)))
    assert threads.in_pieces(made.address, NO_CONTEXT, rows, work) == 0
    done = [row for first, stop in sorted(ranges) for row in range(first, stop)]
    assert done == list(range(rows))


def test_small_calls_stay_on_one_thread():
    assert threads.piece_rows(1000, threads._PAYS, 8) == 1000
    assert threads.piece_rows(1000, 2 * threads._PAYS, 8) == 500
    assert threads.piece_rows(1000, 8 * threads._PAYS, 2) == 128
    assert threads.piece_rows(10_000, 80 * threads._PAYS, 2) == 1264
    assert threads.piece_rows(64, 2 * threads._PAYS, 8) == 32
    assert threads.piece_rows(1, 1 << 40, 8) == 1


@given(rows=st.integers(2, 5000), count=st.integers(2, 16), pays=st.integers(2, 1000))
def test_nobody_gets_much_more_than_others(rows, count, pays):
    piece = threads.piece_rows(rows, pays * threads._PAYS, count)
    got = [0] * min(count, pays, rows)
    for first in range(0, rows, piece):
        got[got.index(min(got))] += min(piece, rows - first)
    assert max(got) <= 1.1 * -(-rows // len(got))
    assert max(got) == threads._busiest(rows, piece, len(got))


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


def test_threads_do_share_the_work():
    """The test above would pass without any second thread."""
    seen = set()
    meet = threading.Barrier(2, timeout=30)

    def run(first, stop):
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            meet.wait()

    assert share(run, 1000, 2) == 0
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


@pytest.mark.parametrize("in_caller", [True, False])
def test_an_answer_ends_the_call(in_caller):
    """Whoever gives it: the others come to the end of their pieces, and nobody begins another."""
    caller, answered, running, ran = threading.get_ident(), threading.Event(), [], []

    def run(first, stop):
        ran.append(first)
        running.append(first)
        if (threading.get_ident() == caller) == in_caller:
            while len(running) < 2:
                time.sleep(0.001)
            answered.set()
            return 5
        assert answered.wait(30)
        time.sleep(0.05)
        running.remove(first)

    assert share(run, 1000, 2) == 5
    assert len(running) == 1, "somebody else is still at work"
    assert len(ran) == 2


def test_no_memory_in_a_helper():
    begun, caller = threading.Event(), threading.get_ident()

    def run(first, stop):
        if threading.get_ident() != caller:
            begun.set()
            return NO_MEMORY
        assert begun.wait(30)

    with pytest.raises(MemoryError, match="no memory for intermediate results"):
        share(run, 1000, 2)


@pytest.mark.parametrize("pause", [0, 0.0001, 0.05])
def test_who_works_is_waited_for(pause):
    """However long it takes: the caller looks out for the end of it, and then sleeps."""
    caller, begun, ended = threading.get_ident(), threading.Event(), []

    def run(first, stop):
        if threading.get_ident() == caller:
            assert begun.wait(30)
        else:
            begun.set()
            time.sleep(pause)
            ended.append(first)

    for i in range(200 if pause < 0.01 else 5):
        begun.clear()
        share(run, 2, 2)
        assert len(ended) == i + 1


def test_who_has_not_begun_is_not_waited_for():
    """Helpers at work for others do not hold a call up; afterwards they help again."""
    release, held = threading.Event(), threading.Barrier(3, timeout=30)

    def hold(first, stop):
        held.wait()
        assert release.wait(30)

    holder = threading.Thread(target=share, args=(hold, 2, 2))  # with the one helper that there is by then
    pool._forget()
    holder.start()
    held.wait()
    ran = []
    assert share(lambda first, stop: ran.append(first), 10, 2) == 0
    assert sorted(ran) == list(range(10)), "not by the caller alone, who had nobody else"
    release.set()
    holder.join(30)
    test_threads_do_share_the_work()


def test_who_comes_too_late_looks_out_for_the_next_call(monkeypatch):
    """Else brief calls, one after the other, would wake a helper each, who would never be in time."""
    monkeypatch.setattr(pool, "_addresses", pool._addresses[:0])
    monkeypatch.setattr(pool, "_mailboxes", [])
    ranges = Range(lambda first, stop: None)
    threads.together(ranges.address, NO_CONTEXT, 2, 1, 2)
    [(mailbox, _)] = pool._mailboxes
    found_awake = 0
    for _ in range(20):
        while mailbox[crew.STATE // 8] != crew.ASLEEP:
            time.sleep(0.001)
        threads.together(ranges.address, NO_CONTEXT, 2, 1, 2)  # which takes a few microseconds
        deadline = time.monotonic() + 0.1
        while mailbox[crew.STATE // 8] != crew.AWAKE and time.monotonic() < deadline:
            pass
        found_awake += time.monotonic() < deadline
    assert found_awake >= 10


@pytest.mark.skipif(sys.platform == "win32", reason="the C library is under another name")
def test_helpers_compute_under_the_settings_of_the_caller():
    c, seen = ctypes.CDLL(None), set()
    meet = threading.Barrier(2, timeout=30)

    def run(first, stop):
        seen.add((threading.get_ident(), c.fegetround()))
        meet.wait()

    for mode in (0x400, 0x800, 0):  # of x86; elsewhere refused, which leaves the default
        before = c.fegetround()
        c.fesetround(mode)
        try:
            expected = c.fegetround()
            share(run, 2, 2)
        finally:
            c.fesetround(before)
        assert len(seen) == 2
        assert {of for _, of in seen} == {expected}
        seen.clear()


def test_a_signal_handler_that_shares_work_of_its_own():
    """A call within a call: another signal, another task, the same helpers."""
    net, rng = network((64, 128, 10), np.float32)
    x = rng.randn(20_000, 64).astype(np.float32)
    fastnet.set_num_threads(2)
    want, inner = bits(net.predict(x)), []

    def handler(number, frame):
        inner.append(bits(net.predict(x)))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(50):
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
            np.testing.assert_array_equal(bits(net.predict(x)), want)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert inner
    for result in inner:
        np.testing.assert_array_equal(result, want)


def test_without_more_threads(monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    pool._forget()  # those that there are
    monkeypatch.setattr(pool, "start_new_thread", refuse)
    ranges = []
    assert share(lambda first, stop: ranges.append(range(first, stop)), 100, 4, 7) == 0
    assert sorted(row for r in ranges for row in r) == list(range(100))


def test_threads_that_are_refused_leave_nothing(monkeypatch):
    """Every call asks again; what was made for the thread goes each time."""
    locks = []

    class Lock(pool._Lock):
        def __init__(self):
            super().__init__()
            locks.append(weakref.ref(self))

    def refuse(*args):
        raise RuntimeError("can't start new thread")

    pool._forget()
    monkeypatch.setattr(pool, "start_new_thread", refuse)
    monkeypatch.setattr(pool, "_Lock", Lock)
    for _ in range(3):
        assert share(lambda first, stop: None, 2, 2) == 0
    assert len(locks) == 3
    gc.collect()
    assert not any(lock() for lock in locks)
    assert len(pool._addresses) == 0


def test_threads_that_never_start(monkeypatch):
    """Or that are late: nobody waits for them."""
    pool._forget()
    monkeypatch.setattr(pool, "start_new_thread", lambda *args: 0)
    ranges = []
    assert share(lambda first, stop: ranges.append(range(first, stop)), 100, 4, 7) == 0
    assert sorted(row for r in ranges for row in r) == list(range(100))
    pool._forget()


def test_replaced_weights_outlive_the_call(always, monkeypatch):
    layer = fastnet.Affine(np.ones((200, 200)), np.zeros(200))
    x, out = np.ones((1000, 200)), np.empty((1000, 200))
    compiled = fused.kernels(x.dtype)
    kept, in_pieces = weakref.ref(layer.params[0]), threads.in_pieces

    def slow(function, context, rows, work):
        layer.params[0] = np.zeros((200, 200))
        assert kept() is not None
        return in_pieces(function, context, rows, work)

    monkeypatch.setattr(fused, "in_pieces", slow)
    assert fused.run_large(compiled, x, out, [layer], compiled.program([fused.IDENTITY]))
    np.testing.assert_array_equal(out, np.full((1000, 200), 200.0))
    assert kept() is None


def test_kernels_that_are_not_there_yet_are_brought(monkeypatch):
    """A range says what it lacks; the call has that compiled and goes on."""
    net, rng = network((64, 128, 10), np.float32)
    x = rng.randn(3000, 64).astype(np.float32)
    want, compiled = bits(net.predict(x)), fused.kernels(x.dtype)
    out, layers = np.empty((3000, 10), np.float32), [layer for layer in net.layers if layer.params]
    monkeypatch.setattr(compiled, "kernels", dict(compiled.kernels))
    numbers = {(field - table.SWEEP) // 8 for field in (table.RUN_OUTPUTS, table.RUN_SAMPLES)}
    for number in numbers:
        compiled.kernels.pop(number, None)
    program = compiled.program([fused.SIGMOID, fused.IDENTITY])
    assert fused.run_large(compiled, x, out, layers, program)
    np.testing.assert_array_equal(bits(out), want)
    assert numbers & set(compiled.kernels)


def test_kernels_are_there_with_those_that_they_call(monkeypatch):
    """Another thread may bring all of them while addresses are collected: a call would jump to address 0."""
    compiled = fused.kernels(np.dtype(np.float32))
    compiled.prepare()
    every = dict(compiled.kernels)

    class Arriving(dict):
        def __contains__(self, number):
            found = super().__contains__(number)
            self.update(every)
            return found

    monkeypatch.setattr(compiled, "kernels", Arriving())
    addresses = np.frombuffer(compiled.program([]), np.int64)[: len(every)]
    assert not addresses.any()


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


LARGE = """
import os, numpy, fastnet
from fastnet import fused
net, x = fastnet.TwoLayerNet(784, 128, 10), numpy.zeros((32, 784))
net.predict(x)
large, calls = fused.run_large, []
fused.run_large = lambda *args: calls.append(1) or large(*args)
net.predict(x)
os.sched_setaffinity(0, others)
net.predict(numpy.zeros((4000, 784)))
net.predict(x)
print(len(calls))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_one_cpu_alone_keeps_the_interpreter_lock_for_longer():
    """Calls that would be shared out else. A large call finds out that it is otherwise now."""
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    alone = f"{{{min(cpus)}}}"
    pinned = f"import os; os.sched_setaffinity(0, {alone})\n"
    assert in_a_process(f"{pinned}others = {cpus}{LARGE}") == "2"
    assert in_a_process(f"others = {alone}{LARGE}") == "2"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_setting_the_threads_asks_how_many_cpus_there_are_now(monkeypatch):
    monkeypatch.setattr(threads, "_affinity", lambda pid: {0})
    assert threads.cpus() == 1
    assert threads._lock_held.value == threads._BRIEF_ALONE
    monkeypatch.setattr(threads, "_affinity", lambda pid: {0, 1})
    fastnet.set_num_threads(2)
    assert threads._lock_held.value == threads._BRIEF


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_affinity():
    cpus = os.sched_getaffinity(0)
    assert in_a_process(PRINT) == str(len(cpus))
    pinned = f"import os; os.sched_setaffinity(0, {{{min(cpus)}}}); {PRINT}"
    assert in_a_process(pinned) == "1"
