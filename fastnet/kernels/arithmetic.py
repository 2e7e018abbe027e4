"""How a thread's floating-point unit is set: rounding, and the flushing of subnormal numbers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels.target import is_arm
from fastnet.kernels.vector import I32, I64

#: the register that has it: on x86 that of the vector units, which is stored to memory and loaded from there
_X86_STORE, _X86_LOAD = "llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr"
_ARM_GET, _ARM_SET = "llvm.aarch64.get.fpcr", "llvm.aarch64.set.fpcr"


def _declared(b: ir.IRBuilder, name: str, ty: ir.FunctionType) -> Any:
    return b.module.globals.get(name) or ir.Function(b.module, ty, name)


def _on_x86(b: ir.IRBuilder, name: str, word: Any) -> None:
    ty = ir.FunctionType(ir.VoidType(), (ir.IntType(8).as_pointer(),))
    b.call(_declared(b, name, ty), (b.bitcast(word, ir.IntType(8).as_pointer()),))


def _word(b: ir.IRBuilder) -> Any:
    with b.goto_entry_block():
        return b.alloca(I32)


@intrinsic
def settings(typingctx: Any) -> Any:
    """Those of this thread."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if is_arm():
            return b.call(_declared(b, _ARM_GET, ir.FunctionType(I64, ())), ())
        word = _word(b)
        _on_x86(b, _X86_STORE, word)
        return b.zext(b.load(word), I64)

    return types.int64(), codegen


@intrinsic
def set_to(typingctx: Any, wanted: Any) -> Any:
    """Have this thread compute under settings that another one had."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        if is_arm():
            b.call(_declared(b, _ARM_SET, ir.FunctionType(ir.VoidType(), (I64,))), args)
        else:
            word = _word(b)
            b.store(b.trunc(args[0], I32), word)
            _on_x86(b, _X86_LOAD, word)
        return context.get_dummy_value()

    return types.void(types.int64), codegen
