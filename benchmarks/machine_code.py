"""Compiled probes of the machine: arithmetic on registers, reading memory, entering compiled code.

They share no code with fastnet's kernels, so that a mistake there does not lower the bar here.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

#: vectors, in bytes, that are tried: LLVM splits what the machine does not have
WIDTHS = (16, 32, 64)
#: independent sums: two units of a latency of four need eight, and with 16 registers there is room for 12
CHAINS = 12
#: read together: four vectors of the widest
READ_BYTES = 256

_I64 = ir.IntType(64)


def _vector(zero: Any, width: int) -> ir.VectorType:
    scalar = ir.FloatType() if zero.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(scalar, width * 8 // zero.bitwidth)


def _first_lane_of_sum(b: ir.IRBuilder, vectors: list[Any]) -> Any:
    total = vectors[0]
    for vector in vectors[1:]:
        total = b.fadd(total, vector)
    return b.extract_element(total, ir.IntType(32)(0))


def _loop(b: ir.IRBuilder, count: Any, start: list[Any], body: Any) -> list[Any]:
    """``count`` times, once at least: values = body(values, index)."""
    before, loop, done = b.block, b.append_basic_block("loop"), b.append_basic_block("done")
    b.branch(loop)
    b.position_at_end(loop)
    index = b.phi(_I64)
    values = [b.phi(value.type) for value in start]
    results = body(values, index)
    following = b.add(index, _I64(1))
    for phi, first, after in zip([index, *values], [_I64(0), *start], [following, *results], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(after, b.block)
    b.cbranch(b.icmp_unsigned("<", following, count), loop, done)
    b.position_at_end(done)
    return results


@intrinsic(prefer_literal=True)
def _multiply_add(typingctx: Any, zero: Any, width: Any, loops: Any) -> Any:
    """CHAINS vectors of `width` (a literal) bytes, each its own factor and addend, `loops` times."""
    vector = _vector(zero, width.literal_value)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        name = f"llvm.fma.v{vector.count}f{zero.bitwidth}"
        fma = b.module.globals.get(name) or ir.Function(b.module, ir.FunctionType(vector, [vector] * 3), name)
        lane = b.insert_element(vector(ir.Undefined), args[0], ir.IntType(32)(0))
        splat = b.shuffle_vector(lane, lane, ir.VectorType(ir.IntType(32), vector.count)([0] * vector.count))
        start = [b.fadd(splat, vector([float(i)] * vector.count)) for i in range(CHAINS)]

        def body(sums: list[Any], index: Any) -> list[Any]:
            return [b.call(fma, (total, splat, splat)) for total in sums]

        return _first_lane_of_sum(b, _loop(b, args[2], start, body))

    return zero(zero, width, types.int64), codegen


@intrinsic
def _read(typingctx: Any, zero: Any, address: Any, blocks: Any) -> Any:
    """Read `blocks` blocks of READ_BYTES, one at least."""
    vector = _vector(zero, READ_BYTES // 4)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        def body(sums: list[Any], index: Any) -> list[Any]:
            block = b.add(args[1], b.mul(index, _I64(READ_BYTES)))
            places = [b.add(block, _I64(i * READ_BYTES // 4)) for i in range(4)]
            loaded = [b.load(b.inttoptr(place, vector.as_pointer()), align=1) for place in places]
            return [b.fadd(total, value) for total, value in zip(sums, loaded, strict=True)]

        return _first_lane_of_sum(b, _loop(b, args[2], [vector([0.0] * vector.count)] * 4, body))

    return zero(zero, types.int64, types.int64), codegen


@numba.njit(cache=True)
def multiply_add(zero, width, loops):
    """`loops` times CHAINS multiply-adds of vectors of `width` bytes."""
    if width == 16:
        return _multiply_add(zero, 16, loops)
    if width == 32:
        return _multiply_add(zero, 32, loops)
    return _multiply_add(zero, 64, loops)


@numba.njit(cache=True)
def read(zero, memory, times):
    """Read all of an array of bytes, a multiple of READ_BYTES, so many times."""
    total = zero
    for _ in range(times):
        total += _read(zero, memory.ctypes.data, memory.size // READ_BYTES)
    return total


@numba.njit(cache=True)
def nothing(x, out):
    """What it costs to come here."""
