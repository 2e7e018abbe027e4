"""Kernels are compiled or loaded by one thread at a time, which no signal handler interrupts."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import types

import numba.core.compiler_lock
import pytest

from fastnet.kernels import lock
from fastnet.kernels.lock import undisturbed

HERE = threading.get_ident()


def owned():
    assert lock.lock._is_owned()
    return threading.get_ident()


def test_the_main_thread_has_another_one_work():
    assert undisturbed(owned) != HERE


def test_other_threads_work_themselves():
    found = []

    def run():
        found.append((undisturbed(owned), threading.get_ident()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found[0][0] == found[0][1]


@pytest.mark.parametrize("was_on", [True, False])
def test_no_garbage_is_collected_meanwhile(was_on):
    def fail():
        assert not gc.isenabled()
        raise KeyError

    try:
        if not was_on:
            gc.disable()
        assert undisturbed(gc.isenabled) is False
        with pytest.raises(KeyError):
            undisturbed(fail)
        assert gc.isenabled() == was_on
    finally:
        gc.enable()


@pytest.mark.parametrize("held", [lock.lock, numba.core.compiler_lock.global_compiler_lock])
def test_who_has_a_lock_that_the_other_would_wait_for(held):
    """As within a function that Numba compiles for somebody else."""
    with held:
        assert undisturbed(owned) == HERE


def test_while_another_thread_imports_numba(monkeypatch):
    """The module is there, what it is to define is not."""
    name = "numba.core.compiler_lock"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    assert undisturbed(owned) != HERE


def test_threads_with_little_stack():
    before = threading.stack_size(64 * 1024)
    try:
        assert undisturbed(owned) == HERE
    finally:
        threading.stack_size(before)


def test_an_error_comes_back():
    def fails():
        raise OSError("as if")

    for _ in range(3):
        with pytest.raises(OSError, match="as if"):
            undisturbed(fails)
    assert not lock.lock._is_owned()


@pytest.mark.parametrize("start", ["never begins", "no thread"])
def test_without_a_thread(start, monkeypatch):
    def start_new_thread(function, args):
        if start == "no thread":
            raise RuntimeError("can't start new thread")
        late.append(function)

    late = []
    monkeypatch.setattr(lock, "start_new_thread", start_new_thread)
    monkeypatch.setattr(lock, "_PATIENCE", 0.01)
    calls = []

    def work():
        calls.append(owned())
        return "done"

    assert undisturbed(work) == "done"
    for function in late:
        function()
    assert calls == [HERE]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_an_interrupt_ends_the_waiting_only():
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait()
        done.set()

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            undisturbed(work)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert begun.is_set()
    assert not done.is_set()
    go_on.set()
    assert undisturbed(lambda: done.is_set())  # waits for the lock, which the other has until it is done
