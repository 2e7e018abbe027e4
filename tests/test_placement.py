"""Who wakes a helper keeps it off its own CPU; the helper may use the same ones as before, once awake."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastnet import pool, threads
from fastnet.kernels import crew, placement
from fastnet.kernels.jit import OPTIONS, njit
from tests.ranges import NO_CONTEXT, Range

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's functions for CPUs")


@njit(**OPTIONS)
def current_cpu(get_cpu):
    return placement.current_cpu(get_cpu)


@njit(**OPTIONS)
def keep_off(thread, cpu, get_affinity, set_affinity):
    return placement.keep_off(thread, cpu, get_affinity, set_affinity)


@njit(**OPTIONS)
def allow(cpu, get_affinity, set_affinity):
    placement.allow(cpu, get_affinity, set_affinity)


def addresses(functions):
    return [ctypes.cast(function, ctypes.c_void_p).value for function in functions]


def system():
    c = ctypes.PyDLL(None)
    return addresses([c.sched_getcpu, c.sched_getaffinity, c.sched_setaffinity])


class Fakes:
    """A system of CPUs 6 and 7 that says it is on 7, and notes which threads were told to use which ones."""

    def __init__(self, allowed=1 << 6 | 1 << 7, fails=False):
        self.told, self.allowed = [], allowed

        def get(thread, size, cpus):
            assert size == 128
            np.ctypeslib.as_array(ctypes.cast(cpus, ctypes.POINTER(ctypes.c_int64)), (16,))[:] = 0
            ctypes.c_int64.from_address(cpus).value = self.allowed
            return -1 if fails else 0

        def tell(thread, size, cpus):
            assert size == 128
            self.allowed = ctypes.c_int64.from_address(cpus).value
            self.told.append((thread, self.allowed))
            return 0

        of_set = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p)
        self.functions = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7), of_set(get), of_set(tell)
        self.addresses = addresses(self.functions)


class Sleeper:
    """A thread that waits for as long as the block lasts."""

    def __enter__(self):
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._end.wait, args=(30,))
        self._thread.start()
        return self._thread.native_id

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def test_another_thread_is_kept_off_a_cpu():
    (_, *functions), before = system(), os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU")
    with Sleeper() as thread:
        for cpu in before:
            assert keep_off(thread, cpu, *functions)
            assert os.sched_getaffinity(thread) == before - {cpu}
            assert not keep_off(thread, cpu, *functions), "it is off already"
            os.sched_setaffinity(thread, before)
    assert os.sched_getaffinity(0) == before


def test_a_thread_allows_itself_a_cpu():
    (_, *functions), before = system(), os.sched_getaffinity(0)

    def use_one_and_then_all():
        os.sched_setaffinity(0, {min(before)})
        for cpu in before:
            allow(cpu, *functions)
        return os.sched_getaffinity(0)

    with ThreadPoolExecutor(1) as executor:  # whose CPUs nobody else depends on
        assert executor.submit(use_one_and_then_all).result() == before


def test_the_only_cpu_is_left():
    (_, *functions), cpu = system(), min(os.sched_getaffinity(0))
    with Sleeper() as thread:
        os.sched_setaffinity(thread, {cpu})
        assert not keep_off(thread, cpu, *functions)
        assert os.sched_getaffinity(thread) == {cpu}


@pytest.mark.parametrize(
    ("thread", "cpu", "allowed", "fails"),
    [
        (0, 7, 1 << 6 | 1 << 7, False),  # as long as it is unknown: 0 would be the caller itself
        (5, -1, 1 << 6 | 1 << 7, False),
        (5, 1024, 1 << 6 | 1 << 7, False),
        (5, 1 << 40, 1 << 6 | 1 << 7, False),
        (5, 7, 1 << 7, False),
        (5, 7, 1 << 6, False),
        (5, 7, 1 << 6 | 1 << 7, True),
    ],
)
def test_nothing_is_changed_where_that_is_no_help(thread, cpu, allowed, fails):
    fakes = Fakes(allowed, fails)
    assert not keep_off(thread, cpu, *fakes.addresses[1:])
    assert fakes.told == []
    assert current_cpu(fakes.addresses[0]) == 7
    assert current_cpu(0) == -1, "a system without such functions"


_kept = []  # a helper does not end


def test_helpers_wake_elsewhere(monkeypatch):
    monkeypatch.setattr(pool, "_addresses", pool._addresses[:0])
    monkeypatch.setattr(pool, "_mailboxes", [])
    meet = threading.Barrier(2, timeout=30)
    run = Range(lambda first, stop: None if meet.wait() else 0)

    def share():
        assert threads.together(run.address, NO_CONTEXT, 2, 1, 2) == 0

    share()
    [(mailbox, _)] = pool._mailboxes
    functions = [crew.GET_CPU // 8, crew.GET_AFFINITY // 8, crew.SET_AFFINITY // 8]
    assert mailbox[functions].tolist() == system()
    thread = int(mailbox[crew.THREAD // 8])
    assert thread in {int(task) for task in os.listdir("/proc/self/task")}
    assert mailbox[crew.KEPT_OFF // 8] == -1
    for kept_off, told in (-1, [(thread, 1 << 6), (0, 1 << 6 | 1 << 7)]), (6, [(0, 1 << 6 | 1 << 7)]):
        while mailbox[crew.STATE // 8] != crew.ASLEEP:
            time.sleep(0.001)
        fakes = Fakes()
        _kept.append(fakes)
        mailbox[functions] = fakes.addresses
        mailbox[crew.KEPT_OFF // 8] = kept_off  # by somebody else, whose call it has not seen yet
        share()
        assert fakes.told == told
        assert mailbox[crew.KEPT_OFF // 8] == -1
