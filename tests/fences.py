"""Memory between two pages that nobody may touch: whoever reads or writes beside it dies of SIGSEGV."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_NO_ACCESS = 0  # PROT_NONE of POSIX
PAGE = mmap.PAGESIZE


def _forbid(address: int) -> None:
    if _libc.mprotect(address, PAGE, _NO_ACCESS) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


class Fence:
    """At least so many bytes, whole pages of them, with a forbidden page on either side."""

    def __init__(self, capacity: int) -> None:
        pages = max(-(-capacity // PAGE), 1)
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self.first, self.end = self._address + PAGE, self._address + (pages + 1) * PAGE
        _forbid(self._address)
        _forbid(self.end)

    def place(
        self, shape: Sequence[int], strides: Sequence[int], dtype: np.dtype, at_end: bool
    ) -> np.ndarray:
        """An array whose last byte, or whose first, is the one next to a forbidden page."""
        reach = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
        low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach) + dtype.itemsize
        if 0 in shape:  # no element at all: its address may not be followed, either
            low = high = 0
        begin = self.end - high if at_end else self.first - low
        return np.ndarray(shape, dtype, self._memory, begin - self._address, strides)

    def block(self, count: int, at_end: bool = True) -> int:
        """Address of so many bytes, aligned to a cache line; at the end as near to the page as can be."""
        return (self.end - count) // 64 * 64 if at_end else self.first


def _c(n: int, m: int, size: int) -> tuple[int, int]:
    return max(m, 1) * size, size


#: strides of an array of n rows and m columns, itemsize given
STRIDES: dict[str, Callable[[int, int, int], tuple[int, int]]] = {
    "C": _c,
    "F": lambda n, m, size: (size, max(n, 1) * size),
    "padded": lambda n, m, size: ((m + 3) * size, size),
    "strided": lambda n, m, size: (2 * max(m, 1) * size + size, 2 * size),
    "reversed": lambda n, m, size: (-max(m, 1) * size, -size),
    "upside down": lambda n, m, size: (-max(m, 1) * size, size),
    "2 KB apart": lambda n, m, size: (-(-m * size // 2048) * 2048 or 2048, size),
    "one row": lambda n, m, size: (0, size),
}
