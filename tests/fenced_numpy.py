"""Whatever array NumPy makes lies against a forbidden page: results, copies, gradients, state."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from typing import Any, Self

import numpy as np

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


class FencedNumpy:
    """In a ``with`` block, the memory of new arrays ends where a page begins that nobody may touch.

    Or it begins where one ends, if `at_end` is false. It is full of NaN at first, unless zeros are asked for.
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
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # arrays may outlive whatever else refers to this

    @property
    def held(self) -> int:
        """Arrays that are still there."""
        return len(self._used)

    def __enter__(self) -> Self:
        self._before = _set_handler(self._capsule)
        return self

    def __exit__(self, *error: object) -> None:
        _set_handler(self._before)

    def _malloc(self, context: Any, size: int, fill: int = 0xFF) -> int:
        pages = max(-(-size // PAGE), 1)
        fence = self._idle[pages].pop() if self._idle[pages] else Fence(size)
        address = fence.end - size if self.at_end else fence.first
        self._used[address] = fence
        self.given += 1
        ctypes.memset(address, fill, size)
        return address

    def _calloc(self, context: Any, count: int, size: int) -> int:
        return self._malloc(context, count * size, 0)

    def _realloc(self, context: Any, address: int, size: int) -> int:
        raise NotImplementedError("arrays that grow")

    def _free(self, context: Any, address: int, size: int) -> None:
        fence = self._used.pop(address)
        self._idle[(fence.end - fence.first) // PAGE].append(fence)
