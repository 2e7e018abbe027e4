"""``predict`` for other people's compiled code: arrays in, no Python object, no lock and no allocation.

What is compiled into their code checks shapes and writes the table of ``table.py``; the arithmetic is called
by address. The addresses come with the weights, as data: code kept in a cache finds those of its process.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable

from fastnet.kernels import vector
from fastnet.kernels.jit import OPTIONS, kernel, njit
from fastnet.kernels.params import check_types, depth_of
from fastnet.kernels.primitives import call, load_int64, size_of, store_int64
from fastnet.kernels.program import ACTIVATIONS, KERNELS, RUN, RUN_LARGE
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    DEPTH,
    FAN_IN,
    FAN_OUT,
    KERNEL_BYTES,
    LAYER_BYTES,
    OUT,
    OUT_COL,
    OUT_ROW,
    SWEEP,
    W_COL,
    W_ROW,
    X_COL,
    X_ROW,
    W,
    X,
)
from fastnet.kernels.target import CACHE_LINE
from fastnet.kernels.vector import I64


class _Memory(NamedTuple):
    """Where an array lies; a vector is one row."""

    address: Any
    rows: Any
    columns: Any
    row: Any  # strides
    column: Any
    first: Any  # byte
    end: Any  # behind the last


def _memory(context: Any, b: Any, ty: Any, value: Any) -> _Memory:
    array = context.make_array(ty)(context, b, value)
    size = ty.dtype.bitwidth // 8
    lengths = [b.extract_value(array.shape, i) for i in range(ty.ndim)]
    strides = [b.extract_value(array.strides, i) for i in range(ty.ndim)]
    if ty.layout == "C":
        strides[-1] = I64(size)
    address = b.ptrtoint(array.data, I64)
    low, high, empty = address, b.add(address, I64(size)), cgutils.false_bit
    for n, stride in zip(lengths, strides, strict=True):
        reach = b.mul(b.sub(n, I64(1)), stride)
        negative = b.icmp_signed("<", reach, I64(0))
        low = b.add(low, b.select(negative, reach, I64(0)))
        high = b.add(high, b.select(negative, I64(0), reach))
        empty = b.or_(empty, b.icmp_signed("==", n, I64(0)))
    rows, row = (lengths[0], strides[0]) if ty.ndim == 2 else (I64(1), I64(0))
    return _Memory(address, rows, lengths[-1], row, strides[-1], low, b.select(empty, low, high))


def _bind_layers(
    context: Any,
    b: Any,
    params_type: Any,
    params: Any,
    activations: Any,
    table: Any,
    x: _Memory,
    out: _Memory,
) -> Any:
    """Write all layers into the table.

    Returns 0, or i for the i-th layer, counted from 1, if its arrays do not fit, or -i if they share memory
    with out.
    """
    size = params_type[0].dtype.bitwidth // 8
    fault: Any = I64(0)
    width = x.columns
    for i in range(depth_of(params_type)):
        w, bias = (
            _memory(context, b, params_type[j], b.extract_value(params, j)) for j in (2 * i, 2 * i + 1)
        )
        single = b.icmp_signed("<=", w.columns, I64(1))  # the strides of one column say nothing
        strided = b.and_(b.icmp_signed("!=", bias.column, I64(size)), b.not_(single))
        misfit = b.or_(b.icmp_signed("!=", w.rows, width), b.icmp_signed("!=", bias.columns, w.columns))
        touching = b.or_(
            *(
                b.and_(b.icmp_signed("<", a.first, out.end), b.icmp_signed("<", out.first, a.end))
                for a in (w, bias)
            )
        )
        code = b.select(b.or_(misfit, strided), I64(i + 1), b.select(touching, I64(-i - 1), I64(0)))
        fault = b.select(b.icmp_signed("==", fault, I64(0)), code, fault)
        fields = {
            W: w.address,
            W_ROW: w.row,
            W_COL: b.select(single, I64(size), w.column),
            BIAS: bias.address,
            FAN_IN: w.rows,
            FAN_OUT: w.columns,
            ACTIVATION: vector.load(b, b.add(activations, I64(8 * i)), I64),
        }
        for field, value in fields.items():
            vector.store(b, value, b.add(table, I64(CALL_BYTES + i * LAYER_BYTES + field)))
        width = w.columns
    return fault


@kernel
def _checked_run(
    zero, table, program, held, length, fault, x, rows, columns, x_row, x_col, x_first, x_end,
    out, out_rows, out_columns, out_row, out_col, out_first, out_end,
):  # fmt: skip
    """What `predict` does once arrays have become integers."""
    if held != length:
        raise ValueError(
            "params are for another number of layers: theirs, that of the weights",
            held - ACTIVATIONS // 8, length - ACTIVATIONS // 8,
        )  # fmt: skip
    depth = length - ACTIVATIONS // 8
    fan_out = load_int64(table + CALL_BYTES + (depth - 1) * LAYER_BYTES + FAN_OUT)
    if fault > 0:
        layer = table + CALL_BYTES + (fault - 1) * LAYER_BYTES
        raise ValueError(
            "W, b and what comes in do not fit together, or b is not contiguous: "
            "number of the layer, rows and columns of W, width of x",
            fault - 1, load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT), columns,
        )  # fmt: skip
    if fault < 0:
        raise ValueError("out overlaps the weights of a layer: its number", -1 - fault)
    if out_rows != rows or out_columns != fan_out:
        raise ValueError(
            "out has another shape than the result: its rows and columns, those of the result",
            out_rows, out_columns, rows, fan_out,
        )  # fmt: skip
    if x_first < out_end and out_first < x_end:
        size = size_of(zero)
        # columns of one array, side by side, lie among each other and share nothing
        offset = (out - x) % max(x_row, 1)
        columns_apart = x_row == out_row and offset >= columns * size and offset + fan_out * size <= x_row
        if x_row <= 0 or x_col != size or out_col != size or not columns_apart:
            raise ValueError("out overlaps x")
    if fan_out == 0:
        return
    store_int64(table + X, x)
    store_int64(table + X_ROW, x_row)
    store_int64(table + X_COL, x_col)
    store_int64(table + OUT, out)
    store_int64(table + OUT_ROW, out_row)
    store_int64(table + OUT_COL, out_col)
    store_int64(table + DEPTH, depth)
    for at in range(0, KERNEL_BYTES, 8):
        store_int64(table + SWEEP + at, load_int64(program + KERNELS + at))
    large = load_int64(program + RUN_LARGE)
    needed = call(zero, load_int64(program + RUN), (table, rows, large))
    if needed > 0:
        _run_with_scratch(zero, large, table, rows, needed)


@kernel
def _run_with_scratch(zero, large, table, batch, needed):
    scratch = np.empty(needed + CACHE_LINE, np.uint8)
    start = (scratch.ctypes.data + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
    call(zero, large, (table, batch, start))
    scratch[0] = 0  # the last use: keeps the memory alive until here


def predict(x, params, out):
    """All rows of x through a network, into out: in compiled code, or from Python.

    Parameters
    ----------
    x : ndarray of shape (fan_in,) or (batch, fan_in)
        Of the dtype of the weights, in any memory layout.
    params : Params
        What `fastnet.njit_predict` returned, or the same with other weights.
    out : ndarray of shape (fan_out,) or (batch, fan_out)
        Where the result goes. It must not share memory with x or the weights.

    Raises
    ------
    ValueError
        If shapes do not fit together, or `out` overlaps x or weights.
    numba.TypingError
        Where it is compiled, if dtypes differ, or these are no arrays of one or two dimensions.
    """
    _from_python(x, params, out)


@njit(nogil=True, **OPTIONS)
def _from_python(x, params, out):
    predict(x, params, out)


# Numba's older way of adding a function: an `overload` would count references to all arrays at every call,
# which takes longer than a small network, and threads would wait for each other's counts.
@type_callable(predict)
def _type_predict(context: Any) -> Any:
    def typer(x, params, out):
        check_types(x, params, out)
        return types.none

    return typer


@lower_builtin(predict, types.VarArg(types.Any))
def _lower_predict(context: Any, b: Any, sig: Any, args: Any) -> Any:
    x_type, params_type, out_type = sig.args
    element = out_type.dtype
    x, out = _memory(context, b, x_type, args[0]), _memory(context, b, out_type, args[2])
    program = context.make_array(params_type[-1])(context, b, b.extract_value(args[1], len(params_type) - 1))
    program_address = b.ptrtoint(program.data, I64)
    depth = depth_of(params_type)
    room = cgutils.alloca_once(b, ir.ArrayType(I64, (CALL_BYTES + depth * LAYER_BYTES) // 8))
    table = b.ptrtoint(room, I64)
    activations = b.add(program_address, I64(ACTIVATIONS))
    fault = _bind_layers(context, b, params_type, args[1], activations, table, x, out)
    zero = context.get_constant(element, 0.0)
    held = b.extract_value(program.shape, 0)
    integers = [table, program_address, held, I64(ACTIVATIONS // 8 + depth), fault, *x, *out]
    run_type = types.Dispatcher(_checked_run)
    argument_types = (element, *[types.int64] * len(integers))
    signature = context.typing_context.resolve_function_type(run_type, argument_types, {})
    run = context.get_function(run_type, signature)
    context.add_linking_libs(getattr(run, "libs", ()))
    run(b, [zero, *integers])
    return context.get_dummy_value()
