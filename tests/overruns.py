"""What must not happen, done on purpose: ``python -m tests.overruns NOTEBOOK WAY`` does not end well."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

import numba
import numpy as np

from tests.fenced_memory import FencedMemory
from tests.fences import STRIDES, Fence
from tests.isolation import Notebook, no_hang

FLOAT64 = np.dtype(np.float64)


def _placed(layout: str, at_end: bool) -> np.ndarray:
    return Fence(1).place((3, 5), STRIDES[layout](3, 5, 8), FLOAT64, at_end)


def read_behind() -> None:
    a = _placed("C", True)
    ctypes.string_at(a.ctypes.data, a.nbytes + 1)


def read_before() -> None:
    ctypes.string_at(_placed("C", False).ctypes.data - 1, 1)


def read_before_reversed() -> None:
    a = _placed("reversed", False)
    ctypes.string_at(a[-1:, -1:].ctypes.data - 1, 1)


def write_behind() -> None:
    a = _placed("padded", True)
    ctypes.memset(a[-1:].ctypes.data, 0, 5 * 8 + 1)


def follow_an_empty_array() -> None:
    a = Fence(1).place((0, 5), STRIDES["C"](0, 5, 8), FLOAT64, True)
    ctypes.string_at(a.ctypes.data, 1)


def kernel_row_behind() -> None:
    """The kernels, told that x has one row more."""
    import fastnet
    from fastnet import fused
    from tests.ranges import run_range

    layer = fastnet.Affine(np.ones((5, 3)), np.ones(3))
    compiled, table = fused.kernels(FLOAT64), fused.kernels(FLOAT64).new_table()
    x, out = _placed("C", True), np.empty((4, 3))[:3]  # only x has no row more
    assert compiled.bind(x, out, [layer], compiled.program([0]), table) >= 0
    run_range(compiled, table, 0, 4)


def kernel_scratch() -> None:
    """The kernels, with half of the scratch memory that they need."""
    import fastnet
    from fastnet import fused
    from tests.guarded import needed_scratch, run_with_scratch

    layer = fastnet.Affine(np.ones((5, 3)), np.ones(3))
    compiled, table = fused.kernels(FLOAT64), fused.kernels(FLOAT64).new_table()
    x, out = np.ones((60, 5)), np.empty((60, 3))
    assert compiled.bind(x, out, [layer], compiled.program([0]), table) >= 0
    needed = needed_scratch(0.0, table.ctypes.data, 0, 60)
    fence = Fence(needed)
    run_with_scratch(0.0, table.ctypes.data, 60, 0, 60, fence.block(needed) + needed // 128 * 64)


def array_behind() -> None:
    """An array that NumPy has made."""
    with FencedMemory().arrays():
        a = np.ones(5) + 1
    ctypes.string_at(a.ctypes.data, a.nbytes + 1)


def array_before() -> None:
    memory = FencedMemory()
    memory.at_end = False
    with memory.arrays():
        a = np.ones(5) + 1
    ctypes.string_at(a.ctypes.data - 1, 1)


def kernel_heap() -> None:
    """Compiled code, a byte beyond what it has taken from the heap."""
    from fastnet.kernels.primitives import allocate, free, load_byte

    FencedMemory().serve_kernels()

    @numba.njit(numba.int64(numba.int64))
    def touch(count):
        address = allocate(count)
        byte = load_byte(address + count)
        free(address)
        return byte

    touch(64)


def training_row_behind() -> None:
    """Compiled epochs, told that x has one row more."""
    import fastnet
    from fastnet.epochs import Epochs, trained_layers
    from fastnet.kernels.batch import E_ROWS

    layers, _ = trained_layers(fastnet.Sequential([fastnet.Affine(np.ones((5, 3)), np.ones(3))]))
    t = np.zeros((4, 3))[:3]  # only x has no row more
    run = Epochs(layers, _placed("C", True), t, 3, fastnet.SGD(), fastnet.MeanSquaredError())
    run._table[E_ROWS // 8] = 4
    run.batches = 2
    run.epoch(None, lambda done: None)


def hang() -> None:
    with no_hang(1):
        time.sleep(60)


def hang_for_good() -> None:
    time.sleep(60)


def exception() -> None:
    raise ValueError("wrong answer")


def silence() -> None:
    sys.exit(0)  # without a word of how many trials there were


WAYS: dict[str, Callable[[], None]] = {
    f.__name__: f
    for f in (
        read_behind,
        read_before,
        read_before_reversed,
        write_behind,
        follow_an_empty_array,
        kernel_row_behind,
        kernel_scratch,
        array_behind,
        array_before,
        kernel_heap,
        training_row_behind,
        hang,
        hang_for_good,
        exception,
        silence,
    )
}


def main(notes: str, way: str) -> None:
    notebook = Notebook(notes)
    notebook.trying(f"to {way}, number 77")
    WAYS[way]()
    notebook.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
