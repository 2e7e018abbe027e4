"""The gradients of an affine layer, as products; and what training does beside products, compiled once."""

from __future__ import annotations

from typing import Any

import numba
from numba import types

from fastnet.kernels.derivatives import derive
from fastnet.kernels.elements import store_number
from fastnet.kernels.jit import OPTIONS, kernel
from fastnet.kernels.loss_terms import clear
from fastnet.kernels.losses import loss
from fastnet.kernels.primitives import call, load_int64, size_of
from fastnet.kernels.product import PRODUCT, product, product_scratch
from fastnet.kernels.table import IDENTITY
from fastnet.kernels.target import CACHE_LINE
from fastnet.kernels.updates import update

#: where a table for training has the address of the other steps, and where it ends
TRAIN_STEPS, TRAIN_BYTES = PRODUCT + 8, PRODUCT + 16
_DERIVE, _UPDATE, _LOSS, _CLEAR = range(4)
_INTEGERS = 11


def compile_train_steps(element: Any, digest: str, cache: bool) -> Any:
    """All of them as one function for float32 or float64; the second integer says which."""

    @numba.cfunc(types.int64(element, *[types.int64] * _INTEGERS), cache=cache, **OPTIONS)
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
def affine_scratch(zero, rows, fan_in, fan_out):
    """Bytes of scratch for `affine_gradients`, without those for zeros."""
    return max(
        product_scratch(zero, fan_out, fan_in, rows),
        max(product_scratch(zero, rows, fan_out, fan_in), product_scratch(zero, rows, fan_out, 1)),
    )


@kernel
def zeros_bytes(zero, width):
    """Bytes of a one and so many zeros: what `affine_gradients` starts its sums with."""
    return CACHE_LINE + (width * size_of(zero) // CACHE_LINE + 1) * CACHE_LINE


@kernel
def set_zeros(zero, table, width, zeros):
    store_number(type(zero)(1), zeros)
    clear_elements(zero, table, width, zeros + CACHE_LINE)


@kernel
def affine_gradients(
    zero, table, dout, rows, x, x_row, x_k, w, w_row, w_col, fan_in, fan_out, dx, dw, db, zeros, scratch
):  # fmt: skip
    """dW = x^T dout, db = the sum of dout's rows and, unless dx is 0, dx = dout W^T; dout is contiguous."""
    size = size_of(zero)
    row, nothing = fan_out * size, zeros + CACHE_LINE
    product(
        zero, table, x, x_k, x_row, fan_in, dout, row, size, nothing, rows, fan_out, IDENTITY, dw, scratch
    )
    product(zero, table, zeros, 0, 0, 1, dout, row, size, nothing, rows, fan_out, IDENTITY, db, scratch)
    if dx != 0:
        product(
            zero, table, dout, row, size, rows, w, w_col, w_row, nothing, fan_out, fan_in, IDENTITY, dx,
            scratch,
        )  # fmt: skip
