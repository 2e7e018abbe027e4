"""Threads that help with one task at a time, and sleep between tasks.

A helper is woken by releasing one lock and says that it is done by releasing another: some 15 microseconds
in all, where a `concurrent.futures` executor takes 50. Nobody waits for a helper that has not begun: what is
left to do is done by then.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastnet import arithmetic

if TYPE_CHECKING:
    from fastnet.kernels.guard import Guard


def _nothing() -> None:
    pass


class _Task:
    """A function that a helper is to call, unless who asked for it takes it back first."""

    __slots__ = ("claims", "done", "ended", "error", "function", "guard", "settings")

    def __init__(self, function: Callable[[], None], guard: Guard) -> None:
        self.function, self.guard = function, guard
        #: helpers compute under the caller's; left alone, they keep those of whoever started them
        self.settings = arithmetic.settings()
        #: who wants it, in order; the first has it, however often an interrupted one asks again. A deque has
        #: room for that from the start: where there is no memory left, a list could never say it.
        self.claims: deque[str] = deque()
        self.done = threading.Lock()
        self.done.acquire()
        self.ended = False
        self.error: BaseException | None = None

    def run(self) -> None:
        self.claims.append("helper")
        if self.claims[0] == "helper":
            try:
                if self.guard.begin():
                    try:
                        arithmetic.set_to(self.settings)
                        self.function()
                    finally:
                        self.guard.end()
            except BaseException as error:  # for the thread that asked
                self.error = error
            finally:
                self.function = _nothing  # keeps nothing alive when whoever asked goes on
                self.ended = True
                self.done.release()

    def finish(self) -> None:
        """Take it back, or wait until it is done."""
        self.claims.append("caller")
        if self.claims[0] == "caller":
            self.function = _nothing
        elif not self.ended:  # after an interrupt that came with the lock, it cannot be had again
            self.done.acquire()


class _Helper:
    """A thread that waits for tasks.

    No `threading.Thread`: that would wait until it runs, for ever if there is no memory for it to.
    """

    __slots__ = ("task", "wake")

    def __init__(self) -> None:
        self.task: _Task | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def run(self) -> None:
        while True:
            self.wake.acquire()
            if self.task is not None:
                self.task.run()
                self.task = None  # keeps no error alive either, which would keep the arrays of its call
            _idle.append(self)


_idle: deque[_Helper] = deque()
_helpers = 0  # in all
_lock = threading.RLock()  # starting a thread may run a finalizer or signal handler that calls, too


def ask_for_help(
    function: Callable[[], None], count: int, most: int, tasks: list[_Task], guard: Guard
) -> None:
    """Have up to `count` helpers call a function, on threads that are idle or new; `most` at a time in all.

    Adds to `tasks`, which `collect` takes, maybe less than was asked for: for busy helpers nobody waits, and
    where there is no memory or no thread to be had, who asks does all of it.
    """
    global _helpers
    try:
        while len(tasks) < count:
            task = _Task(function, guard)
            tasks.append(task)
            helper = _idle_or_new(most)
            if helper is None:
                break
            helper.task = task
            helper.wake.release()
    except (MemoryError, RuntimeError):  # the latter for no memory for a lock, too, and when Python ends
        pass
    except BaseException:  # an interrupt: the helper at hand may be lost, and another has to take its place
        with _lock:
            _helpers -= 1
        raise


def _idle_or_new(most: int) -> _Helper | None:
    """A helper that waits, or a new one; None if there are enough already, or Python ends."""
    global _helpers
    try:
        return _idle.pop()
    except IndexError:
        pass
    with _lock:
        if _helpers >= most or sys.is_finalizing():  # a thread begun then would never start
            return None
        helper = _Helper()
        start_new_thread(helper.run, ())
        _helpers += 1
        return helper


def collect(tasks: list[_Task]) -> None:
    """Wait for the helpers that have begun, take the task back from the others; raise what one of them did.

    An interrupt is kept until all have ended.
    """
    error: BaseException | None = None
    for task in tasks:
        waiting = True
        while waiting:
            try:
                task.finish()
                waiting = False
            except BaseException as interrupt:
                error = interrupt
        error = error or task.error
    if error is not None:
        raise error


def _forget() -> None:
    """In a forked child: the parent's threads are not here."""
    global _helpers, _lock
    _idle.clear()
    _helpers, _lock = 0, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
