"""The sum of rows: the gradient of biases.

Rows are summed in the canonical order of ``layer.py``: chunks of CHUNK rows, each a chain, added up.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.table import CHUNK
from fastnet.kernels.target import VECTOR_BYTES
from fastnet.kernels.vector import I64, Vec, repeat

_INT = types.int64
#: vectors of columns at a time: a chain of additions alone waits for itself
_TOGETHER = 4


@intrinsic
def column_sums(
    typingctx: Any, zero: Any, rows: Any, columns: Any, source: Any, source_row: Any, target: Any
) -> Any:
    """Sums of `rows` rows of `columns` elements side by side, whose starts are `source_row` bytes apart."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        b.call(vector.function(b, f"column_sums_f{8 * size}", 5, emit), args[1:])
        return context.get_dummy_value()

    def emit(b: Any, rows: Any, columns: Any, source: Any, source_row: Any, target: Any) -> None:
        lanes = VECTOR_BYTES // size

        def sum_columns(first: Any, vecs: int, mask: Any) -> None:
            offset = b.mul(first, I64(size))
            offsets = [b.add(offset, I64(v * VECTOR_BYTES)) for v in range(vecs)]
            nothing = [Vec(b, vector.vector_type(size)([0.0] * lanes))] * vecs

            def add_row(row: Any, sums: list[Vec]) -> list[Vec]:
                start = b.add(source, b.mul(row, source_row))
                addresses = [b.add(start, offset) for offset in offsets]
                if mask is None:
                    loaded = [vector.load_vector(b, address, size) for address in addresses]
                else:
                    loaded = [vector.load_masked(b, address, mask, size) for address in addresses]
                return [total + vec for total, vec in zip(sums, loaded, strict=True)]

            def chain(row: Any) -> list[Vec]:
                end = b.add(row, I64(CHUNK))
                end = b.select(b.icmp_signed("<", end, rows), end, rows)
                return repeat(b, end, 1, nothing, add_row, row)[1]

            def add_chunk(row: Any, sums: list[Vec]) -> list[Vec]:
                return [total + more for total, more in zip(sums, chain(row), strict=True)]

            _, sums = repeat(b, rows, CHUNK, chain(I64(0)), add_chunk, I64(CHUNK))
            for total, offset in zip(sums, offsets, strict=True):
                if mask is None:
                    vector.store(b, total.v, b.add(target, offset))
                else:
                    vector.store_masked(b, total, b.add(target, offset), mask)

        done: Any = I64(0)
        for vecs in (_TOGETHER, 1):

            def whole(first: Any, _: Any, vecs: int = vecs) -> tuple[()]:
                sum_columns(first, vecs, None)
                return ()

            stop = b.sub(columns, I64(vecs * lanes - 1))
            done, _ = repeat(b, stop, vecs * lanes, (), whole, done)
        rest = b.sub(columns, done)
        with b.if_then(b.icmp_signed(">", rest, I64(0))):
            sum_columns(done, 1, vector.first_lanes(b, rest, size))

    return types.void(zero, *[_INT] * 5), codegen
