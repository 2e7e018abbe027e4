"""A helper leaves the CPU of whoever woke it, and may use the same ones as before."""

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
def leave(cpu, get_cpu, get_affinity, set_affinity):
    placement.leave(cpu, get_cpu, get_affinity, set_affinity)
    return placement.current_cpu(get_cpu)


def addresses(functions):
    return [ctypes.cast(function, ctypes.c_void_p).value for function in functions]


def system():
    c = ctypes.PyDLL(None)
    return addresses([c.sched_getcpu, c.sched_getaffinity, c.sched_setaffinity])


class Fakes:
    """A system of CPUs 6 and 7 that says it is on 7, and notes which ones it was told to use."""

    def __init__(self, allowed=1 << 6 | 1 << 7, fails=False):
        self.told = []

        def get(pid, size, cpus):
            assert (pid, size) == (0, 128)
            np.ctypeslib.as_array(ctypes.cast(cpus, ctypes.POINTER(ctypes.c_int64)), (16,))[:] = 0
            ctypes.c_int64.from_address(cpus).value = allowed
            return -1 if fails else 0

        def tell(pid, size, cpus):
            assert (pid, size) == (0, 128)
            self.told.append(ctypes.c_int64.from_address(cpus).value)
            return 0

        of_set = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p)
        self.functions = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7), of_set(get), of_set(tell)
        self.addresses = addresses(self.functions)


def in_thread(function):
    """function() in a thread of its own, whose CPUs nobody else depends on."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


def test_leaves_at_once_and_may_come_back():
    functions, before = system(), os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU")

    def leave_often():
        for _ in range(50):
            cpu = current_cpu(functions[0])
            assert leave(cpu, *functions) != cpu
            assert os.sched_getaffinity(0) == before

    in_thread(leave_often)


def test_stays_where_it_may_use_no_other():
    functions, cpu = system(), min(os.sched_getaffinity(0))

    def stay():
        os.sched_setaffinity(0, {cpu})
        return leave(cpu, *functions), os.sched_getaffinity(0)

    assert in_thread(stay) == (cpu, {cpu})


def test_one_cpu_is_left_out_for_a_moment():
    fakes = Fakes()
    assert leave(7, *fakes.addresses) == 7
    assert fakes.told == [1 << 6, 1 << 6 | 1 << 7]


@pytest.mark.parametrize("cpu", [-1, 6, 1024, 1 << 40])
def test_another_cpu_is_no_reason(cpu):
    fakes = Fakes()
    leave(cpu, *fakes.addresses)
    assert fakes.told == []


def test_nothing_is_changed_where_the_system_does_not_tell():
    fakes = Fakes(fails=True)
    leave(7, *fakes.addresses)
    assert fakes.told == []
    assert leave(7, 0, 0, 0) == -1


def test_nothing_is_changed_for_the_only_cpu():
    fakes = Fakes(allowed=1 << 7)
    leave(7, *fakes.addresses)
    assert fakes.told == []


_kept = []  # a helper does not end


def test_helpers_do(monkeypatch):
    monkeypatch.setattr(pool, "_addresses", pool._addresses[:0])
    monkeypatch.setattr(pool, "_mailboxes", [])
    at_first, start = [], pool.start_new_thread

    def start_new_thread(function, args):
        at_first.append(args[1][crew.CPU // 8])
        return start(function, args)

    monkeypatch.setattr(pool, "start_new_thread", start_new_thread)
    meet = threading.Barrier(2, timeout=30)
    run = Range(lambda first, stop: None if meet.wait() else 0)

    def share():
        assert threads.together(run.address, NO_CONTEXT, 2, 1, 2) == 0

    share()
    [(mailbox, _)] = pool._mailboxes
    assert mailbox[[crew.GET_CPU // 8, crew.GET_AFFINITY // 8, crew.SET_AFFINITY // 8]].tolist() == system()
    assert at_first == [-1], "nobody has woken it"
    while mailbox[crew.STATE // 8] != crew.ASLEEP:
        time.sleep(0.001)
    fakes = Fakes()
    _kept.append(fakes)
    mailbox[[crew.GET_CPU // 8, crew.GET_AFFINITY // 8, crew.SET_AFFINITY // 8]] = fakes.addresses
    share()
    assert fakes.told[:2] == [1 << 6, 1 << 6 | 1 << 7]
