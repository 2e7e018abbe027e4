"""What threads agree by: 64-bit integers that they read and change at once, and waiting for one."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels.jit import kernel
from fastnet.kernels.target import is_arm
from fastnet.kernels.vector import I64

_INT = types.int64


def _pointer(b: ir.IRBuilder, address: Any) -> Any:
    return b.inttoptr(address, I64.as_pointer())


@intrinsic
def add_atomic(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to the integer at `address`; its value before."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", _pointer(b, args[0]), args[1], "acq_rel")

    return _INT(_INT, _INT), codegen


@intrinsic
def exchange(typingctx: Any, address: Any, value: Any) -> Any:
    """Write the integer at `address`; its value before."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("xchg", _pointer(b, args[0]), args[1], "acq_rel")

    return _INT(_INT, _INT), codegen


@intrinsic
def replace(typingctx: Any, address: Any, old: Any, new: Any) -> Any:
    """Write `new` to `address` if `old` is there; whether it was."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        pair = b.cmpxchg(_pointer(b, args[0]), args[1], args[2], "acq_rel", "acquire")
        return b.extract_value(pair, 1)

    return types.boolean(_INT, _INT, _INT), codegen


@intrinsic
def load_atomic(typingctx: Any, address: Any) -> Any:
    """The integer at `address`, and whatever was written before it."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.load_atomic(_pointer(b, args[0]), "acquire", 8)

    return _INT(_INT), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell an x86 CPU that this is a wait, so that the other thread of its core may go ahead: 10 to 50 ns."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if not is_arm():
            name, void = "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), ())
            b.call(b.module.globals.get(name) or ir.Function(b.module, void, name), ())
        return context.get_dummy_value()

    return types.void(), codegen


@kernel
def wait_until(address, least):
    """Wait, without sleeping, until the integer at `address` is `least` or more."""
    while load_atomic(address) < least:
        pause()


@kernel
def look_out(address, value, looks):
    """What comes in the place of `value` at `address`; still `value` if nothing did."""
    now = load_atomic(address)
    while now == value and looks > 0:
        pause()
        now = load_atomic(address)
        looks -= 1
    return now
