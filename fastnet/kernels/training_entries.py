"""The entry points of training for an element type: each is compiled, or loaded, when first asked for."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from fastnet.kernels.checks import T_ARRAY_TYPE, T_DTYPE, T_INT64, T_LIST_TYPE, T_TABLE_BYTES
from fastnet.kernels.entries import entries
from fastnet.kernels.epoch import compile_part
from fastnet.kernels.gradients import TRAIN_STEPS, compile_train_steps
from fastnet.kernels.headers import ObjectRef
from fastnet.kernels.jit import source_digest, with_cache_if_possible
from fastnet.kernels.once import once
from fastnet.kernels.product import PRODUCT, compile_product
from fastnet.kernels.table import LAYER, NARROW_SUMS, STEPS, STREAMS, SWEEP
from fastnet.kernels.training_entry import INT64, make_entries


class TrainingEntries:
    """Entry points of training for one element type. They check arrays, but not the types of numbers."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._digest = source_digest()
        self._functions: dict[bool, tuple[Any, ...]] = {}  # cached? -> those of _make_entries
        self._kernels: list[Any] = []  # alive as long as their addresses are used

    @once
    def table(self) -> np.ndarray[Any, Any]:
        """The last argument of all of them: addresses of kernels and classes."""
        sweep, steps, layer, narrow, streams = map(entries(self.dtype).kernel, range(5))
        element = numba.from_dtype(self.dtype)
        own = with_cache_if_possible(
            lambda cache: [
                make(element, self._digest, cache) for make in (compile_product, compile_train_steps)
            ]
        )
        self._kernels += own
        table = np.zeros(T_TABLE_BYTES // 8, np.int64)
        fields = {
            SWEEP: sweep.address, STEPS: steps.address, LAYER: layer.address,
            NARROW_SUMS: narrow.address, STREAMS: streams.address,
            PRODUCT: own[0].address, TRAIN_STEPS: own[1].address,
            T_DTYPE: id(self.dtype), T_INT64: id(INT64), T_ARRAY_TYPE: id(np.ndarray), T_LIST_TYPE: id(list),
        }  # fmt: skip
        for field, value in fields.items():
            table[field // 8] = value
        return table

    @once
    def affine_backward(self) -> Any:
        """(dout, x, W, dx or None, dW, db, table)."""
        return self._point(0, (self._ref,) * 7)

    @once
    def activation_backward(self) -> Any:
        """(activation, dout, y, dz, table)."""
        return self._point(1, (types.int64, *(self._ref,) * 4))

    @once
    def loss(self) -> Any:
        """(kind, x, t, y, dz or None, table) -> the loss."""
        return self._point(2, (types.int64, *(self._ref,) * 5))

    @once
    def update(self) -> Any:
        """(optimizer, params, grads, means, squares, four numbers, table): lists of arrays."""
        return self._point(3, (types.int64, *(self._ref,) * 4, *(types.float64,) * 4, self._ref))

    @once
    def run_epoch(self) -> Any:
        """(table of ``epoch.py``, first batch, batch to stop before) -> the batch it stopped before."""
        return self._point(4, (self._ref, types.int64, types.int64))

    @once
    def run_part(self) -> int:
        """Address of `epoch.compile_part`."""
        compiled = with_cache_if_possible(lambda cache: compile_part(self.dtype.type, self._digest, cache))
        self._kernels.append(compiled)
        address: int = compiled.address
        return address

    @property
    def _ref(self) -> ObjectRef:
        return ObjectRef(numba.from_dtype(self.dtype))

    def _point(self, which: int, signature: tuple[Any, ...]) -> Any:
        def compile(cache: bool) -> Any:
            if cache not in self._functions:
                self._functions[cache] = make_entries(self._digest, cache)
            function = self._functions[cache][which]
            function.compile(signature)
            return function.overloads[signature].entry_point

        return with_cache_if_possible(compile)
