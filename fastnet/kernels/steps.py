"""What happens beside the sums of ``sweep.py``, compiled once and called by its address like those.

Transposing in registers, the softmax, sums of narrow layers: long straight code, which would be optimised
again in every function that it is inlined into. The last are apart: samples in the lanes do without them.
"""

from __future__ import annotations

from typing import Any

from numba import types

from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.narrow import narrow_sums
from fastnet.kernels.primitives import call, load_int64
from fastnet.kernels.softmax import softmax_columns, softmax_rows
from fastnet.kernels.table import NARROW_SUMS, STEPS
from fastnet.kernels.transpose import transpose_in, transpose_out

_TURN_IN, _TURN_OUT, _SOFTMAX_ROWS, _SOFTMAX_COLUMNS = range(4)
_INTEGERS = 8
_INTEGERS_NARROW = 10


def compile_steps(element: Any, digest: str, cache: bool) -> Any:
    """All of them as one function for float32 or float64; the first integer says which."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS), cache)
    def step(zero, which, a, b, c, d, e, f, g):
        digest  # noqa: B018
        if which == _TURN_IN:
            transpose_in(zero, a, b, c, d, e, f, g)
        elif which == _TURN_OUT:
            transpose_out(zero, a, b, c, d, e, f)
        elif which == _SOFTMAX_ROWS:
            softmax_rows(zero, a, b, c, d, e, f)
        elif which == _SOFTMAX_COLUMNS:
            softmax_columns(zero, a, b, c, d)
        return 0

    return step


def compile_narrow(element: Any, digest: str, cache: bool) -> Any:
    """`narrow_sums` of ``narrow.py`` as a function of its own."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS_NARROW), cache)
    def run_narrow(zero, outputs, a, other, a_row, w, w_row, w_col, c, fan_in, ahead):
        digest  # noqa: B018
        narrow_sums(zero, outputs, a, other, a_row, w, w_row, w_col, c, fan_in, ahead)
        return 0

    return run_narrow


@kernel
def turn_in(zero, table, source, source_row, rows, columns, target, target_row, ahead):
    """`transpose_in` of ``transpose.py``."""
    operands = (_TURN_IN, source, source_row, rows, columns, target, target_row, ahead)
    call(zero, load_int64(table + STEPS), operands)


@kernel
def turn_out(zero, table, source, source_row, rows, columns, target, target_row):
    """`transpose_out` of ``transpose.py``."""
    operands = (_TURN_OUT, source, source_row, rows, columns, target, target_row, 0)
    call(zero, load_int64(table + STEPS), operands)


@kernel
def narrow(zero, table, outputs, a, other, a_row, w, w_row, w_col, c, fan_in, ahead):
    """`narrow_sums` of ``narrow.py``."""
    operands = (outputs, a, other, a_row, w, w_row, w_col, c, fan_in, ahead)
    call(zero, load_int64(table + NARROW_SUMS), operands)


@kernel
def softmax_of_rows(zero, table, c, c_row, rows, width):
    """`softmax_rows` of ``softmax.py``, in place."""
    operands = (_SOFTMAX_ROWS, c, c_row, c, c_row, rows, width, 0)
    call(zero, load_int64(table + STEPS), operands)


@kernel
def softmax_of_columns(zero, table, c, c_row, width, vecs):
    """`softmax_columns` of ``softmax.py``, in place."""
    call(zero, load_int64(table + STEPS), (_SOFTMAX_COLUMNS, c, c_row, width, vecs, 0, 0, 0))
