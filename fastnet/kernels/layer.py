"""One layer for a block of rows, in either orientation of the register tile.

Every sum runs in one canonical order, which depends on the fan-in alone: chunks of CHUNK inputs, each a
chain of fused multiply-adds in ascending order; the first starts from the bias, each later one from zero
and is then added. So a row's result is the same bits in any batch and in either orientation; and it is
closer to the exact sum than one chain of all inputs is, whose rounding errors grow with its length.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.layout import copy_rows, lanes_to_samples, pack_panels, padded_row
from fastnet.kernels.narrow import NARROW
from fastnet.kernels.primitives import call, copy_vector, load_int64, size_of, splat_element, stack_bytes
from fastnet.kernels.steps import narrow, softmax_of_columns, softmax_of_rows, turn_in
from fastnet.kernels.stream import stream_layer
from fastnet.kernels.sweep import sweep
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    FAN_IN,
    FAN_OUT,
    IDENTITY,
    LAYER,
    SOFTMAX,
    W_COL,
    W_ROW,
    X_ROW,
    W,
    X,
)
from fastnet.kernels.target import PANEL_ROW, TILE_ROWS, VECTOR_BYTES
from fastnet.kernels.ways import (
    COLLIDING_ROW,
    DEEP,
    FAR_ROWS,
    FEW_BYTES,
    FEW_DEPTH,
    IN_PLACE_DEEP,
    MOST_NEAR,
    MOST_STREAMED,
    NARROWLY,
    PACKED,
    PANEL_BYTES,
    PANELS,
    STRADDLING,
    STREAMED,
    TURNED,
    is_distant,
    is_far,
    way,
)

#: sums of two groups of rows; a square is read from the second's on where they are turned back
_NARROW_BYTES = (NARROW + max(NARROW, VECTOR_BYTES // 4)) * VECTOR_BYTES
_INTEGERS = 12


@kernel
def _come_from_afar(table, a, a_row):
    """Whether rows of A are some of x that no cache holds yet: a guess, which decides what is fetched."""
    return a_row == load_int64(table + X_ROW) and is_distant(a - load_int64(table + X))


@kernel
def _narrow(zero, table, layer, a, a_row, rows, c, c_row):
    """Few outputs: rows of A are turned into the lanes, two vectors' worth at a time."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    fan_in, fan_out, bias = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT), load_int64(layer + BIAS)
    turned = stack_bytes(_NARROW_BYTES)
    for i in range(0, rows, 2 * lanes):
        one, other = min(i, rows - lanes), min(i + lanes, rows - lanes)  # some rows twice, to the same result
        ahead = 4 * lanes * a_row if _come_from_afar(table, a + one * a_row, a_row) else 0
        for o in range(fan_out):
            splat_element(zero, bias + o * size, turned + o * VECTOR_BYTES)
            splat_element(zero, bias + o * size, turned + (fan_out + o) * VECTOR_BYTES)
        narrow(
            zero, table, fan_out, a + one * a_row, a + other * a_row, a_row,
            load_int64(layer + W), load_int64(layer + W_ROW), load_int64(layer + W_COL), turned, fan_in,
            ahead,
        )  # fmt: skip
        activation = load_int64(layer + ACTIVATION)
        if activation != IDENTITY:
            sweep(
                zero, table, 2 * fan_out, turned, 0, 0, turned, 0, turned, VECTOR_BYTES, 0,
                turned, VECTOR_BYTES, lanes, 0, 0, activation, 0, turned, 0,
            )  # fmt: skip
        for first, piece in ((one, turned), (other, turned + fan_out * VECTOR_BYTES)):
            lanes_to_samples(zero, table, piece, VECTOR_BYTES, lanes, fan_out, c + first * c_row, c_row, size)


@kernel
def _turned(zero, table, layer, a, a_row, a_k, rows, c, c_row):
    """Few rows: columns of W are turned into the lanes, and rows of A are what they are multiplied by."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_col, bias = load_int64(layer + W), load_int64(layer + W_COL), load_int64(layer + BIAS)
    sums = stack_bytes(_NARROW_BYTES)
    others = sums + rows * VECTOR_BYTES
    for j in range(0, fan_out, 2 * lanes):
        one, other = min(j, fan_out - lanes), min(j + lanes, fan_out - lanes)
        for r in range(rows):
            copy_vector(zero, bias + one * size, sums + r * VECTOR_BYTES)
            copy_vector(zero, bias + other * size, others + r * VECTOR_BYTES)
        narrow(zero, table, rows, w + one * w_col, w + other * w_col, w_col, a, a_k, a_row, sums, fan_in, 0)
        for r in range(rows):
            copy_vector(zero, sums + r * VECTOR_BYTES, c + r * c_row + one * size)
            copy_vector(zero, others + r * VECTOR_BYTES, c + r * c_row + other * size)
    _activate_rows(zero, table, layer, rows, c, c_row)


@kernel
def _activate_rows(zero, table, layer, rows, c, c_row):
    activation = load_int64(layer + ACTIVATION)
    if activation != IDENTITY:
        sweep(
            zero, table, rows, c, 0, 0, c, 0, c, c_row, 0, c, c_row,
            load_int64(layer + FAN_OUT), 0, 0, activation, 0, c, 0,
        )  # fmt: skip


@kernel
def _turn_rows(zero, table, a, a_k, rows, depth, piece, piece_row):
    """Rows of A that lie side by side, a vector of them or more, in squares; whole vectors are written."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    for k in range(0, depth, lanes):
        for i in range(0, rows, lanes):
            r = min(i, rows - lanes)  # some rows twice, to the same result
            source, target = a + k * a_k + r * size, piece + r * piece_row + k * size
            turn_in(zero, table, source, a_k, min(lanes, depth - k), lanes, target, piece_row, 0)


@kernel
def _packed(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, pieces, panels):
    """DEEP rows of W at a time, panel by panel, each packed by the first row of tiles that reads it.

    Weights from afar are packed PANELS at a time, before. Rows of tiles fetch the panel after those into the
    second-level cache meanwhile. Rows of A that lie so far apart that they would collide in the caches are
    packed, too.
    """
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_row, w_col = load_int64(layer + W), load_int64(layer + W_ROW), load_int64(layer + W_COL)
    bias, activation = load_int64(layer + BIAS), load_int64(layer + ACTIVATION)
    width = PANEL_ROW // size
    before = w_col != size or rows < 2 * TILE_ROWS
    group = width
    if w_col == size and is_far(layer) and rows >= FAR_ROWS:
        before, group = True, PANELS * width
    k = 0
    while k == 0 or k < fan_in:
        depth = min(DEEP, fan_in - k)
        piece, piece_row = a + k * a_k, a_row
        if a_k != size or a_row % COLLIDING_ROW == 0:
            piece, piece_row = pieces, padded_row(zero, depth)
            if a_row == size and rows * size >= VECTOR_BYTES:
                _turn_rows(zero, table, a + k * a_k, a_k, rows, depth, piece, piece_row)
            else:
                copy_rows(zero, a + k * a_k, a_row, a_k, rows, depth, piece, piece_row, size)
        for j in range(0, fan_out, width):
            columns = min(width, fan_out - j)
            # the panel that comes for this one, fetched meanwhile: to its right, else one of those below
            after = j + group
            ahead = w + k * w_row + after * size
            if after >= fan_out:
                ahead = w + (k + DEEP) * w_row + j % group * size
            b, b_k, pack = w + k * w_row + j * w_col, w_row, panels
            if before:
                if j % group == 0:
                    together = min(group, fan_out - j)
                    pack_panels(zero, table, b, w_row, w_col, depth, together, panels, PANEL_BYTES)
                b, b_k, pack = panels + j % group // width * PANEL_BYTES, PANEL_ROW, 0
                if w_col != size or (group > width and w_row % COLLIDING_ROW == 0):
                    ahead = panels  # there already; or too many that fall into few sets to wait in a cache
            at = j * size
            sweep(
                zero, table, rows, piece, piece_row, size, b, b_k,
                zeros if k else bias + at, 0, 0 if k else VECTOR_BYTES,
                c + at, c_row, columns, depth, k,
                activation if k + depth == fan_in else IDENTITY, pack, ahead, w_row,
            )  # fmt: skip
        k += DEEP


@kernel
def _unpacked(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, step, group):
    """W is read where it lies, `group` of its columns and `step` of its rows, whole chunks, at a time."""
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w_row, activation = load_int64(layer + W_ROW), load_int64(layer + ACTIVATION)
    beyond = rows if _come_from_afar(table, a, a_row) else 0
    for j in range(0, fan_out, group):
        columns = min(group, fan_out - j)
        w, bias, here = load_int64(layer + W) + j * size, load_int64(layer + BIAS) + j * size, c + j * size
        k = 0
        while k == 0 or k < fan_in:
            depth = min(step, fan_in - k)
            sweep(
                zero, table, rows, a + k * a_k, a_row, a_k, w + k * w_row, w_row,
                zeros if k else bias, 0, 0 if k else VECTOR_BYTES, here, c_row, columns, depth, k,
                activation if k + depth == fan_in else IDENTITY, 0, here, beyond,
            )  # fmt: skip
            k += step


def compile_layer(element: Any, digest: str, cache: bool) -> Any:
    """A layer with outputs in the lanes, compiled once for all that call `outputs_in_lanes`."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS), cache)
    def run_layer(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, pieces, panels):
        digest  # noqa: B018
        size, fan_out = size_of(zero), load_int64(layer + FAN_OUT)
        chosen = way(zero, layer, rows)
        most = MOST_STREAMED if is_far(layer) else MOST_NEAR
        streamed = chosen == STREAMED and rows <= most and fan_out * size >= VECTOR_BYTES
        if chosen == NARROWLY and a_k == size:
            _narrow(zero, table, layer, a, a_row, rows, c, c_row)
        elif chosen == TURNED:
            _turned(zero, table, layer, a, a_row, a_k, rows, c, c_row)
        elif streamed or chosen == STRADDLING:
            chunks = 1 if chosen == STRADDLING else 0
            stream_layer(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, chunks)
            _activate_rows(zero, table, layer, rows, c, c_row)
        elif chosen == PACKED or load_int64(layer + W_COL) != size:
            _packed(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, pieces, panels)
        else:
            step, group = IN_PLACE_DEEP, max(fan_out, 1)
            if chosen == STREAMED:
                step, group = FEW_DEPTH, FEW_BYTES // size
            _unpacked(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, step, group)
        if load_int64(layer + ACTIVATION) == SOFTMAX:
            softmax_of_rows(zero, table, c, c_row, rows, fan_out)
        return 0

    return run_layer


@kernel
def outputs_in_lanes(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, pieces, panels):
    """One layer for rows of A, broadcast element by element; the lanes hold neighbouring outputs."""
    call(
        zero, load_int64(table + LAYER),
        (table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, pieces, panels),
    )  # fmt: skip


@kernel
def samples_in_lanes(zero, table, layer, a, row_bytes, vecs, c, zeros, biases):
    """One layer for vectors of samples; weights are broadcast element by element."""
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_row, w_col = load_int64(layer + W), load_int64(layer + W_ROW), load_int64(layer + W_COL)
    activation = load_int64(layer + ACTIVATION)
    k = 0
    while k == 0 or k < fan_in:
        depth = min(DEEP, fan_in - k)
        last = k + depth == fan_in
        sweep(
            zero, table, fan_out, w + k * w_row, w_col, w_row, a + k * row_bytes, row_bytes,
            zeros if k else biases, 0 if k else VECTOR_BYTES, 0,
            c, row_bytes, vecs * (VECTOR_BYTES // size), depth, k, activation if last else IDENTITY, 0, c, 0,
        )  # fmt: skip
        k += DEEP
    if activation == SOFTMAX:
        softmax_of_columns(zero, table, c, row_bytes, fan_out, vecs)
