"""The parts of a training step, each for a range of rows: what several threads may share out.

A table says what to do: what ``checks.py`` has in it, the fields here, and then a record for each layer.
Rows of a batch are copied together in the order that is asked for; the batches of an epoch in the order of
the rows themselves are read where they lie.
"""

from __future__ import annotations

import numpy as np

from fastnet.kernels.checks import T_TABLE_BYTES
from fastnet.kernels.elements import load_number, store_number
from fastnet.kernels.gradients import (
    affine_scratch,
    derive_rows,
    loss_of_rows,
    sum_rows,
    update_elements,
    zeros_bytes,
)
from fastnet.kernels.jit import kernel
from fastnet.kernels.layout import copy_rows
from fastnet.kernels.losses import SOFTMAX_CLASSES, loss_scratch
from fastnet.kernels.primitives import copy_element, load_int64, size_of, store_int64
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
#: of buffers, filled in here: the loss, rows and targets of a batch, probabilities, zeros, scratch
E_RESULT, E_XB, E_TB, E_Y, E_ZEROS, E_SCRATCH = range(E_LAST + 8, E_LAST + 56, 8)
E_LAYERS = E_LAST + 56
#: of a layer, besides those of ``table.py``: gradients, two states of the optimiser for each, the output, and
#: the gradient of what is before the activation. W is 0 where there is nothing but an activation.
L_DW, L_DB, L_MW, L_MB, L_VW, L_VB, L_OUT, L_D, E_LAYER_BYTES = range(LAYER_BYTES, LAYER_BYTES + 72, 8)


@kernel
def _rounded(count):
    """Bytes to the next cache line, and one more, for what whole vectors reach beyond."""
    return (count + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE + CACHE_LINE


@kernel
def lay_out(zero, table, start):
    """Write the addresses of buffers from `start` on into the table: (the end of them, the widest layer)."""
    size, batch = size_of(zero), load_int64(table + E_BATCH)
    first = table + E_LAYERS
    depth = load_int64(table + E_DEPTH)
    width = load_int64(first + FAN_IN)
    store_int64(table + E_RESULT, start)
    at = start + CACHE_LINE
    store_int64(table + E_XB, at)
    at += _rounded(batch * width * size)
    for i in range(depth):
        layer = first + i * E_LAYER_BYTES
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        width = max(width, fan_out)
        store_int64(layer + L_OUT, at)
        at += _rounded(batch * fan_out * size)
        if load_int64(layer + W) != 0:
            store_int64(layer + L_DW, at)
            at += _rounded(fan_in * fan_out * size)
            store_int64(layer + L_DB, at)
            at += _rounded(fan_out * size)
    last = load_int64(first + (depth - 1) * E_LAYER_BYTES + FAN_OUT)
    store_int64(table + E_TB, at)
    at += _rounded(batch * (8 if load_int64(table + E_LOSS) == SOFTMAX_CLASSES else last * size))
    store_int64(table + E_Y, at)
    at += _rounded(batch * last * size)
    d, other = at, at + _rounded(batch * width * size)
    at = other + _rounded(batch * width * size)
    for i in range(depth - 1, -1, -1):  # an activation alone takes the gradient along in place
        layer = first + i * E_LAYER_BYTES
        store_int64(layer + L_D, d)
        if load_int64(layer + W) != 0:
            d, other = other, d
    store_int64(table + E_ZEROS, at)
    at += zeros_bytes(zero, width)
    store_int64(table + E_SCRATCH, at)
    return at, width


@kernel
def part_scratch(zero, table):
    """Bytes of scratch for any part."""
    batch, needed = load_int64(table + E_BATCH), 0
    for i in range(load_int64(table + E_DEPTH)):
        layer = table + E_LAYERS + i * E_LAYER_BYTES
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        needed = max(needed, loss_scratch(zero, batch, fan_out))
        if load_int64(layer + W) != 0:
            needed = max(needed, product_scratch(zero, fan_in, fan_out, batch))
            needed = max(needed, affine_scratch(zero, batch, fan_in, fan_out))
    return needed


@kernel
def _gather(zero, source, row_bytes, numbers, rows, target):
    """Rows of these numbers, side by side."""
    size = size_of(zero)
    if row_bytes < VECTOR_BYTES:
        for i in range(rows):
            row, into = source + load_int64(numbers + 8 * i) * row_bytes, target + i * row_bytes
            for at in range(0, row_bytes, size):
                copy_element(zero, row + at, into + at)
    else:
        for i in range(rows):
            row = source + load_int64(numbers + 8 * i) * row_bytes
            copy_rows(zero, row, 0, size, 1, row_bytes // size, target + i * row_bytes, 0, size)


@kernel
def batch_rows(table, number):
    """Rows of the batch of this number."""
    batch = load_int64(table + E_BATCH)
    return min(batch, load_int64(table + E_ROWS) - number * batch)


@kernel
def _of_batch(table, number, row_bytes, whole, copied):
    """Address of a batch's rows: where they lie, or where they are copied together."""
    if load_int64(table + E_ORDER) == 0:
        return load_int64(table + whole) + number * load_int64(table + E_BATCH) * row_bytes
    return load_int64(table + copied)


@kernel
def _row_bytes(zero, table):
    """Of x and of t."""
    size = size_of(zero)
    last = table + E_LAYERS + (load_int64(table + E_DEPTH) - 1) * E_LAYER_BYTES
    classes = load_int64(table + E_LOSS) == SOFTMAX_CLASSES
    x_row = load_int64(table + E_LAYERS + FAN_IN) * size
    return x_row, 8 if classes else load_int64(last + FAN_OUT) * size


@kernel
def forward_rows(zero, table, number, first, stop, scratch):
    """Rows first..stop of a batch through all layers; each keeps its output."""
    size, rows = size_of(zero), stop - first
    x_row, t_row = _row_bytes(zero, table)
    order = load_int64(table + E_ORDER)
    if order != 0:
        numbers = order + 8 * (number * load_int64(table + E_BATCH) + first)
        x, t = load_int64(table + E_XB) + first * x_row, load_int64(table + E_TB) + first * t_row
        _gather(zero, load_int64(table + E_X), x_row, numbers, rows, x)
        _gather(zero, load_int64(table + E_T), t_row, numbers, rows, t)
    x = _of_batch(table, number, x_row, E_X, E_XB) + first * x_row
    for i in range(load_int64(table + E_DEPTH)):
        layer = table + E_LAYERS + i * E_LAYER_BYTES
        w, fan_in, fan_out = load_int64(layer + W), load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        row, activation = fan_out * size, load_int64(layer + ACTIVATION)
        out = load_int64(layer + L_OUT) + first * row
        if w != 0:
            product(
                zero, table, x, fan_in * size, size, rows, w, row, size, load_int64(layer + BIAS),
                fan_in, fan_out, activation, out, scratch,
            )  # fmt: skip
        elif activation == SOFTMAX:
            softmax_rows(zero, x, row, out, row, rows, fan_out)
        else:
            activate_elements(zero, activation, x, out, rows * fan_out)
        x = out


@kernel
def batch_loss(zero, table, number, scratch):
    """The loss of a batch, and its gradient; whether it is finite."""
    rows = batch_rows(table, number)
    depth = load_int64(table + E_DEPTH)
    last = table + E_LAYERS + (depth - 1) * E_LAYER_BYTES
    t = _of_batch(table, number, _row_bytes(zero, table)[1], E_T, E_TB)
    result = load_int64(table + E_RESULT)
    loss_of_rows(
        zero, table, load_int64(table + E_LOSS), load_int64(last + L_OUT), t, load_int64(table + E_Y),
        load_int64(last + L_D), rows, load_int64(last + FAN_OUT), scratch, result,
    )  # fmt: skip
    loss = np.float64(load_number(zero, result))
    store_number(loss, table + E_LAST)
    _derive(zero, table, depth - 1, 0, rows)
    return loss - loss == 0  # neither infinite nor NaN


@kernel
def _derive(zero, table, i, first, stop):
    """The gradient, in place, of what is before the activation of layer i."""
    layer = table + E_LAYERS + i * E_LAYER_BYTES
    activation, fan_out = load_int64(layer + ACTIVATION), load_int64(layer + FAN_OUT)
    if activation != IDENTITY:
        at = first * fan_out * size_of(zero)
        d = load_int64(layer + L_D) + at
        derive_rows(zero, table, activation, stop - first, fan_out, d, load_int64(layer + L_OUT) + at, d)


@kernel
def weight_rows(zero, table, number, i, first, stop, scratch):
    """Rows first..stop of dW of layer i, if it has weights; whoever has the first also sums db."""
    layer = table + E_LAYERS + i * E_LAYER_BYTES
    if load_int64(layer + W) != 0:
        size, rows = size_of(zero), batch_rows(table, number)
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        d, row = load_int64(layer + L_D), fan_out * size
        if i > 0:
            x = load_int64(layer - E_LAYER_BYTES + L_OUT)
        else:
            x = _of_batch(table, number, fan_in * size, E_X, E_XB)
        product(
            zero, table, x + first * size, size, fan_in * size, stop - first, d, row, size,
            load_int64(table + E_ZEROS), rows, fan_out, IDENTITY, load_int64(layer + L_DW) + first * row,
            scratch,
        )  # fmt: skip
        if first == 0:
            sum_rows(zero, table, rows, fan_out, d, row, load_int64(layer + L_DB))


@kernel
def input_rows(zero, table, i, first, stop, scratch):
    """Rows first..stop of the gradient that layer i, not the first, hands to the one before it."""
    layer = table + E_LAYERS + i * E_LAYER_BYTES
    w = load_int64(layer + W)
    if w != 0:
        size = size_of(zero)
        fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
        row = fan_out * size
        product(
            zero, table, load_int64(layer + L_D) + first * row, row, size, stop - first, w, size, row,
            load_int64(table + E_ZEROS), fan_out, fan_in, IDENTITY,
            load_int64(layer - E_LAYER_BYTES + L_D) + first * fan_in * size, scratch,
        )  # fmt: skip
    _derive(zero, table, i - 1, first, stop)


@kernel
def _update_some(zero, table, numbers, first, stop, count, layer, w, dw, mean, square):
    """Those of `count` parameters that have numbers first..stop; the others are fields of the layer."""
    first, stop = max(first, 0), min(stop, count)
    if first < stop:
        at = first * size_of(zero)
        p, g = load_int64(layer + w) + at, load_int64(layer + dw) + at
        m, v = load_int64(layer + mean) + at, load_int64(layer + square) + at
        update_elements(zero, table, load_int64(table + E_OPTIMIZER), stop - first, p, g, m, v, numbers)


@kernel
def update_params(zero, table, number, first, stop):
    """The optimiser's step for parameters first..stop, counted over all layers.

    Whoever has the first of them tells the table of the step.
    """
    numbers = load_int64(table + E_NUMBERS) + number * load_int64(table + E_NUMBERS_STEP)
    before = 0
    for i in range(load_int64(table + E_DEPTH)):
        layer = table + E_LAYERS + i * E_LAYER_BYTES
        fan_out = load_int64(layer + FAN_OUT)
        count = load_int64(layer + FAN_IN) * fan_out
        if load_int64(layer + W) != 0:
            _update_some(
                zero, table, numbers, first - before, stop - before, count, layer, W, L_DW, L_MW, L_VW
            )
            before += count
            _update_some(
                zero, table, numbers, first - before, stop - before, fan_out, layer, BIAS, L_DB, L_MB, L_VB
            )
            before += fan_out
    if first == 0:
        loss, total = load_number(np.float64(0), table + E_LAST), load_number(np.float64(0), table + E_TOTAL)
        store_number(total + loss * batch_rows(table, number), table + E_TOTAL)
        store_int64(table + E_STEPS, load_int64(table + E_STEPS) + 1)
