"""The compiled functions that Python calls.

``predict`` runs a whole network in one call, if the work is small; otherwise Python binds the arrays to
a table with ``bind``, and threads run ranges of its rows, without the global interpreter lock.
"""

from __future__ import annotations

from typing import Any

from fastnet.kernels.activations import activate
from fastnet.kernels.bind import BOUND, bind_layers, bind_out, may_write
from fastnet.kernels.cache import cached
from fastnet.kernels.headers import (
    BYTES_DATA,
    address_of,
    call_array_empty,
    count_reference,
    data,
    drop_reference,
    is_array,
    length,
    list_item,
    list_length,
    no_memory,
    owned,
    same_items,
    zero_of,
)
from fastnet.kernels.jit import OPTIONS, njit
from fastnet.kernels.layout import copy_block
from fastnet.kernels.network import lacking, run_allocated, run_rows, scratch_bytes
from fastnet.kernels.plan import plan
from fastnet.kernels.primitives import (
    call,
    clear_vector,
    load_int64,
    size_of,
    stack_bytes,
    store_int64,
)
from fastnet.kernels.row import suits_rows
from fastnet.kernels.softmax import softmax_rows
from fastnet.kernels.table import (
    ARRAY_TYPE,
    CALL_BYTES,
    CHECKED,
    DENSE,
    DTYPE,
    FALSE,
    FEW,
    LACKS,
    LAYER_BYTES,
    NONE,
    NOTHING,
    OUT,
    OUT_COL,
    OUT_ROW,
    P_ARRAY_EMPTY,
    P_LOCK_HELD,
    P_RUN_FEW,
    PROGRAM,
    SEEN,
    SOFTMAX,
)
from fastnet.kernels.target import VECTOR_BYTES

MAX_DEPTH = 32
TABLE_BYTES = CALL_BYTES + MAX_DEPTH * LAYER_BYTES
_STACK_SCRATCH = 48 * 1024


def make_entries(digest: str, cache: bool) -> tuple[Any, ...]:
    # A cached function is looked up by its own file and by what it closes over: with the digest of all
    # kernel sources among that, an edit in any of them leaves no stale code running.
    @njit(nogil=False, **OPTIONS)
    def predict(x_ref, out_ref, layers_ref, recipe_ref):
        digest  # noqa: B018
        recipe, x, out = address_of(recipe_ref), address_of(x_ref), address_of(out_ref)
        none, dtype = list_item(recipe, NONE), list_item(recipe, DTYPE)
        table = stack_bytes(TABLE_BYTES)
        zero = zero_of(x_ref)
        dense, program = list_item(recipe, DENSE), list_item(recipe, PROGRAM)
        depth = list_length(dense)
        fits = is_array(x, list_item(recipe, ARRAY_TYPE), dtype)
        if not fits or depth > MAX_DEPTH or not same_items(address_of(layers_ref), list_item(recipe, SEEN)):
            count_reference(none)
            return owned(x_ref, none)
        code, axes, batch, columns, work = bind_layers(zero, x, dense, program, depth, table)
        size = size_of(zero)
        fits = code == BOUND
        if fits and out != none:
            fits = bind_out(out, x, axes, batch, columns, table) and (
                list_item(recipe, CHECKED) != none or may_write(out, x, dense, columns, size)
            )
        if not fits:
            count_reference(none)
            return owned(x_ref, none)
        most = load_int64(load_int64(program + BYTES_DATA + P_LOCK_HELD))
        if work * size > most and columns > 0:
            large = list_item(recipe, FALSE)
            count_reference(large)
            return owned(x_ref, large)
        if out == none:
            store_int64(table + OUT_ROW, columns * size)
            store_int64(table + OUT_COL, size)
        few, function, by_samples, block = suits_rows(zero, table, batch), 0, 0, 0
        if few:
            function = load_int64(program + BYTES_DATA + P_RUN_FEW)
            lacks = FEW if function == 0 else NOTHING
        else:
            by_samples, block = plan(zero, table, 0, batch)
            lacks = lacking(zero, table, by_samples)
        if lacks != NOTHING:
            name = list_item(recipe, LACKS + lacks)
            count_reference(name)
            return owned(x_ref, name)
        if out == none:
            count_reference(dtype)
            make = load_int64(program + BYTES_DATA + P_ARRAY_EMPTY)
            out = call_array_empty(make, axes, batch if axes == 2 else columns, columns, dtype)
            if out == 0:  # no memory; the exception is set
                return owned(x_ref, out)
            store_int64(table + OUT, data(out))
        else:
            count_reference(out)
        if columns == 0:  # of any number of rows, which need no memory then
            return owned(x_ref, out)
        if few:
            call(zero, function, (table, batch))
            return owned(x_ref, out)
        block = min(block, max(batch, 1))
        if scratch_bytes(zero, table, by_samples, block) <= _STACK_SCRATCH:
            run_rows(zero, table, 0, batch, by_samples, block, stack_bytes(_STACK_SCRATCH))
        elif not run_allocated(zero, table, 0, batch, by_samples, block):
            drop_reference(out)
            return owned(x_ref, no_memory())
        return owned(x_ref, out)

    @njit(nogil=False, **OPTIONS)
    def bind(x_ref, out_ref, dense_ref, program_ref, table_ref):
        digest  # noqa: B018
        dense, x, table = address_of(dense_ref), address_of(x_ref), data(address_of(table_ref))
        code, axes, batch, columns, work = bind_layers(
            zero_of(x_ref), x, dense, address_of(program_ref), list_length(dense), table
        )
        if code != BOUND or not bind_out(address_of(out_ref), x, axes, batch, columns, table):
            return -1
        return work

    @njit(nogil=True, **OPTIONS)
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
        activate(zero, activation, x, out, 1, 0, vecs)
        done = vecs * VECTOR_BYTES
        rest = count - done // size
        if rest > 0:
            room = stack_bytes(VECTOR_BYTES)
            clear_vector(zero, room)
            copy_block(zero, x + done, 0, size, 1, rest, room, 0, size)
            activate(zero, activation, room, room, 1, 0, 1)
            copy_block(zero, room, 0, size, 1, rest, out + done, 0, size)

    functions = predict, bind, alone
    return tuple(map(cached, functions)) if cache else functions
