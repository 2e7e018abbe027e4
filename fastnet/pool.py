"""Threads that help with one task at a time, and sleep between tasks.

A helper is woken by releasing one lock and says that it is done by releasing another: some 15 microseconds
in all, where a `concurrent.futures` executor takes 50. Nobody waits for a helper that has not begun: what is
left to do is done by then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


def _nothing() -> None:
    pass


class _Task:
    """A function that a helper is to call, unless who asked for it takes it back first."""

    __slots__ = ("claims", "done", "error", "function")

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        #: who wants it, in order; the first has it, however often an interrupted one asks again
        self.claims: list[str] = []
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


class _Helper(threading.Thread):
    """A thread that waits for tasks."""

    def __init__(self) -> None:
        super().__init__(name="fastnet", daemon=True)
        self.task: _Task | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def run(self) -> None:
        while True:
            self.wake.acquire()
            task, self.task = self.task, None
            if task is not None:
                task.run()
            _idle.append(self)


_idle: list[_Helper] = []
_helpers = 0  # in all
_lock = threading.Lock()


def ask_for_help(function: Callable[[], None], count: int, most: int) -> list[_Task]:
    """Have up to `count` helpers call a function, on threads that are idle or new; `most` at a time in all.

    Returns what `collect` takes, maybe less than was asked for: for busy helpers nobody waits.
    """
    global _helpers
    tasks: list[_Task] = []
    while len(tasks) < count:
        try:
            helper = _idle.pop()
        except IndexError:
            with _lock:
                if _helpers >= most:
                    break
                helper = _Helper()
                try:
                    helper.start()
                except RuntimeError:  # the interpreter is ending, or there are no more threads to be had
                    break
                _helpers += 1
        helper.task = task = _Task(function)
        tasks.append(task)
        helper.wake.release()
    return tasks


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
