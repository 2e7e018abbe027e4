"""Rows of register tiles with their activation: the function that all the arithmetic happens in.

It is compiled on its own and called by its address. Inlined into every caller it would be optimised
again at each level of them, and the first call of a process without a cache would take 20 s, not 2.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastnet.kernels.activations import activate
from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import call, load_int64, size_of
from fastnet.kernels.table import CHUNK, IDENTITY, SWEEP
from fastnet.kernels.target import (
    CACHE_LINE,
    HELD_VECTORS,
    MOST_ROWS,
    PANEL_ROW,
    PANEL_VECTORS,
    TILE_ROWS,
    TILES,
    VECTOR_BYTES,
)
from fastnet.kernels.tile import tile

_WIDEST = max(TILES[1])
#: widest tile of so many rows that is no wider than the vectors left
_TILE_WIDTH = tuple(
    max(w for w in TILES[rows] if w <= max(left, 1)) if rows else 0
    for rows in range(MOST_ROWS + 1)
    for left in range(_WIDEST + 1)
)
#: tiles between the rows of A at hand and those that are fetched meanwhile
FURTHER = 8
_INTEGERS = 18


@kernel
def tile_height(rows):
    """Height of the next tile: the last two are made as equal as can be."""
    if rows <= MOST_ROWS:
        return rows
    return TILE_ROWS if rows >= 2 * TILE_ROWS else (rows + 1) // 2


def compile_sweep(element: Any, digest: str, cache: bool) -> Any:
    """The compiled sweep for float32 or float64; its ``address`` is what the other kernels call."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS), cache)
    def sweep_tiles(
        zero, rows, a, a_row, a_k, b, b_k, init, init_row, init_vec, c, c_row, columns, depth, add,
        activation, pack, ahead, ahead_k,
    ):  # fmt: skip
        digest  # noqa: B018
        lanes = VECTOR_BYTES // size_of(zero)
        vecs, whole = columns // lanes, (columns + lanes - 1) // lanes
        # of A, the rows to come: they share lines, or lie side by side
        turned = ahead == c and a_row == size_of(zero)
        beside = ahead == c and a_row == depth * a_k
        beyond = 0
        if ahead == c:
            beyond, ahead_k = ahead_k, 0
        tallest = HELD_VECTORS if depth > CHUNK else PANEL_VECTORS
        line = 0
        while rows > 0:
            height = tile_height(rows)
            if turned:
                ahead, ahead_k = a + CACHE_LINE, a_k
            elif beside:
                further = min(FURTHER * height, max(rows - height + beyond, height))
                ahead, ahead_k = a + further * a_row, height * a_k
            v, rest = 0, columns - vecs * lanes
            if init == c:
                v, rest = vecs, 0
            while v < vecs or rest > 0:
                part = 0
                if v < vecs:
                    widest = tallest if height == TILE_ROWS else _WIDEST
                    width = _TILE_WIDTH[height * (_WIDEST + 1) + min(vecs - v, widest)]
                else:
                    width, part, rest = 1, rest, 0
                here = c + v * VECTOR_BYTES
                tile(
                    zero, height, width, part, a, a_row, a_k, b + v * VECTOR_BYTES, b_k,
                    init + v * init_vec, init_row, init_vec, here, c_row, depth, add,
                    pack + v * VECTOR_BYTES if pack else 0, ahead, ahead_k,
                )  # fmt: skip
                v += width
            if activation != IDENTITY:
                activate(zero, activation, c, c, height, c_row, whole)
            if pack:
                b, b_k, pack = pack, PANEL_ROW, 0
            line, ahead = line + CACHE_LINE, ahead + CACHE_LINE
            if line >= PANEL_ROW and not (turned or beside):  # all of that panel is on its way
                ahead, ahead_k = c, 0
            a, init, c, rows = a + height * a_row, init + height * init_row, c + height * c_row, rows - height
        return 0

    return sweep_tiles


@kernel
def sweep(
    zero, table,
    rows, a, a_row, a_k, b, b_k, init, init_row, init_vec, c, c_row, columns, depth, add, activation,
    pack, ahead, ahead_k,
):  # fmt: skip
    """C = activation(init + A B): rows of tiles, each along all columns of B. A softmax is the caller's.

    Strides are in bytes: A has any; the columns of B and C are contiguous, and C has room for whole vectors.
    Rows of init are a value in all of a row's vectors, or all of them the same row: its row stride is 0, or
    the step between its vectors, or both. With C for `init`, C = activation(C), and with `add`,
    C = activation(C + init + A B). With `pack`, B is one panel, packed there by the first row of tiles and
    read from there by the others. Meanwhile the panel at `ahead`, whose rows are `ahead_k` apart, is fetched
    into the second-level cache; any address will do. With C for `ahead`, it is rows of A that come next, and
    up to `ahead_k` behind these.
    """
    call(
        zero, load_int64(table + SWEEP),
        (rows, a, a_row, a_k, b, b_k, init, init_row, init_vec, c, c_row, columns, depth, add, activation,
         pack, ahead, ahead_k),
    )  # fmt: skip
