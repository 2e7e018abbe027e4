"""Intrinsics: what compiled Python code cannot say itself, each a few instructions.

Addresses and strides are 64-bit integers, in bytes. ``zero`` is a float32 or float64 scalar whose type
names the element type. Nothing here checks anything: callers have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnet.kernels import rearrange, vector
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.kernels.vector import I32, I64

_INT = types.int64


def itemsize(ty: Any) -> int:
    return int(ty.bitwidth) // 8


@intrinsic
def size_of(typingctx: Any, zero: Any) -> Any:
    size = itemsize(zero)
    return _INT(zero), lambda context, b, sig, args: I64(size)


@intrinsic
def load_int64(typingctx: Any, address: Any) -> Any:
    return _INT(_INT), lambda context, b, sig, args: vector.load(b, args[0], I64)


@intrinsic
def load_int32(typingctx: Any, address: Any) -> Any:
    return _INT(_INT), lambda context, b, sig, args: b.sext(vector.load(b, args[0], I32), I64)


@intrinsic
def load_byte(typingctx: Any, address: Any) -> Any:
    return _INT(_INT), lambda context, b, sig, args: b.zext(vector.load(b, args[0], ir.IntType(8)), I64)


@intrinsic
def store_int64(typingctx: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, args[1], args[0])
        return context.get_dummy_value()

    return types.void(_INT, _INT), codegen


@intrinsic(prefer_literal=True)
def stack_bytes(typingctx: Any, count: Any) -> Any:
    """Address of `count` (a literal) bytes on the stack, aligned to a cache line, not cleared."""
    size = count.literal_value

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        with b.goto_entry_block():
            room = b.alloca(ir.ArrayType(ir.IntType(8), size))
            room.align = 64
        return b.ptrtoint(room, I64)

    return _INT(count), codegen


@intrinsic
def allocate(typingctx: Any, count: Any) -> Any:
    """Address of so many bytes from the heap, 0 if there are none. An array would take longer to compile."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        # the checked form would raise here, past callers that have references to give back
        return b.ptrtoint(context.nrt.allocate_unchecked(b, args[0]), I64)

    return _INT(_INT), codegen


@intrinsic
def free(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        context.nrt.free(b, b.inttoptr(args[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.void(_INT), codegen


@intrinsic
def call(typingctx: Any, zero: Any, address: Any, integers: Any) -> Any:
    """Call the compiled function at `address` with zero and a tuple of 64-bit integers."""
    count = len(integers)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        zero, address, packed = args
        ty = ir.FunctionType(I64, (zero.type, *[I64] * count))
        operands = [b.extract_value(packed, i) for i in range(count)]
        return b.call(b.inttoptr(address, ty.as_pointer()), (zero, *operands))

    return _INT(zero, _INT, types.UniTuple(_INT, count)), codegen


@intrinsic
def copy_element(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        value = vector.load(b, args[1], vector.scalar_type(size))
        vector.store(b, value, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def copy_vector(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, vector.load_vector(b, args[1], size).v, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def fetch(typingctx: Any, zero: Any, address: Any) -> Any:
    """Ask for the cache line at `address`."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.prefetch(b, args[1], 3)
        return context.get_dummy_value()

    return types.void(zero, _INT), codegen


@intrinsic
def splat_element(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    """Store the element at `source` into every lane of the vector at `target`."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, vector.load_splat(b, args[1], size).v, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def clear_vector(typingctx: Any, zero: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = vector.vector_type(size)
        vector.store(b, ty([0.0] * ty.count), args[1])
        return context.get_dummy_value()

    return types.void(zero, _INT), codegen


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

        whole = b.and_(*(b.icmp_signed(">=", count, I64(lanes)) for count in (rows, columns)))
        with b.if_else(whole) as (square, part):
            with square:
                move(lambda address: vector.load_vector(b, address, size), I64)
            with part:
                mask = vector.first_lanes(b, columns, size)
                move(lambda address: vector.load_masked(b, address, mask, size), clamped)

    return vector.function(b, f"turn_in_f{8 * size}", 6, emit)


def turn_out(b: ir.IRBuilder, size: int) -> ir.Function:
    """(source, source_row, rows, columns, target, target_row): a square, or less, of `transpose_out`."""
    lanes = VECTOR_BYTES // size

    def emit(
        b: Any, source: Any, source_row: Any, rows: Any, columns: Any, target: Any, target_row: Any
    ) -> None:
        read = [vector.load_vector(b, b.add(source, b.mul(source_row, I64(i))), size) for i in range(lanes)]
        turned = [
            (row, b.add(target, b.mul(target_row, I64(i)))) for i, row in enumerate(rearrange.transpose(read))
        ]
        whole = b.and_(*(b.icmp_signed(">=", count, I64(lanes)) for count in (rows, columns)))
        with b.if_else(whole) as (square, part):
            with square:
                for row, address in turned:
                    vector.store(b, row.v, address)
            with part:
                mask = vector.first_lanes(b, columns, size)
                for i, (row, address) in enumerate(turned):
                    # a store whose mask is empty takes hundreds of cycles on Zen 5
                    with b.if_then(b.icmp_signed("<", I64(i), rows)):
                        vector.store_masked(b, row, address, mask)

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
) -> Any:
    """Transpose rows by columns into squares of vector length; no more than those is read."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, source, source_row, rows, columns, target, target_row = args
        for i, j in _squares(b, rows, columns, size):
            here = b.add(b.add(source, b.mul(source_row, i)), b.mul(j, I64(size)))
            into = b.add(b.add(target, b.mul(target_row, j)), b.mul(i, I64(size)))
            b.call(turn_in(b, size), (here, source_row, b.sub(rows, i), b.sub(columns, j), into, target_row))
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 6), codegen


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
