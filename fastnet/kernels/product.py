"""Contiguous rows of one affine layer, or of any product of the kind: C = activation(bias + A W).

Training is made of these. With W the weights it is a layer; with the weights' strides swapped, the gradient
of the layer's input; with A an input whose strides are swapped and W the gradient of the output, that of
the weights. All sums run in the canonical order of ``layer.py``.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastnet.kernels.activations import activate
from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.layer import outputs_in_lanes
from fastnet.kernels.layout import copy_rows, copy_together, padded_row
from fastnet.kernels.primitives import (
    call,
    clear_vector,
    load_int64,
    size_of,
    stack_bytes,
    store_int64,
)
from fastnet.kernels.steps import softmax_of_rows
from fastnet.kernels.stream import streamed_bytes
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    FAN_IN,
    FAN_OUT,
    IDENTITY,
    LAYER_BYTES,
    SOFTMAX,
    W_COL,
    W_ROW,
    W,
)
from fastnet.kernels.target import CACHE_LINE, VECTOR_BYTES
from fastnet.kernels.ways import BLOCK_ROWS, DEEP, FAR_BLOCK_ROWS, NEAR_WEIGHTS, panel_room

#: where a table for training has the address of the compiled product, behind the fields of a call
PRODUCT = CALL_BYTES
_INTEGERS = 14


@kernel
def block_rows(zero, fan_in, fan_out, rows):
    """Rows at a time."""
    near = fan_in * fan_out * size_of(zero) <= NEAR_WEIGHTS
    return min(rows, BLOCK_ROWS if near else FAR_BLOCK_ROWS)


@kernel
def product_scratch(zero, fan_in, fan_out, rows):
    """Bytes of scratch that a product needs, however it is computed."""
    block = block_rows(zero, fan_in, fan_out, rows)
    piece = padded_row(zero, min(fan_in, DEEP))
    sums = block * padded_row(zero, fan_out) + streamed_bytes(zero, fan_out, block)
    return CACHE_LINE + sums + block * piece + panel_room(fan_in, block)


def compile_product(element: Any, digest: str, cache: bool) -> Any:
    """The compiled product for float32 or float64, called through `product`."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS), cache)
    def run_product(
        zero, table, a, a_row, a_k, rows, w, w_row, w_col, bias, fan_in, fan_out, activation, c, scratch
    ):
        digest  # noqa: B018
        size = size_of(zero)
        layer = stack_bytes(LAYER_BYTES)
        store_int64(layer + W, w)
        store_int64(layer + W_ROW, w_row)
        store_int64(layer + W_COL, w_col if fan_out > 1 else size)
        store_int64(layer + BIAS, bias)
        store_int64(layer + FAN_IN, fan_in)
        store_int64(layer + FAN_OUT, fan_out)
        store_int64(layer + ACTIVATION, IDENTITY)
        zeros = scratch
        clear_vector(zero, zeros)
        block, row = block_rows(zero, fan_in, fan_out, rows), fan_out * size
        wide = scratch + CACHE_LINE
        padded = padded_row(zero, fan_out)
        partial = wide + block * padded
        panels = partial + streamed_bytes(zero, fan_out, block)
        pieces = panels + panel_room(fan_in, block)
        whole = row % VECTOR_BYTES == 0
        first = 0
        while first < rows:
            here = min(block, rows - first)
            target = c + first * row
            into, into_row = (target, row) if whole else (wide, padded)
            outputs_in_lanes(
                zero, table, layer, a + first * a_row, a_row, a_k, here, into, into_row, zeros, partial,
                pieces, panels,
            )  # fmt: skip
            if not whole:
                copy_together(zero, wide, padded, here, fan_out, target)
            if activation == SOFTMAX:
                softmax_of_rows(zero, table, target, row, here, fan_out)
            elif activation != IDENTITY:
                activate_elements(zero, activation, target, target, here * fan_out)
            first += here
        return 0

    return run_product


@kernel
def activate_elements(zero, activation, source, target, count):
    """An activation, element by element, of so many side by side."""
    size = size_of(zero)
    vecs = count * size // VECTOR_BYTES
    activate(zero, activation, source, target, 1, 0, vecs)
    done = vecs * VECTOR_BYTES
    rest = count - done // size
    if rest > 0:
        room = stack_bytes(VECTOR_BYTES)
        clear_vector(zero, room)
        copy_rows(zero, source + done, 0, size, 1, rest, room, 0, size)
        activate(zero, activation, room, room, 1, 0, 1)
        copy_rows(zero, room, 0, size, 1, rest, target + done, 0, size)


@kernel
def product(zero, table, a, a_row, a_k, rows, w, w_row, w_col, bias, fan_in, fan_out, activation, c, scratch):
    """C, rows without a gap between them; strides of A and W in bytes. The bias is a row of fan_out."""
    call(
        zero, load_int64(table + PRODUCT),
        (table, a, a_row, a_k, rows, w, w_row, w_col, bias, fan_in, fan_out, activation, c, scratch),
    )  # fmt: skip
