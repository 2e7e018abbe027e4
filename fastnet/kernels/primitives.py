"""Intrinsics: what compiled Python code cannot say itself, each a few instructions.

Addresses and strides are 64-bit integers, in bytes. ``zero`` is a float32 or float64 scalar whose type
names the element type. Nothing here checks anything: callers have.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.sigmoid import sigmoid
from fastnet.kernels.target import TILES, VECTOR_BYTES
from fastnet.kernels.vector import I32, I64

_INT = types.int64


def itemsize(ty: Any) -> int:
    return int(ty.bitwidth) // 8


@intrinsic
def size_of(typingctx: Any, zero: Any) -> Any:
    size = itemsize(zero)
    return _INT(zero), lambda context, b, sig, args: I64(size)


@intrinsic
def load_int64(typingctx: Any, address: Any) -> Any:
    return _INT(_INT), lambda context, b, sig, args: vector.load(b, args[0], I64)


@intrinsic
def load_int32(typingctx: Any, address: Any) -> Any:
    return _INT(_INT), lambda context, b, sig, args: b.sext(vector.load(b, args[0], I32), I64)


@intrinsic
def load_byte(typingctx: Any, address: Any) -> Any:
    return _INT(_INT), lambda context, b, sig, args: b.zext(vector.load(b, args[0], ir.IntType(8)), I64)


@intrinsic
def store_int64(typingctx: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, args[1], args[0])
        return context.get_dummy_value()

    return types.void(_INT, _INT), codegen


@intrinsic(prefer_literal=True)
def stack_bytes(typingctx: Any, count: Any) -> Any:
    """Address of `count` (a literal) bytes on the stack, aligned to a cache line, not cleared."""
    size = count.literal_value

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        with b.goto_entry_block():
            room = b.alloca(ir.ArrayType(ir.IntType(8), size))
            room.align = 64
        return b.ptrtoint(room, I64)

    return _INT(count), codegen


@intrinsic
def call(typingctx: Any, zero: Any, address: Any, integers: Any) -> Any:
    """Call the compiled function at `address` with zero and a tuple of 64-bit integers."""
    count = len(integers)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        zero, address, packed = args
        ty = ir.FunctionType(I64, (zero.type, *[I64] * count))
        operands = [b.extract_value(packed, i) for i in range(count)]
        return b.call(b.inttoptr(address, ty.as_pointer()), (zero, *operands))

    return _INT(zero, _INT, types.UniTuple(_INT, count)), codegen


@intrinsic
def copy_element(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        value = vector.load(b, args[1], vector.scalar_type(size))
        vector.store(b, value, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def copy_vector(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, vector.load_vector(b, args[1], size).v, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def splat_element(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    """Store the element at `source` into every lane of the vector at `target`."""
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, vector.load_splat(b, args[1], size).v, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def clear_vector(typingctx: Any, zero: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        ty = vector.vector_type(size)
        vector.store(b, ty([0.0] * ty.count), args[1])
        return context.get_dummy_value()

    return types.void(zero, _INT), codegen


@intrinsic
def sigmoid_vector(typingctx: Any, zero: Any, source: Any, target: Any) -> Any:
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        vector.store(b, sigmoid(vector.load_vector(b, args[1], size)).v, args[2])
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT), codegen


@intrinsic
def transpose_square(
    typingctx: Any, zero: Any, source: Any, source_row: Any, columns: Any, target: Any, target_row: Any
) -> Any:
    """Transpose a square of vector length. Only the first `columns` of each source row are read."""
    size = itemsize(zero)
    lanes = VECTOR_BYTES // size

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, source, source_row, columns, target, target_row = args

        def move(load: Any) -> None:
            rows = [load(b.add(source, b.mul(source_row, I64(i)))) for i in range(lanes)]
            for i, row in enumerate(vector.transpose(rows)):
                vector.store(b, row.v, b.add(target, b.mul(target_row, I64(i))))

        with b.if_else(b.icmp_signed(">=", columns, I64(lanes))) as (whole, part):
            with whole:
                move(lambda address: vector.load_vector(b, address, size))
            with part:
                mask = vector.first_lanes(b, columns, size)
                move(lambda address: vector.load_masked(b, address, mask, size))
        return context.get_dummy_value()

    return types.void(zero, _INT, _INT, _INT, _INT, _INT), codegen


@intrinsic(prefer_literal=True)
def deinterleave(typingctx: Any, zero: Any, columns: Any, source: Any, target: Any, target_row: Any) -> Any:
    """Columns (a literal, few) of one vector's worth of contiguous rows, each into a vector of its own."""
    size, n = itemsize(zero), columns.literal_value
    lanes = VECTOR_BYTES // size

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, _, source, target, target_row = args
        vecs = [vector.load_vector(b, b.add(source, I64(i * VECTOR_BYTES)), size) for i in range(n)]
        for i in range(n):
            column = vector.gather_lanes(vecs, [n * lane + i for lane in range(lanes)])
            vector.store(b, column.v, b.add(target, b.mul(target_row, I64(i))))
        return context.get_dummy_value()

    return types.void(zero, columns, _INT, _INT, _INT), codegen


@intrinsic(prefer_literal=True)
def interleave(typingctx: Any, zero: Any, columns: Any, source: Any, source_row: Any, target: Any) -> Any:
    """The way back: `columns` vectors, a sample a lane, to one vector's worth of contiguous rows."""
    size, n = itemsize(zero), columns.literal_value
    lanes = VECTOR_BYTES // size

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, _, source, source_row, target = args
        vecs = [vector.load_vector(b, b.add(source, b.mul(source_row, I64(i))), size) for i in range(n)]
        for i in range(n):
            flat = range(i * lanes, (i + 1) * lanes)
            piece = vector.gather_lanes(vecs, [(f % n) * lanes + f // n for f in flat])
            vector.store(b, piece.v, b.add(target, I64(i * VECTOR_BYTES)))
        return context.get_dummy_value()

    return types.void(zero, columns, _INT, _INT, _INT), codegen


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
    a_rows = [b.mul(a_row, I64(r)) for r in range(height)]
    before = b.block
    loop, after = b.append_basic_block("k"), b.append_basic_block("k_done")
    b.cbranch(b.icmp_signed(">", depth, I64(0)), loop, after)

    b.position_at_end(loop)
    phi = {key: b.phi(start[key].v.type) for key in grid}
    left, a_now, b_now = b.phi(I64), b.phi(I64), b.phi(I64)
    acc = {key: vector.Vec(b, phi[key]) for key in grid}
    if height < width:  # hold the broadcasts, take the vectors one at a time
        splats = [vector.load_splat(b, b.add(a_now, a_rows[r]), size) for r in range(height)]
        for v in range(width):
            vec = load(b.add(b_now, I64(v * VECTOR_BYTES)))
            for r in range(height):
                acc[r, v] = splats[r].fma(vec, acc[r, v])
    else:
        loaded = [load(b.add(b_now, I64(v * VECTOR_BYTES))) for v in range(width)]
        for r in range(height):
            one = vector.load_splat(b, b.add(a_now, a_rows[r]), size)
            for v in range(width):
                acc[r, v] = one.fma(loaded[v], acc[r, v])
    steps = ((left, depth, b.sub(left, I64(1))), (a_now, a, b.add(a_now, a_k)), (b_now, b_address, b.add(b_now, b_k)))
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
