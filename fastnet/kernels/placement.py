"""Which CPU a thread is on, and how another is kept off it.

A system may wake a helper on the CPU of its caller, where it waits for up to a tenth of a second while
another is idle: two threads took as long as one meanwhile, on a virtual machine of two. So who wakes a helper
takes its own CPU from those that the helper may use, and the helper, once awake, takes it back.
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
def _affinity(typingctx: Any, function: Any, thread: Any, cpus: Any) -> Any:
    """sched_getaffinity or sched_setaffinity of a thread, 0 for the calling one; 0 if that worked."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = ir.FunctionType(I32, (I32, I64, I64))
        function = b.inttoptr(args[0], ty.as_pointer())
        return b.sext(b.call(function, (b.trunc(args[1], I32), I64(_SET_BYTES), args[2])), I64)

    return _INT(_INT, _INT, _INT), codegen


@kernel
def current_cpu(get_cpu):
    """The number of the CPU, by the function at this address; -1 where there is none or it does not know."""
    return _ask_cpu(get_cpu) if get_cpu != 0 else -1


@kernel
def keep_off(thread, cpu, get_affinity, set_affinity):
    """Take this CPU from those that another thread may use, if it may use others; whether that was done.

    The number of the thread is the system's; 0 if it is not known. The last two are addresses of C functions.
    """
    if thread <= 0 or cpu < 0 or cpu >= 8 * _SET_BYTES:
        return False
    cpus = stack_bytes(_SET_BYTES)
    if _affinity(get_affinity, thread, cpus) != 0:
        return False
    word = cpus + cpu // 64 * 8
    allowed = load_int64(word)
    store_int64(word, allowed & ~(1 << cpu % 64))
    others = 0
    for at in range(0, _SET_BYTES, 8):
        others |= load_int64(cpus + at)
    if others == 0 or load_int64(word) == allowed:
        return False
    return _affinity(set_affinity, thread, cpus) == 0


@kernel
def allow(cpu, get_affinity, set_affinity):
    """Add this CPU to those that the calling thread may use."""
    cpus = stack_bytes(_SET_BYTES)
    if _affinity(get_affinity, 0, cpus) == 0:
        word = cpus + cpu // 64 * 8
        store_int64(word, load_int64(word) | 1 << cpu % 64)
        _affinity(set_affinity, 0, cpus)
