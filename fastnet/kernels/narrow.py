"""Products of many rows and a few columns, for twice as many rows as a vector has lanes: a row in each.

Rows are transposed as they are loaded, a square at a time, and each of their columns is multiplied at once
into all sums, which run in the canonical order of ``layer.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastnet.kernels import rearrange, vector
from fastnet.kernels.primitives import itemsize
from fastnet.kernels.table import CHUNK
from fastnet.kernels.target import VECTOR_BYTES, zen
from fastnet.kernels.transpose import turn_in
from fastnet.kernels.vector import I64, Vec, repeat

#: outputs, at most, and inputs, at least: elsewhere the tile that holds outputs in its lanes is as quick
#: (16 inputs at least, and 16-16-2 took 6 % longer)
NARROW, NARROW_FAN_IN = 4, 24

#: bytes of each row that are fetched ahead; up to 1024 or the rows that come next were no quicker while they
#: stay in a cache
AHEAD = 128
#: bytes of a row that are loaded together. Pieces of 16 of rows a few apart, side by side in a vector, save
#: shuffles, of which many CPUs do one a cycle: up to an eighth of the time. Halves of vectors took 0.9 of the
#: time of either on a Zen 4; and whole ones up to a fifth less on a Zen 5, which does two shuffles a cycle
_LOADED = min({0: 16, 4: 32}.get(zen(), VECTOR_BYTES), VECTOR_BYTES)

_INT = types.int64


@intrinsic
def narrow_sums(
    typingctx: Any,
    zero: Any,
    outputs: Any,
    a: Any,
    other: Any,
    a_row: Any,
    w: Any,
    w_row: Any,
    w_col: Any,
    c: Any,
    fan_in: Any,
    ahead: Any,
) -> Any:
    """C += A W for one row of A a lane: C is a vector for each output, then those of the `other` rows.

    The elements of a row of A lie side by side; no more of it is read than there is. What is `ahead` so many
    bytes, if any, is fetched into the second-level cache.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, outputs, *operands = args
        done = b.append_basic_block("narrow_done")
        distant = b.zext(b.icmp_signed("!=", operands[-1], I64(0)), I64)
        choice = b.switch(b.add(b.mul(outputs, I64(2)), distant), done)
        for count, far in product(range(1, NARROW + 1), (False, True) if zen() else (False,)):
            name = f"narrow_sums_{count}_{far:d}_f{8 * size}"
            fn = vector.function(b, name, 9, partial(_emit, size, count, far))
            block = b.append_basic_block("narrow")
            choice.add_case(I64(2 * count + far), block)
            b.position_at_end(block)
            b.call(fn, operands)
            b.branch(done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 10), codegen


def _emit(
    size: int,
    outputs: int,
    distant: bool,
    b: ir.IRBuilder,
    a: Any,
    other: Any,
    a_row: Any,
    w: Any,
    w_row: Any,
    w_col: Any,
    c: Any,
    fan_in: Any,
    ahead: Any,
) -> None:
    lanes, e = VECTOR_BYTES // size, 16 // size  # elements of a vector, and of a piece
    room = b.alloca(ir.ArrayType(vector.vector_type(size), 2 * lanes))
    room.align = 64
    columns = b.ptrtoint(room, I64)
    groups = (a, other)

    def addresses(start: Any, k: Any) -> list[Any]:
        """Of element k of each row, four by four: all at once would not leave an integer register."""
        first = b.add(start, b.mul(k, I64(size)))
        fours = [vector.opaque(b, b.add(first, b.mul(a_row, I64(i)))) for i in range(0, lanes, 4)]
        return [b.add(four, b.mul(a_row, I64(i))) for four in fours for i in range(min(4, lanes))]

    def columns_of(rows: list[Any]) -> Iterator[Vec]:
        """Of the square that begins at these addresses."""
        if _LOADED == VECTOR_BYTES:
            yield from rearrange.transpose([vector.load_vector(b, row, size) for row in rows])
            return
        for offset in map(I64, range(0, VECTOR_BYTES, _LOADED)):
            here = [b.add(row, offset) for row in rows]
            if _LOADED == 16:
                yield from rearrange.turn_pieces([vector.load_pieces(b, here[i::e], size) for i in range(e)])
            else:
                pairs = [[here[i], here[k]] for i, k in rearrange.paired_rows(lanes)]
                yield from rearrange.turn_halves([vector.load_pieces(b, pair, size) for pair in pairs])

    def add_column(k: Any, samples: Vec, sums: list[Vec]) -> list[Vec]:
        row = b.add(w, b.mul(k, w_row))
        weights = [vector.load_splat(b, b.add(row, b.mul(w_col, I64(o))), size) for o in range(outputs)]
        return [samples.fma(weight, total) for weight, total in zip(weights, sums, strict=True)]

    def add_squares(k: Any, sums: list[Vec]) -> list[Vec]:
        result = []
        for g, start in enumerate(groups):
            vector.memory_barrier(b)  # else both squares are loaded together, and spilled
            here = addresses(start, k)
            further, locality = (ahead, 2) if distant else (I64(AHEAD), 3)
            for row in here:
                vector.prefetch(b, b.add(row, further), locality)
            part = sums[g * outputs : (g + 1) * outputs]
            for i, samples in enumerate(columns_of(here)):
                part = add_column(b.add(k, I64(i)), samples, part)
            result += part
        return result

    def chain(k: Any, sums: list[Vec]) -> list[Vec]:
        end = b.add(k, I64(CHUNK))
        end = b.select(b.icmp_signed("<", end, fan_in), end, fan_in)
        k, sums = repeat(b, b.sub(end, I64(lanes - 1)), lanes, sums, add_squares, k)
        rest = b.sub(end, k)
        with b.if_then(b.icmp_signed(">", rest, I64(0))):
            turn, wide = turn_in(b, size), I64(VECTOR_BYTES)
            for g, start in enumerate(groups):
                into = b.add(columns, I64(g * lanes * VECTOR_BYTES))
                b.call(turn, (b.add(start, b.mul(k, I64(size))), a_row, I64(lanes), rest, into, wide))

        def add_rest(i: Any, sums: list[Vec]) -> list[Vec]:
            result = []
            for g in range(len(groups)):
                at = b.mul(b.add(i, I64(g * lanes)), I64(VECTOR_BYTES))
                samples = vector.load_vector(b, b.add(columns, at), size)
                result += add_column(b.add(k, i), samples, sums[g * outputs : (g + 1) * outputs])
            return result

        return repeat(b, rest, 1, sums, add_rest)[1]

    def add_chunk(k: Any, sums: list[Vec]) -> list[Vec]:
        later = chain(k, [total.like(0.0) for total in sums])
        return [total + more for total, more in zip(sums, later, strict=True)]

    into = [b.add(c, I64(i * VECTOR_BYTES)) for i in range(outputs * len(groups))]
    start = [vector.load_vector(b, address, size) for address in into]
    total = repeat(b, fan_in, CHUNK, chain(I64(0), start), add_chunk, I64(CHUNK))[1]
    for address, vec in zip(into, total, strict=True):
        vector.store(b, vec.v, address)
