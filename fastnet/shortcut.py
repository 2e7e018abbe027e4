"""The shortest way into the kernels, for calls like one already made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from fastnet import fused
from fastnet.arguments import KERNEL_DTYPES


class Shortcut:
    """What one compiled call needs for a chain of layers, as long as nothing about it has changed.

    The kernel compares the list of layers with `seen`, and checks the result's dtype against x and all
    arrays, at every call. So nothing here can go stale: a call that does not fit is refused, and takes
    the long way.

    Parameters
    ----------
    layers : list
        What `seen` is to be compared with.
    dense : list of Holder
        The affine layers among them.
    activations : list of int
        What follows each of those.
    dtype : dtype
        float32 or float64.
    fan_out : int
        Width of the result.
    """

    __slots__ = (
        "__weakref__", "_kernels", "activations", "call", "compiled", "dense", "fan_out", "program", "recipe",
        "seen",
    )  # fmt: skip

    #: those in use, to be forgotten when the class or a method of a layer is replaced
    in_use: ClassVar[WeakSet[Shortcut]] = WeakSet()

    def __init__(
        self, layers: list[Any], dense: list[Any], activations: list[int], dtype: Any, fan_out: int
    ) -> None:
        self.compiled = fused.kernels(dtype)
        self.seen = list(layers)
        self.dense = dense
        self.activations = activations
        self.fan_out = fan_out
        self._find_kernels()
        #: (x, out or None, list of layers, recipe) -> result; None if refused, False if large
        self.call: Callable[[Any, Any, Any, list[Any]], Any] = self.compiled.predict
        Shortcut.in_use.add(self)

    def _find_kernels(self) -> None:
        """Have calls use all kernels that there are by now."""
        self._kernels = len(self.compiled.kernels)
        self.program: bytes = self.compiled.program(self.activations)
        self.recipe: list[Any] = self.compiled.recipe(self.dense, self.program, self.seen)

    def run_large(self, x: np.ndarray[Any, Any], out: Any = None) -> np.ndarray[Any, Any] | None:
        """The result of what `call` found large, or None if this call has to take the long way."""
        if self._kernels != len(self.compiled.kernels):  # else it would be told at each call
            self._find_kernels()
        result: np.ndarray[Any, Any] = out
        if out is None:
            result = np.empty((len(x), self.fan_out) if x.ndim == 2 else self.fan_out, x.dtype)
        return result if fused.run_large(self.compiled, x, result, self.dense, self.program) else None

    @classmethod
    def forget_all(cls) -> None:
        for shortcut in tuple(cls.in_use):
            shortcut.seen.clear()


def shortcut(layers: list[Any], dense: list[Any], activations: list[int], result: Any) -> Shortcut | None:
    """A shortcut for calls with results like this one, if the kernels made it."""
    dtype = KERNEL_DTYPES.get(result.dtype) if type(result) is np.ndarray else None
    if dtype is None or not 1 <= len(dense) <= fused.kernels(dtype).max_depth:
        return None
    return Shortcut(layers, dense, activations, dtype, result.shape[-1])
