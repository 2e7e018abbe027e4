"""Training steps whose buffers lie between forbidden pages, each by itself."""

from __future__ import annotations

import ctypes
from typing import Any

from fastnet import backprop
from fastnet.kernels import batch as parts
from fastnet.shared_steps import SharedSteps
from tests.guarded import Yard
from tests.ranges import call_range


class FencedSteps(SharedSteps):
    """Steps whose buffers are between fences each, not side by side in one piece of memory."""

    def __init__(self, yard: Yard, at_end: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._yard, self._at_end = yard, at_end
        table, size, batch = self._table, self._size, self._batch
        last = self._layers[-1].fan_out
        classes = table[parts.E_LOSS // 8] == backprop.SOFTMAX_CLASSES
        self._place(parts.E_RESULT, size)
        self._place(parts.E_XB, batch * self._layers[0].fan_in * size)
        self._place(parts.E_TB, batch * (8 if classes else last * size))
        self._place(parts.E_Y, batch * last * size)
        for i, layer in enumerate(self._layers):
            at = parts.E_LAYERS + i * parts.E_LAYER_BYTES
            self._place(at + parts.L_OUT, batch * layer.fan_out * size)
            if layer.params:
                self._place(at + parts.L_DW, layer.fan_in * layer.fan_out * size)
                self._place(at + parts.L_DB, layer.fan_out * size)
                self._place(at + parts.L_D, batch * layer.fan_out * size)
            else:  # an activation alone takes the gradient along in place
                table[(at + parts.L_D) // 8] = table[(at - parts.E_LAYER_BYTES + parts.L_D) // 8]
        width = max(self._layers[0].fan_in, *(layer.fan_out for layer in self._layers), 0)
        ctypes.memset(self._place(parts.E_ZEROS, width * size), 0, width * size)

    def _place(self, field: int, count: int) -> int:
        fence = self._yard.fence(f"buffer {field}", count)
        self._table[field // 8] = address = fence.end - count if self._at_end else fence.first
        return address

    def _share(self, part: int, number: int, i: int, rows: int, work: int) -> None:
        """In two pieces, or three."""
        piece = max(rows // 2, 1)
        for first in range(0, rows, piece):
            self._context[1:] = part, number, i
            assert call_range(self._part, self._context, first, min(first + piece, rows)) == 0
