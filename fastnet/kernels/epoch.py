"""Batches of an epoch, one after the other without a way back to Python; or part by part, for threads."""

from __future__ import annotations

from typing import Any

from fastnet.kernels.batch import (
    E_DEPTH,
    E_LAYER_BYTES,
    E_LAYERS,
    E_SCRATCH,
    E_ZEROS,
    batch_loss,
    batch_rows,
    forward_rows,
    input_rows,
    lay_out,
    part_scratch,
    update_params,
    weight_rows,
)
from fastnet.kernels.cache import c_function
from fastnet.kernels.gradients import set_zeros
from fastnet.kernels.headers import address_of, data, zero_of
from fastnet.kernels.jit import OPTIONS, kernel, njit
from fastnet.kernels.primitives import allocate, free, load_int64
from fastnet.kernels.ranges import NO_MEMORY, SIGNATURE
from fastnet.kernels.table import FAN_IN
from fastnet.kernels.target import CACHE_LINE

#: parts of a step, by number, and the way to make buffers ready
FORWARD, LOSS, WEIGHTS, INPUTS, UPDATE, LAY_OUT = range(6)
#: context of a part: the table, which part, the number of the batch, and of the layer
TABLE, PART, NUMBER, LAYER = range(0, 32, 8)
LOSS_IS_NOT_FINITE = 1
#: an update is shared out by so many parameters: whole cache lines; and a number that no model has
UPDATED, ALL = 4096, 1 << 60


@kernel
def _aligned(address):
    return (address + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


@kernel
def run_batches(zero, table, begin, end):
    """Batches from `begin` on, before `end`; the number of the first one that was not done.

    That is `end`, unless a loss was not finite: then nothing is updated any more. -1 if there is no memory.
    """
    needed, width = lay_out(zero, table, 0)
    taken = allocate(needed + part_scratch(zero, table) + CACHE_LINE)
    if taken == 0:
        return -1
    lay_out(zero, table, _aligned(taken))
    set_zeros(zero, table, width, load_int64(table + E_ZEROS))
    depth, scratch = load_int64(table + E_DEPTH), load_int64(table + E_SCRATCH)
    done = begin
    while done < end:
        rows = batch_rows(table, done)
        forward_rows(zero, table, done, 0, rows, scratch)
        if not batch_loss(zero, table, done, scratch):
            break
        for i in range(depth - 1, -1, -1):
            fan_in = load_int64(table + E_LAYERS + i * E_LAYER_BYTES + FAN_IN)
            weight_rows(zero, table, done, i, 0, fan_in, scratch)
            if i > 0:
                input_rows(zero, table, i, 0, rows, scratch)
        update_params(zero, table, done, 0, ALL)
        done += 1
    free(taken)
    return done


@kernel
def _run_part(zero, table, part, number, i, first, stop):
    """A part of a step: 0, LOSS_IS_NOT_FINITE, or NO_MEMORY.

    LAY_OUT takes the address of buffers in place of a batch's number, or 0 to answer how long they are.
    """
    if part == LAY_OUT:
        needed, width = lay_out(zero, table, _aligned(number))
        if number == 0:
            return needed + CACHE_LINE
        set_zeros(zero, table, width, load_int64(table + E_ZEROS))
        return 0
    if part == UPDATE:
        update_params(zero, table, number, first * UPDATED, stop * UPDATED)
        return 0
    scratch = allocate(part_scratch(zero, table))
    if scratch == 0:
        return NO_MEMORY
    answer = 0
    if part == FORWARD:
        forward_rows(zero, table, number, first, stop, scratch)
    elif part == LOSS:
        answer = 0 if batch_loss(zero, table, number, scratch) else LOSS_IS_NOT_FINITE
    elif part == WEIGHTS:
        weight_rows(zero, table, number, i, first, stop, scratch)
    else:
        input_rows(zero, table, i, first, stop, scratch)
    free(scratch)
    return answer


def make_epoch(digest: str) -> Any:
    """The compiled function that Python calls: `run_batches`, of an int64 array."""

    @njit(nogil=True, **OPTIONS)
    def run_epoch(table_ref, begin, end):
        digest  # noqa: B018
        return run_batches(zero_of(table_ref), data(address_of(table_ref)), begin, end)

    return run_epoch


def compile_part(kind: Any, digest: str, cache: bool) -> Any:
    """A range of rows of a part, for ``crew.py``."""

    @c_function(SIGNATURE, cache)
    def run_part(context, first, stop):
        digest  # noqa: B018
        table, part = load_int64(context + TABLE), load_int64(context + PART)
        number, i = load_int64(context + NUMBER), load_int64(context + LAYER)
        return _run_part(kind(0), table, part, number, i, first, stop)

    return run_part
