"""Intrinsics: what compiled Python code cannot say itself, each a few instructions.

Addresses and strides are 64-bit integers, in bytes. ``zero`` is a float32 or float64 scalar whose type
names the element type. Nothing here checks anything: callers have.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
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
