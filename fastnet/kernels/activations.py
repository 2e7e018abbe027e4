"""What may follow an affine layer, element by element: the table of activations, and the loop over vectors.

The softmax, which needs whole rows, has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
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
def activate(typingctx: Any, zero: Any, activation: Any, source: Any, target: Any, count: Any) -> Any:
    """An activation of `count` vectors side by side; nothing where it is not one element by element.

    Each is a function of its own, never inlined: its constants would take registers from the loops around it.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, activation, *operands = args
        done = b.append_basic_block("activated")
        choice = b.switch(activation, done)
        for number, function in ELEMENTWISE.items():
            name = f"{function.__name__}_vectors_f{8 * size}"
            fn = b.module.globals.get(name) or _emit_vectors(b.module, name, function, size)
            block = b.append_basic_block(function.__name__)
            choice.add_case(I64(number), block)
            b.position_at_end(block)
            b.call(fn, operands)
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 4), codegen


def _emit_vectors(module: ir.Module, name: str, function: Callable[[Vec], Vec], size: int) -> ir.Function:
    fn = ir.Function(module, ir.FunctionType(ir.VoidType(), (I64, I64, I64)), name)
    fn.linkage = "internal"
    fn.attributes.add("noinline")
    source, target, count = fn.args
    b = ir.IRBuilder(fn.append_basic_block("entry"))
    reached: ir.Value = I64(0)
    # one alone is a chain of operations that waits for itself; four take a quarter less, and eight no less
    for together in (4, 1):

        def apply(i: Any, _: Any, together: int = together) -> tuple[()]:
            ty = vector.vector_type(size, together)
            offset = b.mul(i, I64(VECTOR_BYTES))
            y = function(Vec(b, vector.load(b, b.add(source, offset), ty)))
            vector.store(b, y.v, b.add(target, offset))
            return ()

        reached, _ = repeat(b, b.sub(count, I64(together - 1)), together, (), apply, reached)
    b.ret_void()
    return fn
