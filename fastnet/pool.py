"""Threads that help with one task at a time, and sleep between tasks.

A helper is woken by releasing one lock and says that it is done by releasing another: some 15 microseconds
in all, where a `concurrent.futures` executor takes 50. Nobody waits for a helper that has not begun: what is
left to do is done by then.
"""

from __future__ import annotations

import os
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable


def _nothing() -> None:
    pass


class _Task:
    """A function that a helper is to call, unless who asked for it takes it back first."""

    __slots__ = ("claims", "done", "error", "function")

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        #: who wants it, in order; the first has it, however often an interrupted one asks again. A deque has
        #: room for that from the start: where there is no memory left, a list could never say it.
        self.claims: deque[str] = deque()
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None

    def run(self) -> None:
        self.claims.append("helper")
        if self.claims[0] == "helper":
            try:
                self.function()
            except BaseException as error:  # for the thread that asked
                self.error = error
            finally:
                self.function = _nothing  # keeps nothing alive when whoever asked goes on
                self.done.release()

    def finish(self) -> None:
        """Take it back, or wait until it is done."""
        self.claims.append("caller")
        if self.claims[0] == "caller":
            self.function = _nothing
        else:
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
_lock = threading.Lock()


def ask_for_help(function: Callable[[], None], count: int, most: int) -> list[_Task]:
    """Have up to `count` helpers call a function, on threads that are idle or new; `most` at a time in all.

    Returns what `collect` takes. For busy helpers nobody waits, and where there is no memory or no thread to
    be had, who asks does all of it.
    """
    tasks: list[_Task] = []
    while len(tasks) < count:
        try:
            task = _Task(function)
            tasks.append(task)
            helper = _idle_or_new(most)
        except (MemoryError, RuntimeError):  # the latter for no memory for a lock, too, and when Python ends
            break
        if helper is None:
            break
        helper.task = task
        helper.wake.release()
    return tasks


def _idle_or_new(most: int) -> _Helper | None:
    """A helper that waits, or None if there are enough already."""
    global _helpers
    try:
        return _idle.pop()
    except IndexError:
        pass
    with _lock:
        if _helpers >= most:
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
    _helpers, _lock = 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
