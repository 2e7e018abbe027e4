"""The compiled functions that Python calls.

``predict`` runs a whole network in one call, if the work is small; otherwise Python binds the arrays to
a table with ``bind`` and runs ranges of rows with ``run``, which releases the global interpreter lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba import types

from fastnet.kernels.activations import activate
from fastnet.kernels.headers import (
    BYTES_DATA,
    ObjectRef,
    address_of,
    data,
    layout_is_known,
    length,
    list_item,
    list_length,
    ndim,
    params_of,
    same_items,
    same_kind,
    stride,
    zero_of,
)
from fastnet.kernels.jit import OPTIONS, kernel, source_digest
from fastnet.kernels.layout import copy_block
from fastnet.kernels.network import compile_run_rows, run_allocated, run_rows, scratch_bytes
from fastnet.kernels.plan import plan
from fastnet.kernels.primitives import clear_vector, load_byte, load_int64, size_of, stack_bytes, store_int64
from fastnet.kernels.softmax import softmax_rows
from fastnet.kernels.sweep import compile_sweep
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    DEPTH,
    FAN_IN,
    FAN_OUT,
    LAYER_BYTES,
    OUT,
    OUT_COL,
    OUT_ROW,
    PROGRAM_HEAD,
    RUN_ROWS,
    SOFTMAX,
    SWEEP,
    W_COL,
    W_ROW,
    X_COL,
    X_ROW,
    W,
    X,
)
from fastnet.kernels.target import VECTOR_BYTES

#: what `predict` and `bind` answer
DONE, LARGE, REFUSED = 0, 1, 2
LOADED, COMPILED, UNCACHED = "loaded from the cache", "compiled", "compiled without a cache"
MAX_DEPTH = 32
_TABLE_BYTES = CALL_BYTES + MAX_DEPTH * LAYER_BYTES
_STACK_SCRATCH = 12 * 1024
#: multiply-adds up to which a call keeps the interpreter lock: some 20 microseconds
_LOCK_HELD = 1 << 19


@kernel
def _bind(zero, x, out, dense, program, depth, table):
    """Check every array, and write what the kernels need of them into the table."""
    if ndim(x) == 2 and ndim(out) == 2:
        batch, axis = length(x, 0), 1
        store_int64(table + X_ROW, stride(x, 0))
        store_int64(table + OUT_ROW, stride(out, 0))
    elif ndim(x) == 1 and ndim(out) == 1:
        batch, axis = 1, 0
        store_int64(table + X_ROW, 0)
        store_int64(table + OUT_ROW, 0)
    else:
        return REFUSED, 0
    if not same_kind(out, x) or (axis == 1 and length(out, 0) != batch):
        return REFUSED, 0
    store_int64(table + X, data(x))
    store_int64(table + X_COL, stride(x, axis))
    store_int64(table + OUT, data(out))
    store_int64(table + OUT_COL, stride(out, axis))
    store_int64(table + SWEEP, load_int64(program + BYTES_DATA))
    store_int64(table + RUN_ROWS, load_int64(program + BYTES_DATA + 8))
    store_int64(table + DEPTH, depth)
    fan_in = length(x, axis)
    work = 16 * (fan_in + length(out, axis))
    for i in range(depth):
        layer = table + CALL_BYTES + i * LAYER_BYTES
        pair = params_of(list_item(dense, i), dense)
        if pair == 0 or list_length(pair) != 2:
            return REFUSED, 0
        w, b = list_item(pair, 0), list_item(pair, 1)
        if not same_kind(w, x) or not same_kind(b, x) or ndim(w) != 2 or ndim(b) != 1:
            return REFUSED, 0
        fan_out = length(w, 1)
        if length(w, 0) != fan_in or length(b, 0) != fan_out:
            return REFUSED, 0
        if fan_out > 1 and stride(b, 0) != size_of(zero):
            return REFUSED, 0
        store_int64(layer + W, data(w))
        store_int64(layer + W_ROW, stride(w, 0))
        store_int64(layer + W_COL, stride(w, 1) if fan_out > 1 else size_of(zero))
        store_int64(layer + BIAS, data(b))
        store_int64(layer + FAN_IN, fan_in)
        store_int64(layer + FAN_OUT, fan_out)
        store_int64(layer + ACTIVATION, load_byte(program + BYTES_DATA + PROGRAM_HEAD + i))
        work += fan_in * fan_out + 16 * fan_out
        fan_in = fan_out
    if length(out, axis) != fan_in:
        return REFUSED, 0
    return DONE, work * batch


def _make_entries(digest: str, cache: bool) -> tuple[Any, ...]:
    # A cached function is looked up by its own file and by what it closes over: with the digest of all
    # kernel sources among that, an edit in any of them leaves no stale code running.
    options = {**OPTIONS, "cache": cache}

    @numba.njit(nogil=False, **options)
    def predict(x_ref, out_ref, dense_ref, program_ref, layers_ref, seen_ref):
        digest  # noqa: B018
        if not same_items(address_of(layers_ref), address_of(seen_ref)):
            return REFUSED
        zero = zero_of(x_ref)
        x, out = address_of(x_ref), address_of(out_ref)
        dense, program = address_of(dense_ref), address_of(program_ref)
        depth = list_length(dense)
        if depth > MAX_DEPTH:
            return REFUSED
        table = stack_bytes(_TABLE_BYTES)
        code, work = _bind(zero, x, out, dense, program, depth, table)
        if code != DONE:
            return code
        if work > _LOCK_HELD:
            return LARGE
        batch = length(x, 0) if ndim(x) == 2 else 1
        by_samples, block = plan(zero, table, batch)
        block = min(block, max(batch, 1))
        if scratch_bytes(zero, table, by_samples, block) <= _STACK_SCRATCH:
            run_rows(zero, table, 0, batch, by_samples, block, stack_bytes(_STACK_SCRATCH))
        else:
            run_allocated(zero, table, 0, batch, by_samples, block)
        return DONE

    @numba.njit(nogil=False, **options)
    def bind(x_ref, out_ref, dense_ref, program_ref, table_ref):
        digest  # noqa: B018
        dense = address_of(dense_ref)
        code, work = _bind(
            zero_of(x_ref),
            address_of(x_ref),
            address_of(out_ref),
            dense,
            address_of(program_ref),
            list_length(dense),
            data(address_of(table_ref)),
        )
        return work if code == DONE else -1

    @numba.njit(nogil=True, **options)
    def run(table_ref, first, stop):
        digest  # noqa: B018
        zero = zero_of(table_ref)
        table = data(address_of(table_ref))
        by_samples, block = plan(zero, table, stop - first)
        block = min(block, max(stop - first, 1))
        run_allocated(zero, table, first, stop, by_samples, block)

    @numba.njit(nogil=True, **options)
    def alone(x_ref, out_ref, activation, width):
        digest  # noqa: B018
        zero = zero_of(x_ref)
        size = size_of(zero)
        x, out = data(address_of(x_ref)), data(address_of(out_ref))
        count = length(address_of(x_ref), 0)
        if activation == SOFTMAX:
            if width > 0:
                softmax_rows(zero, x, width * size, out, width * size, count // width, width)
            return
        vecs = count * size // VECTOR_BYTES
        activate(zero, activation, x, out, vecs)
        done = vecs * VECTOR_BYTES
        rest = count - done // size
        if rest > 0:
            room = stack_bytes(VECTOR_BYTES)
            clear_vector(zero, room)
            copy_block(zero, x + done, 0, size, 1, rest, room, 0, size)
            activate(zero, activation, room, room, 1)
            copy_block(zero, room, 0, size, 1, rest, out + done, 0, size)

    return predict, bind, run, alone


@dataclass(frozen=True)
class Entries:
    """Compiled entry points for one element type. They check arrays, but not the types of other arguments."""

    predict: Any  # (x, out, layers with params, program, list of layers, the same as last seen) -> code
    bind: Any  # (x, out, layers with params, program, int64 table) -> work in multiply-adds, -1 if refused
    run: Any  # (table, first row, row to stop before)
    activate: Any  # (x, out, activation, width of a row), x and out contiguous and one-dimensional
    kernels: tuple[Any, ...]  # called by address from those
    origin: str  # where the machine code came from: LOADED, COMPILED or UNCACHED

    max_depth = MAX_DEPTH

    def new_table(self) -> np.ndarray[Any, Any]:
        """For `bind` to fill. It holds addresses: whoever runs it keeps the arrays alive."""
        return np.empty(_TABLE_BYTES // 8, np.int64)

    def program(self, activations: Sequence[int]) -> bytes:
        """The addresses of the kernels, then the activation of each layer."""
        return np.array([k.address for k in self.kernels], np.int64).tobytes() + bytes(activations)


_entries: dict[Any, Entries] = {}


def entries(dtype: np.dtype[Any]) -> Entries:
    """Compile, or load from the cache, the entry points for float32 or float64."""
    found = _entries.get(dtype)
    if found is None:
        if not layout_is_known():
            raise NotImplementedError("this Python or NumPy lays out arrays in a way fastnet does not know")
        try:
            found = _compile(dtype, cache=True)
        except Exception as error:  # no place for a cache, or an unreadable one; a real defect comes up again
            text = f"fastnet compiles without a cache: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            found = _compile(dtype, cache=False)
        _entries[dtype] = found
    return found


def _compile(dtype: np.dtype[Any], cache: bool) -> Entries:
    ref = ObjectRef(numba.from_dtype(dtype))
    digest = source_digest()
    signatures = (
        (ref,) * 6,
        (ref,) * 5,
        (ref, types.int64, types.int64),
        (ref, ref, types.int64, types.int64),
    )
    functions = _make_entries(digest, cache)
    points = []
    for function, signature in zip(functions, signatures, strict=True):
        function.compile(signature)
        points.append(function.overloads[signature].entry_point)
    kernels = tuple(make(ref.element, digest, cache) for make in (compile_sweep, compile_run_rows))
    hits = [sum(f.stats.cache_hits.values()) for f in functions] + [k.cache_hits for k in kernels]
    origin = UNCACHED if not cache else LOADED if all(hits) else COMPILED
    predict, bind, run, activate_alone = points
    return Entries(predict, bind, run, activate_alone, kernels, origin)
