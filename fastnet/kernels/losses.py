"""Losses and their gradients: the mean over rows of cross-entropies, the mean of squared errors.

The cross-entropy of a softmax is taken from the largest element m of a row and its probability p, which
is never near 0: -log y_j = (m - x_j) - log p. Sums over rows and elements run in the order of
``loss_terms.py``, those over the classes of a row in ascending order.
"""

from __future__ import annotations

from fastnet.kernels.elements import load_number, store_number
from fastnet.kernels.jit import kernel
from fastnet.kernels.layout import lanes_to_samples, samples_to_lanes
from fastnet.kernels.loss_terms import (
    add_column,
    clear,
    difference,
    divided,
    largest_of_columns,
    one_less,
    sum_classes,
    sum_sigmoid,
    sum_squares,
    sum_terms,
    twice_difference,
)
from fastnet.kernels.primitives import copy_element, load_int64, size_of
from fastnet.kernels.steps import softmax_of_columns
from fastnet.kernels.target import CACHE_LINE, VECTOR_BYTES

#: losses, by number: of class numbers, of rows of probabilities, of each element by itself
SOFTMAX_CLASSES, SOFTMAX_DENSE, SIGMOID_DENSE, SQUARED = range(4)
#: vectors of samples that go through a softmax together, and fewer where rows are so wide
_VECTORS, _WIDE = 4, 256


@kernel
def _vectors(width):
    return _VECTORS if width <= _WIDE else 1


@kernel
def loss_scratch(zero, rows, width):
    """Bytes that `loss` needs for scratch."""
    size = size_of(zero)
    turned = (width + VECTOR_BYTES // size) * _vectors(width) * VECTOR_BYTES
    return 3 * (rows * size + _VECTORS * VECTOR_BYTES) + 3 * turned + CACHE_LINE


@kernel
def loss(zero, table, kind, x, t, y, dz, rows, width, scratch):
    """The loss of contiguous scores x, of class numbers (int64) or contiguous targets t.

    y becomes softmax or sigmoid of x, and dz, unless it is 0, the gradient of the loss with respect to x.
    """
    size = size_of(zero)
    count = rows * width
    total, divisor = scratch, scratch + size
    scratch += CACHE_LINE
    store_number(type(zero)(count if kind == SQUARED else rows), divisor)
    if kind == SQUARED:
        sum_squares(zero, count, x, t, total)
        if dz != 0:
            twice_difference(zero, count, x, t, dz, divisor)
    elif kind == SIGMOID_DENSE:
        sum_sigmoid(zero, count, x, t, y, total)
        if dz != 0:
            difference(zero, count, y, t, dz, divisor)
    else:
        _softmax_loss(zero, table, kind, x, t, y, rows, width, total, scratch)
        if dz != 0 and kind == SOFTMAX_DENSE:
            difference(zero, count, y, t, dz, divisor)
        elif dz != 0:
            divided(zero, count, y, dz, divisor)
            for i in range(rows):
                at = (i * width + load_int64(t + 8 * i)) * size
                one_less(zero, y + at, dz + at, divisor)
    return load_number(zero, total) / load_number(zero, divisor)


@kernel
def _softmax_loss(zero, table, kind, x, t, y, rows, width, total, scratch):
    """Samples in the lanes, some vectors of them at a time."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    row = width * size
    each = rows * size + _VECTORS * VECTOR_BYTES
    largest, likeliest, terms, turned = scratch, scratch + each, scratch + 2 * each, scratch + 3 * each
    most = _vectors(width)
    room = (width + lanes) * most * VECTOR_BYTES
    for first in range(0, rows, most * lanes):
        here = min(most * lanes, rows - first)
        vecs = (here + lanes - 1) // lanes
        turned_row, at = vecs * VECTOR_BYTES, first * size
        samples_to_lanes(zero, table, x + first * row, row, size, here, width, turned, turned_row, 0)
        largest_of_columns(zero, turned, turned_row, width, vecs, largest + at)
        if kind == SOFTMAX_DENSE:
            samples_to_lanes(
                zero, table, x + first * row, row, size, here, width, turned + room, turned_row, 0
            )
            samples_to_lanes(
                zero, table, t + first * row, row, size, here, width, turned + 2 * room, turned_row, 0
            )
        softmax_of_columns(zero, table, turned, turned_row, width, vecs)
        largest_of_columns(zero, turned, turned_row, width, vecs, likeliest + at)
        lanes_to_samples(zero, table, turned, turned_row, here, width, y + first * row, row, size)
        if kind == SOFTMAX_DENSE:
            clear(zero, vecs * lanes, terms + at)
            for j in range(width):
                column = turned + room + j * turned_row
                add_column(zero, vecs, column, column + room, largest + at, likeliest + at, terms + at)
    if kind == SOFTMAX_DENSE:
        sum_terms(zero, rows, terms, total)
    else:
        for i in range(rows):
            copy_element(zero, x + i * row + load_int64(t + 8 * i) * size, terms + i * size)
        sum_classes(zero, rows, largest, likeliest, terms, total)
