"""Few rows through many weights: these are read once, in order, as memory likes it.

Vectors of outputs begin where cache lines of the weights do, where that pays. The first and the last may
overlap their neighbours: both come to the same result. So sums are kept by vector, not by column, until they
are complete.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import copy_vector, itemsize, size_of
from fastnet.kernels.table import CHUNK
from fastnet.kernels.target import SPLITS_COST, TILES, VECTOR_BYTES, is_zen
from fastnet.kernels.vector import I64

_INT = types.int64

#: rows of weights that few rows take at a time, all along: up to a fifth less time than in tiles; and those
#: few rows -> vectors of each that they take at a time: whole cache lines, read before others displace them.
#: More rows than that go over the rows of weights in turns, up to MOST_STREAMED of them: 0.4 to 0.9 of the
#: time in tiles where memory is slow, but 1.1 where the weights lie near, and more for 20 rows.
STREAM_DEPTH = 8
STREAM_VECTORS = {rows: max(w for w in TILES[rows] if w <= 4) for rows in range(1, 7)}
AT_ONCE, MOST_STREAMED = max(STREAM_VECTORS), 16
#: but a whole chunk for five rows or more, whose sums take longer to load and store than weights to come, and
#: what comes next of each row fetched for fewer: 0.73 to 0.95 of the time on a Zen 5, not tried elsewhere
CHUNK_ROWS, AHEAD = (5, 512) if is_zen() else (AT_ONCE + 1, 0)


@kernel
def first_place(zero, w, w_row):
    """Where, in bytes, the first vector would begin: before the first column if that is at no boundary.

    0 if no vector could begin at one: rows are no whole vectors apart, or W lies across its own elements. Or
    where it would not pay.
    """
    before = w % VECTOR_BYTES if SPLITS_COST else 0
    return -before if w_row % VECTOR_BYTES == 0 and before % size_of(zero) == 0 else 0


@kernel
def at_once(rows):
    """How many rows go over the rows of weights together."""
    turns = (rows + AT_ONCE - 1) // AT_ONCE
    return (rows + turns - 1) // turns


@kernel
def stream_depth(rows):
    """How many rows of weights they take at a time."""
    return STREAM_DEPTH if at_once(rows) < CHUNK_ROWS else CHUNK


@kernel
def vectors(row_bytes, head):
    """How many vectors cover a row of so many bytes."""
    return (row_bytes - head + VECTOR_BYTES - 1) // VECTOR_BYTES


@kernel
def streamed_bytes(zero, columns, rows):
    """Bytes for the sums of so many rows or fewer: those of the chunk at hand, and those of all before."""
    return 2 * min(rows, MOST_STREAMED) * (columns * size_of(zero) // VECTOR_BYTES + 2) * VECTOR_BYTES


@kernel
def put_in_place(zero, sums, head, last, vecs, c):
    """A row of sums by vector to its columns."""
    for i in range(vecs):
        copy_vector(zero, sums + i * VECTOR_BYTES, c + min(max(head + i * VECTOR_BYTES, 0), last))


@intrinsic
def stream_rows(
    typingctx: Any,
    zero: Any,
    rows: Any,
    depth: Any,
    a: Any,
    a_row: Any,
    a_k: Any,
    b_address: Any,
    b_k: Any,
    head: Any,
    last: Any,
    init: Any,
    init_row: Any,
    init_vec: Any,
    placed: Any,
    c: Any,
    c_row: Any,
    add: Any,
    vecs: Any,
) -> Any:
    """C = init + A B, and with `add` C += that, for few rows of A and `depth` rows of B.

    STREAM_DEPTH of them are read in as many streams, each in order: what memory does best. Vector i of B's
    columns begins `head` + i VECTOR_BYTES bytes into a row, but at 0 at least and at `last` at most; so does
    that of init, if that is `placed`. Those of C lie side by side.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, rows, depth, *operands = args
        done = b.append_basic_block("streamed")
        choice = b.switch(rows, done)
        for height, width in STREAM_VECTORS.items():
            block = b.append_basic_block("stream_rows")
            choice.add_case(I64(height), block)
            b.position_at_end(block)
            _emit_stream(b, size, height, width, depth, operands)
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 17), codegen


def _emit_stream(b: Any, size: int, height: int, widest: int, depth: Any, operands: Any) -> None:
    a, a_row, a_k, b_address, b_k, head, last, *starts, c, c_row, add, vecs = operands
    init, init_row, init_vec, placed = starts
    a_rows, inits, intos = (
        [b.add(address, b.mul(row, I64(r))) for r in range(height)]
        for address, row in ((a, a_row), (init, init_row), (c, c_row))
    )
    by_place, adds = (b.icmp_signed("!=", flag, I64(0)) for flag in (placed, add))

    row_bytes = b.mul(vecs, I64(VECTOR_BYTES))
    below = b.add(b.sub(b.mul(b_k, I64(STREAM_DEPTH)), row_bytes), I64(AHEAD))

    def group(first: Any, width: int, inside: bool) -> None:
        """So many vectors side by side; `inside`, each begins where its number says."""
        at = b.mul(first, I64(VECTOR_BYTES))
        if inside:
            start = b.add(b_address, b.add(head, at))
            places = [I64(v * VECTOR_BYTES) for v in range(width)]
            placed_at = [b.add(b.add(head, at), place) for place in places]
        else:
            start, places = b_address, vector.places(b, at, width, head, last)
            placed_at = places
        in_order = [b.mul(b.add(first, I64(v)), init_vec) for v in range(width)]
        begin = [b.select(by_place, *either) for either in zip(placed_at, in_order, strict=True)]
        # at the end of these rows of weights, those below are next
        near_end = b.icmp_signed(">=", b.add(at, I64(AHEAD)), row_bytes)
        ahead = b.select(near_end, below, I64(AHEAD))

        def step(k: Any, sums: list[vector.Vec]) -> list[vector.Vec]:
            row, along = b.add(start, b.mul(b_k, k)), b.mul(a_k, k)
            loaded = [vector.load_vector(b, b.add(row, place), size) for place in places]
            if inside and AHEAD and height < CHUNK_ROWS:
                for place in places:
                    vector.prefetch(b, b.add(b.add(row, ahead), place), 3)
            ones = [vector.load_splat(b, b.add(a_row, along), size) for a_row in a_rows]
            factors = [(one, vec) for one in ones for vec in loaded]
            return [one.fma(vec, total) for (one, vec), total in zip(factors, sums, strict=True)]

        sums = [vector.load_vector(b, b.add(start, at), size) for start in inits for at in begin]
        sums = vector.repeat(b, depth, 1, sums, step)[1]
        into = [b.add(b.add(row, at), I64(v * VECTOR_BYTES)) for row in intos for v in range(width)]
        with b.if_else(adds) as (more, plain):
            for adding, branch in ((True, more), (False, plain)):
                with branch:
                    for address, vec in zip(into, sums, strict=True):
                        total = vector.load_vector(b, address, size) + vec if adding else vec
                        vector.store(b, total.v, address)

    def groups(width: int, inside: bool, first: Any, stop: Any) -> Any:
        """As many as begin from first to stop: where they end. Behind the last vector comes the first."""

        def body(i: Any, _: Any) -> tuple[()]:
            group(b.select(b.icmp_signed("<", i, vecs), i, I64(0)), width, inside)
            return ()

        return vector.repeat(b, b.sub(stop, I64(width - 1)), width, (), body, first)[0]

    # vectors that begin before their rows, or end behind them, are moved: those come last
    early = b.zext(b.icmp_signed("<", head, I64(0)), I64)
    late = b.zext(b.icmp_signed(">", b.add(head, row_bytes), b.add(last, I64(VECTOR_BYTES))), I64)
    done = groups(widest, True, early, b.sub(vecs, late))
    if SPLITS_COST:
        done = groups(widest, False, done, vecs)
    groups(1, False, done, b.add(vecs, early))
