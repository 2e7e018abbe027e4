"""Arrays read from their headers, checked, and bound to the table that the kernels run."""

from __future__ import annotations

from fastnet.kernels.headers import (
    BYTES_DATA,
    are_apart,
    data,
    is_writeable,
    length,
    list_item,
    list_length,
    ndim,
    params_of,
    same_kind,
    stride,
)
from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import load_byte, load_int64, size_of, store_int64
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
    OUT_ROW,
    P_SWEEP,
    PROGRAM_HEAD,
    SWEEP,
    W_COL,
    W_ROW,
    X_COL,
    X_ROW,
    W,
    X,
)

BOUND, REFUSED = 0, 1


@kernel
def bind_layers(zero, x, dense, program, depth, table):
    """Check x and every array of the layers, and write what the kernels need of them into the table.

    (BOUND or REFUSED, axes of x, rows, columns of the result, work in multiply-adds)
    """
    axes = ndim(x)
    if axes == 2:
        batch = length(x, 0)
        store_int64(table + X_ROW, stride(x, 0))
    elif axes == 1:
        batch = 1
        store_int64(table + X_ROW, 0)
    else:
        return REFUSED, 0, 0, 0, 0
    store_int64(table + X, data(x))
    store_int64(table + X_COL, stride(x, axes - 1))
    for at in range(0, KERNEL_BYTES, 8):
        store_int64(table + SWEEP + at, load_int64(program + BYTES_DATA + P_SWEEP + at))
    store_int64(table + DEPTH, depth)
    fan_in = length(x, axes - 1)
    work = 16 * fan_in
    for i in range(depth):
        layer = table + CALL_BYTES + i * LAYER_BYTES
        pair = params_of(list_item(dense, i), dense)
        if pair == 0 or list_length(pair) != 2:
            return REFUSED, 0, 0, 0, 0
        w, b = list_item(pair, 0), list_item(pair, 1)
        if not same_kind(w, x) or not same_kind(b, x) or ndim(w) != 2 or ndim(b) != 1:
            return REFUSED, 0, 0, 0, 0
        fan_out = length(w, 1)
        if length(w, 0) != fan_in or length(b, 0) != fan_out:
            return REFUSED, 0, 0, 0, 0
        if fan_out > 1 and stride(b, 0) != size_of(zero):
            return REFUSED, 0, 0, 0, 0
        store_int64(layer + W, data(w))
        store_int64(layer + W_ROW, stride(w, 0))
        store_int64(layer + W_COL, stride(w, 1) if fan_out > 1 else size_of(zero))
        store_int64(layer + BIAS, data(b))
        store_int64(layer + FAN_IN, fan_in)
        store_int64(layer + FAN_OUT, fan_out)
        store_int64(layer + ACTIVATION, load_byte(program + BYTES_DATA + PROGRAM_HEAD + i))
        work += fan_in * fan_out + 16 * fan_out
        fan_in = fan_out
    return BOUND, axes, batch, fan_in, (work + 16 * fan_in) * batch


@kernel
def bind_out(out, x, axes, batch, columns, table):
    """Whether `out` is an array of x's kind and of the result's shape; then the table knows it."""
    if not same_kind(out, x) or ndim(out) != axes or length(out, axes - 1) != columns:
        return False
    if axes == 2 and length(out, 0) != batch:
        return False
    store_int64(table + OUT, data(out))
    store_int64(table + OUT_ROW, stride(out, 0) if axes == 2 else 0)
    store_int64(table + OUT_COL, stride(out, axes - 1))
    return True


@kernel
def may_write(out, x, dense, columns, size):
    """Whether `out` is surely writeable and apart from x, from all arrays of the layers, and from itself.

    It is if it lies row by row in memory, before the first byte of each of them or behind the last.
    """
    axes = ndim(out)
    if not is_writeable(out) or (columns > 1 and stride(out, axes - 1) != size):
        return False
    if axes == 2 and length(out, 0) > 1 and stride(out, 0) < columns * size:
        return False
    apart = are_apart(out, x, size)
    for i in range(list_length(dense)):
        pair = params_of(list_item(dense, i), dense)
        for j in range(2):
            apart = apart and are_apart(out, list_item(pair, j), size)
    return apart
