"""The compiled functions of training that Python calls.

Arrays are read from their headers and checked at every call; what does not fit is refused by an exception.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnet.kernels.cache import cached
from fastnet.kernels.checks import (
    are_classes,
    copy_classes,
    elements_of,
    fits_beside,
    is_like,
    is_ours,
    is_shaped,
    keep_apart,
    length_of_list,
    takes,
)
from fastnet.kernels.elements import load_number, store_number
from fastnet.kernels.epoch import make_epoch
from fastnet.kernels.gradients import (
    affine_gradients,
    affine_scratch,
    derive_rows,
    loss_of_rows,
    set_zeros,
    update_elements,
    zeros_bytes,
)
from fastnet.kernels.headers import (
    address_of,
    data,
    is_contiguous,
    is_writeable,
    length,
    list_item,
    ndim,
    same_kind,
    same_type,
    stride,
    zero_of,
)
from fastnet.kernels.jit import OPTIONS, njit
from fastnet.kernels.losses import SOFTMAX_CLASSES, loss_scratch
from fastnet.kernels.primitives import allocate, free, size_of, stack_bytes
from fastnet.kernels.target import CACHE_LINE
from fastnet.kernels.updates import ADAM, MOMENTUM, NUMBERS

#: class numbers are of this dtype
INT64 = np.dtype(np.int64)
_STACK_SCRATCH = 32 * 1024
_NUMBER_BYTES = 8 * NUMBERS


def make_entries(digest: str, cache: bool) -> tuple[Any, ...]:
    @njit(nogil=True, **OPTIONS)
    def affine_backward(dout_ref, x_ref, w_ref, dx_ref, dw_ref, db_ref, table_ref):
        digest  # noqa: B018
        zero = zero_of(dout_ref)
        dout, x, w = address_of(dout_ref), address_of(x_ref), address_of(w_ref)
        dx, dw, db = address_of(dx_ref), address_of(dw_ref), address_of(db_ref)
        table = data(address_of(table_ref))
        fits = (
            is_ours(dout, table)
            and takes(dout, dout, 2)
            and same_kind(x, dout)
            and same_kind(w, dout)
            and ndim(x) == 2
        )
        fits = fits and ndim(w) == 2 and takes(dw, dout, 2) and is_writeable(dw) and is_writeable(db)
        if not fits or not takes(db, dout, 1):
            raise ValueError("arrays do not fit together")
        rows, fan_in, fan_out = length(x, 0), length(w, 0), length(w, 1)
        fits = length(dout, 0) == rows and length(dout, 1) == fan_out and length(x, 1) == fan_in
        fits = fits and length(dw, 0) == fan_in and length(dw, 1) == fan_out and length(db, 0) == fan_out
        into = 0
        if same_type(dx, dout):
            fits = fits and takes(dx, dout, 2) and is_writeable(dx)
            fits = fits and length(dx, 0) == rows and length(dx, 1) == fan_in
            into = data(dx)
        size = size_of(zero)
        for written in (dw, db):
            for read in (dout, x, w):
                fits = fits and keep_apart(written, read, size)
        if not fits or not keep_apart(dw, db, size):
            raise ValueError("arrays do not fit together")
        width = max(fan_in, fan_out)
        needed = zeros_bytes(zero, width) + affine_scratch(zero, rows, fan_in, fan_out)
        room = stack_bytes(_STACK_SCRATCH)
        taken = 0
        if needed > _STACK_SCRATCH:
            taken = allocate(needed)
            if taken == 0:
                raise MemoryError("no memory for intermediate results")
            room = taken
        set_zeros(zero, table, width, room)
        affine_gradients(
            zero, table, data(dout), rows, data(x), stride(x, 0), stride(x, 1),
            data(w), stride(w, 0), stride(w, 1), fan_in, fan_out,
            into, data(dw), data(db), room, room + zeros_bytes(zero, width),
        )  # fmt: skip
        if taken != 0:
            free(taken)

    @njit(nogil=True, **OPTIONS)
    def activation_backward(activation, dout_ref, y_ref, dz_ref, table_ref):
        digest  # noqa: B018
        dout, y, dz = address_of(dout_ref), address_of(y_ref), address_of(dz_ref)
        table = data(address_of(table_ref))
        if (
            not is_ours(dout, table)
            or not is_contiguous(dout)
            or not is_shaped(y, dout)
            or not is_like(dz, y)
        ):
            raise ValueError("arrays do not fit together")
        axes, count = ndim(y), elements_of(y)
        width = length(y, axes - 1) if axes > 0 else 1
        if count > 0:
            derive_rows(
                zero_of(dout_ref), table, activation, count // width, width,
                data(dout), data(y), data(dz),
            )  # fmt: skip

    @njit(nogil=True, **OPTIONS)
    def loss(kind, x_ref, t_ref, y_ref, dz_ref, table_ref):
        digest  # noqa: B018
        zero, table = zero_of(x_ref), data(address_of(table_ref))
        x, t, y, dz = address_of(x_ref), address_of(t_ref), address_of(y_ref), address_of(dz_ref)
        if not is_ours(x, table) or not takes(x, x, 2) or not is_like(y, x):
            raise ValueError("arrays do not fit together")
        rows, width = length(x, 0), length(x, 1)
        if kind == SOFTMAX_CLASSES:
            if not are_classes(t, rows, table):
                raise ValueError("arrays do not fit together")
        elif not takes(t, x, 2) or length(t, 0) != rows or length(t, 1) != width:
            raise ValueError("arrays do not fit together")
        into = 0
        if same_type(dz, x):
            if not is_like(dz, x):
                raise ValueError("arrays do not fit together")
            into = data(dz)
        copied = 8 * rows if kind == SOFTMAX_CLASSES else 0
        needed = CACHE_LINE + copied + loss_scratch(zero, rows, width)
        room = stack_bytes(_STACK_SCRATCH)
        taken = 0
        if needed > _STACK_SCRATCH:
            taken = allocate(needed)
            if taken == 0:
                raise MemoryError("no memory for intermediate results")
            room = taken
        targets = data(t)
        if kind == SOFTMAX_CLASSES:
            targets = room + CACHE_LINE
            if not copy_classes(t, rows, width, targets):
                if taken != 0:
                    free(taken)
                raise ValueError("a class is out of range")
        loss_of_rows(
            zero, table, kind, data(x), targets, data(y), into, rows, width,
            room + CACHE_LINE + copied, room,
        )  # fmt: skip
        result = load_number(zero, room)
        if taken != 0:
            free(taken)
        return result

    @njit(nogil=False, **OPTIONS)
    def update(optimizer, p_ref, g_ref, m_ref, v_ref, a, b, c, d, table_ref):
        digest  # noqa: B018
        zero, table = zero_of(p_ref), data(address_of(table_ref))
        size = size_of(zero)
        params, grads = address_of(p_ref), address_of(g_ref)
        means, squares = address_of(m_ref), address_of(v_ref)
        numbers = stack_bytes(_NUMBER_BYTES)
        store_number(type(zero)(a), numbers)
        store_number(type(zero)(b), numbers + size)
        store_number(type(zero)(c), numbers + 2 * size)
        store_number(type(zero)(d), numbers + 3 * size)
        count = length_of_list(params, table)
        fits = count >= 0 and length_of_list(grads, table) == count
        fits = fits and (optimizer < MOMENTUM or length_of_list(squares, table) == count)
        fits = fits and (optimizer < ADAM or length_of_list(means, table) == count)
        if not fits:
            raise ValueError("lists do not fit together")
        for i in range(count):
            p = list_item(params, i)
            fits = fits and is_ours(p, table) and is_like(p, p)
            fits = fits and fits_beside(list_item(grads, i), p, size)
            if optimizer >= MOMENTUM:
                fits = fits and fits_beside(list_item(squares, i), p, size)
                fits = fits and keep_apart(list_item(squares, i), list_item(grads, i), size)
            if optimizer >= ADAM:
                fits = fits and fits_beside(list_item(means, i), p, size)
                fits = fits and keep_apart(list_item(means, i), list_item(grads, i), size)
                fits = fits and keep_apart(list_item(means, i), list_item(squares, i), size)
        if not fits:
            raise ValueError("arrays do not fit together")
        for i in range(count):
            p = list_item(params, i)
            m = data(list_item(means, i)) if optimizer == ADAM else 0
            v = data(list_item(squares, i)) if optimizer >= MOMENTUM else 0
            update_elements(
                zero, table, optimizer, elements_of(p), data(p), data(list_item(grads, i)), m, v, numbers
            )

    functions = affine_backward, activation_backward, loss, update, make_epoch(digest)
    return tuple(map(cached, functions)) if cache else functions
