"""``predict`` for code that calls C functions: one row, with a block of integers as the user's data.

Such functions cannot raise. What may go wrong is checked by whoever makes the block; a wrong number of
values is answered with NaN, or with the code for failure.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel, source_digest, with_cache_if_possible
from fastnet.kernels.lock import undisturbed
from fastnet.kernels.primitives import call, itemsize, load_int64, size_of, stack_bytes, store_int64
from fastnet.kernels.program import kernel_addresses
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    DEPTH,
    FAN_IN,
    FAN_OUT,
    KERNEL_BYTES,
    LAYER_BYTES,
    OUT,
    OUT_COL,
    SWEEP,
    W_COL,
    W_ROW,
    X_COL,
    W,
    X,
)
from fastnet.kernels.vector import I64

#: a block: addresses of kernels, what to return, the width of x, the length of the table; then the table
RUN, RUN_LARGE, OUTPUT, WIDTH, WORDS, TABLE = range(0, 48, 8)
MAX_DEPTH = 64
_TABLE_BYTES = CALL_BYTES + MAX_DEPTH * LAYER_BYTES
#: bytes on the stack for a row of x in another dtype, and for a row of results
ROOM = 4096


def make_block(weights: Any, activations: tuple[int, ...], output: int) -> np.ndarray[Any, Any]:
    """The user's data for arrays that have been checked. It holds addresses: keep the arrays alive."""
    dtype = weights[0][0].dtype
    run, large, *addresses = kernel_addresses(dtype)
    table = np.zeros((CALL_BYTES + len(weights) * LAYER_BYTES) // 8, np.int64)
    table[[f // 8 for f in (DEPTH, X_COL, OUT_COL)]] = len(weights), dtype.itemsize, dtype.itemsize
    table[SWEEP // 8 : (SWEEP + KERNEL_BYTES) // 8] = addresses
    fields = [f // 8 for f in (W, W_ROW, W_COL, BIAS, FAN_IN, FAN_OUT, ACTIVATION)]
    for i, ((weight, bias), activation) in enumerate(zip(weights, activations, strict=True)):
        fan_in, fan_out = weight.shape
        column = weight.strides[1] if fan_out > 1 else dtype.itemsize
        layer = table[(CALL_BYTES + i * LAYER_BYTES) // 8 :]
        layer[fields] = (
            weight.ctypes.data, weight.strides[0], column, bias.ctypes.data, fan_in, fan_out, activation,
        )  # fmt: skip
    head = (run, large, output, weights[0][0].shape[0], len(table))
    return np.concatenate([np.array(head, np.int64), table])


_compiled: dict[Any, tuple[Any, Any, Any]] = {}


def callbacks(dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    """(integrand, filter, row) for float32 or float64, compiled or loaded from the cache."""

    def find() -> tuple[Any, Any, Any]:
        if dtype not in _compiled:
            digest = source_digest()
            _compiled[dtype] = with_cache_if_possible(
                lambda cache: _compile_callbacks(dtype.type, digest, cache)
            )
        return _compiled[dtype]

    return undisturbed(find)


@intrinsic
def _address(typingctx: Any, pointer: Any) -> Any:
    return types.int64(pointer), lambda context, b, sig, args: b.ptrtoint(args[0], I64)


@intrinsic
def _load(typingctx: Any, zero: Any, address: Any) -> Any:
    size = itemsize(zero)
    return zero(zero, address), lambda context, b, sig, args: vector.load(
        b, args[1], vector.scalar_type(size)
    )


@intrinsic
def _store(typingctx: Any, value: Any, address: Any) -> Any:
    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, args[0], args[1])
        return context.get_dummy_value()

    return types.void(value, address), codegen


@kernel
def _evaluate(zero, block, x, out):
    """One row; not 0 if it could not be done."""
    table = stack_bytes(_TABLE_BYTES)  # a copy: other threads have theirs
    for at in range(0, 8 * load_int64(block + WORDS), 8):
        store_int64(table + at, load_int64(block + TABLE + at))
    store_int64(table + X, x)
    store_int64(table + OUT, out)
    return call(zero, load_int64(block + RUN), (table, 1, load_int64(block + RUN_LARGE)))


@kernel
def _one_output(zero, block, n, x):
    """(done?, one of the results) for a row of float64."""
    double, size = np.float64(0), size_of(zero)
    if n != load_int64(block + WIDTH):
        return False, np.float64(np.nan)
    if size != 8:
        row = stack_bytes(ROOM)
        for i in range(n):
            _store(type(zero)(_load(double, x + 8 * i)), row + size * i)
        x = row
    out = stack_bytes(ROOM)
    if _evaluate(zero, block, x, out) != 0:
        return False, np.float64(np.nan)
    return True, np.float64(_load(zero, out + size * load_int64(block + OUTPUT)))


def _compile_callbacks(kind: Any, digest: str, cache: bool) -> tuple[Any, Any, Any]:
    doubles = types.CPointer(types.float64)
    elements = types.CPointer(numba.from_dtype(np.dtype(kind)))

    @c_function(types.float64(types.intc, doubles, types.voidptr), cache)
    def integrand(n, x, data):
        digest  # noqa: B018
        return _one_output(kind(0), _address(data), n, _address(x))[1]

    @c_function(types.intc(doubles, types.intp, doubles, types.voidptr), cache)
    def filter(x, n, out, data):
        digest  # noqa: B018
        done, value = _one_output(kind(0), _address(data), n, _address(x))
        out[0] = value
        return 1 if done else 0

    @c_function(types.intc(elements, elements, types.voidptr), cache)
    def row(x, out, data):
        digest  # noqa: B018
        return 0 if _evaluate(kind(0), _address(data), _address(x), _address(out)) == 0 else 1

    return integrand, filter, row
