"""The lock under which kernels are compiled or loaded: once, however many threads ask for them first."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401, registers its hooks before a fork can wait halfway through them
import os
import threading

#: of the thread that compiles; it may come back here
lock = threading.RLock()

# A fork waits until nobody compiles: the child has no thread that would ever give back this lock, nor those
# of Numba and of the imports beneath.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
