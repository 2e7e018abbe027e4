"""What a caller may pass by mistake or out of malice: arrays, things that pose as arrays, params and layers.

Each table has names and functions that make the thing out of a well-formed array, or out of W and b.
"""

from __future__ import annotations

import array
import ctypes
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tests.cases import LAYOUTS

# -- memory

FAR = 1 << 62


@cache
def _vast(dtype: str) -> np.ndarray:
    """A gigabyte of addresses, of which hardly a page is ever touched."""
    return np.zeros((1 << 30) // np.dtype(dtype).itemsize, dtype)


def _far_apart(a: np.ndarray) -> Any:
    """Rows hundreds of megabytes apart."""
    if a.ndim != 2 or len(a) < 2 or a.dtype.kind != "f":
        return a
    step = (_vast(a.dtype.name).nbytes // 2 - 4096) // (len(a) - 1) // a.itemsize * a.itemsize
    view = as_strided(_vast(a.dtype.name), a.shape, (step, a.itemsize))
    view[...] = a
    return view


def _single(a: np.ndarray, stride: int) -> np.ndarray:
    """One row, or one column, or none at all, whose stride is beyond any memory."""
    kept = a[:1] if a.ndim == 2 else a
    strides = [stride if n <= 1 else s for n, s in zip(kept.shape, kept.strides, strict=True)]
    return as_strided(kept, kept.shape, strides)


def _windows(a: np.ndarray) -> np.ndarray:
    """Rows that begin one element after another."""
    if a.ndim != 2:
        return a
    flat = np.resize(a, a.shape[0] + a.shape[1] + 1)
    return as_strided(flat, a.shape, (a.itemsize, a.itemsize))


MEMORY: dict[str, Callable[[np.ndarray], Any]] = {
    **LAYOUTS,
    "far apart": _far_apart,
    "a stride beyond memory": lambda a: _single(a, FAR),
    "a negative stride beyond memory": lambda a: _single(a, -FAR),
    "an odd stride": lambda a: _single(a, 3),
    "windows": _windows,
    "no strides": lambda a: np.broadcast_to(a.reshape(-1)[:1], a.shape) if a.size else a,
    "one row again and again": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim == 2 else a,
    "misaligned and transposed": lambda a: LAYOUTS["misaligned"](a.T).T,
    "swapped and reversed": lambda a: LAYOUTS["reversed"](LAYOUTS["byte-swapped"](a)),
}

# -- dtypes

_CODES = "?bhilqpBHILQPefdgFDG"
_STRANGE = ["S3", "U3", "V8", "V0", "O", "M8[s]", "m8[s]", "M8", [("a", "f8"), ("b", "f4")], ("f8", (2,))]
_TYPES = [
    *(np.dtype(code) for code in _CODES),
    *(np.dtype(code).newbyteorder("S") for code in _CODES),
    *map(np.dtype, _STRANGE),
    np.dtype("f8", metadata={"unit": "m"}),
    np.dtype("f4", metadata={"unit": "s"}),
    np.dtypes.StringDType(),
]


def _of(dtype: Any) -> Callable[[np.ndarray], Any]:
    def convert(a: np.ndarray) -> Any:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return a.astype(dtype)
            except (TypeError, ValueError):
                return np.zeros(a.shape, dtype)

    return convert


def _numbers_of(kind: Callable[[float], Any]) -> Callable[[np.ndarray], Any]:
    return lambda a: np.array([kind(v) for v in a.ravel().tolist()], object).reshape(a.shape)


DTYPES: dict[str, Callable[[np.ndarray], Any]] = {
    **{f"dtype {i} {dtype}": _of(dtype) for i, dtype in enumerate(_TYPES)},
    "decimals": _numbers_of(lambda v: Decimal(str(v))),
    "fractions": _numbers_of(lambda v: Fraction(str(v))),
    "huge integers": _numbers_of(lambda v: 10**400),
    "objects without arithmetic": _numbers_of(lambda v: object()),
}

# -- subclasses


class Tagged(np.ndarray):
    def __array_finalize__(self, obj: Any) -> None:
        self.tag = getattr(obj, "tag", "fresh")


class Unfinished(np.ndarray):
    """Refuses to be made from anything but a plain array."""

    def __array_finalize__(self, obj: Any) -> None:
        if type(obj) is Unfinished:
            raise RuntimeError("no views of me")


class NoUfuncs(np.ndarray):
    __array_ufunc__ = None


class Declining(np.ndarray):
    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        return NotImplemented


class Talking(np.ndarray):
    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        return "no numbers today"


class Failing(np.ndarray):
    def __array_ufunc__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no arithmetic with me")


class LyingShape(np.ndarray):
    shape = property(lambda self: (10**6, 10**6))  # type: ignore[assignment]


class LyingDtype(np.ndarray):
    dtype = property(lambda self: np.dtype(np.float32))  # type: ignore[assignment]


class LyingStrides(np.ndarray):
    strides = property(lambda self: (FAR,) * self.ndim)  # type: ignore[assignment]


class LyingFlags(np.ndarray):
    flags = property(lambda self: SimpleNamespace(writeable=True, c_contiguous=True))  # type: ignore


class LyingSize(np.ndarray):
    ndim = property(lambda self: 2)  # type: ignore[assignment]
    size = property(lambda self: 10**9)  # type: ignore[assignment]

    def __len__(self) -> int:
        return 10**6


class LyingViews(np.ndarray):
    """Gives other arrays for views and copies of itself."""

    def view(self, *args: Any, **kwargs: Any) -> Any:
        return np.zeros(1)

    reshape = astype = copy = view  # type: ignore[assignment]


class Shy(np.ndarray):
    """Has no attribute at all, it says."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("shape", "dtype", "strides", "flags", "ndim"):
            raise AttributeError(name)
        return super().__getattribute__(name)


def _chararray(a: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer NumPy warns of the class
        return np.zeros(a.shape, "S2").view(np.char.chararray)


def _matrix(a: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(a) if a.ndim <= 2 else a


LIARS = {
    cls.__name__: cls
    for cls in (LyingShape, LyingDtype, LyingStrides, LyingFlags, LyingSize, LyingViews, Shy)
}
SUBCLASSES: dict[str, Callable[[np.ndarray], Any]] = {
    "matrix": _matrix,
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) % 3 == 1),
    "recarray": lambda a: a.view(np.recarray),
    "chararray": _chararray,
    **{
        cls.__name__: lambda a, cls=cls: a.view(cls)
        for cls in (Tagged, Unfinished, NoUfuncs, Declining, Talking, Failing, *LIARS.values())
    },
}

# -- things that pose as arrays


class Posing:
    """Has an ``__array__`` that gives what it was told to give, or raises it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Fickle:
    """Another array at each look, of a shape of its own."""

    def __init__(self, a: np.ndarray) -> None:
        self.a, self.looks = a, 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.looks += 1
        return self.a if self.looks % 2 else np.zeros((self.looks, 3 * self.looks))


class ShortSequence:
    """Says that it has more than it gives."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a.tolist()

    def __len__(self) -> int:
        return len(self.a) + 3 if isinstance(self.a, list) else 3

    def __getitem__(self, i: int) -> Any:
        return self.a[i]


class Interface:
    def __init__(self, **fields: Any) -> None:
        self.__array_interface__ = fields


class Duck:
    """Shape and dtype, and nothing behind them."""

    dtype, ndim = np.dtype(float), 2

    def __init__(self, a: np.ndarray) -> None:
        self.shape = a.shape


class Struct:
    __array_struct__ = "not a capsule"


def _interface(a: np.ndarray, **changes: Any) -> Any:
    a = np.ascontiguousarray(a)
    fields = {"shape": a.shape, "typestr": a.dtype.str, "data": a.tobytes(), "version": 3}
    return Interface(**{**fields, **changes})


def _containing_itself(a: np.ndarray) -> list[Any]:
    items = a.tolist()
    items = items if isinstance(items, list) else [items]
    items.append(items)
    return items


def _ragged(a: np.ndarray) -> Any:
    items = a.tolist()
    return [*items, [1.0] * 99] if isinstance(items, list) else [items, []]


def _ctypes_array(a: np.ndarray) -> Any:
    flat = np.ravel(a).astype(float)
    return (ctypes.c_double * flat.size)(*flat)


POSERS: dict[str, Callable[[np.ndarray], Any]] = {
    "__array__": Posing,
    "__array__ of another shape": lambda a: Posing(np.ones((a.shape[0] + 1 if a.ndim else 1, 97))),
    "__array__ of text": lambda a: Posing(np.full(a.shape, "a")),
    "__array__ of no array": lambda a: Posing([[1.0]]),
    "__array__ of None": lambda a: Posing(None),
    "__array__ of itself": lambda a: (lambda p: setattr(p, "value", p) or p)(Posing(None)),
    "__array__ raises ValueError": lambda a: Posing(ValueError("not now")),
    "__array__ raises RuntimeError": lambda a: Posing(RuntimeError("not ever")),
    "__array__ raises MemoryError": lambda a: Posing(MemoryError("no room")),
    "fickle": Fickle,
    "interface": _interface,
    # NumPy believes a shape and strides that do not fit the data, and reads beyond it: no library can tell
    "interface with a negative shape": lambda a: _interface(a, shape=(-1, 3)),
    "interface with a wrong type": lambda a: _interface(a, typestr="<q7"),
    "interface without data": lambda a: _interface(a, data=None),
    "interface of nothing": lambda a: Interface(),
    "struct": lambda a: Struct(),
    "duck": Duck,
    "short sequence": ShortSequence,
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)) if a.dtype.kind in "iuf" else a,
    "bytearray": lambda a: bytearray(a.tobytes()),
    "array.array": lambda a: array.array("d", np.ravel(a).astype(float)) if a.dtype.kind in "iuf" else a,
    "ctypes array": lambda a: _ctypes_array(a) if a.dtype.kind in "iuf" else a,
    "lists": lambda a: a.tolist(),
    "tuples": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else a.tolist(),
    "list of rows": lambda a: list(a) if a.ndim else a,
    "ragged": _ragged,
    "containing itself": _containing_itself,
    "iterator": lambda a: iter(a) if a.ndim else a,
    "generator": lambda a: (v for v in a) if a.ndim else a,
    "deque": lambda a: deque(a.tolist()) if a.ndim else a,
    "dict": lambda a: {0: a},
    "set": lambda a: {1.0, 2.0},
    "range": lambda a: range(a.shape[-1] if a.ndim else 1),
    "None": lambda a: None,
    "Ellipsis": lambda a: ...,
    "NotImplemented": lambda a: NotImplemented,
    "text": lambda a: "W",
    "number": lambda a: 0.5,
    "nan": lambda a: float("nan"),
    "huge number": lambda a: 10**400,
    "complex": lambda a: 1j,
    "np.float32": lambda a: np.float32(0.5),
    "class": lambda a: np.ndarray,
    "function": lambda a: len,
    "module": lambda a: np,
}
#: answers that depend on how often somebody looks
CHANGING = {"fickle", "iterator", "generator"}

# -- shapes

SHAPES: dict[str, Callable[[np.ndarray], Any]] = {
    "0-d": lambda a: a.reshape(-1)[:1].reshape(()) if a.size else np.zeros((), a.dtype),
    "flat": lambda a: a.reshape(-1),
    "one more axis": lambda a: a[..., None],
    "an axis before": lambda a: a[None],
    "transposed": lambda a: a.T,
    "narrower": lambda a: a[..., 1:],
    "wider": lambda a: np.concatenate([a, a], axis=-1) if a.ndim else a,
    "empty": lambda a: a[:0] if a.ndim else a,
    "no columns": lambda a: a[..., :0] if a.ndim else a,
    "64 axes": lambda a: a.reshape((1,) * (64 - a.ndim) + a.shape),
    "billions of empty rows": lambda a: as_strided(a, (1 << 40, 0), (0, 0)),
    "more rows than memory": lambda a: (
        as_strided(a, (1 << 45, a.shape[-1]), (0, a.strides[-1])) if a.ndim and a.size else a
    ),
}

ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {**MEMORY, **DTYPES, **SUBCLASSES, **POSERS, **SHAPES}

# -- params: made of W and b


class LyingLength(list):
    def __len__(self) -> int:
        return 7


class LyingItems(list):
    """Gives one thing by number and another one in turn."""

    def __iter__(self) -> Iterator[Any]:
        return iter([np.zeros_like(list.__getitem__(self, 0)), np.zeros_like(list.__getitem__(self, 1))])


class FailingItems(list):
    def __getitem__(self, i: Any) -> Any:
        raise RuntimeError("no items today")


def _cycle(W: Any, b: Any) -> list[Any]:
    params = [W, b]
    params[0] = params
    return params


def _objects(W: Any, b: Any) -> Any:
    both = np.empty(2, object)
    both[0], both[1] = W, b
    return both


PARAMS: dict[str, Callable[[Any, Any], Any]] = {
    "list": lambda W, b: [W, b],
    "tuple": lambda W, b: (W, b),
    "None": lambda W, b: None,
    "empty": lambda W, b: [],
    "one": lambda W, b: [W],
    "three": lambda W, b: [W, b, b],
    "Nones": lambda W, b: [None, None],
    "swapped": lambda W, b: [b, W],
    "nested": lambda W, b: [[W], [b]],
    "dict": lambda W, b: {0: W, 1: b},
    "dict of names": lambda W, b: {"W": W, "b": b},
    "iterator": lambda W, b: iter([W, b]),
    "object array": _objects,
    "text": lambda W, b: "Wb",
    "bytes": lambda W, b: b"Wb",
    "number": lambda W, b: 2,
    "range": lambda W, b: range(2),
    "array": lambda W, b: np.ones((2, 3)),
    "set": lambda W, b: {1, 2},
    "containing itself": _cycle,
    "lying length": lambda W, b: LyingLength([W, b]),
    "lying items": lambda W, b: LyingItems([W, b]),
    "failing items": lambda W, b: FailingItems([W, b]),
    "many": lambda W, b: [W, b] * 10_000,
}

# -- layers that are none


class Returning:
    """A layer that gives back what it was told to, whatever comes in; or raises it."""

    lipschitz = 0.0

    def __init__(self, value: Any) -> None:
        self.value = value

    def forward(self, x: Any) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Same:
    lipschitz = 1.0

    def forward(self, x: Any) -> Any:
        return x


STRANGERS: dict[str, Callable[[], Any]] = {
    "object": object,
    "None": lambda: None,
    "number": lambda: 3,
    "text": lambda: "Affine",
    "class": lambda: Same,
    "lambda": lambda: SimpleNamespace(forward=lambda x: x, lipschitz=1.0),
    "no function": lambda: SimpleNamespace(forward=3),
    "too many arguments": lambda: SimpleNamespace(forward=lambda x, y: x),
    "same": Same,
    "gives None": lambda: Returning(None),
    "gives text": lambda: Returning("scores"),
    "gives a list": lambda: Returning([[1.0, 2.0, 3.0]]),
    "gives an array": lambda: Returning(np.ones((2, 3))),
    "raises": lambda: Returning(KeyError("weights")),
}
