"""Compiling or loading kernels: by one thread at a time, and undisturbed by signals."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401, registers its hooks before a fork can wait halfway through them
import gc
import os
import sys
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

#: seconds until the main thread does it itself, if no other has begun
_PATIENCE = 1.0
#: of the thread that compiles; it may come back here
lock = threading.RLock()

# A fork waits until nobody compiles: the child has no thread that would ever give back this lock, nor those
# of Numba and of the imports beneath.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


@atexit.register
def _wait() -> None:
    """An interrupted call may have left a thread that compiles: the compiler must not end under it."""
    with lock:
        pass


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic garbage collector, which takes a tenth of the time to import, or to compile."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def undisturbed(work: Callable[[], T]) -> T:
    """work(), under the lock, on a thread that no signal handler interrupts.

    Python calls signal handlers in the main thread. What one of them raises, between two instructions of the
    compiler, could leave Numba's own lock taken for ever. So the main thread has another thread work, and
    waits; an exception ends the waiting only.
    """
    if threading.current_thread() is threading.main_thread() and not _compiles() and _may_start():
        task = _Task(work)
        try:
            start_new_thread(task.run, ())
        except RuntimeError:  # no thread to be had
            pass
        else:
            return task.result()
    with lock, uncollected():
        return work()


def _may_start() -> bool:
    """Whether a thread begun now would run, and with as much stack as a compiler may need."""
    return not sys.is_finalizing() and threading.stack_size() == 0


def _compiles() -> bool:
    """Whether this thread has this lock, or Numba's: another thread would wait for it in vain."""
    module = sys.modules.get("numba.core.compiler_lock")
    numbas = getattr(module, "global_compiler_lock", None)  # None while another thread imports it
    return lock._is_owned() or (numbas is not None and numbas.is_locked())  # type: ignore[attr-defined]


class _Task(Generic[T]):
    __slots__ = ("_claims", "_done", "_error", "_process", "_result", "_work")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._process = os.getpid()
        self._error: BaseException | None = None
        #: who does it: the first. A thread that lacks memory to begin with never will
        self._claims: deque[str] = deque()
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        self._claims.append("thread")
        if self._claims[0] != "thread":
            return
        try:
            with lock, uncollected():
                self._result = self._work()
        except BaseException as error:  # for the thread that waits
            self._error = error
        finally:
            self._done.release()

    def result(self) -> T:
        while not self._done.acquire(timeout=_PATIENCE):
            self._claims.append("caller")
            if self._claims[0] == "caller" or os.getpid() != self._process:  # a signal handler has forked
                with lock, uncollected():
                    return self._work()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error, self  # its traceback holds this frame
        return self._result
