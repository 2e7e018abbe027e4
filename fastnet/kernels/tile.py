"""The register tile: the one loop that multiplies, in every size that the vector registers allow."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.target import TILES, VECTOR_BYTES
from fastnet.kernels.vector import I64

_INT = types.int64
#: rows of weights that few rows take at a time, and the vectors of each that one row takes at a time:
#: whole cache lines, read before others displace them
STREAM_DEPTH, STREAM_VECTORS = 8, 4


@intrinsic
def tile(
    typingctx: Any,
    zero: Any,
    rows: Any,
    vecs: Any,
    lanes: Any,
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
    depth: Any,
    add: Any,
) -> Any:
    """C = init + A B on one register tile, as a chain of fused multiply-adds in ascending k.

    C is `rows` by `vecs` vectors; A is broadcast element by element, of any strides; the vectors of B lie
    side by side in each of its `depth` rows. With `add`, C += init + A B. With `lanes` > 0 (one vector
    wide only), no more than that many lanes of B and init are read. All sizes of tile are emitted here,
    and chosen by a switch on rows and vecs.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, rows, vecs, lanes, *operands = args
        done = b.append_basic_block("tile_done")
        partial = b.icmp_signed(">", lanes, I64(0))
        key = b.add(b.mul(rows, I64(32)), b.select(partial, I64(16), vecs))
        never = b.append_basic_block("tile_never")
        choice = b.switch(key, never)
        with b.goto_block(never):
            b.unreachable()
        for height, widths in TILES.items():
            for width, masked in [*((w, False) for w in widths), (1, True)]:
                block = b.append_basic_block(f"tile_{height}x{width}{'m' if masked else ''}")
                choice.add_case(I64(height * 32 + (16 if masked else width)), block)
                b.position_at_end(block)
                _emit_tile(b, size, height, width, lanes if masked else None, *operands)
                b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 15), codegen


def _emit_tile(
    b: Any,
    size: int,
    height: int,
    width: int,
    lanes: Any,
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
    depth: Any,
    add: Any,
) -> None:
    grid = [(r, v) for r in range(height) for v in range(width)]
    mask = None if lanes is None else vector.first_lanes(b, lanes, size)

    def load(address: Any) -> vector.Vec:
        if mask is None:
            return vector.load_vector(b, address, size)
        return vector.load_masked(b, address, mask, size)

    def at(address: Any, r: int, row: Any, v: int, step: Any) -> Any:
        return b.add(b.add(address, b.mul(row, I64(r))), b.mul(step, I64(v)))

    wide = I64(VECTOR_BYTES)
    start = {(r, v): load(at(init, r, init_row, v, init_vec)) for r, v in grid}
    # left alone, each row's address becomes the one before it plus a stride: a chain as long as the sums'
    a_rows = [b.mul(a_row, I64(r)) for r in range(height)]
    a_rows = [vector.opaque(b, offset) if r in (3, 5) else offset for r, offset in enumerate(a_rows)]
    for r in range(height):  # a wide layer's sums wait in a farther cache while the loop runs
        vector.prefetch(b, at(c, r, c_row, 0, wide))
    before = b.block
    loop, after = b.append_basic_block("k"), b.append_basic_block("k_done")
    b.cbranch(b.icmp_signed(">", depth, I64(0)), loop, after)

    b.position_at_end(loop)
    phi = {key: b.phi(start[key].v.type) for key in grid}
    left, a_now, b_now = b.phi(I64), b.phi(I64), b.phi(I64)
    acc = {key: vector.Vec(b, phi[key]) for key in grid}
    a_here = vector.opaque(b, a_now)
    if height < width:  # hold the broadcasts, take the vectors one at a time
        splats = [vector.load_splat(b, b.add(a_here, a_rows[r]), size) for r in range(height)]
        for v in range(width):
            vec = load(b.add(b_now, I64(v * VECTOR_BYTES)))
            for r in range(height):
                acc[r, v] = splats[r].fma(vec, acc[r, v])
    else:
        loaded = [load(b.add(b_now, I64(v * VECTOR_BYTES))) for v in range(width)]
        for r in range(height):
            one = vector.load_splat(b, b.add(a_here, a_rows[r]), size)
            for v in range(width):
                acc[r, v] = one.fma(loaded[v], acc[r, v])
    steps = (
        (left, depth, b.sub(left, I64(1))),
        (a_now, a, b.add(a_here, a_k)),
        (b_now, b_address, b.add(b_now, b_k)),
    )
    for variable, first, following in steps:
        variable.add_incoming(first, before)
        variable.add_incoming(following, loop)
    for key in grid:
        phi[key].add_incoming(start[key].v, before)
        phi[key].add_incoming(acc[key].v, loop)
    b.cbranch(b.icmp_signed(">", left, I64(1)), loop, after)

    b.position_at_end(after)
    final = {}
    for key in grid:
        final[key] = b.phi(start[key].v.type)
        final[key].add_incoming(start[key].v, before)
        final[key].add_incoming(acc[key].v, loop)
    with b.if_else(b.icmp_signed("!=", add, I64(0))) as (more, plain):
        with more:
            for r, v in grid:
                address = at(c, r, c_row, v, wide)
                total = vector.load_vector(b, address, size) + vector.Vec(b, final[r, v])
                vector.store(b, total.v, address)
        with plain:
            for r, v in grid:
                vector.store(b, final[r, v], at(c, r, c_row, v, wide))


@intrinsic
def stream_row(
    typingctx: Any,
    zero: Any,
    a: Any,
    a_k: Any,
    b_address: Any,
    b_k: Any,
    init: Any,
    init_vec: Any,
    c: Any,
    vecs: Any,
) -> Any:
    """The same sums for one row of A and STREAM_DEPTH rows of B, STREAM_VECTORS columns of vectors at a time.

    B is read in as many streams as it has rows, each in order: what memory does best.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, a, a_k, b_address, b_k, init, init_vec, c, vecs = args
        splats = [vector.load_splat(b, b.add(a, b.mul(a_k, I64(k))), size) for k in range(STREAM_DEPTH)]
        rows = [b.add(b_address, b.mul(b_k, I64(k))) for k in range(STREAM_DEPTH)]
        before = b.block
        loop, done = b.append_basic_block("stream"), b.append_basic_block("stream_done")
        b.cbranch(b.icmp_signed(">=", vecs, I64(STREAM_VECTORS)), loop, done)
        b.position_at_end(loop)
        first = b.phi(I64)
        numbers = [b.add(first, I64(i)) for i in range(STREAM_VECTORS)]
        offsets = [b.mul(v, I64(VECTOR_BYTES)) for v in numbers]
        acc = [vector.load_vector(b, b.add(init, b.mul(v, init_vec)), size) for v in numbers]
        for splat, row in zip(splats, rows, strict=True):
            for i, offset in enumerate(offsets):
                acc[i] = splat.fma(vector.load_vector(b, b.add(row, offset), size), acc[i])
        for one, offset in zip(acc, offsets, strict=True):
            vector.store(b, one.v, b.add(c, offset))
        following = b.add(first, I64(STREAM_VECTORS))
        first.add_incoming(I64(0), before)
        first.add_incoming(following, loop)
        b.cbranch(b.icmp_signed("<=", b.add(following, I64(STREAM_VECTORS)), vecs), loop, done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 8), codegen
