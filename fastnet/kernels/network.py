"""A block of rows through all layers of a network."""

from __future__ import annotations

import numba
from numba import types

from fastnet.kernels.jit import OPTIONS, kernel
from fastnet.kernels.layer import DEEP, PACKED, PANEL_BYTES, outputs_in_lanes, samples_in_lanes, way
from fastnet.kernels.layout import copy_rows, lanes_to_samples, padded_row, samples_to_lanes
from fastnet.kernels.primitives import allocate, call, clear_vector, free, load_int64, size_of, splat_element
from fastnet.kernels.table import (
    BIAS,
    CALL_BYTES,
    DEPTH,
    FAN_IN,
    FAN_OUT,
    LAYER_BYTES,
    OUT,
    OUT_COL,
    OUT_ROW,
    RUN_ROWS,
    W_COL,
    X_COL,
    X_ROW,
    X,
)
from fastnet.kernels.target import CACHE_LINE, VECTOR_BYTES


@kernel
def widest_layer(table):
    """(largest fan_out of a layer, largest of those and the first fan_in, sum of all fan_outs)."""
    most, total = 0, 0
    for i in range(load_int64(table + DEPTH)):
        fan_out = load_int64(table + CALL_BYTES + i * LAYER_BYTES + FAN_OUT)
        most, total = max(most, fan_out), total + fan_out
    return most, max(most, load_int64(table + CALL_BYTES + FAN_IN)), total


@kernel
def writes_to_out(zero, table):
    """Whether the last layer stores to out: in whole vectors, so not if its rows end with a part of one."""
    size = size_of(zero)
    fan_out = load_int64(table + CALL_BYTES + (load_int64(table + DEPTH) - 1) * LAYER_BYTES + FAN_OUT)
    return load_int64(table + OUT_COL) == size and fan_out % (VECTOR_BYTES // size) == 0


@kernel
def hidden_buffers(zero, table):
    """How many results of layers have to lie in scratch: the last one, and the one before it."""
    depth = load_int64(table + DEPTH)
    return min(2, depth - 1 if writes_to_out(zero, table) else depth)


@kernel
def may_pack(zero, table, block):
    """Whether any layer may pack its weights, for blocks of so many rows or a smaller one."""
    needed = False
    for i in range(load_int64(table + DEPTH)):
        layer = table + CALL_BYTES + i * LAYER_BYTES
        # few rows at the end of a batch may do so where blocks do not: those of narrow layers
        needed = needed or way(zero, layer, block) == PACKED or load_int64(layer + W_COL) != size_of(zero)
    return needed


@kernel
def scratch_bytes(zero, table, by_samples, block):
    """Scratch that `run_rows` needs for blocks of so many rows."""
    lanes = VECTOR_BYTES // size_of(zero)
    most, widest, total = widest_layer(table)
    if by_samples:
        row_bytes = (block + lanes - 1) // lanes * VECTOR_BYTES
        return CACHE_LINE + (total + 1) // 2 * 2 * VECTOR_BYTES + 2 * (widest + lanes) * row_bytes
    packed = 0
    if may_pack(zero, table, block):
        packed = block * DEEP * size_of(zero) + PANEL_BYTES
    sums = hidden_buffers(zero, table) * block + 1
    return CACHE_LINE + packed + sums * padded_row(zero, most)


@kernel
def _splat_biases(zero, layers, depth, biases):
    size = size_of(zero)
    for i in range(depth):
        layer = layers + i * LAYER_BYTES
        bias = load_int64(layer + BIAS)
        for j in range(load_int64(layer + FAN_OUT)):
            splat_element(zero, bias + j * size, biases)
            biases += VECTOR_BYTES


def compile_run_rows(element, digest, cache):
    """The compiled loop over blocks; its ``address`` is called through `run_rows`."""

    @numba.cfunc(types.int64(element, *[types.int64] * 6), cache=cache, **OPTIONS)
    def run_blocks(zero, table, first, stop, by_samples, block, scratch):
        digest  # noqa: B018
        size = size_of(zero)
        lanes = VECTOR_BYTES // size
        x, x_row, x_col = load_int64(table + X), load_int64(table + X_ROW), load_int64(table + X_COL)
        out, out_row = load_int64(table + OUT), load_int64(table + OUT_ROW)
        out_col = load_int64(table + OUT_COL)
        layers, depth = table + CALL_BYTES, load_int64(table + DEPTH)
        fan_in = load_int64(layers + FAN_IN)
        fan_out = load_int64(layers + (depth - 1) * LAYER_BYTES + FAN_OUT)
        most, widest, total = widest_layer(table)
        zeros = scratch
        clear_vector(zero, zeros)
        scratch += CACHE_LINE
        if by_samples:
            biases = scratch
            scratch += (total + 1) // 2 * 2 * VECTOR_BYTES
            _splat_biases(zero, layers, depth, biases)
            while first < stop:
                rows = min(block, stop - first)
                vecs = (rows + lanes - 1) // lanes
                row_bytes = vecs * VECTOR_BYTES
                here, there = scratch, scratch + (widest + lanes) * row_bytes
                samples_to_lanes(zero, table, x + first * x_row, x_row, x_col, rows, fan_in, here, row_bytes)
                bias = biases
                for i in range(depth):
                    layer = layers + i * LAYER_BYTES
                    samples_in_lanes(zero, table, layer, here, row_bytes, vecs, there, zeros, bias)
                    bias += load_int64(layer + FAN_OUT) * VECTOR_BYTES
                    here, there = there, here
                lanes_to_samples(
                    zero, table, here, row_bytes, rows, fan_out, out + first * out_row, out_row, out_col
                )
                first += rows
        else:
            row_bytes = padded_row(zero, most)
            direct = writes_to_out(zero, table)
            partial = scratch + hidden_buffers(zero, table) * block * row_bytes
            pieces = partial + row_bytes
            panels = pieces + block * DEEP * size
            while first < stop:
                rows = min(block, stop - first)
                a, a_row, a_k = x + first * x_row, x_row, x_col
                one, other = scratch, scratch + block * row_bytes
                target = out + first * out_row
                for i in range(depth):
                    layer = layers + i * LAYER_BYTES
                    c, c_row = one, row_bytes
                    if i == depth - 1 and direct:
                        c, c_row = target, out_row
                    outputs_in_lanes(
                        zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial,
                        pieces, panels,
                    )  # fmt: skip
                    a, a_row, a_k = one, row_bytes, size
                    one, other = other, one
                if not direct:
                    copy_rows(zero, a, a_row, size, rows, fan_out, target, out_row, out_col)
                first += rows
        return 0

    return run_blocks


@kernel
def run_rows(zero, table, first, stop, by_samples, block, scratch):
    """Rows first..stop of x through all layers, `block` rows at a time, into the same rows of out."""
    call(zero, load_int64(table + RUN_ROWS), (table, first, stop, by_samples, block, scratch))


@kernel
def run_allocated(zero, table, first, stop, by_samples, block):
    """`run_rows` with scratch of its own from the heap."""
    scratch = allocate(scratch_bytes(zero, table, by_samples, block) + CACHE_LINE)
    if scratch == 0:
        raise MemoryError("no memory for intermediate results")
    aligned = (scratch + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
    run_rows(zero, table, first, stop, by_samples, block, aligned)
    free(scratch)
