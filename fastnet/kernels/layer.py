"""One layer for a block of rows, in either orientation of the register tile.

Every sum runs in one canonical order, which depends on the fan-in alone: chunks of CHUNK inputs, each a
chain of fused multiply-adds in ascending order; the first starts from the bias, each later one from zero
and is then added. So a row's result is the same bits in any batch and in either orientation.
"""

from __future__ import annotations

from fastnet.kernels.jit import kernel
from fastnet.kernels.layout import copy_rows, pack_panels, padded_row
from fastnet.kernels.primitives import load_int64, size_of
from fastnet.kernels.softmax import softmax_columns, softmax_rows
from fastnet.kernels.sweep import sweep
from fastnet.kernels.table import ACTIVATION, BIAS, FAN_IN, FAN_OUT, IDENTITY, SOFTMAX, W_COL, W_ROW, W
from fastnet.kernels.target import PANEL_VECTORS, TILE_ROWS, VECTOR_BYTES
from fastnet.kernels.tile import STREAM_DEPTH, STREAM_VECTORS, stream_row

CHUNK = 256
#: weights up to this stay in the second-level cache, and are read where they lie
FAST_WEIGHTS = 640 * 1024
#: rows of W so many bytes apart fall into few sets of the first-level cache
COLLIDING_ROW = 2048
#: from so many rows on, packing weights costs less than it saves; fewer stream them
PACK_ROWS = 4 * TILE_ROWS
#: panels packed in one go: neighbours in a row of W share pages and prefetches
GROUP = 8
PANEL_BYTES = CHUNK * PANEL_VECTORS * VECTOR_BYTES


#: how the weights of a layer are read
IN_PLACE, STREAMED, PACKED = 0, 1, 2


@kernel
def way(zero, layer, rows):
    """IN_PLACE, STREAMED or PACKED: what is quickest for so many rows, outputs in the lanes."""
    size = size_of(zero)
    fits = load_int64(layer + FAN_IN) * load_int64(layer + FAN_OUT) * size <= FAST_WEIGHTS
    few = rows < PACK_ROWS
    collides = load_int64(layer + W_ROW) % COLLIDING_ROW == 0
    if load_int64(layer + W_COL) != size or (not few and (not fits or collides)):
        return PACKED
    return STREAMED if few and not fits else IN_PLACE


@kernel
def outputs_in_lanes(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, pieces, panels):
    """One layer for rows of A, broadcast element by element; the lanes hold neighbouring outputs."""
    chosen = way(zero, layer, rows)
    if chosen == PACKED:
        _packed(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, pieces, panels)
    else:
        step = STREAM_DEPTH if chosen == STREAMED else CHUNK
        _unpacked(zero, sweep_tiles, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, step)
    if load_int64(layer + ACTIVATION) == SOFTMAX:
        softmax_rows(zero, c, c_row, c, c_row, rows, load_int64(layer + FAN_OUT))


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
    lanes = VECTOR_BYTES // size_of(zero)
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
        done = 0
        if rows == 1 and depth == STREAM_DEPTH and not last:
            done = fan_out // lanes // STREAM_VECTORS * STREAM_VECTORS
            stream_row(zero, a + k * a_k, a_k, w + k * w_row, w_row, init, init_vec, into, done)
        if done * lanes < fan_out:
            at = done * VECTOR_BYTES
            sweep(
                zero, sweep_tiles, rows, a + k * a_k, a_row, a_k, w + k * w_row + at, w_row,
                init + done * init_vec, init_row, init_vec, into + at, into_row, fan_out - done * lanes,
                depth, 1 if later and last else 0, activation if k + depth == fan_in else IDENTITY,
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
    if activation == SOFTMAX:
        softmax_columns(zero, c, row_bytes, fan_out, vecs)
