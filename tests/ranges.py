"""Functions of (context, first, stop), as ``kernels/crew.py`` calls them: called, and written, in Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 3)
NO_CONTEXT = np.empty(0, np.int64)


def call_range(function: int, context: np.ndarray[Any, Any], first: int, stop: int) -> int:
    """Call the compiled function at this address."""
    return _FUNCTION(function)(context.ctypes.data, first, stop)


def run_range(compiled: Any, table: np.ndarray[Any, Any], first: int, stop: int) -> None:
    """Rows of what the table describes, with the kernels brought that it lacks."""
    while answer := call_range(compiled.run, table, first, stop):
        compiled.supply(table, answer)


class Range:
    """A function of (first, stop) as a compiled one; what it returns is the answer, None is 0.

    Attributes
    ----------
    address : int
        Keep the object alive as long as it may be called.
    """

    def __init__(self, function: Callable[[int, int], int | None]) -> None:
        self._function = _FUNCTION(lambda context, first, stop: function(first, stop) or 0)
        address = ctypes.cast(self._function, ctypes.c_void_p).value
        assert address is not None
        self.address: int = address
