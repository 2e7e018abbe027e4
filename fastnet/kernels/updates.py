"""Steps of the optimisers, each one pass over parameters, gradients and state.

The operations and their order are those of ``fastnet/reference.py``: the results are its bits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from fastnet.kernels.elements import Load, Store, elementwise
from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import size_of
from fastnet.kernels.vector import Vec

#: optimisers, by number
SGD, MOMENTUM, ADAM = range(3)
#: numbers of a step: SGD lr; Momentum lr, momentum; Adam rate, 1 - beta1, 1 - beta2, eps
NUMBERS = 4


def _square_root(x: Vec) -> Vec:
    ty = x.v.type
    name = f"llvm.sqrt.v{ty.count}{'f32' if isinstance(ty.element, ir.FloatType) else 'f64'}"
    fn = x.b.module.globals.get(name) or ir.Function(x.b.module, ir.FunctionType(ty, (ty,)), name)
    return Vec(x.b, x.b.call(fn, (x.v,)))


def _sgd(load: Load, store: Store, p: Any, g: Any, lr: Vec) -> tuple[()]:
    store(p, load(p) - lr * load(g))
    return ()


def _momentum(load: Load, store: Store, p: Any, g: Any, v: Any, lr: Vec, momentum: Vec) -> tuple[()]:
    velocity = momentum * load(v) - lr * load(g)
    store(v, velocity)
    store(p, load(p) + velocity)
    return ()


def _adam(
    load: Load, store: Store, p: Any, g: Any, m: Any, v: Any, rate: Vec, new_m: Vec, new_v: Vec, eps: Vec
) -> tuple[()]:
    gradient, mean, square = load(g), load(m), load(v)
    mean = mean + new_m * (gradient - mean)
    square = square + new_v * (gradient * gradient - square)
    store(m, mean)
    store(v, square)
    store(p, load(p) - rate * mean / (_square_root(square) + eps))
    return ()


@intrinsic
def _sgd_step(typingctx: Any, zero: Any, count: Any, p: Any, g: Any, lr: Any) -> Any:
    return elementwise(_sgd, 2, 1)(zero)


@intrinsic
def _momentum_step(
    typingctx: Any, zero: Any, count: Any, p: Any, g: Any, v: Any, lr: Any, momentum: Any
) -> Any:
    return elementwise(_momentum, 3, 2)(zero)


@intrinsic
def _adam_step(
    typingctx: Any,
    zero: Any,
    count: Any,
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    rate: Any,
    new_m: Any,
    new_v: Any,
    eps: Any,
) -> Any:
    return elementwise(_adam, 4, 4)(zero)


@kernel
def update(zero, optimizer, count, p, g, m, v, numbers):
    """One step for `count` parameters side by side; `numbers` is the address of NUMBERS numbers."""
    size = size_of(zero)
    if optimizer == SGD:
        _sgd_step(zero, count, p, g, numbers)
    elif optimizer == MOMENTUM:
        _momentum_step(zero, count, p, g, v, numbers, numbers + size)
    else:
        _adam_step(zero, count, p, g, m, v, numbers, numbers + size, numbers + 2 * size, numbers + 3 * size)
