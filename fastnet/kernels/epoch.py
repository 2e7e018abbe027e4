"""Batches of an epoch, one after the other: forward, loss, backward, update, without a way back to Python.

A table says what to do: what ``checks.py`` has in it, the fields here, and then a record for each layer.
Rows of a batch are copied together in the order that is asked for; the batches of an epoch in the order of
the rows themselves are read where they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnet.kernels.checks import T_TABLE_BYTES
from fastnet.kernels.elements import load_number, store_number
from fastnet.kernels.gradients import (
    affine_gradients,
    affine_scratch,
    derive_rows,
    loss_of_rows,
    set_zeros,
    update_elements,
    zeros_bytes,
)
from fastnet.kernels.headers import address_of, data, zero_of
from fastnet.kernels.jit import OPTIONS, kernel, njit
from fastnet.kernels.layout import copy_rows
from fastnet.kernels.losses import SOFTMAX_CLASSES, loss_scratch
from fastnet.kernels.primitives import allocate, copy_element, free, load_int64, size_of, store_int64
from fastnet.kernels.product import activate_elements, product, product_scratch
from fastnet.kernels.softmax import softmax_rows
from fastnet.kernels.table import ACTIVATION, BIAS, FAN_IN, FAN_OUT, IDENTITY, LAYER_BYTES, SOFTMAX, W
from fastnet.kernels.target import CACHE_LINE, VECTOR_BYTES

#: of an epoch: rows and targets, contiguous; the order of rows, or 0; numbers of rows, and of those of a
#: batch; layers; loss and optimiser; numbers of its steps, and the bytes from one's to the next's;
#: steps done so far; losses of the batches times their rows, added up (float64), and the last of the losses
(
    E_X, E_T, E_ORDER, E_ROWS, E_BATCH, E_DEPTH, E_LOSS, E_OPTIMIZER, E_NUMBERS, E_NUMBERS_STEP, E_STEPS,
    E_TOTAL, E_LAST,
) = range(T_TABLE_BYTES, T_TABLE_BYTES + 104, 8)  # fmt: skip
#: of buffers, filled in here: rows and targets of a batch, probabilities, two gradients, zeros, scratch
_E_XB, _E_TB, _E_Y, _E_D, _E_OTHER_D, _E_ZEROS, _E_SCRATCH = range(E_LAST + 8, E_LAST + 64, 8)
E_LAYERS = E_LAST + 64
#: of a layer, besides those of ``table.py``: gradients, two states of the optimiser for each, the output. W
#: is 0 where there is nothing but an activation.
L_DW, L_DB, L_MW, L_MB, L_VW, L_VB, L_OUT, E_LAYER_BYTES = range(LAYER_BYTES, LAYER_BYTES + 64, 8)


@kernel
def _rounded(count):
    """Bytes to the next cache line, and one more, for what whole vectors reach beyond."""
    return (count + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE + CACHE_LINE


@kernel
def _lay_out(zero, table, batch, start):
    """Write the addresses of buffers from `start` on into the table; the end of them."""
    size = size_of(zero)
    first = table + E_LAYERS
    depth = load_int64(table + E_DEPTH)
    width = load_int64(first + FAN_IN)
    scratch, at = 0, start + CACHE_LINE  # before the rows of a batch lies its loss
    store_int64(table + _E_XB, at)
    at += _rounded(batch * width * size)
    for i in range(depth):
        layer = first + i * E_LAYER_BYTES
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        width = max(width, fan_out)
        store_int64(layer + L_OUT, at)
        at += _rounded(batch * fan_out * size)
        if load_int64(layer + W) != 0:
            scratch = max(scratch, product_scratch(zero, fan_in, fan_out, batch))
            scratch = max(scratch, affine_scratch(zero, batch, fan_in, fan_out))
            store_int64(layer + L_DW, at)
            at += _rounded(fan_in * fan_out * size)
            store_int64(layer + L_DB, at)
            at += _rounded(fan_out * size)
    last = load_int64(first + (depth - 1) * E_LAYER_BYTES + FAN_OUT)
    scratch = max(scratch, loss_scratch(zero, batch, last))
    store_int64(table + _E_TB, at)
    at += _rounded(batch * (8 if load_int64(table + E_LOSS) == SOFTMAX_CLASSES else last * size))
    store_int64(table + _E_Y, at)
    at += _rounded(batch * last * size)
    store_int64(table + _E_D, at)
    at += _rounded(batch * width * size)
    store_int64(table + _E_OTHER_D, at)
    at += _rounded(batch * width * size)
    store_int64(table + _E_ZEROS, at)
    at += zeros_bytes(zero, width)
    store_int64(table + _E_SCRATCH, at)
    return at + scratch, width


@kernel
def _gather(zero, source, row_bytes, order, first, rows, target):
    """Rows of the batch, side by side; the address where they are."""
    if order == 0:
        return source + first * row_bytes
    size = size_of(zero)
    numbers = order + 8 * first
    if row_bytes < VECTOR_BYTES:
        for i in range(rows):
            row, into = source + load_int64(numbers + 8 * i) * row_bytes, target + i * row_bytes
            for at in range(0, row_bytes, size):
                copy_element(zero, row + at, into + at)
    else:
        for i in range(rows):
            row = source + load_int64(numbers + 8 * i) * row_bytes
            copy_rows(zero, row, 0, size, 1, row_bytes // size, target + i * row_bytes, 0, size)
    return target


@kernel
def _forward(zero, table, x, rows):
    """All layers; each keeps its output."""
    size = size_of(zero)
    scratch = load_int64(table + _E_SCRATCH)
    for i in range(load_int64(table + E_DEPTH)):
        layer = table + E_LAYERS + i * E_LAYER_BYTES
        w, out = load_int64(layer + W), load_int64(layer + L_OUT)
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        activation = load_int64(layer + ACTIVATION)
        if w != 0:
            product(
                zero, table, x, fan_in * size, size, rows, w, fan_out * size, size, load_int64(layer + BIAS),
                fan_in, fan_out, activation, out, scratch,
            )  # fmt: skip
        elif activation == SOFTMAX:
            softmax_rows(zero, x, fan_out * size, out, fan_out * size, rows, fan_out)
        else:
            activate_elements(zero, activation, x, out, rows * fan_out)
        x = out
    return x


@kernel
def _backward(zero, table, x, rows):
    """All layers, from the last; each gets the gradients of its parameters."""
    size = size_of(zero)
    d, other = load_int64(table + _E_D), load_int64(table + _E_OTHER_D)
    for i in range(load_int64(table + E_DEPTH) - 1, -1, -1):
        layer = table + E_LAYERS + i * E_LAYER_BYTES
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        activation = load_int64(layer + ACTIVATION)
        if activation != IDENTITY:
            derive_rows(zero, table, activation, rows, fan_out, d, load_int64(layer + L_OUT), d)
        w = load_int64(layer + W)
        if w != 0:
            given = load_int64(layer - E_LAYER_BYTES + L_OUT) if i > 0 else x
            affine_gradients(
                zero, table, d, rows, given, fan_in * size, size, w, fan_out * size, size, fan_in, fan_out,
                other if i > 0 else 0, load_int64(layer + L_DW), load_int64(layer + L_DB),
                load_int64(table + _E_ZEROS), load_int64(table + _E_SCRATCH),
            )  # fmt: skip
            d, other = other, d


@kernel
def _update(zero, table, numbers):
    optimizer = load_int64(table + E_OPTIMIZER)
    for i in range(load_int64(table + E_DEPTH)):
        layer = table + E_LAYERS + i * E_LAYER_BYTES
        w, fan_out = load_int64(layer + W), load_int64(layer + FAN_OUT)
        if w != 0:
            update_elements(
                zero, table, optimizer, load_int64(layer + FAN_IN) * fan_out, w, load_int64(layer + L_DW),
                load_int64(layer + L_MW), load_int64(layer + L_VW), numbers,
            )  # fmt: skip
            update_elements(
                zero, table, optimizer, fan_out, load_int64(layer + BIAS), load_int64(layer + L_DB),
                load_int64(layer + L_MB), load_int64(layer + L_VB), numbers,
            )  # fmt: skip


@kernel
def run_batches(zero, table, begin, end):
    """Batches from `begin` on, before `end`; the number of the first one that was not done.

    That is `end`, unless a loss was not finite: then nothing is updated any more. -1 if there is no memory.
    """
    size = size_of(zero)
    rows, batch = load_int64(table + E_ROWS), load_int64(table + E_BATCH)
    needed, width = _lay_out(zero, table, batch, 0)
    taken = allocate(needed + CACHE_LINE)
    if taken == 0:
        return -1
    _lay_out(zero, table, batch, (taken + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE)
    set_zeros(zero, table, width, load_int64(table + _E_ZEROS))
    kind, order = load_int64(table + E_LOSS), load_int64(table + E_ORDER)
    last = table + E_LAYERS + (load_int64(table + E_DEPTH) - 1) * E_LAYER_BYTES
    classes = load_int64(last + FAN_OUT)
    x_row = load_int64(table + E_LAYERS + FAN_IN) * size
    t_row = 8 if kind == SOFTMAX_CLASSES else classes * size
    done = begin
    while done < end:
        first = done * batch
        here = min(batch, rows - first)
        x = _gather(zero, load_int64(table + E_X), x_row, order, first, here, load_int64(table + _E_XB))
        t = _gather(zero, load_int64(table + E_T), t_row, order, first, here, load_int64(table + _E_TB))
        scores = _forward(zero, table, x, here)
        result = load_int64(table + _E_XB) - CACHE_LINE
        loss_of_rows(
            zero, table, kind, scores, t, load_int64(table + _E_Y), load_int64(table + _E_D), here, classes,
            load_int64(table + _E_SCRATCH), result,
        )  # fmt: skip
        loss = np.float64(load_number(zero, result))
        store_number(loss, table + E_LAST)
        if loss - loss != 0:  # infinite or NaN
            break
        _backward(zero, table, x, here)
        numbers = load_int64(table + E_NUMBERS) + done * load_int64(table + E_NUMBERS_STEP)
        _update(zero, table, numbers)
        store_number(load_number(loss, table + E_TOTAL) + loss * here, table + E_TOTAL)
        done += 1
        store_int64(table + E_STEPS, load_int64(table + E_STEPS) + 1)
    free(taken)
    return done


def make_run_epoch(digest: str) -> Any:
    """The compiled function that Python calls: (int64 table, first batch, batch to stop before)."""

    @njit(nogil=True, **OPTIONS)
    def run_epoch(table_ref, begin, end):
        digest  # noqa: B018
        return run_batches(zero_of(table_ref), data(address_of(table_ref)), begin, end)

    return run_epoch
