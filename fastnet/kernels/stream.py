"""Few rows through large weights: these are read once, in order, as memory likes it."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.target import TILES, VECTOR_BYTES
from fastnet.kernels.vector import I64

_INT = types.int64

#: rows of weights that few rows take at a time; and those few rows -> vectors of each that they take at a
#: time: whole cache lines, read before others displace them. Seven and eight were slower so than in tiles.
STREAM_DEPTH = 8
STREAM_VECTORS = {rows: max(w for w in TILES[rows] if w <= 4) for rows in range(1, 7)}


@intrinsic
def stream_rows(
    typingctx: Any,
    zero: Any,
    rows: Any,
    a: Any,
    a_row: Any,
    a_k: Any,
    b_address: Any,
    b_k: Any,
    init: Any,
    init_row: Any,
    init_vec: Any,
    c: Any,
    c_row: Any,
    add: Any,
    vecs: Any,
) -> Any:
    """C = init + A B, and with `add` C += that, for few rows of A and STREAM_DEPTH rows of B.

    B is read in as many streams as it has rows, each in order: what memory does best. STREAM_VECTORS vectors
    of columns go together, as often as `vecs` has room for them.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, rows, *operands = args
        done = b.append_basic_block("streamed")
        choice = b.switch(rows, done)
        for height, width in STREAM_VECTORS.items():
            block = b.append_basic_block("stream_rows")
            choice.add_case(I64(height), block)
            b.position_at_end(block)
            _emit_stream(b, size, height, width, operands)
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 13), codegen


def _emit_stream(b: Any, size: int, height: int, width: int, operands: Any) -> None:
    a, a_row, a_k, b_address, b_k, init, init_row, init_vec, c, c_row, add, vecs = operands
    a_rows = [b.add(a, b.mul(a_row, I64(r))) for r in range(height)]
    streams = [b.add(b_address, b.mul(b_k, I64(k))) for k in range(STREAM_DEPTH)]
    ks = [b.mul(a_k, I64(k)) for k in range(STREAM_DEPTH)]

    def group(first: Any, _: Any) -> tuple[()]:
        at = b.mul(first, I64(VECTOR_BYTES))
        begin = [b.mul(b.add(first, I64(v)), init_vec) for v in range(width)]
        inits = [b.add(init, b.mul(init_row, I64(r))) for r in range(height)]
        acc = [[vector.load_vector(b, b.add(i, at_v), size) for at_v in begin] for i in inits]
        for k, stream in enumerate(streams):
            here = b.add(stream, at)
            loaded = [vector.load_vector(b, b.add(here, I64(v * VECTOR_BYTES)), size) for v in range(width)]
            for r in range(height):
                one = vector.load_splat(b, b.add(a_rows[r], ks[k]), size)
                acc[r] = [one.fma(vec, total) for vec, total in zip(loaded, acc[r], strict=True)]
        into = [b.add(b.add(c, at), b.mul(c_row, I64(r))) for r in range(height)]
        with b.if_else(b.icmp_signed("!=", add, I64(0))) as (more, plain):
            for adds, branch in ((True, more), (False, plain)):
                with branch:
                    for r in range(height):
                        for v, vec in enumerate(acc[r]):
                            address = b.add(into[r], I64(v * VECTOR_BYTES))
                            total = vector.load_vector(b, address, size) + vec if adds else vec
                            vector.store(b, total.v, address)
        return ()

    vector.repeat(b, b.sub(vecs, I64(width - 1)), width, (), group)
