"""Threads that help with one task at a time, and sleep when there is none: see ``kernels/crew.py``."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from _thread import get_native_id, start_new_thread
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: of the mailboxes of all helpers: an array that is never written to, but replaced; and what they refer to,
#: for ever, as a thread may end for want of memory before it looks into its mailbox
_addresses: Array = np.empty(0, np.int64)
_mailboxes: list[tuple[Array, _Lock]] = []
_lock = threading.RLock()  # starting a thread may run a finalizer or signal handler that calls, too


def helpers(count: int) -> Array:
    """Addresses of the mailboxes of helpers, at least so many.

    Fewer where there is no memory or no thread to be had: who asks does all of it then.
    """
    if len(_addresses) < count:
        try:
            with _lock:
                while len(_addresses) < count and not sys.is_finalizing():  # no thread would start then
                    _hire()
        except (MemoryError, RuntimeError):  # the latter when Python ends, too
            pass
    return _addresses


def _hire() -> None:
    """One helper more.

    No `threading.Thread`: that would wait until it runs, for ever if there is no memory for it to.
    """
    global _addresses
    from fastnet.kernels import crew

    api, c = ctypes.pythonapi, ctypes.PyDLL("ucrtbase" if sys.platform == "win32" else None)
    functions = {
        crew.ALLOCATE: api.PyThread_allocate_lock,
        crew.ACQUIRE: api.PyThread_acquire_lock,
        crew.RELEASE: api.PyThread_release_lock,
        crew.FREE: api.PyThread_free_lock,
        crew.GET_SETTINGS: c.fegetenv,  # of fenv.h: rounding, and the flushing of subnormal numbers
        crew.SET_SETTINGS: c.fesetenv,
    }
    if sys.platform == "linux":
        functions[crew.GET_CPU] = c.sched_getcpu
        functions[crew.GET_AFFINITY], functions[crew.SET_AFFINITY] = c.sched_getaffinity, c.sched_setaffinity
    room = (ctypes.c_int64 * (crew.MAILBOX_BYTES // 8 * 2))()
    address = ctypes.addressof(room)  # NumPy crashes where it has no memory to tell
    skip = -address % crew.MAILBOX_BYTES  # to a cache line of its own
    mailbox = np.frombuffer(memoryview(room), np.int64)[skip // 8 :][: crew.MAILBOX_BYTES // 8]
    for word, function in functions.items():
        mailbox[word // 8] = ctypes.cast(function, ctypes.c_void_p).value or 0
    lock = _Lock()
    mailbox[crew.WAKE // 8], mailbox[crew.KEPT_OFF // 8] = lock.address, -1
    addresses = np.append(_addresses, address + skip)
    start_new_thread(_serve, (crew.serve(), mailbox, lock, crew.THREAD // 8))
    _mailboxes.append((mailbox, lock))
    _addresses = addresses


def _serve(serve: Callable[[Array], None], mailbox: Array, lock: _Lock, number: int) -> None:
    """Keeps mailbox and lock, as it does not end: an interrupt may have kept them from the list."""
    mailbox[number] = get_native_id()
    serve(mailbox)


class _Lock:
    """A lock of Python's, taken, without an object of Python's around it."""

    def __init__(self) -> None:
        api = ctypes.pythonapi
        allocate, acquire = api.PyThread_allocate_lock, api.PyThread_acquire_lock
        allocate.restype, acquire.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)
        self.address: int = allocate() or 0
        if not self.address:
            raise MemoryError("no memory for a lock")
        acquire(self.address, 1)

    def __del__(self) -> None:
        if self.address:
            free = ctypes.pythonapi.PyThread_free_lock
            free.argtypes, free.restype = (ctypes.c_void_p,), None
            free(self.address)


def _forget() -> None:
    """In a forked child: the parent's threads are not here."""
    global _addresses, _lock
    _addresses, _lock = _addresses[:0], threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
