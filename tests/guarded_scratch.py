"""The kernels' own memory between forbidden pages: ``python -m tests.guarded_scratch NOTEBOOK PROGRAM ...``.

The program is ``guarded`` or ``guarded_training``, what follows are groups of its. What kernels take from the
stack and from the heap comes from fences instead, so that they are compiled anew, and into a cache of their
own: whoever runs this sets NUMBA_CACHE_DIR to an empty folder.
"""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import primitives
from fastnet.kernels.vector import I64
from tests.fences import Fence

_stack: list[Fence] = []
_heap: dict[int, Fence] = {}


@intrinsic(prefer_literal=True)
def stack_bytes(typingctx: Any, count: Any) -> Any:
    """`primitives.stack_bytes` from a fence for each place in the code: nothing here calls itself."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _stack.append(Fence(count.literal_value))
        return I64(_stack[-1].block(count.literal_value))

    return types.int64(count), codegen


def _allocate(count: int) -> int:
    fence = Fence(count)
    address = fence.block(count)
    _heap[address] = fence
    return address


def _free(address: int) -> int:
    del _heap[address]
    return 0


_C = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
_callbacks = [_C(_allocate), _C(_free)]
_addresses = [int(ctypes.cast(f, ctypes.c_void_p).value or 0) for f in _callbacks]


def _call(b: Any, address: int, argument: Any) -> Any:
    ty = ir.FunctionType(I64, (I64,))
    return b.call(b.inttoptr(I64(address), ty.as_pointer()), (argument,))


@intrinsic
def allocate(typingctx: Any, count: Any) -> Any:
    """`primitives.allocate` from a fence."""
    return types.int64(types.int64), lambda context, b, sig, args: _call(b, _addresses[0], args[0])


@intrinsic
def free(typingctx: Any, address: Any) -> Any:
    """`primitives.free` of what `allocate` gave."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _call(b, _addresses[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def main(notes: str, program: str, *groups: str) -> None:
    for replacement in (stack_bytes, allocate, free):
        name = replacement.__name__ if hasattr(replacement, "__name__") else replacement._name
        assert hasattr(primitives, name)
        setattr(primitives, name, replacement)
    for module in ("entry", "network", "row", "layer", "training_entry", "product", "epoch"):
        assert f"fastnet.kernels.{module}" not in sys.modules, "too late: they have the real ones"
    from fastnet.kernels import training_entry

    training_entry._STACK_SCRATCH = 1  # so that each call asks the heap for what it needs, no more
    import_module(f"tests.{program}").main(notes, *groups)
    assert _stack, "nothing from the stack"
    assert not _heap, "memory that is not given back"


if __name__ == "__main__":
    main(*sys.argv[1:])
