"""The compiled functions that Python calls.

``predict`` runs a whole network in one call, if the work is small; otherwise Python binds the arrays to
a table with ``bind`` and runs ranges of rows with ``run``, which releases the global interpreter lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numba import types

from fastnet.kernels.activations import activate
from fastnet.kernels.bind import BOUND, bind_layers, bind_out
from fastnet.kernels.headers import (
    BYTES_DATA,
    ObjectRef,
    address_of,
    array_empty,
    call_array_empty,
    count_reference,
    data,
    drop_reference,
    is_array,
    layout_is_known,
    length,
    list_item,
    list_length,
    no_memory,
    owned,
    same_items,
    zero_of,
)
from fastnet.kernels.jit import OPTIONS, compiling, njit, source_digest
from fastnet.kernels.layout import copy_block
from fastnet.kernels.network import compile_run_rows, run_allocated, run_rows, scratch_bytes
from fastnet.kernels.plan import plan
from fastnet.kernels.primitives import call, clear_vector, load_int64, size_of, stack_bytes, store_int64
from fastnet.kernels.row import compile_run_few, suits_rows
from fastnet.kernels.softmax import softmax_rows
from fastnet.kernels.steps import compile_steps
from fastnet.kernels.sweep import compile_sweep
from fastnet.kernels.table import (
    ARRAY_TYPE,
    CALL_BYTES,
    DENSE,
    DTYPE,
    FALSE,
    LAYER_BYTES,
    NONE,
    OUT,
    OUT_COL,
    OUT_ROW,
    P_ARRAY_EMPTY,
    P_RUN_FEW,
    PROGRAM,
    SEEN,
    SOFTMAX,
)
from fastnet.kernels.target import VECTOR_BYTES

#: in the order of their addresses in a program
_KERNELS = (compile_sweep, compile_steps, compile_run_rows, compile_run_few)
LOADED, COMPILED, UNCACHED = "loaded from the cache", "compiled", "compiled without a cache"
MAX_DEPTH = 32
_TABLE_BYTES = CALL_BYTES + MAX_DEPTH * LAYER_BYTES
_STACK_SCRATCH = 48 * 1024
#: multiply-adds up to which a call keeps the interpreter lock: some 20 microseconds
_LOCK_HELD = 1 << 21


def _make_entries(digest: str, cache: bool) -> tuple[Any, ...]:
    # A cached function is looked up by its own file and by what it closes over: with the digest of all
    # kernel sources among that, an edit in any of them leaves no stale code running.
    options = {**OPTIONS, "cache": cache}

    @njit(nogil=False, **options)
    def predict(x_ref, out_ref, layers_ref, recipe_ref):
        digest  # noqa: B018
        recipe, x, out = address_of(recipe_ref), address_of(x_ref), address_of(out_ref)
        none, dtype = list_item(recipe, NONE), list_item(recipe, DTYPE)
        table = stack_bytes(_TABLE_BYTES)
        zero = zero_of(x_ref)
        dense, program = list_item(recipe, DENSE), list_item(recipe, PROGRAM)
        depth = list_length(dense)
        fits = is_array(x, list_item(recipe, ARRAY_TYPE), dtype)
        if not fits or depth > MAX_DEPTH or not same_items(address_of(layers_ref), list_item(recipe, SEEN)):
            count_reference(none)
            return owned(x_ref, none)
        code, axes, batch, columns, work = bind_layers(zero, x, dense, program, depth, table)
        if code != BOUND or (out != none and not bind_out(out, x, axes, batch, columns, table)):
            count_reference(none)
            return owned(x_ref, none)
        if work > _LOCK_HELD:
            large = list_item(recipe, FALSE)
            count_reference(large)
            return owned(x_ref, large)
        if out == none:
            count_reference(dtype)
            function = load_int64(program + BYTES_DATA + P_ARRAY_EMPTY)
            out = call_array_empty(function, axes, batch if axes == 2 else columns, columns, dtype)
            if out == 0:  # no memory; the exception is set
                return owned(x_ref, out)
            store_int64(table + OUT, data(out))
            store_int64(table + OUT_ROW, columns * size_of(zero))
            store_int64(table + OUT_COL, size_of(zero))
        else:
            count_reference(out)
        if suits_rows(zero, table, batch):
            call(zero, load_int64(program + BYTES_DATA + P_RUN_FEW), (table, batch))
            return owned(x_ref, out)
        by_samples, block = plan(zero, table, batch)
        block = min(block, max(batch, 1))
        if scratch_bytes(zero, table, by_samples, block) <= _STACK_SCRATCH:
            run_rows(zero, table, 0, batch, by_samples, block, stack_bytes(_STACK_SCRATCH))
        elif not run_allocated(zero, table, 0, batch, by_samples, block):
            drop_reference(out)
            return owned(x_ref, no_memory())
        return owned(x_ref, out)

    @njit(nogil=False, **options)
    def bind(x_ref, out_ref, dense_ref, program_ref, table_ref):
        digest  # noqa: B018
        dense, x, table = address_of(dense_ref), address_of(x_ref), data(address_of(table_ref))
        code, axes, batch, columns, work = bind_layers(
            zero_of(x_ref), x, dense, address_of(program_ref), list_length(dense), table
        )
        if code != BOUND or not bind_out(address_of(out_ref), x, axes, batch, columns, table):
            return -1
        return work

    @njit(nogil=True, **options)
    def run(table_ref, first, stop):
        digest  # noqa: B018
        zero = zero_of(table_ref)
        table = data(address_of(table_ref))
        by_samples, block = plan(zero, table, stop - first)
        block = min(block, max(stop - first, 1))
        if not run_allocated(zero, table, first, stop, by_samples, block):
            raise MemoryError("no memory for intermediate results")

    @njit(nogil=True, **options)
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
    """Entry points for one element type. They check arrays, but not the types of other arguments.

    Each is compiled, or loaded from the cache, when it is first asked for.
    """

    dtype: np.dtype[Any]
    functions: tuple[Any, ...]  # predict, bind, run, alone
    kernels: tuple[Any, ...]  # called by address from those
    origin: str  # where the machine code came from: LOADED, COMPILED or UNCACHED

    @cached_property
    def predict(self) -> Any:
        """(x, out or None, list of layers, recipe) -> result; None if refused, False if large."""
        return self._point(0, (self._ref,) * 4)

    @cached_property
    def bind(self) -> Any:
        """(x, out, layers with params, program, int64 table) -> work in multiply-adds, -1 if refused."""
        return self._point(1, (self._ref,) * 5)

    @cached_property
    def run(self) -> Any:
        """(table, first row, row to stop before)."""
        return self._point(2, (self._ref, types.int64, types.int64))

    @cached_property
    def activate(self) -> Any:
        """(x, out, activation, width of a row), x and out contiguous and one-dimensional."""
        return self._point(3, (self._ref, self._ref, types.int64, types.int64))

    @property
    def _ref(self) -> ObjectRef:
        return ObjectRef(numba.from_dtype(self.dtype))

    def _point(self, which: int, signature: tuple[Any, ...]) -> Any:
        function = self.functions[which]
        try:
            function.compile(signature)
        except Exception as error:
            if which == 0 or self.origin == UNCACHED:  # the first one: `entries` tries without a cache
                raise
            _warn(error)
            function = _make_entries(source_digest(), False)[which]
            function.compile(signature)
        return function.overloads[signature].entry_point

    def prepare(self) -> None:
        """Compile or load what is not there yet."""
        for name in ("predict", "bind", "run", "activate"):
            getattr(self, name)

    max_depth = MAX_DEPTH

    def new_table(self) -> np.ndarray[Any, Any]:
        """For `bind` to fill. It holds addresses: whoever runs it keeps the arrays alive."""
        return np.empty(_TABLE_BYTES // 8, np.int64)

    def recipe(self, dense: list[Any], program: bytes, seen: list[Any]) -> list[Any]:
        """What `predict` needs for chains of layers with params, when the list of layers equals `seen`."""
        return [dense, program, seen, self.dtype, np.ndarray, None, False]

    def program(self, activations: Sequence[int]) -> bytes:
        """The addresses of the kernels, then the activation of each layer."""
        addresses = [*(k.address for k in self.kernels), array_empty()]
        return np.array(addresses, np.int64).tobytes() + bytes(activations)


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
            _warn(error)
            found = _compile(dtype, cache=False)
        _entries[dtype] = found
    return found


def _warn(error: Exception) -> None:
    text = f"fastnet compiles without a cache: {type(error).__name__}: {error}"
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _compile(dtype: np.dtype[Any], cache: bool) -> Entries:
    digest, element = source_digest(), numba.from_dtype(dtype)
    functions = _make_entries(digest, cache)
    with compiling():
        kernels = tuple(make(element, digest, cache) for make in _KERNELS)
    found = Entries(dtype, functions, kernels, UNCACHED)
    found.predict  # noqa: B018 - whatever is wrong with the cache comes up here
    hits = [sum(functions[0].stats.cache_hits.values()), *(k.cache_hits for k in kernels)]
    return replace(found, origin=LOADED if all(hits) else COMPILED) if cache else found
