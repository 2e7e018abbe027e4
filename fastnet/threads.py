"""Ranges of rows on several threads: how many of them, and which ranges.

Unlike Numba's own parallel layers this survives a fork, and any number of callers at once. Each call hands
out its rows in pieces, to whoever is free next; the caller is one of them, so that a call never waits for
a thread that is busy elsewhere.
"""

from __future__ import annotations

import ctypes
import operator
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, SupportsIndex

from fastnet.pool import helpers

#: work, in bytes times multiply-adds, that pays for one more thread: some 10 to 20 microseconds
_PAYS = 1 << 22
#: weights whose reading takes some 60 microseconds
_READING_PAYS = 3 << 20
#: pieces for each thread, so that one that comes late or is held up costs little; fewer where each would be
#: less than the work that pays, as a piece reads all weights, and may pack them
_PIECES = 4
#: rows of a piece, at least, and a multiple that fills vectors; more where a row is so much work that its
#: weights, read anew for each piece, may come from beyond the second-level cache
_ROWS, _UNIT = 12, 16
_WIDE_ROW, _ROWS_IF_WIDE = 1 << 20, 516
#: and bytes of weights that surely do
_WIDE = 2 << 20


#: work up to which a call keeps the interpreter lock: what is not worth sharing out, some 20 to 40
#: microseconds; where there is one CPU, which nobody else could use meanwhile, some 400 (other threads wait
#: for their turn 5 milliseconds anyway), as the way without the lock takes up to ten microseconds
_BRIEF, _BRIEF_ALONE = 2 * _PAYS, 32 * _PAYS
_lock_held = ctypes.c_int64(_BRIEF)
_affinity = getattr(os, "sched_getaffinity", None)


def lock_held() -> ctypes.c_int64:
    """That work, as it is now; it may change."""
    cpus()
    return _lock_held


def cpus() -> int:
    """How many CPUs this process may run on."""
    count = len(_affinity(0)) if _affinity else os.cpu_count() or 1
    _lock_held.value = _BRIEF if count > 1 else _BRIEF_ALONE
    return count


def _checked(value: SupportsIndex, name: str) -> int:
    number = operator.index(value)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, not {number}")
    return number


def _from_environment() -> int | None:
    text = os.environ.get("FASTNET_NUM_THREADS", "").strip()
    if not text:
        return None
    try:
        return _checked(int(text), "FASTNET_NUM_THREADS")
    except ValueError:
        raise ValueError(f"FASTNET_NUM_THREADS must be a whole number from 1 up, not {text!r}") from None


_wanted = _from_environment()
_here = threading.local()  # what `limited` says for a Python thread


def set_num_threads(n: SupportsIndex) -> None:
    """Set how many threads a call may use, in the whole process.

    The bits of the results do not depend on it.

    Parameters
    ----------
    n : int
        At least 1; the calling thread counts as one.

    Raises
    ------
    ValueError
        If n is less than 1.
    TypeError
        If n is no integer.

    Examples
    --------
    >>> import fastnet
    >>> before = fastnet.get_num_threads()
    >>> fastnet.set_num_threads(1)
    >>> fastnet.get_num_threads()
    1
    >>> fastnet.set_num_threads(before)
    """
    global _wanted
    _wanted = _checked(n, "the number of threads")
    cpus()  # for the kernels, too: what they are to share out depends on how many there are by now


def get_num_threads() -> int:
    """How many threads a call may use.

    Returns
    -------
    int
        What a `limited` block says; else what `set_num_threads` was given; else the environment variable
        FASTNET_NUM_THREADS, as it was when fastnet was imported; else the number of CPUs that this process
        may run on.
    """
    limit: int | None = getattr(_here, "limit", None)
    if limit is not None:
        return limit
    if _wanted is not None:
        return _wanted
    return cpus()


@contextmanager
def limited(n: SupportsIndex | None) -> Iterator[None]:
    """Set how many threads a call from this Python thread may use, until the end of the block.

    For schedulers that run tasks on threads of their own: they share the CPUs out themselves.

    Parameters
    ----------
    n : int or None
        At least 1; None leaves it as it is.
    """
    before = getattr(_here, "limit", None)
    _here.limit = before if n is None else _checked(n, "the number of threads")
    try:
        yield
    finally:
        _here.limit = before


def piece_rows(rows: int, work: int, threads: int) -> int:
    """How many rows to hand out at a time; all of them if one thread will do."""
    threads = min(threads, work // _PAYS, rows)
    if threads < 2:
        return max(rows, 1)
    each = -(-rows // threads)
    least = _ROWS_IF_WIDE if work // rows > _WIDE_ROW else _ROWS
    for pieces in range(min(_PIECES, each // least, work // threads // _PAYS), 1, -1):
        piece = -(-each // pieces // _UNIT) * _UNIT
        if 10 * _busiest(rows, piece, threads) <= 11 * each:
            return piece
    return each


def _busiest(rows: int, piece: int, threads: int) -> int:
    """Rows of the thread that gets most, if all are equally fast; the last piece may be smaller."""
    rounds, others = divmod(-(-rows // piece) - 1, threads)
    return rounds * piece + (piece if others else rows - rounds * threads * piece)


def strip_threads(rows: int, work: int) -> int:
    """How many threads are to share out columns instead of rows: 1 if none.

    Where weights are large and rows few, each piece of rows would read all weights anew. Nearly all work of a
    row is a multiply-add for each weight.
    """
    if rows >= _ROWS_IF_WIDE // 2:
        return 1
    weight_bytes = work // rows
    if weight_bytes <= _WIDE:
        return 1
    pays = max(work // _PAYS, weight_bytes // _READING_PAYS)
    return min(pays, get_num_threads()) if pays > 1 else 1


@cache
def _crew() -> tuple[Callable[..., int], int]:
    """What shares, and its answer without memory. An import at each call would fail when Python ends."""
    from fastnet.kernels import crew, ranges

    return crew.share(), ranges.NO_MEMORY


def in_pieces(function: int, context: Any, rows: int, work: int) -> int:
    """Have function(context, first, stop) called for ranges that cover all rows, by threads where that pays.

    Parameters
    ----------
    function : int
        Address of a compiled function as in ``kernels/ranges.py``.
    context : ndarray of int64
        Its address is handed on.
    rows : int
        How many there are.
    work : int
        Multiply-adds for all rows, times the bytes of an element.

    Returns
    -------
    int
        0, or what a range was answered by instead; not all ranges may be done then.

    Raises
    ------
    MemoryError
        If that is NO_MEMORY.
    """
    threads = get_num_threads() if work >= 2 * _PAYS else 1  # asking the system takes a while, too
    return together(function, context, rows, piece_rows(rows, work, threads), threads)


def together(function: int, context: Any, rows: int, piece: int, threads: int) -> int:
    """The same, for pieces of so many rows, on up to so many threads, this one among them."""
    share, no_memory = _crew()
    wanted = min(threads, -(-rows // piece)) - 1
    answer: int = share(function, context, rows, piece, wanted, helpers(wanted))
    if answer == no_memory:
        raise MemoryError("no memory for intermediate results")
    return answer
