"""The softmax of whole rows, in either orientation: exp(x - m) / sum(exp(x - m)), m the largest element.

The sum runs in one canonical order, which depends on the width alone: PARTS partial sums, the i-th over the
elements i, i + PARTS, i + 2 PARTS, ... in ascending order, then halved: sum i takes sum i + PARTS / 2, and so
on, until one is left. Where a row lies along the lanes, the partial sums are the lanes of one (or several
registers') vector; where samples do, each has a register's worth of samples. Elements that are not there
count as 0, which changes no sum.

x - m is known to twice the precision (Knuth's two-sum), so exp has the accuracy that `exp_of_minus` gives
it however far x is from m. exp is carried times a power of two, lest what is small be subnormal, and the
quotient, one true division, is the only operation that rounds into the subnormal range.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.exponential import constants_for, exp_of_minus
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.kernels.vector import I64, Vec, repeat

#: partial sums: as many as the widest vector has lanes of float32
PARTS = 16
#: vectors of samples at a time: one alone waits for itself
_TOGETHER = 4

_INT = types.int64


def _larger(a: Vec, b: Vec) -> Vec:
    return (a < b).where(b, a)


def _exp_unit(x: Vec, largest: Vec) -> Vec:
    """exp(x - largest) times the unit; NaN where either is NaN or `largest` is infinite."""
    c = constants_for(x)
    far, zero = x.like(-c.lowest), x.like(0.0)
    z = largest - x
    back = z - largest
    lost = (largest - (z - back)) - (x + back)
    lost = (z < far).where(lost, zero)
    z = (far < z).where(far, z)
    power, q = exp_of_minus(z, c.unit_exponent, lost)
    return q.fma(power, power)


@intrinsic
def softmax_rows(
    typingctx: Any,
    zero: Any,
    source: Any,
    source_row: Any,
    target: Any,
    target_row: Any,
    rows: Any,
    width: Any,
) -> Any:
    """The softmax of rows whose elements lie side by side; nothing else is read or written."""
    size = itemsize(zero)

    def emit(
        b: Any, source: Any, source_row: Any, target: Any, target_row: Any, rows: Any, width: Any
    ) -> None:
        ty = ir.VectorType(vector.scalar_type(size), PARTS)
        like = Vec(b, ty([0.0] * PARTS)).like

        def across(vec: Vec, combine: Callable[[Vec, Vec], Vec]) -> Vec:
            """All lanes combined, in every lane."""
            for half in (8, 4, 2, 1):
                vec = combine(vec, vec.shuffle(vec, [(i + half) % PARTS for i in range(PARTS)]))
            return vec

        def one_row(row: Any, _: Any) -> tuple[()]:
            x, y = b.add(source, b.mul(row, source_row)), b.add(target, b.mul(row, target_row))

            def at(address: Any, i: Any) -> Any:
                return b.add(address, b.mul(i, I64(size)))

            def mask_of(i: Any) -> Any:
                return vector.first_lanes(b, b.sub(width, i), size, PARTS)

            def load(address: Any, i: Any, mask: Any, otherwise: float) -> Vec:
                vec = vector.load_masked(b, at(address, i), mask, size)
                return Vec(b, mask).where(vec, like(otherwise))

            def find_largest(i: Any, state: Any) -> Any:
                return [_larger(state[0], load(x, i, mask_of(i), float("-inf")))]

            def add_exps(i: Any, state: Any) -> Any:
                mask = mask_of(i)
                e = _exp_unit(load(x, i, mask, 0.0), largest)
                vector.store_masked(b, e, at(y, i), mask)
                return [state[0] + Vec(b, mask).where(e, like(0.0))]

            def divide(i: Any, _: Any) -> Any:
                mask = mask_of(i)
                vector.store_masked(b, load(y, i, mask, 0.0) / total, at(y, i), mask)
                return []

            _, [found] = repeat(b, width, PARTS, [like(float("-inf"))], find_largest)
            largest = across(found, _larger)
            _, [sums] = repeat(b, width, PARTS, [like(0.0)], add_exps)
            total = across(sums, Vec.__add__)
            repeat(b, width, PARTS, [], divide)
            return ()

        repeat(b, rows, 1, (), one_row)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.call(vector.function(b, f"softmax_rows_f{8 * size}", 6, emit), args[1:])
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 6), codegen


@intrinsic
def softmax_columns(typingctx: Any, zero: Any, c: Any, c_row: Any, width: Any, vecs: Any) -> Any:
    """The softmax, in place, of samples in the lanes of `vecs` vectors: element j of each is in row j."""
    size = itemsize(zero)

    def emit(b: Any, c: Any, c_row: Any, width: Any, vecs: Any) -> None:
        reached: Any = I64(0)
        room = b.alloca(ir.ArrayType(vector.vector_type(size, _TOGETHER), PARTS))
        room.align = 64
        for together in (_TOGETHER, 1):
            last = b.sub(vecs, I64(together - 1))
            one = partial(some_vectors, b, c, c_row, width, together, b.ptrtoint(room, I64))
            reached, _ = repeat(b, last, together, (), one, reached)

    def some_vectors(
        b: Any, c: Any, c_row: Any, width: Any, together: int, parts: Any, v: Any, _: Any
    ) -> tuple[()]:
        ty, wide = vector.vector_type(size, together), together * VECTOR_BYTES
        like = Vec(b, ty([0.0] * ty.count)).like
        part = [b.add(parts, I64(i * wide)) for i in range(PARTS)]
        column = b.add(c, b.mul(v, I64(VECTOR_BYTES)))

        def load(address: Any) -> Vec:
            return Vec(b, vector.load(b, address, ty))

        def at(j: Any) -> Any:
            return b.add(column, b.mul(j, c_row))

        def find_largest(j: Any, state: Any) -> Any:
            return [_larger(state[0], load(at(j)))]

        def add_exps(j: Any, _: Any) -> Any:
            e = _exp_unit(load(at(j)), largest)
            vector.store(b, e.v, at(j))
            mine = b.add(parts, b.mul(b.and_(j, I64(PARTS - 1)), I64(wide)))
            vector.store(b, (load(mine) + e).v, mine)
            return []

        def divide(j: Any, _: Any) -> Any:
            vector.store(b, (load(at(j)) / total).v, at(j))
            return []

        _, [largest] = repeat(b, width, 1, [like(float("-inf"))], find_largest)
        for address in part:
            vector.store(b, like(0.0).v, address)
        repeat(b, width, 1, [], add_exps)
        sums = [load(address) for address in part]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [low + high for low, high in zip(sums[:half], sums[half:], strict=True)]
        [total] = sums
        repeat(b, width, 1, [], divide)
        return ()

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.call(vector.function(b, f"softmax_columns_f{8 * size}", 4, emit), args[1:])
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 4), codegen
