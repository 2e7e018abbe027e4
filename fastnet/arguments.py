"""What a user passes in, checked and brought into the form that the kernels take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
#: any float32 or float64 dtype object -> the one that the kernels compare with
KERNEL_DTYPES: dict[Any, np.dtype[Any]] = {FLOAT32: FLOAT32, FLOAT64: FLOAT64}

#: classes that behave as plain arrays do; others go through the reference, which keeps their class
_PLAIN_ARRAYS = (np.ndarray, np.memmap)
_NUMBERS = "biufc"
_CACHE_LINE = 64
_PLAIN = (*_PLAIN_ARRAYS, list, tuple, bool, int, float, complex)


class Holder:
    """Something with ``params``. They lie at a fixed place in the object, where compiled code finds them."""

    __slots__ = ("params",)

    def __init__(self, params: list[Any]) -> None:
        self.params = params


class Prepared(NamedTuple):
    """Arrays of one dtype, ready for the kernels."""

    x: np.ndarray[Any, Any]  # (rows, fan_in)
    layers: list[Holder]  # params [W, b] of each: (fan_in, fan_out) and contiguous (fan_out,)
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # of the result


def plain_array(value: Any) -> np.ndarray[Any, Any] | None:
    """The value as an array, or None if it is of a class that may have ideas of its own."""
    if type(value) in _PLAIN_ARRAYS:
        return value if value.dtype.kind in _NUMBERS else None
    if type(value) in _PLAIN or isinstance(value, np.generic):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, OverflowError):
            return None
        return array if array.dtype.kind in _NUMBERS else None
    return None


def aligned_copy(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """A copy of that dtype, row by row in memory from the start of a cache line on.

    NumPy's own begins anywhere, often 16 bytes behind one: each vector of weights would lie in two lines.
    """
    memory = np.empty(array.size * dtype.itemsize + _CACHE_LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % _CACHE_LINE
    copy = memory[start : len(memory) - _CACHE_LINE + start].view(dtype).reshape(array.shape)
    copy[...] = array
    return copy


def as_kernel_array(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The array as a plain ndarray of the dtype object the kernels compare with; a copy if need be."""
    if array.dtype != dtype:
        return np.asarray(array.astype(dtype))
    if type(array) is np.ndarray and array.dtype is dtype:
        return array
    return array.view(np.ndarray).view(dtype)


def prepare(pairs: Sequence[Any], x: Any) -> Prepared | None:
    """Arrays for a chain of affine layers, or None where the kernels do not do what the reference does."""
    first = plain_array(x)
    if first is None or first.ndim == 0:
        return None
    found: np.dtype[Any] | None = None
    incoming, width, lifted = first.dtype, first.shape[-1], False
    layers = []
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:  # others have items of their own making
            return None
        W, b = plain_array(pair[0]), plain_array(pair[1])
        if W is None or b is None or W.ndim != 2 or W.shape[0] != width:
            return None
        width = W.shape[1]
        if b.shape not in ((), (1,), (width,), (1, 1), (1, width)):
            return None
        product = np.result_type(incoming, W.dtype)
        bias = pair[1] if type(pair[1]) in (bool, int, float) else b.dtype
        dtype = KERNEL_DTYPES.get(product.newbyteorder("="))
        if dtype is None or np.result_type(product, bias) != dtype or found not in (None, dtype):
            return None
        found, incoming = dtype, dtype
        lifted = lifted or (b.ndim == 2 and first.ndim == 1)
        row = np.ascontiguousarray(np.broadcast_to(as_kernel_array(b, dtype).reshape(-1), (width,)))
        layers.append(Holder([as_kernel_array(W, dtype), row]))
    if found is None:
        return None
    lead = (1,) if lifted else first.shape[:-1]
    flat = as_kernel_array(first, found).reshape(int(np.prod(first.shape[:-1])), first.shape[-1])
    return Prepared(flat, layers, found, (*lead, width))


def check_out(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Iterable[Any]
) -> np.ndarray[Any, Any]:
    """Raise unless a result of this shape and dtype can be written to `out` while the inputs are read.

    Returns `out` as a plain array of the same memory: what a subclass says of itself need not be so.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray of shape {shape} and {dtype}, not {type(out).__name__}")
    plain = _plain_view(out)
    if plain.dtype != dtype:
        raise TypeError(f"out has dtype {plain.dtype}, but the result has dtype {dtype}")
    if plain.shape != shape:
        raise ValueError(f"out has shape {plain.shape}, but the result has shape {shape}")
    if not plain.flags.writeable:
        raise ValueError(f"out of shape {plain.shape} is read-only")
    if overlaps_itself(plain):
        raise ValueError(f"elements of out overlap: shape {plain.shape}, strides {plain.strides}")
    check_apart(plain, inputs)
    return plain


def check_apart(out: np.ndarray[Any, Any], inputs: Iterable[Any]) -> None:
    """Raise if `out` shares memory with an input."""
    out = _plain_view(out)
    for array in inputs:
        if isinstance(array, np.ndarray) and _overlap(out, _plain_view(array)):
            shapes = f"out of shape {out.shape} overlaps an input of shape {_plain_view(array).shape}"
            raise ValueError(shapes)


def _plain_view(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    plain: np.ndarray[Any, Any] = np.ndarray.view(array, np.ndarray)
    return plain


def _overlap(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    try:
        return bool(np.shares_memory(a, b, max_work=100_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(array: np.ndarray[Any, Any]) -> bool:
    """Whether two elements may share bytes: false where each stride clears all that lies within it."""
    extent = array.itemsize
    axes = sorted((abs(stride), n) for stride, n in zip(array.strides, array.shape, strict=True) if n > 1)
    for stride, n in axes:
        if stride < extent:
            return array.size > 0
        extent += stride * (n - 1)
    return False
