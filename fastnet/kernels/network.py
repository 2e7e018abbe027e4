"""A block of rows through all layers of a network, in either orientation of the register tile.

The call is described by a table of 64-bit integers (``CALL`` fields, then ``LAYER`` fields for each
layer). Every sum runs in one canonical order, which depends on the fan-in alone: chunks of CHUNK inputs,
each a chain of fused multiply-adds in ascending order; the first starts from the bias, each later one
from zero and is then added. So a row's result is the same bits in any batch and in either orientation.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from fastnet.kernels.jit import OPTIONS, kernel
from fastnet.kernels.layout import copy_rows, lanes_to_samples, pack_panels, samples_to_lanes
from fastnet.kernels.primitives import call, clear_vector, load_int64, size_of, splat_element
from fastnet.kernels.sweep import IDENTITY, STREAM_DEPTH, sweep
from fastnet.kernels.target import PANEL_VECTORS, TILE_ROWS, VECTOR_BYTES

CHUNK = 256
#: scratch is laid out in whole cache lines, so that no row of a panel straddles two
CACHE_LINE = 64

# -- fields of the table, as byte offsets
X, X_ROW, X_COL, OUT, OUT_ROW, OUT_COL, DEPTH, SWEEP, RUN_ROWS = range(0, 72, 8)
W, W_ROW, W_COL, BIAS, FAN_IN, FAN_OUT, ACTIVATION = range(0, 56, 8)
CALL_BYTES = 72
LAYER_BYTES = 56
PROGRAM_HEAD = 16

#: outputs in lanes: rows of a block, and of one whose weights are packed for each block anew
BLOCK_ROWS = 40 * TILE_ROWS
PACKED_BLOCK_ROWS = 86 * TILE_ROWS
#: weights up to this stay in the second-level cache, and are read where they lie
FAST_WEIGHTS = 640 * 1024
#: rows of W so many bytes apart fall into few sets of the first-level cache
COLLIDING_ROW = 2048
#: from so many rows on, packing weights costs less than it saves; fewer stream them
PACK_ROWS = 4 * TILE_ROWS
#: panels packed in one go: neighbours in a row of W share pages and prefetches
GROUP = 8
PANEL_BYTES = CHUNK * PANEL_VECTORS * VECTOR_BYTES


@kernel
def outputs_in_lanes(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, pieces, panels):
    """One layer for rows of A, broadcast element by element; the lanes hold neighbouring outputs."""
    size = size_of(zero)
    weights = load_int64(layer + FAN_IN) * load_int64(layer + FAN_OUT) * size
    w_row, w_col = load_int64(layer + W_ROW), load_int64(layer + W_COL)
    fits = weights <= FAST_WEIGHTS
    few = rows < PACK_ROWS
    if w_col != size or (not few and (not fits or w_row % COLLIDING_ROW == 0)):
        _packed(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, pieces, panels)
    else:
        step = STREAM_DEPTH if few and not fits else CHUNK
        _unpacked(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, step)


@kernel
def _packed(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, pieces, panels):
    """A chunk of A beside a group of panels of W, both packed: rows far apart would collide in the caches."""
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_row, w_col = load_int64(layer + W), load_int64(layer + W_ROW), load_int64(layer + W_COL)
    bias, activation = load_int64(layer + BIAS), load_int64(layer + ACTIVATION)
    width = PANEL_VECTORS * VECTOR_BYTES // size
    k = 0
    while k == 0 or k < fan_in:
        depth = min(CHUNK, fan_in - k)
        copy_rows(zero, a + k * a_k, a_row, a_k, rows, depth, pieces, depth * size, size)
        for group in range(0, fan_out, GROUP * width):
            columns = min(GROUP * width, fan_out - group)
            pack_panels(
                zero, w + k * w_row + group * w_col, w_row, w_col, depth, columns, panels, PANEL_BYTES
            )
            for j in range(0, columns, width):
                at = (group + j) * size
                sweep(
                    zero, sweep_tiles, rows, pieces, depth * size, size,
                    panels + j // width * PANEL_BYTES, PANEL_VECTORS * VECTOR_BYTES,
                    zeros if k else bias + at, 0, 0 if k else VECTOR_BYTES,
                    c + at, c_row, min(width, columns - j), depth, k,
                    activation if k + depth == fan_in else IDENTITY,
                )  # fmt: skip
        k += CHUNK


@kernel
def _unpacked(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, step):
    """W is read where it lies, `step` of its rows at a time.

    Sums are carried on from step to step: of the first chunk in C, of later ones in `partial` until they end.
    """
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_row = load_int64(layer + W), load_int64(layer + W_ROW)
    bias, activation = load_int64(layer + BIAS), load_int64(layer + ACTIVATION)
    partial_row = padded_row(zero, fan_out)
    k = 0
    while k == 0 or k < fan_in:
        first = k % CHUNK == 0
        later = k >= CHUNK
        depth = min(step, min(fan_in, k // CHUNK * CHUNK + CHUNK) - k)
        last = k + depth == fan_in or (k + depth) % CHUNK == 0
        init, init_row, init_vec = zeros if later else bias, 0, 0 if later else VECTOR_BYTES
        if not first:
            init, init_row, init_vec = c, c_row, VECTOR_BYTES
            if later:
                init, init_row = partial, partial_row
        into, into_row = c, c_row
        if later and not last:
            into, into_row = partial, partial_row
        sweep(
            zero, sweep_tiles, rows, a + k * a_k, a_row, a_k, w + k * w_row, w_row,
            init, init_row, init_vec, into, into_row, fan_out, depth,
            1 if later and last else 0, activation if k + depth == fan_in else IDENTITY,
        )  # fmt: skip
        k += step


@kernel
def samples_in_lanes(zero, sweep_tiles, layer, a, row_bytes, vecs, c, zeros, biases):
    """One layer for vectors of samples; weights are broadcast element by element."""
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_row, w_col = load_int64(layer + W), load_int64(layer + W_ROW), load_int64(layer + W_COL)
    activation = load_int64(layer + ACTIVATION)
    k = 0
    while k == 0 or k < fan_in:
        depth = min(CHUNK, fan_in - k)
        last = k + depth == fan_in
        sweep(
            zero, sweep_tiles, fan_out, w + k * w_row, w_col, w_row, a + k * row_bytes, row_bytes,
            zeros if k else biases, 0 if k else VECTOR_BYTES, 0,
            c, row_bytes, vecs * (VECTOR_BYTES // size), depth, k, activation if last else IDENTITY,
        )  # fmt: skip
        k += CHUNK


@kernel
def widest_layer(table):
    """(largest fan_out of a layer, largest of those and the first fan_in, sum of all fan_outs)."""
    most, total = 0, 0
    for i in range(load_int64(table + DEPTH)):
        fan_out = load_int64(table + CALL_BYTES + i * LAYER_BYTES + FAN_OUT)
        most, total = max(most, fan_out), total + fan_out
    return most, max(most, load_int64(table + CALL_BYTES + FAN_IN)), total


@kernel
def padded_row(zero, columns):
    """Bytes of a scratch row: whole vectors, and an odd number of cache lines, lest rows collide."""
    lines = (columns * size_of(zero) + CACHE_LINE - 1) // CACHE_LINE
    return (lines | 1) * CACHE_LINE


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
    """Whether any layer may pack its weights."""
    if block >= PACK_ROWS:
        return True
    needed = False
    for i in range(load_int64(table + DEPTH)):
        needed = needed or load_int64(table + CALL_BYTES + i * LAYER_BYTES + W_COL) != size_of(zero)
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
        packed = block * CHUNK * size_of(zero) + GROUP * PANEL_BYTES
    sums = hidden_buffers(zero, table) * block + min(block, PACK_ROWS)
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
        sweep_tiles = load_int64(table + SWEEP)
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
                samples_to_lanes(zero, x + first * x_row, x_row, x_col, rows, fan_in, here, row_bytes)
                bias = biases
                for i in range(depth):
                    layer = layers + i * LAYER_BYTES
                    samples_in_lanes(zero, sweep_tiles, layer, here, row_bytes, vecs, there, zeros, bias)
                    bias += load_int64(layer + FAN_OUT) * VECTOR_BYTES
                    here, there = there, here
                lanes_to_samples(
                    zero, here, row_bytes, rows, fan_out, out + first * out_row, out_row, out_col
                )
                first += rows
        else:
            row_bytes = padded_row(zero, most)
            direct = writes_to_out(zero, table)
            one = scratch
            other = one + block * row_bytes
            partial = one + hidden_buffers(zero, table) * block * row_bytes
            pieces = partial + min(block, PACK_ROWS) * row_bytes
            panels = pieces + block * CHUNK * size
            while first < stop:
                rows = min(block, stop - first)
                a, a_row, a_k = x + first * x_row, x_row, x_col
                target = out + first * out_row
                for i in range(depth):
                    layer = layers + i * LAYER_BYTES
                    c, c_row = one, row_bytes
                    if i == depth - 1 and direct:
                        c, c_row = target, out_row
                    outputs_in_lanes(
                        zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, partial,
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
    scratch = np.empty(scratch_bytes(zero, table, by_samples, block) + CACHE_LINE, np.uint8)
    run_rows(
        zero,
        table,
        first,
        stop,
        by_samples,
        block,
        (scratch.ctypes.data + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE,
    )
    scratch[0] = 0  # the last use: keeps the memory alive until here
