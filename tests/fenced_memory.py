"""Memory between forbidden pages for whatever asks: every array that NumPy makes, the kernels' heap."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from llvmlite import binding

from tests.fences import PAGE, Fence

_SIZE = ctypes.c_size_t
_ADDRESS = ctypes.c_void_p
_KINDS = {
    "malloc": ctypes.CFUNCTYPE(_ADDRESS, _ADDRESS, _SIZE),
    "calloc": ctypes.CFUNCTYPE(_ADDRESS, _ADDRESS, _SIZE, _SIZE),
    "realloc": ctypes.CFUNCTYPE(_ADDRESS, _ADDRESS, _ADDRESS, _SIZE),
    "free": ctypes.CFUNCTYPE(None, _ADDRESS, _ADDRESS, _SIZE),
}
_SET_HANDLER = 304  # PyDataMem_SetHandler in NumPy's table of functions
_HEAP_ALIGNMENT = 16  # what malloc promises
_KEPT = 1024  # pages of a piece that is kept for the next who asks for as many


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of NumPy."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", _ADDRESS),
        *_KINDS.items(),
    )


def _set_handler(capsule: Any) -> Any:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = _ADDRESS, (ctypes.py_object, ctypes.c_char_p)
    table = ctypes.cast(pointer(np._core._multiarray_umath._ARRAY_API, None), ctypes.POINTER(_ADDRESS))
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET_HANDLER])(capsule)


class FencedMemory:
    """Memory that ends where a page begins that nobody may touch, or begins where one ends.

    It is full of NaN at first, unless zeros are asked for.

    Attributes
    ----------
    at_end : bool
        Whether it ends there.
    given : int
        How often there was some.
    """

    def __init__(self) -> None:
        self.at_end = True
        self.given = 0
        self._idle: dict[int, list[Fence]] = defaultdict(list)  # by numbers of pages
        self._used: dict[int, Fence] = {}
        functions = [kind(getattr(self, f"_{name}")) for name, kind in _KINDS.items()]
        self._handler = _Handler(b"fenced", 1, None, *functions)
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, (_ADDRESS, ctypes.c_char_p, _ADDRESS)
        self._capsule = make(ctypes.addressof(self._handler), b"mem_handler", None)
        self._heap = (
            ctypes.CFUNCTYPE(_ADDRESS, _SIZE)(lambda size: self._take(size, _HEAP_ALIGNMENT)),
            ctypes.CFUNCTYPE(None, _ADDRESS)(self._give_back),
        )
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # arrays may outlive whatever else refers to this

    @property
    def held(self) -> int:
        """Pieces that nobody has given back."""
        return len(self._used)

    @contextmanager
    def arrays(self) -> Iterator[None]:
        """In a ``with`` block, all new arrays of NumPy are on this memory, to the byte."""
        before = _set_handler(self._capsule)
        try:
            yield
        finally:
            _set_handler(before)

    def serve_kernels(self) -> None:
        """Compiled code takes it in place of the heap, from now on; to be called before they are loaded."""
        numba.njit(numba.int64())(lambda: 0)  # Numba names its own functions before the first
        for name, function in zip(("NRT_Allocate", "NRT_Free"), self._heap, strict=True):
            binding.add_symbol(name, ctypes.cast(function, _ADDRESS).value)

    def _take(self, size: int, alignment: int = 1, fill: int = 0xFF) -> int:
        pages = max(-(-size // PAGE), 1)
        fence = self._idle[pages].pop() if self._idle[pages] else Fence(size)
        address = (fence.end - size) // alignment * alignment if self.at_end else fence.first
        self._used[address] = fence
        self.given += 1
        ctypes.memset(address, fill, size)
        return address

    def _give_back(self, address: int) -> None:
        fence = self._used.pop(address)
        pages = (fence.end - fence.first) // PAGE
        if pages <= _KEPT:
            self._idle[pages].append(fence)

    def _malloc(self, context: Any, size: int) -> int:
        return self._take(size)

    def _calloc(self, context: Any, count: int, size: int) -> int:
        return self._take(count * size, fill=0)

    def _realloc(self, context: Any, address: int, size: int) -> int:
        raise NotImplementedError("arrays that grow")

    def _free(self, context: Any, address: int, size: int) -> None:
        self._give_back(address)
