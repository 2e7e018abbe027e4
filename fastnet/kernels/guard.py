"""Who is still at work for a call, so that it is left only when nobody writes to its result any more.

An interrupt may come between any two steps of Python, and would end a wait that is made of them. This one is
a single call of compiled code, which nothing interrupts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import types

from fastnet.kernels.atomic import add_atomic, wait_until
from fastnet.kernels.cache import cached
from fastnet.kernels.headers import ObjectRef, address_of, data
from fastnet.kernels.jit import OPTIONS, njit, source_digest, with_cache_if_possible

#: two counts in a row: who has begun, and RETIRED more as soon as nobody may any more; who has ended
_ENDED, _RETIRED = 8, 1 << 32


def _make(digest: str, cache: bool) -> tuple[Any, ...]:
    @njit(nogil=False, **OPTIONS)
    def begin(counts_ref):
        digest  # noqa: B018
        return add_atomic(data(address_of(counts_ref)), 1) < _RETIRED

    @njit(nogil=False, **OPTIONS)
    def end(counts_ref):
        digest  # noqa: B018
        add_atomic(data(address_of(counts_ref)) + _ENDED, 1)

    @njit(nogil=True, **OPTIONS)
    def retire(counts_ref):
        digest  # noqa: B018
        counts = data(address_of(counts_ref))
        wait_until(counts + _ENDED, add_atomic(counts, _RETIRED) % _RETIRED)

    functions = begin, end, retire
    return tuple(map(cached, functions)) if cache else functions


#: the functions, and what Python calls of each
_kept: tuple[tuple[Any, ...], tuple[Any, ...]] = (), ()


def compiled() -> tuple[Any, ...]:
    """What Python calls, compiled or loaded by the first who asks."""
    global _kept

    def compile(cache: bool) -> tuple[Any, ...]:
        functions = _make(source_digest(), cache)
        for function in functions:
            function.compile((ObjectRef(types.int64),))
        return functions

    if not _kept[1]:
        functions = with_cache_if_possible(compile)
        _kept = functions, tuple(next(iter(f.overloads.values())).entry_point for f in functions)
    return _kept[1]


class Guard:
    """For one call.

    Attributes
    ----------
    begin : callable
        Says whether a helper may begin. Who was told so calls `end` in the end.
    end : callable
        See `begin`.
    retire : callable
        Ends when all who have begun have ended; nobody may begin any more. No interrupt comes into it.
    """

    __slots__ = ("begin", "end", "retire")

    def __init__(self) -> None:
        counts = np.zeros(2, np.int64)
        self.begin: Callable[[], bool]
        self.begin, self.end, self.retire = (partial(function, counts) for function in compiled())
