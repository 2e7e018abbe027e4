"""Loops over elements side by side, PARTS of them at a time, the last ones masked; and their sums.

A sum runs in the canonical order of the softmax: PARTS partial sums, the i-th over the elements i, i + PARTS,
i + 2 PARTS, ... in ascending order, then halved until one is left. It depends on the count alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.softmax import PARTS
from fastnet.kernels.vector import I64, Vec, repeat

Load = Callable[[Any], Vec]
Store = Callable[[Any, Vec], None]

_INT = types.int64


def splat(b: ir.IRBuilder, value: ir.Value) -> Vec:
    """A scalar in PARTS lanes."""
    return Vec(b, vector.splat(b, value, PARTS))


def over_elements(
    b: ir.IRBuilder, size: int, count: ir.Value, body: Callable[[Load, Store], Sequence[Vec]], terms: int = 0
) -> list[ir.Value]:
    """Run body(load, store) for all elements; the sums, over all of them, of the `terms` that it returns.

    `load` and `store` take the address of an array's first element.
    """
    ty = ir.VectorType(vector.scalar_type(size), PARTS)
    zero = Vec(b, ty([0.0] * PARTS))

    def step(i: Any, sums: list[Vec], masked: bool) -> list[Vec]:
        mask = vector.first_lanes(b, b.sub(count, i), size, PARTS) if masked else None

        def load(base: Any) -> Vec:
            address = b.add(base, b.mul(i, I64(size)))
            if mask is None:
                return Vec(b, vector.load(b, address, ty))
            return vector.load_masked(b, address, mask, size)

        def store(base: Any, vec: Vec) -> None:
            address = b.add(base, b.mul(i, I64(size)))
            if mask is None:
                vector.store(b, vec.v, address)
            else:
                vector.store_masked(b, vec, address, mask)

        found = body(load, store)
        if mask is not None:
            found = [Vec(b, mask).where(vec, zero) for vec in found]
        return [total + vec for total, vec in zip(sums, found, strict=True)]

    i, sums = repeat(
        b, b.sub(count, I64(PARTS - 1)), PARTS, [zero] * terms, lambda i, sums: step(i, sums, False)
    )
    _, sums = repeat(b, count, PARTS, sums, lambda i, sums: step(i, sums, True), i)
    return [b.extract_element(_across(vec).v, ir.Constant(vector.I32, 0)) for vec in sums]


def _across(vec: Vec) -> Vec:
    half = PARTS // 2
    while half:
        vec = vec + vec.shuffle(vec, [(i + half) % PARTS for i in range(PARTS)])
        half //= 2
    return vec


@intrinsic
def load_number(typingctx: Any, zero: Any, address: Any) -> Any:
    """The number at an address."""
    size = itemsize(zero)
    return zero(zero, _INT), lambda context, b, sig, args: vector.load(b, args[1], vector.scalar_type(size))


@intrinsic
def store_number(typingctx: Any, value: Any, address: Any) -> Any:
    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, args[0], args[1])
        return context.get_dummy_value()

    return types.void(value, _INT), codegen


def elementwise(
    emit: Callable[..., Sequence[Vec]], arrays: int, numbers: int = 0
) -> Callable[..., tuple[Any, Any]]:
    """What an intrinsic (zero, count, addresses of arrays..., addresses of numbers...) returns to Numba.

    `emit` takes load, store, the addresses, and the numbers in all lanes, and returns nothing to be summed.
    """

    def describe(zero: Any) -> tuple[Any, Any]:
        size = itemsize(zero)

        def inside(b: Any, count: Any, *operands: Any) -> None:
            ty = vector.scalar_type(size)
            held = [splat(b, vector.load(b, address, ty)) for address in operands[arrays:]]
            over_elements(b, size, count, lambda load, store: emit(load, store, *operands[:arrays], *held))

        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            name = f"{emit.__name__}_f{8 * size}"
            b.call(vector.function(b, name, 1 + arrays + numbers, inside), args[1:])
            return context.get_dummy_value()

        return types.void(zero, *[_INT] * (1 + arrays + numbers)), codegen

    return describe
