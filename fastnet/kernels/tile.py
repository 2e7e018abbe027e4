"""The register tile: the one loop that multiplies, in every size that the vector registers allow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.table import CHUNK
from fastnet.kernels.target import (
    CACHE_LINE,
    HELD_VECTORS,
    PANEL_ROW,
    PANEL_VECTORS,
    PART_BYTES,
    TILE_ROWS,
    TILES,
    VECTOR_BYTES,
    is_held,
    zen,
)
from fastnet.kernels.vector import I64

_INT = types.int64

#: a size of tile as one number: rows times _KEY_ROW, and vectors or _MASKED or _HALF, and perhaps _PACKING
_KEY_ROW, _PACKING, _MASKED, _HALF = 128, 64, 32, 33
#: of the tallest tiles, those so wide fetch what comes: the widest; and where it was measured the narrowest,
#: too, for which 64-8 x 100000 float64 took half of the time
_FETCHING = (1, HELD_VECTORS, PANEL_VECTORS) if zen() else (PANEL_VECTORS,)


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
    pack: Any,
    ahead: Any,
    ahead_k: Any,
) -> Any:
    """C = init + A B on one register tile, chunk by chunk of k, each a chain of fused multiply-adds.

    C is `rows` by `vecs` vectors; A is broadcast element by element, of any strides; the vectors of B lie
    side by side in each of its `depth` rows. Of init_row and init_vec, one is 0 at least. With `add`,
    C += init + A B. Chunks after the first start from zero and are added to what came before: in registers
    if there are enough, else in C, which stays in the first-level cache meanwhile. With `lanes` > 0 (one
    vector wide only), no more than that many lanes of B and init are read, and at least as many of C are
    written. With `pack`, TILE_ROWS rows only, the vectors of B are stored there as they pass, as a panel.
    Some of the tallest tiles fetch a line of cache for each k, from `ahead` on in steps of `ahead_k`. All
    sizes of tile are emitted here, and chosen by a switch on rows and vecs.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, rows, vecs, lanes, *operands, pack, ahead, ahead_k = args
        done = b.append_basic_block("tile_done")
        half = b.and_(
            b.icmp_signed("<=", lanes, I64(PART_BYTES // size)), b.icmp_signed("==", rows, I64(TILE_ROWS))
        )
        flag = b.select(b.icmp_signed(">", lanes, I64(0)), b.select(half, I64(_HALF), I64(_MASKED)), vecs)
        flag = b.select(b.icmp_signed("!=", pack, I64(0)), b.add(flag, I64(_PACKING)), flag)
        never = b.append_basic_block("tile_never")
        choice = b.switch(b.add(b.mul(rows, I64(_KEY_ROW)), flag), never)
        with b.goto_block(never):
            b.unreachable()
        for height, widths in TILES.items():
            tallest = height == TILE_ROWS
            kinds = [(width, width, VECTOR_BYTES) for width in widths] + [(_MASKED, 1, VECTOR_BYTES)]
            kinds += [(_HALF, 1, PART_BYTES)] if PART_BYTES and tallest else []
            for (kind, width, wide), packing in product(kinds, (False, True)):
                if packing and not tallest:
                    continue
                block = b.append_basic_block("tile")
                choice.add_case(I64(height * _KEY_ROW + packing * _PACKING + kind), block)
                b.position_at_end(block)
                _emit_tile(
                    b, size, height, width, wide,
                    lanes if kind >= _MASKED else None,
                    pack if packing else None,
                    (ahead, ahead_k) if tallest and width in _FETCHING else None,
                    operands,
                )  # fmt: skip
                b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 18), codegen


def _emit_tile(
    b: Any, size: int, height: int, width: int, wide: int, lanes: Any, pack: Any, ahead: Any, operands: Any
) -> None:
    """Of vectors of `wide` bytes."""
    a, a_row, a_k, b_address, b_k, init, init_row, init_vec, c, c_row, depth, add = operands
    grid = [(r, v) for r in range(height) for v in range(width)]
    mask = None if lanes is None else vector.first_lanes(b, lanes, size, wide // size)

    def load(address: Any) -> vector.Vec:
        if mask is None:
            return vector.load_vector(b, address, size, wide)
        return vector.load_masked(b, address, mask, size)

    def at(address: Any, r: int, row: Any, v: int, step: Any) -> Any:
        return b.add(b.add(address, b.mul(row, I64(r))), b.mul(step, I64(v)))

    def place(r: int, v: int) -> Any:
        return at(c, r, c_row, v, I64(VECTOR_BYTES))

    def in_c(r: int, v: int) -> Any:
        return vector.load_vector(b, place(r, v), size, wide).v

    by_row = [load(b.add(init, b.mul(init_row, I64(r)))).v for r in range(height)]

    def by_vector() -> dict[Any, Any]:
        loaded = [load(b.add(init, b.mul(init_vec, I64(v)))).v for v in range(width)]
        return {(r, v): loaded[v] for r, v in grid}

    start = _where(b, init_vec, by_vector, {(r, v): by_row[r] for r, v in grid})
    # left alone, each row's address becomes the one before it plus a stride: a chain as long as the sums'
    a_rows = [b.mul(a_row, I64(r)) for r in range(height)]
    a_rows = [vector.opaque(b, offset) if r in (3, 5) else offset for r, offset in enumerate(a_rows)]
    if ahead is not None:  # a wide layer's sums wait in a farther cache while the loop runs
        for r, line in product(range(height), range(0, width * VECTOR_BYTES, CACHE_LINE)):
            vector.prefetch(b, b.add(b.add(c, b.mul(c_row, I64(r))), I64(line)), 3)
    held = is_held(height, width)
    if held:
        none = {key: ir.Constant(start[key].type, ir.Undefined) for key in grid}
        earlier = _where(b, add, lambda: {(r, v): in_c(r, v) for r, v in grid}, none)
    before = b.block
    chunk, loop, after = (b.append_basic_block(name) for name in ("chunk", "k", "k_done"))
    following, done = b.append_basic_block("following"), b.append_basic_block("done")
    b.branch(chunk)

    # a chunk of inputs: its sums start from zero, those of the first from init, and are added to earlier ones
    b.position_at_end(chunk)
    total = {key: b.phi(start[key].type) for key in grid} if held else {}
    begin = {key: b.phi(start[key].type) for key in grid}
    rest, adds = b.phi(I64), b.phi(add.type)
    walks = [(a, a_k), (b_address, b_k)]
    walks += [] if pack is None else [(pack, I64(PANEL_ROW))]
    walks += [] if ahead is None else [ahead]
    chunk_at = [b.phi(I64) for _ in walks]
    count = b.select(b.icmp_signed("<", rest, I64(CHUNK)), rest, I64(CHUNK))
    b.cbranch(b.icmp_signed(">", count, I64(0)), loop, after)

    b.position_at_end(loop)
    phi = {key: b.phi(start[key].type) for key in grid}
    left, now = b.phi(I64), [b.phi(I64) for _ in walks]
    acc = {key: vector.Vec(b, phi[key]) for key in grid}
    if ahead is not None:
        vector.prefetch(b, now[-1], 2)
    a_here, b_now = vector.opaque(b, now[0]), now[1]
    if height < width:  # hold the broadcasts, take the vectors one at a time
        splats = [vector.load_splat(b, b.add(a_here, a_rows[r]), size, wide) for r in range(height)]
        for v in range(width):
            vec = load(b.add(b_now, I64(v * VECTOR_BYTES)))
            for r in range(height):
                acc[r, v] = splats[r].fma(vec, acc[r, v])
    else:
        loaded = [load(b.add(b_now, I64(v * VECTOR_BYTES))) for v in range(width)]
        if pack is not None:
            for v, vec in enumerate(loaded):
                vector.store(b, vec.v, b.add(now[2], I64(v * VECTOR_BYTES)))
        for r in range(height):
            one = vector.load_splat(b, b.add(a_here, a_rows[r]), size, wide)
            for v in range(width):
                acc[r, v] = one.fma(loaded[v], acc[r, v])
    step = [b.add(a_here if i == 0 else here, walks[i][1]) for i, here in enumerate(now)]
    for variable, first, next_one in zip(
        [left, *now], [count, *chunk_at], [b.sub(left, I64(1)), *step], strict=True
    ):
        variable.add_incoming(first, chunk)
        variable.add_incoming(next_one, loop)
    for key in grid:
        phi[key].add_incoming(begin[key], chunk)
        phi[key].add_incoming(acc[key].v, loop)
    b.cbranch(b.icmp_signed(">", left, I64(1)), loop, after)

    b.position_at_end(after)
    final, ended = {}, [b.phi(I64) for _ in walks]
    for end, none, some in zip(ended, chunk_at, step, strict=True):
        end.add_incoming(none, chunk)
        end.add_incoming(some, loop)
    for key in grid:
        final[key] = b.phi(start[key].type)
        final[key].add_incoming(begin[key], chunk)
        final[key].add_incoming(acc[key].v, loop)
    if held:
        final = _where(b, adds, lambda: {key: _sum(b, total[key], final[key]) for key in grid}, final)
    else:
        with b.if_else(b.icmp_signed("!=", adds, I64(0))) as (more, plain):
            with more:
                for r, v in grid:
                    vector.store(b, _sum(b, in_c(r, v), final[r, v]), place(r, v))
            with plain:
                for r, v in grid:
                    vector.store(b, final[r, v], place(r, v))
    remaining = b.sub(rest, count)
    b.cbranch(b.icmp_signed(">", remaining, I64(0)), following, done)
    b.position_at_end(following)
    b.branch(chunk)
    for variable, first, next_one in zip(
        [rest, adds, *chunk_at],
        [depth, add, *[w[0] for w in walks]],
        [remaining, I64(1), *ended],
        strict=True,
    ):
        variable.add_incoming(first, before)
        variable.add_incoming(next_one, following)
    for key in total:
        total[key].add_incoming(earlier[key], before)
        total[key].add_incoming(final[key], following)
    for key in grid:
        begin[key].add_incoming(start[key], before)
        begin[key].add_incoming(vector.Vec(b, start[key]).like(0.0).v, following)
    b.position_at_end(done)
    for r, v in total:
        vector.store(b, final[r, v], place(r, v))


def _sum(b: Any, one: Any, other: Any) -> Any:
    return (vector.Vec(b, one) + vector.Vec(b, other)).v


def _where(b: Any, flag: Any, values: Callable[[], dict[Any, Any]], others: dict[Any, Any]) -> dict[Any, Any]:
    """What `values` emits where the flag is not 0, `others` where it is."""
    before, some, joined = b.block, b.append_basic_block("some"), b.append_basic_block("joined")
    b.cbranch(b.icmp_signed("!=", flag, I64(0)), some, joined)
    b.position_at_end(some)
    emitted = values()
    b.branch(joined)
    b.position_at_end(joined)
    chosen = {}
    for key, value in emitted.items():
        chosen[key] = b.phi(value.type)
        chosen[key].add_incoming(value, some)
        chosen[key].add_incoming(others[key], before)
    return chosen
