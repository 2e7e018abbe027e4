"""Which CPU a thread is on, and how it leaves it for another.

A system may wake a helper on the CPU of its caller, and leave both there for a tenth of a second while
another is idle: two threads took one and a half times as long as one meanwhile, on a virtual machine of two.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import load_int64, stack_bytes, store_int64
from fastnet.kernels.vector import I32, I64

_INT = types.int64

#: of the set of CPUs that Linux's functions take: 1024 of them
_SET_BYTES = 128


@intrinsic
def _ask_cpu(typingctx: Any, function: Any) -> Any:
    """sched_getcpu()."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(I32, ())
        return b.sext(b.call(b.inttoptr(args[0], ty.as_pointer()), ()), I64)

    return _INT(_INT), codegen


@intrinsic
def _affinity(typingctx: Any, function: Any, cpus: Any) -> Any:
    """sched_getaffinity or sched_setaffinity of the calling thread; 0 if that worked."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(I32, (I32, I64, I64))
        function = b.inttoptr(args[0], ty.as_pointer())
        return b.sext(b.call(function, (I32(0), I64(_SET_BYTES), args[1])), I64)

    return _INT(_INT, _INT), codegen


@kernel
def current_cpu(get_cpu):
    """The number of the CPU, by the function at this address; -1 where there is none or it does not know."""
    return _ask_cpu(get_cpu) if get_cpu != 0 else -1


@kernel
def leave(cpu, get_cpu, get_affinity, set_affinity):
    """Move the calling thread to another CPU if it is on this one and may use others.

    What it may use is as before afterwards. The last three are addresses of C functions, or 0.
    """
    if cpu < 0 or cpu >= 8 * _SET_BYTES or current_cpu(get_cpu) != cpu:
        return
    cpus = stack_bytes(_SET_BYTES)
    if _affinity(get_affinity, cpus) != 0:
        return
    word = cpus + cpu // 64 * 8
    allowed = load_int64(word)
    store_int64(word, allowed & ~(1 << cpu % 64))
    others = 0
    for at in range(0, _SET_BYTES, 8):
        others |= load_int64(cpus + at)
    if others != 0 and _affinity(set_affinity, cpus) == 0:  # which moves it at once
        store_int64(word, allowed)
        _affinity(set_affinity, cpus)
