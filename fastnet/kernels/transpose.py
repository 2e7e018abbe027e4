"""Rows of samples to vectors of samples, one in each lane, and back: a square of vector length at a time.

No more is read or written than there is, but whole vectors on the side of the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnet.kernels import rearrange, vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.target import PART_BYTES, VECTOR_BYTES
from fastnet.kernels.vector import I64

_INT = types.int64


def _by_width(
    b: ir.IRBuilder, columns: Any, lanes: int, half: Callable[[], None], more: Callable[[], None]
) -> None:
    """Emit half() for as few columns as half of a square has, less than half of the shuffles; or more()."""
    if VECTOR_BYTES != 16 * rearrange.PIECES:
        more()
        return
    with b.if_else(b.icmp_signed("<=", columns, I64(lanes // 2))) as (few, many):
        with few:
            half()
        with many:
            more()


def turn_in(b: ir.IRBuilder, size: int) -> ir.Function:
    """(source, source_row, rows, columns, target, target_row): a square, or less, of `transpose_in`."""
    lanes = VECTOR_BYTES // size

    def emit(
        b: Any, source: Any, source_row: Any, rows: Any, columns: Any, target: Any, target_row: Any
    ) -> None:
        def move(load: Any, row_of: Any) -> None:
            read = [load(b.add(source, b.mul(source_row, row_of(i)))) for i in range(lanes)]
            for i, row in enumerate(rearrange.transpose(read)):
                vector.store(b, row.v, b.add(target, b.mul(target_row, I64(i))))

        def clamped(i: int) -> Any:
            last = b.sub(rows, I64(1))
            return b.select(b.icmp_signed("<", I64(i), last), I64(i), last)

        def move_part() -> None:
            mask = vector.first_lanes(b, columns, size)
            move(lambda address: vector.load_masked(b, address, mask, size), clamped)

        def move_half() -> None:
            mask = vector.first_lanes(b, columns, size, lanes // 2)
            halves = [b.add(source, b.mul(source_row, clamped(i))) for i in range(lanes)]
            loaded = [vector.load_masked(b, address, mask, size) for address in halves]
            read = [loaded[i].beside(loaded[k]) for i, k in rearrange.paired_rows(lanes)]
            for i, row in enumerate(rearrange.turn_halves(read)):
                vector.store(b, row.v, b.add(target, b.mul(target_row, I64(i))))

        def move_square() -> None:
            if not PART_BYTES:
                move(lambda address: vector.load_vector(b, address, size), I64)
                return
            wide, e = PART_BYTES // size, 16 // size
            for r, k in product(range(0, lanes, wide), range(0, lanes, e)):
                here = [
                    b.add(source, b.add(b.mul(source_row, I64(r + i)), I64(k * size))) for i in range(wide)
                ]
                pieces = [vector.load_pieces(b, here[i::e], size, PART_BYTES) for i in range(e)]
                for i, column in enumerate(rearrange.turn_pieces(pieces)):
                    into = b.add(target, b.mul(target_row, I64(k + i)))
                    vector.store(b, column.v, b.add(into, I64(r * size)))

        whole = b.and_(*(b.icmp_signed(">=", count, I64(lanes)) for count in (rows, columns)))
        with b.if_else(whole) as (square, part):
            with square:
                move_square()
            with part:
                _by_width(b, columns, lanes, move_half, move_part)

    return vector.function(b, f"turn_in_f{8 * size}", 6, emit)


def turn_out(b: ir.IRBuilder, size: int) -> ir.Function:
    """(source, source_row, rows, columns, target, target_row): a square, or less, of `transpose_out`."""
    lanes = VECTOR_BYTES // size

    def emit(
        b: Any, source: Any, source_row: Any, rows: Any, columns: Any, target: Any, target_row: Any
    ) -> None:
        def read(count: int) -> list[vector.Vec]:
            return [
                vector.load_vector(b, b.add(source, b.mul(source_row, I64(i))), size) for i in range(count)
            ]

        def write(turned: Iterable[vector.Vec], mask: Any) -> None:
            for i, row in enumerate(turned):
                address = b.add(target, b.mul(target_row, I64(i)))
                if mask is None:
                    vector.store(b, row.v, address)
                    continue
                # a store whose mask is empty takes hundreds of cycles on Zen 5
                with b.if_then(b.icmp_signed("<", I64(i), rows)):
                    vector.store_masked(b, row, address, mask)

        def move_half() -> None:
            pairs = rearrange.turn_into_halves(read(lanes // 2))
            rows_of = dict[int, vector.Vec]()
            for pair, both in zip(rearrange.paired_rows(lanes), pairs, strict=True):
                rows_of |= zip(pair, both.halves(), strict=True)
            write([rows_of[i] for i in range(lanes)], vector.first_lanes(b, columns, size, lanes // 2))

        def move() -> None:
            turned = rearrange.transpose(read(lanes))
            whole = b.and_(*(b.icmp_signed(">=", count, I64(lanes)) for count in (rows, columns)))
            with b.if_else(whole) as (square, part):
                with square:
                    write(turned, None)
                with part:
                    write(turned, vector.first_lanes(b, columns, size))

        _by_width(b, columns, lanes, move_half, move)

    return vector.function(b, f"turn_out_f{8 * size}", 6, emit)


def _squares(b: ir.IRBuilder, rows: Any, columns: Any, size: int) -> Iterator[tuple[Any, Any]]:
    """Once: where each square of vector length begins, row and column, for what is emitted meanwhile."""
    lanes = I64(VECTOR_BYTES // size)
    with (
        cgutils.for_range_slice(b, I64(0), rows, lanes) as (i, _),
        cgutils.for_range_slice(b, I64(0), columns, lanes) as (j, _),
    ):
        yield i, j


@intrinsic
def transpose_in(
    typingctx: Any,
    zero: Any,
    source: Any,
    source_row: Any,
    rows: Any,
    columns: Any,
    target: Any,
    target_row: Any,
    ahead: Any,
) -> Any:
    """Transpose rows by columns into squares of vector length; no more than those is read.

    What lies `ahead` so many bytes, if any, is fetched into the second-level cache.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, source, source_row, rows, columns, target, target_row, ahead = args
        for i, j in _squares(b, rows, columns, size):
            here = b.add(b.add(source, b.mul(source_row, i)), b.mul(j, I64(size)))
            into = b.add(b.add(target, b.mul(target_row, j)), b.mul(i, I64(size)))
            with b.if_then(b.icmp_signed("!=", ahead, I64(0))):
                for r in range(VECTOR_BYTES // size):
                    vector.prefetch(b, b.add(b.add(here, ahead), b.mul(source_row, I64(r))), 2)
            b.call(turn_in(b, size), (here, source_row, b.sub(rows, i), b.sub(columns, j), into, target_row))
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 7), codegen


@intrinsic
def transpose_out(
    typingctx: Any,
    zero: Any,
    source: Any,
    source_row: Any,
    rows: Any,
    columns: Any,
    target: Any,
    target_row: Any,
) -> Any:
    """Transpose squares of vector length into rows by columns; no more than those is written."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, source, source_row, rows, columns, target, target_row = args
        for i, j in _squares(b, rows, columns, size):
            here = b.add(b.add(source, b.mul(source_row, j)), b.mul(i, I64(size)))
            into = b.add(b.add(target, b.mul(target_row, i)), b.mul(j, I64(size)))
            b.call(turn_out(b, size), (here, source_row, b.sub(rows, i), b.sub(columns, j), into, target_row))
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 6), codegen


@intrinsic(prefer_literal=True)
def deinterleave(typingctx: Any, zero: Any, columns: Any, source: Any, target: Any, target_row: Any) -> Any:
    """Columns (a literal, few) of one vector's worth of contiguous rows, each into a vector of its own."""
    size, n = itemsize(zero), columns.literal_value
    lanes = VECTOR_BYTES // size

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, _, source, target, target_row = args
        vecs = [vector.load_vector(b, b.add(source, I64(i * VECTOR_BYTES)), size) for i in range(n)]
        for i in range(n):
            column = rearrange.gather_lanes(vecs, [n * lane + i for lane in range(lanes)])
            vector.store(b, column.v, b.add(target, b.mul(target_row, I64(i))))
        return context.get_dummy_value()

    return types.void(zero, columns, _INT, _INT, _INT), codegen


@intrinsic(prefer_literal=True)
def interleave(typingctx: Any, zero: Any, columns: Any, source: Any, source_row: Any, target: Any) -> Any:
    """The way back: `columns` vectors, a sample a lane, to one vector's worth of contiguous rows."""
    size, n = itemsize(zero), columns.literal_value
    lanes = VECTOR_BYTES // size

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, _, source, source_row, target = args
        vecs = [vector.load_vector(b, b.add(source, b.mul(source_row, I64(i))), size) for i in range(n)]
        for i in range(n):
            flat = range(i * lanes, (i + 1) * lanes)
            piece = rearrange.gather_lanes(vecs, [(f % n) * lanes + f // n for f in flat])
            vector.store(b, piece.v, b.add(target, I64(i * VECTOR_BYTES)))
        return context.get_dummy_value()

    return types.void(zero, columns, _INT, _INT, _INT), codegen
