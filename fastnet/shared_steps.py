"""Large training steps, each of whose parts several threads share out.

Threads take rows of outputs and of gradients, never terms of a sum: the bits are those of one thread. The
update is one call, so that an interrupt leaves whole steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnet.threads import in_pieces, together

Array = np.ndarray[Any, Any]

#: multiply-adds that take as long as the update of a parameter by several threads
_UPDATE = 24


class SharedSteps:
    """Steps on a table of ``kernels/batch.py``.

    Parameters
    ----------
    entries : TrainingEntries
        The compiled functions.
    table : ndarray
        What to do.
    layers : sequence of Trained
        The layers, for the sizes of their parts.
    batch : int
        Rows of a batch.
    x : ndarray
        All rows.
    """

    def __init__(self, entries: Any, table: Array, layers: Sequence[Any], batch: int, x: Array) -> None:
        from fastnet.kernels import epoch

        self._parts, self._part, self._table = epoch, entries.run_part, table
        self._layers, self._batch, self._rows, self._size = layers, batch, len(x), x.itemsize
        params = sum((layer.fan_in + 1) * layer.fan_out for layer in layers if layer.params)
        self._updates, self._updating = -(-params // epoch.UPDATED), params * x.itemsize * _UPDATE
        self._context = np.array([table.__array_interface__["data"][0], 0, 0, 0], np.int64)
        self._buffers = np.empty(self._one(epoch.LAY_OUT, 0), np.uint8)
        self._one(epoch.LAY_OUT, self._buffers.__array_interface__["data"][0])

    def run(self, number: int) -> int:
        """The batch of this number; the number after it, or its own if its loss is not finite."""
        parts, rows = self._parts, min(self._batch, self._rows - number * self._batch)
        work = [rows * layer.fan_in * layer.fan_out * self._size for layer in self._layers]
        self._share(parts.FORWARD, number, 0, rows, sum(work))
        if self._one(parts.LOSS, number) != 0:
            return number
        for i in reversed(range(len(self._layers))):
            if self._layers[i].params:
                self._share(parts.WEIGHTS, number, i, self._layers[i].fan_in, work[i])
            if i > 0:
                self._share(parts.INPUTS, number, i, rows, work[i])
        self._share(parts.UPDATE, number, 0, self._updates, self._updating)
        return number + 1

    def _share(self, part: int, number: int, i: int, rows: int, work: int) -> None:
        self._context[1:] = part, number, i
        in_pieces(self._part, self._context, rows, work)

    def _one(self, part: int, number: int) -> int:
        self._context[1:] = part, number, 0
        return together(self._part, self._context, 1, 1, 1)
