"""Few rows of a small network, one at a time: no plan, no tiles, nothing but the sums.

For one row the lanes hold neighbouring outputs. The sums run in the canonical order of ``layer.py``, so that
the bits are those of every other way.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.activations import activate
from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.layout import copy_rows
from fastnet.kernels.primitives import itemsize, load_int64, size_of, stack_bytes
from fastnet.kernels.softmax import softmax_rows
from fastnet.kernels.stream import first_place
from fastnet.kernels.table import (
    ACTIVATION,
    BIAS,
    CALL_BYTES,
    CHUNK,
    DEPTH,
    FAN_IN,
    FAN_OUT,
    LAYER_BYTES,
    OUT,
    OUT_COL,
    OUT_ROW,
    SOFTMAX,
    W_COL,
    W_ROW,
    X_COL,
    X_ROW,
    W,
    X,
)
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.kernels.vector import I64, Vec, repeat
from fastnet.kernels.ways import FAST_WEIGHTS

#: bytes of a layer's results, of which two lie on the stack
_BUFFER = 8 * 1024
_BUFFERS = 2 * _BUFFER
#: several rows are quicker one by one only if they are few, and their multiply-adds, too
_FEW_ROWS, _FEW_WORK, _ONE_ROW_BYTES = 5, 1600, 128 * 1024
#: vectors of outputs at a time, widest first: four chains of fused multiply-adds keep the units busy
_WIDTHS = (4, 2, 1)
#: rows of weights from which one vector more pays, if the others then begin where cache lines do
_WIDE = 8 * VECTOR_BYTES


@intrinsic
def row_sums(
    typingctx: Any,
    zero: Any,
    a: Any,
    a_k: Any,
    w: Any,
    w_row: Any,
    bias: Any,
    c: Any,
    fan_in: Any,
    fan_out: Any,
    head: Any,
) -> Any:
    """C = bias + A W for one row of A, of any stride; the columns of W are contiguous.

    C has room for a whole vector at least; of W and bias no more is read than there is. Vectors of columns
    lie as in ``stream.py``, from `head` on.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, a, a_k, w, w_row, bias, c, fan_in, fan_out, head = args
        row_bytes, wide = b.mul(fan_out, I64(size)), I64(VECTOR_BYTES)
        last = b.sub(row_bytes, wide)

        def panel(places: list[Any], mask: Any) -> None:
            start = [_load(b, b.add(bias, place), mask, size) for place in places]
            total = _canonical_sums(b, start, a, a_k, w, w_row, places, fan_in, mask, size)
            for vec, place in zip(total, places, strict=True):
                vector.store(b, vec.v, b.add(c, place))

        with b.if_else(b.icmp_signed("<", last, I64(0))) as (less, more):
            with less, b.if_then(b.icmp_signed(">", fan_out, I64(0))):
                panel([I64(0)], vector.first_lanes(b, fan_out, size))
            with more:
                stop = b.sub(row_bytes, head)
                done: Any = I64(0)
                for width in _WIDTHS:

                    def body(first: Any, _: Any, width: int = width) -> tuple[()]:
                        panel(vector.places(b, first, width, head, last), None)
                        return ()

                    # as long as the last of so many vectors begins before the row ends
                    room = b.sub(stop, I64((width - 1) * VECTOR_BYTES))
                    done, _ = repeat(b, room, width * VECTOR_BYTES, (), body, done)
        return context.get_dummy_value()

    return types.void(zero, *[types.int64] * 9), codegen


def _load(b: Any, address: Any, mask: Any, size: int) -> Vec:
    if mask is None:
        return vector.load_vector(b, address, size)
    return vector.load_masked(b, address, mask, size)


def _canonical_sums(
    b: Any, start: list[Vec], a: Any, a_k: Any, w: Any, w_row: Any, places: list[Any], fan_in: Any, mask: Any,
    size: int,
) -> list[Vec]:  # fmt: skip
    """Chunks of inputs, each a chain: the first from the start, each later one from zero and then added."""

    def add_input(k: Any, sums: list[Vec]) -> list[Vec]:
        one, row = vector.load_splat(b, b.add(a, b.mul(k, a_k)), size), b.add(w, b.mul(k, w_row))
        loaded = [_load(b, b.add(row, place), mask, size) for place in places]
        return [one.fma(vec, total) for vec, total in zip(loaded, sums, strict=True)]

    def chain(start: list[Vec], k: Any) -> list[Vec]:
        end = b.add(k, I64(CHUNK))
        end = b.select(b.icmp_signed("<", end, fan_in), end, fan_in)
        return repeat(b, end, 1, start, add_input, k)[1]

    def add_chunk(k: Any, sums: list[Vec]) -> list[Vec]:
        later = chain([vec.like(0.0) for vec in sums], k)
        return [total + more for total, more in zip(sums, later, strict=True)]

    return repeat(b, fan_in, CHUNK, chain(start, I64(0)), add_chunk, I64(CHUNK))[1]


@kernel
def suits_rows(zero, table, batch):
    """Whether `run_small` takes this network, and is the quickest for so many rows."""
    size = size_of(zero)
    possible, work = True, 0
    for i in range(load_int64(table + DEPTH)):
        layer = table + CALL_BYTES + i * LAYER_BYTES
        fan_in, row_bytes = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT) * size
        possible = possible and row_bytes <= _BUFFER and load_int64(layer + W_COL) == size
        possible = possible and fan_in * row_bytes <= FAST_WEIGHTS
        work += fan_in * row_bytes
    if batch == 1:  # beyond this, tiles of more vectors are quicker
        return possible and work <= _ONE_ROW_BYTES
    return possible and batch <= _FEW_ROWS and batch * work <= _FEW_WORK * size


@kernel
def run_small(zero, table, rows):
    """All rows through all layers."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    depth = load_int64(table + DEPTH)
    one = stack_bytes(_BUFFERS)
    for row in range(rows):
        a, a_k = load_int64(table + X) + row * load_int64(table + X_ROW), load_int64(table + X_COL)
        here, there = one, one + _BUFFER
        fan_out = 0
        for i in range(depth):
            layer = table + CALL_BYTES + i * LAYER_BYTES
            fan_out = load_int64(layer + FAN_OUT)
            w, w_row = load_int64(layer + W), load_int64(layer + W_ROW)
            head = first_place(zero, w, w_row) if fan_out * size >= _WIDE else 0
            row_sums(
                zero, a, a_k, w, w_row, load_int64(layer + BIAS), here, load_int64(layer + FAN_IN), fan_out,
                head,
            )  # fmt: skip
            activation = load_int64(layer + ACTIVATION)
            if activation == SOFTMAX:
                softmax_rows(zero, here, 0, here, 0, 1, fan_out)
            else:
                activate(zero, activation, here, here, 1, 0, (fan_out + lanes - 1) // lanes)
            a, a_k = here, size
            here, there = there, here
        out = load_int64(table + OUT) + row * load_int64(table + OUT_ROW)
        copy_rows(zero, a, 0, size, 1, fan_out, out, 0, load_int64(table + OUT_COL))


def compile_run_few(element: Any, digest: str, cache: bool) -> Any:
    """`run_small` as a function of its own; its ``address`` is what other kernels call."""

    @c_function(types.int64(element, *[types.int64] * 2), cache)
    def run_few(zero, table, rows):
        digest  # noqa: B018
        run_small(zero, table, rows)
        return 0

    return run_few
