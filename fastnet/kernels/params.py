"""What compiled code is given of a network: arrays, and a program that says what to do with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import errors
from numba.core.typing.typeof import Purpose
from numba.extending import typeof_impl
from numba.np.numpy_support import as_dtype

from fastnet.kernels.program import ACTIVATIONS, kernel_addresses, program_dtype


class Params(tuple[np.ndarray[Any, Any], ...]):
    """The arrays W, b, W, b, ... of a network, and last what to do with them: its program.

    To Numba it is a tuple, flat because ``prange`` takes no other.
    """

    __slots__ = ()

    def with_arrays(self, arrays: Iterable[np.ndarray[Any, Any]]) -> Params:
        """The same network with other arrays: W, b, W, b, ... of float32 or float64, as those here.

        Shapes are checked when it runs; nothing is compiled again for arrays of the same types.
        """
        return Params((*arrays, self[-1]))

    def __reduce__(self) -> Any:
        # addresses hold for this process: another one looks up its own
        program = self[-1].view(np.int64)
        return make_params, (self[:-1], tuple(program[ACTIVATIONS // 8 :].tolist()))


@typeof_impl.register(Params)
def _typeof_params(value: Params, context: Any) -> Any:
    if context.purpose is Purpose.constant:
        raise TypeError("the params of a network are no constant: pass them to the compiled function")
    return typeof_impl.dispatch(tuple)(tuple(value), context)


def make_params(arrays: Sequence[np.ndarray[Any, Any]], activations: Sequence[int]) -> Params:
    """Params for arrays that have been checked, with this process's kernels."""
    dtype = arrays[0].dtype
    program = np.array([*kernel_addresses(dtype), *activations], np.int64)
    return Params((*arrays, program.view(program_dtype(dtype))))


def depth_of(params_type: Any) -> int:
    return (len(params_type) - 1) // 2


def check_types(x: Any, params: Any, out: Any) -> None:
    """Raise a TypingError that says why the types of a call do not fit together, if they do not."""
    if not isinstance(params, types.BaseTuple) or len(params) < 3 or len(params) % 2 == 0:
        raise errors.TypingError(f"params must be what fastnet.njit_predict returned, not {params}")
    *arrays, program = params
    names = [f"{name} of layer {i}" for i in range(len(arrays) // 2) for name in "Wb"]
    element = getattr(arrays[0], "dtype", None)
    for name, array in [*zip(names, arrays, strict=True), ("x", x), ("out", out)]:
        if not isinstance(array, types.Array):
            raise errors.TypingError(f"{name} must be an array of {element}, not {array}")
        if array.dtype != element:
            raise errors.TypingError(f"{name} has dtype {array.dtype}, but W of layer 0 has {element}")
    for i, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if array.ndim != 2 - i % 2:
            raise errors.TypingError(f"{name} must have {2 - i % 2} dimension(s), not {array.ndim}")
    if x.ndim not in (1, 2) or out.ndim != x.ndim:
        raise errors.TypingError(f"x and out must both have 1 dimension or 2, not {x.ndim} and {out.ndim}")
    if not out.mutable:
        raise errors.TypingError("out is read-only")
    if element not in (types.float32, types.float64):
        raise errors.TypingError(f"weights must be of float32 or float64, not {element}")
    if getattr(program, "dtype", None) != numba.from_dtype(program_dtype(as_dtype(element))):
        raise errors.TypingError(f"params are not for {element} and this version of fastnet: {program}")
