"""Gradients through what follows an affine layer: of its input, from that of its output and the output.

The operations and their order are those of ``fastnet/reference.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.elements import Load, Store, over_elements, splat
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.table import RELU, SIGMOID, SOFTMAX, TANH
from fastnet.kernels.vector import I64, Vec, repeat

_INT = types.int64


def _sigmoid(dout: Vec, y: Vec) -> Vec:
    return dout * (y.like(1.0) - y) * y


def _tanh(dout: Vec, y: Vec) -> Vec:
    return dout * (y.like(1.0) - y * y)


def _relu(dout: Vec, y: Vec) -> Vec:
    zero = y.like(0.0)
    return (zero < y).where(dout, zero)


SLOPES: dict[int, Callable[[Vec, Vec], Vec]] = {SIGMOID: _sigmoid, TANH: _tanh, RELU: _relu}


@intrinsic
def derive(
    typingctx: Any, zero: Any, activation: Any, rows: Any, width: Any, dout: Any, y: Any, dz: Any
) -> Any:
    """dz of rows side by side; nothing where nothing follows. dz may be dout itself."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, activation, rows, width, *arrays = args
        done = b.append_basic_block("derived")
        choice = b.switch(activation, done)
        for number in (*SLOPES, SOFTMAX):
            block = b.append_basic_block("derive")
            choice.add_case(I64(number), block)
            b.position_at_end(block)
            if number == SOFTMAX:
                fn = vector.function(b, f"derive_softmax_f{8 * size}", 5, _softmax_of(size))
                b.call(fn, (rows, width, *arrays))
            else:
                fn = vector.function(b, f"derive_{number}_f{8 * size}", 4, _slope_of(size, SLOPES[number]))
                b.call(fn, (b.mul(rows, width), *arrays))
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 6), codegen


def _slope_of(size: int, slope: Callable[[Vec, Vec], Vec]) -> Callable[..., None]:
    def emit(b: ir.IRBuilder, count: Any, dout: Any, y: Any, dz: Any) -> None:
        def body(load: Load, store: Store) -> tuple[()]:
            store(dz, slope(load(dout), load(y)))
            return ()

        over_elements(b, size, count, body)

    return emit


def _softmax_of(size: int) -> Callable[..., None]:
    """y dout, less y times the sum of it over the row."""

    def emit(b: ir.IRBuilder, rows: Any, width: Any, dout: Any, y: Any, dz: Any) -> None:
        def one_row(row: Any, _: Any) -> tuple[()]:
            at = b.mul(b.mul(row, width), I64(size))
            d_here, y_here, z_here = (b.add(base, at) for base in (dout, y, dz))

            def weigh(load: Load, store: Store) -> list[Vec]:
                weighed = load(y_here) * load(d_here)
                store(z_here, weighed)
                return [weighed]

            [total] = over_elements(b, size, width, weigh, 1)
            everywhere = splat(b, total)

            def subtract(load: Load, store: Store) -> tuple[()]:
                store(z_here, load(z_here) - load(y_here) * everywhere)
                return ()

            over_elements(b, size, width, subtract)
            return ()

        repeat(b, rows, 1, (), one_row)

    return emit
