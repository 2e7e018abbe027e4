"""Few rows through large weights on several threads: each layer's columns are shared out in strips.

Rows handed out, as elsewhere, would have every thread read all the weights. Here each reads a part of them.
A strip is claimed by whoever is free next; those of the next layer wait until all of this one are done, a
few microseconds at most, since nobody waits for a strip that has not been claimed.
"""

from __future__ import annotations

from fastnet.kernels.atomic import add_atomic, wait_until
from fastnet.kernels.jit import kernel
from fastnet.kernels.layout import padded_row
from fastnet.kernels.network import run_rows, widest_layer
from fastnet.kernels.primitives import load_int64, size_of, stack_bytes, store_int64
from fastnet.kernels.steps import softmax_of_rows
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    DEPTH,
    FAN_OUT,
    IDENTITY,
    LAYER_BYTES,
    OUT,
    OUT_COL,
    OUT_ROW,
    SOFTMAX,
    W_COL,
    X_COL,
    X_ROW,
    W,
    X,
)
from fastnet.kernels.target import CACHE_LINE
from fastnet.kernels.ways import STRIP_UNIT

#: what the threads share, a cache line each: the next strip, strips done, layers done
NEXT, DONE, LAYERS = 0, 64, 128
SHARED_BYTES = 192
_STRIP_BYTES = CALL_BYTES + LAYER_BYTES


def shared_bytes(rows: int, widest: int, itemsize: int) -> int:
    """What the threads share: the words above, and the results of two layers, one read, the other written."""
    return SHARED_BYTES + 2 * rows * (widest * itemsize + 2 * CACHE_LINE) + CACHE_LINE


@kernel
def run_strips(zero, table, shared, buffers, rows, strips, scratch):
    """Take part until no strip is left: all rows, `strips` of columns to a layer, outputs in the lanes.

    The elements of a row of out lie side by side.
    """
    size = size_of(zero)
    row_bytes = padded_row(zero, widest_layer(table)[0])
    depth = load_int64(table + DEPTH)
    strip = stack_bytes(_STRIP_BYTES)
    while True:
        number = add_atomic(shared + NEXT, 1)
        i, part = number // strips, number % strips
        if i >= depth:
            return
        wait_until(shared + LAYERS, i)
        layer = table + CALL_BYTES + i * LAYER_BYTES
        fan_out, activation = load_int64(layer + FAN_OUT), load_int64(layer + ACTIVATION)
        a, a_row, a_k = load_int64(table + X), load_int64(table + X_ROW), load_int64(table + X_COL)
        if i > 0:
            a, a_row, a_k = buffers + (i - 1) % 2 * rows * row_bytes, row_bytes, size
        c, c_row = buffers + i % 2 * rows * row_bytes, row_bytes
        if i == depth - 1:
            c, c_row = load_int64(table + OUT), load_int64(table + OUT_ROW)
        units = (fan_out * size + STRIP_UNIT - 1) // STRIP_UNIT
        width = (units + strips - 1) // strips * STRIP_UNIT // size
        first = part * width
        if first < fan_out:
            for at in range(0, CALL_BYTES, 8):
                store_int64(strip + at, load_int64(table + at))
            for at in range(0, LAYER_BYTES, 8):
                store_int64(strip + CALL_BYTES + at, load_int64(layer + at))
            store_int64(strip + X, a)
            store_int64(strip + X_ROW, a_row)
            store_int64(strip + X_COL, a_k)
            store_int64(strip + OUT, c + first * size)
            store_int64(strip + OUT_ROW, c_row)
            store_int64(strip + OUT_COL, size)
            store_int64(strip + DEPTH, 1)
            part_of_layer = strip + CALL_BYTES
            store_int64(part_of_layer + W, load_int64(layer + W) + first * load_int64(layer + W_COL))
            store_int64(part_of_layer + BIAS, load_int64(layer + BIAS) + first * size)
            store_int64(part_of_layer + FAN_OUT, min(width, fan_out - first))
            if activation == SOFTMAX:  # needs whole rows
                store_int64(part_of_layer + ACTIVATION, IDENTITY)
            run_rows(zero, strip, 0, rows, 0, rows, scratch)
        if add_atomic(shared + DONE, 1) == (i + 1) * strips - 1:
            if activation == SOFTMAX:
                softmax_of_rows(zero, table, c, c_row, rows, fan_out)
            add_atomic(shared + LAYERS, 1)
