"""Few rows through many weights: these are read once, in order, as memory likes it.

Vectors of outputs begin where cache lines of the weights do, where that pays. The first and the last may
overlap their neighbours: both come to the same result. So sums are kept by vector, not by column, until they
are complete.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any, NamedTuple

from numba import types
from numba.extending import intrinsic

from fastnet.kernels import vector
from fastnet.kernels.cache import c_function
from fastnet.kernels.jit import kernel
from fastnet.kernels.primitives import call, copy_vector, itemsize, load_int64, size_of
from fastnet.kernels.table import BIAS, CHUNK, FAN_IN, FAN_OUT, STREAMS, W_ROW, W
from fastnet.kernels.target import SPLITS_COST_AFAR, TILES, VECTOR_BYTES, zen
from fastnet.kernels.vector import I64
from fastnet.kernels.ways import MOST_STREAMED

_INT = types.int64
_INTEGERS = 10

#: weights of so many bytes come from the far end of the caches, and of so many from memory
_FAR, _DISTANT = 1 << 23, 1 << 24
#: so many rows at most go over the rows of weights together, more of them in turns
AT_ONCE = 8 if zen() == 4 else 6
#: rows -> vectors of each row of weights that they take at a time: whole lines of cache, read before others
#: displace them
STREAM_VECTORS = {rows: max(w for w in TILES[rows] if w <= 4) for rows in range(1, AT_ONCE + 1)}

#: so many rows of weights are read together, as many streams, by few rows. One row has its factors for them
#: in registers all along, which takes 0.82 to 0.96 of the time.
DEPTH = 8


class Stream(NamedTuple):
    """How rows of weights are read, for a few rows of A together."""

    depth: int  # so many of them at a time, all along, in as many streams
    ahead: int = 0  # fetched so many bytes before they are needed; 0 for not at all
    level: int = 0  # of cache, where to


def _stream(rows: int, distance: int) -> Stream:
    """What was quickest of depths of 4 to 32, and of 256 to 2048 bytes ahead.

    Sums of more rows take longer to load and to store than weights take to come: these are better read a
    whole chunk deep. So many lines, at one place of a page each, wait in the second-level cache, not in the
    first. On a Zen 4 that halves the time of four to six rows. Five or six were not measured on a Zen 5, and
    no other CPU was.
    """
    if not zen():
        return Stream(DEPTH)
    if rows >= (3 + distance if zen() == 4 else 5):
        return Stream(CHUNK, 512, 2)
    if zen() == 4:
        return Stream(DEPTH, 2048, 2) if distance else Stream(DEPTH)
    return Stream(DEPTH, 512, 1)


#: the key of a stream: how many rows, and so many more for each distance of the weights
_FURTHER = AT_ONCE + 1
_STREAMS = {
    rows + distance * _FURTHER: _stream(rows, distance) for distance in (0, 1, 2) for rows in STREAM_VECTORS
}
_DEPTHS, _AHEADS = (
    tuple(getattr(_STREAMS[key], field) if key in _STREAMS else 0 for key in range(3 * _FURTHER))
    for field in ("depth", "ahead")
)


@kernel
def in_turn(rows):
    """How many of so many rows go together: in as few turns as can be, all of about the same number."""
    turns = (rows + AT_ONCE - 1) // AT_ONCE
    return (rows + turns - 1) // turns


#: so many rows at most may have sums of less than a chunk
_IN_PARTS = max(
    rows
    for rows, further in product(range(1, MOST_STREAMED + 1), (0, _FURTHER, 2 * _FURTHER))
    if _DEPTHS[in_turn.py_func(rows) + further] < CHUNK
)


@kernel
def first_place(zero, w, w_row):
    """Where, in bytes, the first vector would begin: before the first column if that is at no boundary.

    0 if no vector could begin at one: rows are no whole vectors apart, or W lies across its own elements. Or
    where it would not pay.
    """
    before = w % VECTOR_BYTES if SPLITS_COST_AFAR else 0
    return -before if w_row % VECTOR_BYTES == 0 and before % size_of(zero) == 0 else 0


@kernel
def streamed_bytes(zero, columns, rows):
    """Bytes for the sums of so many rows or fewer: those of the chunk at hand, and those of all before."""
    row = (columns * size_of(zero) // VECTOR_BYTES + 3) * VECTOR_BYTES
    return (min(rows, _IN_PARTS) + min(rows, MOST_STREAMED)) * row


@intrinsic
def _stream_rows(
    typingctx: Any,
    zero: Any,
    key: Any,
    depth: Any,
    a: Any,
    a_row: Any,
    a_k: Any,
    b_address: Any,
    b_k: Any,
    head: Any,
    last: Any,
    init: Any,
    init_row: Any,
    init_vec: Any,
    placed: Any,
    c: Any,
    c_row: Any,
    add: Any,
    vecs: Any,
    ahead: Any,
) -> Any:
    """C = init + A B, and with `add` C += that, for few rows of A and `depth` rows of B.

    The key says how many rows of A, and from where B comes. Its rows are read in as many streams, each in
    order: what memory does best. Vector i of its columns begins `head` + i VECTOR_BYTES bytes into a row, but
    at 0 at least, at `last` at most; so does that of init, if that is `placed`. Those of C lie side by side.
    """
    size = itemsize(zero)

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        _, key, depth, *operands = args
        done = b.append_basic_block("streamed")
        choice, emitted = b.switch(key, done), dict[tuple[int, int], Any]()
        for key, stream in _STREAMS.items():
            same = key % _FURTHER, stream.level
            if same not in emitted:
                emitted[same] = b.append_basic_block("stream_rows")
                b.position_at_end(emitted[same])
                # a function of its own, or all of their addresses are worked out before the choice
                name = "stream_{}_{}_{}".format(size, *same)
                emit = partial(_emit_stream, size, *same)
                b.call(vector.function(b, name, 1 + len(operands), emit), [depth, *operands])
                b.branch(done)
            choice.add_case(I64(key), emitted[same])
        b.position_at_end(done)
        return context.get_dummy_value()

    return types.void(zero, *[_INT] * 18), codegen


def _emit_stream(size: int, height: int, level: int, b: Any, depth: Any, *operands: Any) -> None:
    a, a_row, a_k, b_address, b_k, head, last, *starts, c, c_row, add, vecs, right = operands
    init, init_row, init_vec, placed = starts
    a_rows, inits, intos = (
        [b.add(address, b.mul(row, I64(r))) for r in range(height)]
        for address, row in ((a, a_row), (init, init_row), (c, c_row))
    )
    by_place, adds = (b.icmp_signed("!=", flag, I64(0)) for flag in (placed, add))

    wide = STREAM_VECTORS[height]
    row_bytes = b.mul(vecs, I64(VECTOR_BYTES))
    below = b.add(b.sub(b.mul(b_k, depth), row_bytes), right)
    init_head = b.select(by_place, head, I64(0))
    early = b.icmp_signed("<", head, I64(0))
    late = b.zext(b.icmp_signed(">", b.add(head, row_bytes), b.add(last, I64(VECTOR_BYTES))), I64)

    def factors(k: Any) -> list[vector.Vec]:
        """What row k of B is multiplied by, for each row of A."""
        return [vector.load_splat(b, b.add(a_row, b.mul(a_k, k)), size) for a_row in a_rows]

    def group(first: Any, width: int, inside: bool, ready: list[list[vector.Vec]]) -> None:
        """So many vectors side by side; `inside`, each begins where its number says."""
        at = b.mul(first, I64(VECTOR_BYTES))
        begin = [b.add(b.mul(b.add(first, I64(v)), init_vec), init_head) for v in range(width)]
        if inside:
            start = b.add(b_address, b.add(head, at))
            places = [I64(v * VECTOR_BYTES) for v in range(width)]
        else:
            start, places = b_address, vector.places(b, at, width, head, last)
            begin = [b.select(by_place, *either) for either in zip(places, begin, strict=True)]
        # at the end of these rows of weights, those below are next
        ahead = b.select(b.icmp_signed(">=", b.add(at, right), row_bytes), below, right)

        def step(k: Any, sums: list[vector.Vec], ones: list[vector.Vec]) -> list[vector.Vec]:
            row = b.add(start, b.mul(b_k, k))
            loaded = [vector.load_vector(b, b.add(row, place), size) for place in places]
            if inside and level:
                for place in places:
                    vector.prefetch(b, b.add(b.add(row, ahead), place), 4 - level)
            terms = zip(product(ones, loaded), sums, strict=True)
            return [one.fma(vec, total) for (one, vec), total in terms]

        sums = [vector.load_vector(b, b.add(start, at), size) for start in inits for at in begin]
        for k, ones in enumerate(ready):
            sums = step(I64(k), sums, ones)
        if not ready:
            sums = vector.repeat(b, depth, 1, sums, lambda k, sums: step(k, sums, factors(k)))[1]
        into = [b.add(b.add(row, at), I64(v * VECTOR_BYTES)) for row in intos for v in range(width)]
        with b.if_else(adds) as (more, plain):
            for adding, branch in ((True, more), (False, plain)):
                with branch:
                    for address, vec in zip(into, sums, strict=True):
                        total = vector.load_vector(b, address, size) + vec if adding else vec
                        vector.store(b, total.v, address)

    def all_vectors(ready: list[list[vector.Vec]]) -> None:
        """With factors that are ready, or by rows of B whose number is known when the kernel runs."""

        def groups(width: int, inside: bool, first: Any, stop: Any) -> Any:
            """As many as lie between first and stop: where they end."""

            def body(i: Any, _: Any) -> tuple[()]:
                group(i, width, inside, ready)
                return ()

            return vector.repeat(b, b.sub(stop, I64(width - 1)), width, (), body, first)[0]

        # the first vector is moved if it begins before its rows, the last if it ends behind them
        done = I64(0)
        if SPLITS_COST_AFAR:
            enough = b.icmp_signed(">=", vecs, I64(wide))
            done = groups(wide, False, done, b.select(b.and_(early, enough), I64(wide), I64(0)))
        done = groups(wide, True, done, b.sub(vecs, late))
        groups(1, False, done, vecs)

    if height > 1:
        all_vectors([])
        return
    with b.if_else(b.icmp_signed("==", depth, I64(DEPTH))) as (known, other):
        with known:
            all_vectors([factors(I64(k)) for k in range(DEPTH)])
        with other:
            all_vectors([])


@kernel
def _stream_layer(zero, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, whole_chunks):
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    w, w_row, bias = load_int64(layer + W), load_int64(layer + W_ROW), load_int64(layer + BIAS)
    head, last = first_place(zero, w, w_row), fan_out * size - VECTOR_BYTES
    vecs = (fan_out * size - head + VECTOR_BYTES - 1) // VECTOR_BYTES
    sums_row = (vecs | 1) * VECTOR_BYTES  # an odd number of lines: none of a place lies in the set of another
    sums = partial + min(rows, _IN_PARTS) * sums_row
    together = in_turn(rows)
    weights = fan_in * w_row
    further = _FURTHER * ((1 if weights >= _FAR else 0) + (1 if weights >= _DISTANT else 0))
    step = CHUNK if whole_chunks else _DEPTHS[together + further]
    k = 0
    while k < fan_in:
        depth = min(step, fan_in - k)
        init, init_row, init_vec = zeros if k else bias, 0, 0 if k else VECTOR_BYTES
        if k % CHUNK:
            init, init_row, init_vec = partial, sums_row, VECTOR_BYTES
        into, add = partial, 0
        if k + depth == fan_in or (k + depth) % CHUNK == 0:
            into, add = sums, 1 if k >= CHUNK else 0
        for r in range(0, rows, together):
            key = min(together, rows - r) + further
            _stream_rows(
                zero, key, depth, a + k * a_k + r * a_row, a_row, a_k, w + k * w_row, w_row,
                head, last, init + r * init_row, init_row, init_vec, 0 if k else 1,
                into + r * sums_row, sums_row, add, vecs, _AHEADS[key],
            )  # fmt: skip
        k += depth
    for r in range(rows):  # from by vector to by column
        for i in range(vecs):
            place = min(max(head + i * VECTOR_BYTES, 0), last)
            copy_vector(zero, sums + r * sums_row + i * VECTOR_BYTES, c + r * c_row + place)


def compile_streams(element: Any, digest: str, cache: bool) -> Any:
    """`stream_layer` as a function of its own: small weights, or many rows, do without it."""

    @c_function(types.int64(element, *[types.int64] * _INTEGERS), cache)
    def run_streams(zero, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, whole_chunks):
        digest  # noqa: B018
        _stream_layer(zero, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, whole_chunks)
        return 0

    return run_streams


@kernel
def stream_layer(zero, table, layer, a, a_row, a_k, rows, c, c_row, zeros, partial, whole_chunks):
    """A layer without its activation; what a chunk has so far waits in `partial`."""
    operands = (layer, a, a_row, a_k, rows, c, c_row, zeros, partial, whole_chunks)
    call(zero, load_int64(table + STREAMS), operands)
