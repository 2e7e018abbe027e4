"""The gradients of an affine layer, as products; and what training does beside products, compiled once."""

from __future__ import annotations

from typing import Any

from numba import types

from fastnet.kernels.cache import c_function
from fastnet.kernels.column_sums import column_sums
from fastnet.kernels.derivatives import derive
from fastnet.kernels.elements import store_number
from fastnet.kernels.jit import kernel
from fastnet.kernels.loss_terms import clear
from fastnet.kernels.losses import loss
from fastnet.kernels.primitives import call, load_int64, size_of
from fastnet.kernels.product import PRODUCT, product, product_scratch
from fastnet.kernels.table import IDENTITY
from fastnet.kernels.target import CACHE_LINE
from fastnet.kernels.updates import update

#: where a table for training has the address of the other steps, and where it ends
TRAIN_STEPS, TRAIN_BYTES = PRODUCT + 8, PRODUCT + 16
_DERIVE, _UPDATE, _LOSS, _CLEAR, _SUM = range(5)
_INTEGERS = 11


def compile_train_steps(element: Any, digest: str, cache: bool) -> Any:
    """All of them as one function for float32 or float64; the second integer says which."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS), cache)
    def train_step(zero, table, which, a, b, c, d, e, f, g, h, i):
        digest  # noqa: B018
        if which == _DERIVE:
            derive(zero, a, b, c, d, e, f)
        elif which == _UPDATE:
            update(zero, a, b, c, d, e, f, g)
        elif which == _LOSS:
            store_number(loss(zero, table, a, b, c, d, e, f, g, h), i)
        elif which == _CLEAR:
            clear(zero, a, b)
        elif which == _SUM:
            column_sums(zero, a, b, c, d, e)
        return 0

    return train_step


@kernel
def derive_rows(zero, table, activation, rows, width, dout, y, dz):
    """`derive` of ``derivatives.py``."""
    call(
        zero, load_int64(table + TRAIN_STEPS), (table, _DERIVE, activation, rows, width, dout, y, dz, 0, 0, 0)
    )


@kernel
def update_elements(zero, table, optimizer, count, p, g, m, v, numbers):
    """`update` of ``updates.py``."""
    call(zero, load_int64(table + TRAIN_STEPS), (table, _UPDATE, optimizer, count, p, g, m, v, numbers, 0, 0))


@kernel
def loss_of_rows(zero, table, kind, x, t, y, dz, rows, width, scratch, result):
    """`loss` of ``losses.py``, stored at the address `result`."""
    call(
        zero, load_int64(table + TRAIN_STEPS), (table, _LOSS, kind, x, t, y, dz, rows, width, scratch, result)
    )


@kernel
def clear_elements(zero, table, count, target):
    """Zeros, so many side by side."""
    call(zero, load_int64(table + TRAIN_STEPS), (table, _CLEAR, count, target, 0, 0, 0, 0, 0, 0, 0))


@kernel
def sum_rows(zero, table, rows, columns, source, source_row, target):
    """`column_sums` of ``column_sums.py``."""
    operands = (table, _SUM, rows, columns, source, source_row, target, 0, 0, 0, 0)
    call(zero, load_int64(table + TRAIN_STEPS), operands)


@kernel
def affine_scratch(zero, rows, fan_in, fan_out):
    """Bytes of scratch for `affine_gradients`, without those for zeros."""
    return max(product_scratch(zero, fan_out, fan_in, rows), product_scratch(zero, rows, fan_out, fan_in))


@kernel
def zeros_bytes(zero, width):
    """Bytes of so many zeros, and a vector more: what `affine_gradients` starts its sums with."""
    return CACHE_LINE + (width * size_of(zero) // CACHE_LINE + 1) * CACHE_LINE


@kernel
def set_zeros(zero, table, width, zeros):
    clear_elements(zero, table, width, zeros)


@kernel
def affine_gradients(
    zero, table, dout, rows, x, x_row, x_k, w, w_row, w_col, fan_in, fan_out, dx, dw, db, zeros, scratch
):  # fmt: skip
    """dW = x^T dout, db = the sum of dout's rows and, unless dx is 0, dx = dout W^T; dout is contiguous."""
    size = size_of(zero)
    row = fan_out * size
    product(zero, table, x, x_k, x_row, fan_in, dout, row, size, zeros, rows, fan_out, IDENTITY, dw, scratch)
    sum_rows(zero, table, rows, fan_out, dout, row, db)
    if dx != 0:
        product(
            zero, table, dout, row, size, rows, w, w_col, w_row, zeros, fan_out, fan_in, IDENTITY, dx,
            scratch,
        )  # fmt: skip
