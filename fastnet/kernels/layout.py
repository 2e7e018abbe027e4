"""Moving rows of x, weights and results between their layout in memory and that of the kernels."""

from __future__ import annotations

from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import copy_element, copy_vector, fetch, size_of
from fastnet.kernels.steps import turn_in, turn_out
from fastnet.kernels.target import CACHE_LINE, PANEL_ROW, PANEL_VECTORS, VECTOR_BYTES
from fastnet.kernels.transpose import deinterleave, interleave

#: fewer elements than in so many vectors are moved one by one, not through a square of vectors
FEW_VECTORS = 3
#: rows of weights that are packed are fetched so many before
ROWS_AHEAD = 8


@kernel
def padded_row(zero, columns):
    """Bytes of a scratch row: whole vectors, and an odd number of cache lines, lest rows collide."""
    lines = (columns * size_of(zero) + CACHE_LINE - 1) // CACHE_LINE
    return (lines | 1) * CACHE_LINE


@kernel
def copy_block(zero, source, source_row, source_col, rows, columns, target, target_row, target_col):
    """Element by element, for any strides."""
    for i in range(rows):
        for j in range(columns):
            copy_element(
                zero, source + i * source_row + j * source_col, target + i * target_row + j * target_col
            )


@kernel
def _to_lanes(zero, table, source, source_row, source_col, rows, columns, target, target_row, ahead):
    """Element by element or in squares."""
    size = size_of(zero)
    if source_col == size and rows * columns * size >= FEW_VECTORS * VECTOR_BYTES:
        turn_in(zero, table, source, source_row, rows, columns, target, target_row, ahead)
    else:
        copy_block(zero, source, source_row, source_col, rows, columns, target, size, target_row)


@kernel
def _to_samples(zero, table, source, source_row, rows, columns, target, target_row, target_col):
    size = size_of(zero)
    if target_col == size and rows * columns * size >= FEW_VECTORS * VECTOR_BYTES:
        turn_out(zero, table, source, source_row, rows, columns, target, target_row)
    else:
        copy_block(zero, source, size, source_row, rows, columns, target, target_row, target_col)


@kernel
def samples_to_lanes(zero, table, x, x_row, x_col, rows, columns, target, target_row, ahead):
    """Transpose rows of x: a column of x becomes a row of `target`, whose last vector need not be whole.

    Of many columns, those that lie `ahead` so many bytes, if any, are fetched meanwhile.
    """
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    packed = x_col == size and x_row == columns * size
    whole = rows // lanes if x_row == size or (packed and 2 <= columns <= 4) else 0
    for v in range(whole):
        source, into = x + v * lanes * x_row, target + v * VECTOR_BYTES
        if x_row == size:
            for j in range(columns):
                copy_vector(zero, source + j * x_col, into + j * target_row)
        elif columns == 2:
            deinterleave(zero, 2, source, into, target_row)
        elif columns == 3:
            deinterleave(zero, 3, source, into, target_row)
        else:
            deinterleave(zero, 4, source, into, target_row)
    rest = rows - whole * lanes
    if rest > 0:
        into = target + whole * VECTOR_BYTES
        _to_lanes(
            zero, table, x + whole * lanes * x_row, x_row, x_col, rest, columns, into, target_row, ahead
        )


@kernel
def lanes_to_samples(zero, table, source, source_row, rows, columns, out, out_row, out_col):
    """The way back: rows of `source` become columns of `out`; nothing is written beside them."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    packed = out_col == size and out_row == columns * size
    whole = rows // lanes if out_row == size or (packed and 2 <= columns <= 4) else 0
    for v in range(whole):
        piece, into = source + v * VECTOR_BYTES, out + v * lanes * out_row
        if out_row == size:
            for j in range(columns):
                copy_vector(zero, piece + j * source_row, into + j * out_col)
        elif columns == 2:
            interleave(zero, 2, piece, source_row, into)
        elif columns == 3:
            interleave(zero, 3, piece, source_row, into)
        else:
            interleave(zero, 4, piece, source_row, into)
    rest = rows - whole * lanes
    if rest > 0:
        piece, into = source + whole * VECTOR_BYTES, out + whole * lanes * out_row
        _to_samples(zero, table, piece, source_row, rest, columns, into, out_row, out_col)


@kernel
def copy_rows(zero, source, source_row, source_col, rows, columns, out, out_row, out_col):
    """Rows of any strides; by whole vectors where elements lie side by side."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    for i in range(rows):
        j = 0
        if source_col == size and out_col == size:
            while j + lanes <= columns:
                copy_vector(zero, source + i * source_row + j * size, out + i * out_row + j * size)
                j += lanes
        while j < columns:
            copy_element(zero, source + i * source_row + j * source_col, out + i * out_row + j * out_col)
            j += 1


@kernel
def copy_together(zero, source, source_row, rows, columns, target):
    """Rows side by side, by whole vectors as long as what they write too much is written again."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    vecs = (columns + lanes - 1) // lanes
    quick = max(rows - (vecs * lanes - 1) // columns, 0)
    for i in range(quick):
        for v in range(vecs):
            at = v * VECTOR_BYTES
            copy_vector(zero, source + i * source_row + at, target + i * columns * size + at)
    copy_rows(
        zero, source + quick * source_row, source_row, size, rows - quick, columns,
        target + quick * columns * size, columns * size, size,
    )  # fmt: skip


@kernel
def pack_panels(zero, table, w, w_row, w_col, depth, columns, panels, panel_bytes):
    """Columns of W, a panel's width after the other, each panel's rows without a gap between them."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    row_bytes = PANEL_ROW
    whole = columns // lanes if w_col == size or w_row == size else 0
    if w_col == size:
        for k in range(depth):
            source, into = w + k * w_row, panels + k * row_bytes
            v = 0
            while v < whole:
                for i in range(min(PANEL_VECTORS, whole - v)):
                    fetch(zero, source + i * VECTOR_BYTES + ROWS_AHEAD * w_row)
                    copy_vector(zero, source + i * VECTOR_BYTES, into + i * VECTOR_BYTES)
                source, into, v = source + row_bytes, into + panel_bytes, v + PANEL_VECTORS
    else:
        for v in range(whole):
            into = panels + v // PANEL_VECTORS * panel_bytes + v % PANEL_VECTORS * VECTOR_BYTES
            source = w + v * lanes * w_col
            k = 0
            while k + lanes <= depth:
                turn_in(
                    zero, table, source + k * size, w_col, lanes, lanes, into + k * row_bytes, row_bytes, 0
                )
                k += lanes
            copy_block(
                zero, source + k * size, w_row, w_col, depth - k, lanes, into + k * row_bytes, row_bytes, size
            )
    for j in range(whole * lanes, columns):
        v = j // lanes
        into = panels + v // PANEL_VECTORS * panel_bytes + v % PANEL_VECTORS * VECTOR_BYTES
        copy_block(zero, w + j * w_col, w_row, 0, depth, 1, into + (j - v * lanes) * size, row_bytes, 0)
