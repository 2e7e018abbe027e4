"""What threads agree by: 64-bit integers that they read and change at once, and waiting for one."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels.target import is_arm
from fastnet.kernels.vector import I64

_INT = types.int64


def _pause(b: ir.IRBuilder) -> None:
    """Tell an x86 CPU that this is a wait, so that the other thread of its core may go ahead."""
    if is_arm():
        return
    name = "llvm.x86.sse2.pause"
    b.call(b.module.globals.get(name) or ir.Function(b.module, ir.FunctionType(ir.VoidType(), ()), name), ())


@intrinsic
def add_atomic(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to the integer at `address`; its value before."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", b.inttoptr(args[0], I64.as_pointer()), args[1], "acq_rel")

    return _INT(_INT, _INT), codegen


@intrinsic
def wait_until(typingctx: Any, address: Any, least: Any) -> Any:
    """Wait, without sleeping, until the integer at `address` is `least` or more."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        pointer = b.inttoptr(args[0], I64.as_pointer())
        look, wait, done = (b.append_basic_block(f"wait_{name}") for name in ("look", "on", "done"))
        b.branch(look)
        b.position_at_end(look)
        now = b.load_atomic(pointer, "acquire", 8)
        b.cbranch(b.icmp_signed(">=", now, args[1]), done, wait)
        b.position_at_end(wait)
        _pause(b)
        b.branch(look)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(_INT, _INT), codegen
