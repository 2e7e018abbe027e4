"""What may follow an affine layer, element by element: the table of activations, and the loop over vectors.

The softmax, which needs whole rows, has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.relu import relu
from fastnet.kernels.sigmoid import sigmoid
from fastnet.kernels.table import RELU, SIGMOID, TANH
from fastnet.kernels.tanh import tanh
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.kernels.vector import I64, Vec, repeat

ELEMENTWISE: dict[int, Callable[[Vec], Vec]] = {SIGMOID: sigmoid, TANH: tanh, RELU: relu}

_INT = types.int64


@intrinsic
def activate(
    typingctx: Any, zero: Any, activation: Any, source: Any, target: Any, rows: Any, row: Any, count: Any
) -> Any:
    """An activation of `count` vectors side by side in each of so many rows, `row` bytes apart.

    Nothing where it is not one element by element. Each is a function of its own, never inlined: its
    constants would take registers from the loops around it.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, activation, *operands = args
        done = b.append_basic_block("activated")
        choice = b.switch(activation, done)
        for number, function in ELEMENTWISE.items():
            name = f"{function.__name__}_vectors_f{8 * size}"
            fn = vector.function(b, name, 5, partial(_emit_vectors, function, size))
            block = b.append_basic_block(function.__name__)
            choice.add_case(I64(number), block)
            b.position_at_end(block)
            b.call(fn, operands)
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 6), codegen


def _emit_vectors(
    function: Callable[[Vec], Vec],
    size: int,
    b: ir.IRBuilder,
    source: ir.Value,
    target: ir.Value,
    rows: ir.Value,
    row: ir.Value,
    count: ir.Value,
) -> None:
    """One vector alone is a chain of operations that waits for itself; four take a quarter less.

    Four are of one row, then two each of two rows, then one each of four rows; what is left goes alone. Eight
    at a time took no less.
    """
    wide = I64(VECTOR_BYTES)

    def apply(places: list[ir.Value]) -> tuple[()]:
        x = [vector.load_vector(b, b.add(source, place), size) for place in places]
        while len(x) > 1:
            x = [one.beside(other) for one, other in zip(x[::2], x[1::2], strict=True)]
        y = [function(x[0])]
        while len(y) < len(places):
            y = [half for vec in y for half in vec.halves()]
        for vec, place in zip(y, places, strict=True):
            vector.store(b, vec.v, b.add(target, place))
        return ()

    def fours(shape: ir.Value, _: Any) -> tuple[()]:
        """Those of 1, 2 or 4 rows, as the shape is 0, 1 or 2."""
        flat, narrowing = b.icmp_signed("==", shape, I64(0)), b.sub(I64(2), shape)
        across = b.shl(I64(1), narrowing)
        first = b.select(flat, I64(0), b.and_(count, b.neg(b.add(across, across))))
        groups = b.lshr(b.sub(b.and_(count, b.neg(across)), first), narrowing)
        right = b.select(b.icmp_signed("==", shape, I64(2)), row, wide)
        below = b.select(flat, I64(2 * VECTOR_BYTES), b.mul(row, shape))

        def of_rows(r: ir.Value, _: Any) -> tuple[()]:
            start = b.add(b.mul(r, b.shl(row, shape)), b.mul(first, wide))

            def four(i: ir.Value, _: Any) -> tuple[()]:
                place = b.add(start, b.mul(i, b.mul(across, wide)))
                lower = b.add(place, below)
                return apply([place, b.add(place, right), lower, b.add(lower, right)])

            repeat(b, groups, 1, (), four)
            return ()

        repeat(b, b.lshr(rows, shape), 1, (), of_rows)
        return ()

    def ones(v: ir.Value, _: Any) -> tuple[()]:
        paired = b.icmp_signed("<", v, b.and_(count, I64(-2)))
        done = b.and_(rows, b.select(paired, I64(-2), I64(-4)))
        repeat(b, rows, 1, (), lambda r, _: apply([b.add(b.mul(r, row), b.mul(v, wide))]), done)
        return ()

    repeat(b, I64(3), 1, (), fours)
    repeat(b, count, 1, (), ones, b.and_(count, I64(-4)))
