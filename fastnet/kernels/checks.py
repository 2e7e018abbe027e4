"""What compiled entry points of training ask of the objects that they are given, through their headers."""

from __future__ import annotations

from fastnet.kernels.gradients import TRAIN_BYTES
from fastnet.kernels.headers import (
    TYPE,
    are_apart,
    data,
    is_array,
    is_contiguous,
    is_writeable,
    length,
    list_length,
    ndim,
    same_kind,
)
from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import load_int64, store_int64

#: what a table for training knows besides: the addresses of dtypes and of classes
T_DTYPE, T_INT64, T_ARRAY_TYPE, T_LIST_TYPE, T_TABLE_BYTES = range(TRAIN_BYTES, TRAIN_BYTES + 40, 8)


@kernel
def is_ours(array, table):
    """Whether an object is an array of the dtype that the table is for."""
    return is_array(array, load_int64(table + T_ARRAY_TYPE), load_int64(table + T_DTYPE))


@kernel
def takes(array, model, axes):
    """Whether an array is contiguous, of the dtype of `model` and of so many axes."""
    return same_kind(array, model) and is_contiguous(array) and ndim(array) == axes


@kernel
def are_classes(t, rows, table):
    """Whether an object is an array of so many class numbers."""
    known = is_array(t, load_int64(table + T_ARRAY_TYPE), load_int64(table + T_INT64))
    return known and is_contiguous(t) and ndim(t) == 1 and length(t, 0) == rows


@kernel
def copy_classes(t, rows, width, target):
    """Copy class numbers to where no other thread changes them after the check; whether all are in range."""
    for i in range(rows):
        one = load_int64(data(t) + 8 * i)
        if one < 0 or one >= width:
            return False
        store_int64(target + 8 * i, one)
    return True


@kernel
def is_shaped(array, model):
    """Whether an array is contiguous, and of dtype and shape of `model`."""
    if not takes(array, model, ndim(model)):
        return False
    for axis in range(ndim(model)):  # noqa: SIM110 - compiled code has no generators
        if length(array, axis) != length(model, axis):
            return False
    return True


@kernel
def is_like(array, model):
    """Whether it is writeable, besides."""
    return is_shaped(array, model) and is_writeable(array)


@kernel
def keep_apart(one, other, size):
    """Whether no step that writes one could change the other."""
    return are_apart(one, other, size) or elements_of(one) == 0 or elements_of(other) == 0


@kernel
def fits_beside(array, model, size):
    """Whether it is writeable and like `model`, and keeps apart from it."""
    return is_like(array, model) and keep_apart(array, model, size)


@kernel
def length_of_list(items, table):
    """-1 if it is no list."""
    return list_length(items) if load_int64(items + TYPE) == load_int64(table + T_LIST_TYPE) else -1


@kernel
def elements_of(array):
    count = 1
    for axis in range(ndim(array)):
        count *= length(array, axis)
    return count
