"""Intrinsics of the losses: their terms, the sums of them, their gradients.

A sum over rows or elements runs in blocks of BLOCK, each summed in the order of ``elements.py``.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.elements import Load, Store, elementwise, over_elements
from fastnet.kernels.logarithm import log, log_of_one_and_exp_of_minus
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.sigmoid import sigmoid
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.kernels.vector import I64, Vec, repeat

#: elements of a block: sums of blocks are added up in ascending order
BLOCK = 1024

_INT = types.int64


@intrinsic
def largest_of_columns(
    typingctx: Any, zero: Any, c: Any, c_row: Any, width: Any, vecs: Any, target: Any
) -> Any:
    """The largest of each lane's elements; -inf where all are NaN."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, c, c_row, width, vecs, target = args

        def one_vector(v: Any, _: Any) -> tuple[()]:
            offset = b.mul(v, I64(VECTOR_BYTES))
            ty = vector.vector_type(size)
            lowest = Vec(b, ty([float("-inf")] * ty.count))

            def larger(j: Any, state: Any) -> list[Vec]:
                element = vector.load_vector(b, b.add(b.add(c, offset), b.mul(j, c_row)), size)
                return [(state[0] < element).where(element, state[0])]

            _, [found] = repeat(b, width, 1, [lowest], larger)
            vector.store(b, found.v, b.add(target, offset))
            return ()

        repeat(b, vecs, 1, (), one_vector)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 5), codegen


@intrinsic
def add_column(
    typingctx: Any, zero: Any, vecs: Any, x: Any, t: Any, largest: Any, likeliest: Any, target: Any
) -> Any:
    """target += t ((largest - x) - log likeliest) where t is not 0, for vectors of samples."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, vecs, *addresses = args

        def one_vector(v: Any, _: Any) -> tuple[()]:
            offset = b.mul(v, I64(VECTOR_BYTES))
            x, t, m, p, total = (vector.load_vector(b, b.add(base, offset), size) for base in addresses)
            absent = Vec(b, b.fcmp_ordered("==", t.v, t.like(0.0).v))
            term = absent.where(x.like(0.0), t * ((m - x) - log(p)))
            vector.store(b, (total + term).v, b.add(addresses[-1], offset))
            return ()

        repeat(b, vecs, 1, (), one_vector)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 6), codegen


@intrinsic
def clear(typingctx: Any, zero: Any, count: Any, target: Any) -> Any:
    def emit_clear(load: Load, store: Store, target: Any) -> tuple[()]:
        current = load(target)
        store(target, current.like(0.0))
        return ()

    return elementwise(emit_clear, 1)(zero)


@intrinsic
def divided(typingctx: Any, zero: Any, count: Any, y: Any, dz: Any, divisor: Any) -> Any:
    def emit_divided(load: Load, store: Store, y: Any, dz: Any, n: Vec) -> tuple[()]:
        store(dz, load(y) / n)
        return ()

    return elementwise(emit_divided, 2, 1)(zero)


@intrinsic
def difference(typingctx: Any, zero: Any, count: Any, y: Any, t: Any, dz: Any, divisor: Any) -> Any:
    def emit_difference(load: Load, store: Store, y: Any, t: Any, dz: Any, n: Vec) -> tuple[()]:
        store(dz, (load(y) - load(t)) / n)
        return ()

    return elementwise(emit_difference, 3, 1)(zero)


@intrinsic
def twice_difference(typingctx: Any, zero: Any, count: Any, x: Any, t: Any, dz: Any, divisor: Any) -> Any:
    def emit_twice_difference(load: Load, store: Store, x: Any, t: Any, dz: Any, n: Vec) -> tuple[()]:
        one = load(x) - load(t)
        store(dz, (one + one) / n)
        return ()

    return elementwise(emit_twice_difference, 3, 1)(zero)


@intrinsic
def one_less(typingctx: Any, zero: Any, y: Any, dz: Any, divisor: Any) -> Any:
    """dz = (y - 1) / divisor, for one element."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = vector.scalar_type(size)
        y, n = vector.load(b, args[1], ty), vector.load(b, args[3], ty)
        vector.store(b, b.fdiv(b.fsub(y, ty(1.0)), n), args[2])
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 3), codegen


def _summed(emit: Any, arrays: int) -> Any:
    """What an intrinsic (zero, count, arrays..., total) returns: the sum of what `emit` gives, at `total`."""

    def describe(zero: Any) -> Any:
        size = itemsize(zero)

        def inside(b: Any, count: Any, *operands: Any) -> None:
            addresses, total = operands[:arrays], operands[arrays]

            def add_block(first: Any, sums: list[Vec]) -> list[Vec]:
                rest = b.sub(count, first)
                here = b.select(b.icmp_signed("<", rest, I64(BLOCK)), rest, I64(BLOCK))
                moved = [b.add(address, b.mul(first, I64(size))) for address in addresses]
                [found] = over_elements(b, size, here, lambda load, store: [emit(load, store, *moved)], 1)
                return [sums[0] + Vec(b, found)]

            zero_sum = Vec(b, vector.scalar_type(size)(0.0))
            _, [found] = repeat(b, count, BLOCK, [zero_sum], add_block)
            vector.store(b, found.v, total)

        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            b.call(vector.function(b, f"{emit.__name__}_f{8 * size}", 2 + arrays, inside), args[1:])
            return context.get_dummy_value()

        return types.void(zero, *[_INT] * (2 + arrays)), codegen

    return describe


@intrinsic
def sum_classes(
    typingctx: Any, zero: Any, count: Any, largest: Any, likeliest: Any, chosen: Any, total: Any
) -> Any:
    def emit_sum_classes(load: Load, store: Store, largest: Any, likeliest: Any, chosen: Any) -> Vec:
        return (load(largest) - load(chosen)) - log(load(likeliest))

    return _summed(emit_sum_classes, 3)(zero)


@intrinsic
def sum_terms(typingctx: Any, zero: Any, count: Any, terms: Any, total: Any) -> Any:
    def emit_sum_terms(load: Load, store: Store, terms: Any) -> Vec:
        return load(terms)

    return _summed(emit_sum_terms, 1)(zero)


@intrinsic
def sum_sigmoid(typingctx: Any, zero: Any, count: Any, x: Any, t: Any, y: Any, total: Any) -> Any:
    """max(x, 0) - x t + log(1 + exp(-|x|)) of all elements; y becomes the sigmoid."""

    def emit_sum_sigmoid(load: Load, store: Store, x: Any, t: Any, y: Any) -> Vec:
        score = load(x)
        store(y, sigmoid(score))
        nothing = score.like(0.0)
        positive = (score < nothing).where(nothing, score)
        return (positive - score * load(t)) + log_of_one_and_exp_of_minus(abs(score))

    return _summed(emit_sum_sigmoid, 3)(zero)


@intrinsic
def sum_squares(typingctx: Any, zero: Any, count: Any, x: Any, t: Any, total: Any) -> Any:
    def emit_sum_squares(load: Load, store: Store, x: Any, t: Any) -> Vec:
        difference = load(x) - load(t)
        return difference * difference

    return _summed(emit_sum_squares, 2)(zero)
