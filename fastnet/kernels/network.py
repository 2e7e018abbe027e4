"""A block of rows through all layers of a network."""

from __future__ import annotations

from numba import types

from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.layer import outputs_in_lanes, samples_in_lanes
from fastnet.kernels.layout import (
    copy_rows,
    copy_together,
    lanes_to_samples,
    padded_row,
    samples_to_lanes,
)
from fastnet.kernels.primitives import allocate, call, clear_vector, free, load_int64, size_of, splat_element
from fastnet.kernels.stream import streamed_bytes
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    DEPTH,
    FAN_IN,
    FAN_OUT,
    LARGE_WEIGHTS,
    LAYER_BYTES,
    NARROW_LAYERS,
    NARROW_SUMS,
    NOTHING,
    OUT,
    OUT_COL,
    OUT_ROW,
    OUTPUTS,
    RUN_OUTPUTS,
    RUN_SAMPLES,
    SAMPLES,
    SOFTMAX,
    STREAMS,
    W_COL,
    X_COL,
    X_ROW,
    X,
)
from fastnet.kernels.target import CACHE_LINE, VECTOR_BYTES
from fastnet.kernels.ways import (
    DEEP,
    PACKED,
    is_distant,
    is_narrow,
    may_be_narrow,
    may_be_streamed,
    panel_room,
    way,
)


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
def ends_narrowly(zero, table, layer, a_k, rows):
    """Whether this last layer stores no more than its elements."""
    size = size_of(zero)
    if a_k != size or load_int64(table + OUT_COL) != size or load_int64(layer + ACTIVATION) == SOFTMAX:
        return False
    return is_narrow(zero, load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT), rows)


@kernel
def result_rows(zero, table):
    """Bytes of a row in either buffer for results: every other layer's, from the first or second on."""
    depth = load_int64(table + DEPTH)
    in_scratch = depth - 1 if writes_to_out(zero, table) else depth
    one, other = 0, 0
    for i in range(in_scratch):
        row = padded_row(zero, load_int64(table + CALL_BYTES + i * LAYER_BYTES + FAN_OUT))
        one, other = (max(one, row), other) if i % 2 == 0 else (one, max(other, row))
    return one, other


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
        packed = block * padded_row(zero, DEEP) + panel_room(DEEP, block)
    one, other = result_rows(zero, table)
    return CACHE_LINE + packed + block * (one + other) + streamed_bytes(zero, most, block)


@kernel
def _splat_biases(zero, layers, depth, biases):
    size = size_of(zero)
    for i in range(depth):
        layer = layers + i * LAYER_BYTES
        bias = load_int64(layer + BIAS)
        for j in range(load_int64(layer + FAN_OUT)):
            splat_element(zero, bias + j * size, biases)
            biases += VECTOR_BYTES


def compile_run_outputs(element, digest, cache):
    """The loop over blocks, outputs in the lanes; its ``address`` is called through `run_rows`."""

    @c_function(types.int64(element, *[types.int64] * 5), cache)
    def run_outputs(zero, table, first, stop, block, scratch):
        digest  # noqa: B018
        size = size_of(zero)
        x, x_row, x_col = load_int64(table + X), load_int64(table + X_ROW), load_int64(table + X_COL)
        out, out_row = load_int64(table + OUT), load_int64(table + OUT_ROW)
        out_col = load_int64(table + OUT_COL)
        layers, depth = table + CALL_BYTES, load_int64(table + DEPTH)
        most, _, _ = widest_layer(table)
        zeros = scratch
        clear_vector(zero, zeros)
        scratch += CACHE_LINE
        one_row, other_row = result_rows(zero, table)
        direct = writes_to_out(zero, table)
        partial = scratch + block * (one_row + other_row)
        pieces = partial + streamed_bytes(zero, most, block)
        panels = pieces + block * padded_row(zero, DEEP)
        while first < stop:
            rows = min(block, stop - first)
            a, a_row, a_k = x + first * x_row, x_row, x_col
            one, other = (scratch, one_row), (scratch + block * one_row, other_row)
            target, copied = out + first * out_row, True
            for i in range(depth):
                layer = layers + i * LAYER_BYTES
                c, c_row = one
                if i == depth - 1 and (direct or ends_narrowly(zero, table, layer, a_k, rows)):
                    c, c_row, copied = target, out_row, False
                outputs_in_lanes(
                    zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, pieces, panels
                )
                a, a_row, a_k = c, c_row, size
                one, other = other, one
            if copied:
                fan_out = load_int64(layers + (depth - 1) * LAYER_BYTES + FAN_OUT)
                if out_col == size and out_row == fan_out * size and fan_out > 0:
                    copy_together(zero, a, a_row, rows, fan_out, target)
                else:
                    copy_rows(zero, a, a_row, size, rows, fan_out, target, out_row, out_col)
            first += rows
        return 0

    return run_outputs


def compile_run_samples(element, digest, cache):
    """The same with samples in the lanes."""

    @c_function(types.int64(element, *[types.int64] * 5), cache)
    def run_samples(zero, table, first, stop, block, scratch):
        digest  # noqa: B018
        lanes = VECTOR_BYTES // size_of(zero)
        x, x_row, x_col = load_int64(table + X), load_int64(table + X_ROW), load_int64(table + X_COL)
        out, out_row = load_int64(table + OUT), load_int64(table + OUT_ROW)
        out_col = load_int64(table + OUT_COL)
        layers, depth = table + CALL_BYTES, load_int64(table + DEPTH)
        fan_in = load_int64(layers + FAN_IN)
        fan_out = load_int64(layers + (depth - 1) * LAYER_BYTES + FAN_OUT)
        _, widest, total = widest_layer(table)
        zeros, biases = scratch, scratch + CACHE_LINE
        clear_vector(zero, zeros)
        scratch = biases + (total + 1) // 2 * 2 * VECTOR_BYTES
        _splat_biases(zero, layers, depth, biases)
        while first < stop:
            rows = min(block, stop - first)
            vecs = (rows + lanes - 1) // lanes
            row_bytes = vecs * VECTOR_BYTES
            here, there = scratch, scratch + (widest + lanes) * row_bytes
            ahead = rows * x_row if first + rows < stop and is_distant(first * x_row) else 0
            samples_to_lanes(
                zero, table, x + first * x_row, x_row, x_col, rows, fan_in, here, row_bytes, ahead
            )
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
        return 0

    return run_samples


@kernel
def _run_address(table, by_samples):
    return load_int64(table + (RUN_SAMPLES if by_samples else RUN_OUTPUTS))


@kernel
def lacking(zero, table, by_samples):
    """The number, in `entries.LACKING`, of what has to be compiled before `run_rows`; or NOTHING."""
    if _run_address(table, by_samples) == 0:
        return SAMPLES if by_samples else OUTPUTS
    without_narrow, without_streams = load_int64(table + NARROW_SUMS) == 0, load_int64(table + STREAMS) == 0
    if by_samples or not (without_narrow or without_streams):
        return NOTHING
    for i in range(load_int64(table + DEPTH)):
        layer = table + CALL_BYTES + i * LAYER_BYTES
        if without_narrow and may_be_narrow(zero, layer):
            return NARROW_LAYERS
        if without_streams and may_be_streamed(zero, layer):
            return LARGE_WEIGHTS
    return NOTHING


@kernel
def run_rows(zero, table, first, stop, by_samples, block, scratch):
    """Rows first..stop of x through all layers, `block` rows at a time, into the same rows of out."""
    call(zero, _run_address(table, by_samples), (table, first, stop, block, scratch))


@kernel
def aligned(address):
    """The next start of a cache line."""
    return (address + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE


@kernel
def run_allocated(zero, table, first, stop, by_samples, block):
    """`run_rows` with scratch of its own from the heap; False, and nothing done, if there is no memory."""
    scratch = allocate(scratch_bytes(zero, table, by_samples, block) + CACHE_LINE)
    if scratch == 0:
        return False
    run_rows(zero, table, first, stop, by_samples, block, aligned(scratch))
    free(scratch)
    return True
