"""How the weights of a layer are read, outputs in the lanes: which way is quickest, and what it needs."""

from __future__ import annotations

from fastnet.kernels.jit import kernel
from fastnet.kernels.narrow import NARROW, NARROW_FAN_IN
from fastnet.kernels.primitives import load_int64, size_of
from fastnet.kernels.table import CHUNK, FAN_IN, FAN_OUT, W_COL, W_ROW, W
from fastnet.kernels.target import CACHE_LINE, PANEL_ROW, SPLITS_COST, TILE_ROWS, VECTOR_BYTES, zen

#: weights up to this stay in the second-level cache, and are read where they lie
FAST_WEIGHTS = 640 * 1024
#: and for so many rows or fewer weights up to this: packing would cost more than it saves
FEW_ROWS, FEW_ROWS_WEIGHTS = 16 * TILE_ROWS, 896 * 1024
#: rows of W so many bytes apart fall into few sets of the first-level cache
COLLIDING_ROW = 2048
#: from so many rows on, packing weights costs less than it saves
PACK_ROWS = 4 * TILE_ROWS
#: fewer than so many rows stream large weights: on a Zen 4, which takes 0.6 to 0.95 of the time for that
STREAM_ROWS = 16 * TILE_ROWS if zen() == 4 else PACK_ROWS
#: of those, so many stream weights from afar, and so many others: elsewhere tiles are the quicker for more
MOST_STREAMED, MOST_NEAR = (STREAM_ROWS, STREAM_ROWS) if zen() == 4 else (16, TILE_ROWS)
#: and from so many on even where they would stay near, if their vectors straddle cache lines: up to an eighth
#: of the time on an Emerald Rapids
STRADDLING_ROWS = 6 * TILE_ROWS
#: so few rows, and such weights of so many bytes a row, are streamed, a chunk deep: up to a third of the time
STRADDLING_FEW, STRADDLING_BYTES = 4, 8 * VECTOR_BYTES
#: rows of weights read together, whole chunks of them, and where they lie in place; a panel of packed ones
DEEP, IN_PLACE_DEEP = 8 * CHUNK, 32 * CHUNK
PANEL_BYTES = DEEP * PANEL_ROW
#: weights so large, whose rows are pages or more, come from afar: few rows stream them, and for so many rows
#: that many panels are packed together, as memory likes longer pieces: a fifth of the time at 4096-4096 x 64
FAR_WEIGHTS, PAGE, FAR_ROWS, PANELS = 1 << 23, 4096, 8 * TILE_ROWS, 4
#: outputs in lanes: rows of a block, and of one whose weights, more bytes than these, come from beyond the
#: second-level cache for each block anew (258 instead of 516 rows: 1.1 times as long at 1024-1024-1024
#: float64, but 0.93 to 1.0 with fewer weights)
BLOCK_ROWS = 40 * TILE_ROWS
NEAR_WEIGHTS, FAR_BLOCK_ROWS = 2 << 20, 86 * TILE_ROWS
#: few rows take so many rows of weights at a time (their sums wait in the first-level cache meanwhile; 16
#: took a quarter longer for 8 rows through 1024-1024-1024, 256 up to a fifth), and so many bytes of each
FEW_DEPTH, FEW_BYTES = 64, 4096
#: columns of weights whose elements lie side by side are turned, not packed, for so many rows (for five to
#: eight, turned once more, they took longer at most sizes, twice as long at 1024-1024 float32)
TURNED_ROWS = NARROW

#: rows of x so many bytes behind its first come from beyond the caches, and are fetched before their turn. On
#: a Zen 4 that takes half of the time of 300-1 x 20000, 0.6 of 100-10 x 100000; it was not measured elsewhere
_DISTANT_X = 2 << 20 if zen() else 1 << 62
#: so much of x comes from memory, not from the last cache
_X_FROM_MEMORY = 12 << 20

#: strips of columns are multiples of so many bytes of a row of weights, whole cache lines: then a strip's lie
#: as its layer's do, and ask for no other scratch
STRIP_UNIT = max(PANEL_ROW, CACHE_LINE)

#: how the weights of a layer are read
IN_PLACE, STREAMED, PACKED, NARROWLY, TURNED, STRADDLING = range(6)


@kernel
def panel_room(fan_in, rows):
    """Bytes that packed weights take, at most, for so many rows or fewer."""
    return PANELS * PANEL_BYTES if rows >= FAR_ROWS else min(fan_in, DEEP) * PANEL_ROW


@kernel
def is_narrow(zero, fan_in, fan_out, rows):
    return fan_out <= NARROW and fan_in >= NARROW_FAN_IN and rows * size_of(zero) >= VECTOR_BYTES


@kernel
def may_be_narrow(zero, layer):
    """Whether `way` may choose NARROWLY or TURNED: for some number of rows, or for its last columns alone."""
    size = size_of(zero)
    fan_out, unit = load_int64(layer + FAN_OUT), STRIP_UNIT // size
    narrow = fan_out <= NARROW or 0 < fan_out % unit <= NARROW
    turned = load_int64(layer + W_ROW) == size and load_int64(layer + W_COL) != size
    return load_int64(layer + FAN_IN) >= NARROW_FAN_IN and (turned or narrow)


@kernel
def straddles(layer):
    """Whether vectors of weights lie across cache lines, as in NumPy's memory, and are slower for that."""
    return SPLITS_COST and (load_int64(layer + W) | load_int64(layer + W_ROW)) % CACHE_LINE != 0


@kernel
def may_be_streamed(zero, layer):
    """Whether `way` may choose STREAMED or STRADDLING, for some number of rows."""
    size = size_of(zero)
    fan_in, row_bytes = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT) * size
    aside = fan_in >= CHUNK and row_bytes >= STRADDLING_BYTES and straddles(layer)
    large = fan_in * row_bytes > FEW_ROWS_WEIGHTS  # more rows than those never stream
    return load_int64(layer + W_COL) == size and (large or aside)


@kernel
def is_far(layer):
    """Whether the weights come from beyond the caches, and each row of them from pages of its own."""
    w_row = load_int64(layer + W_ROW)
    return w_row >= PAGE and load_int64(layer + FAN_IN) * w_row >= FAR_WEIGHTS


@kernel
def is_distant(behind):
    """Whether rows of x, so many bytes behind its first, come from beyond the caches."""
    return behind >= _DISTANT_X


@kernel
def is_from_memory(behind):
    """Whether those, so many bytes in all, come from beyond the last cache, too."""
    return behind >= _X_FROM_MEMORY


@kernel
def way(zero, layer, rows):
    """What is quickest for so many rows, outputs in the lanes; NARROWLY, it is the samples for once."""
    size = size_of(zero)
    fan_in, fan_out = load_int64(layer + FAN_IN), load_int64(layer + FAN_OUT)
    if is_narrow(zero, fan_in, fan_out, rows):
        return NARROWLY
    turned = load_int64(layer + W_ROW) == size and load_int64(layer + W_COL) != size
    if turned and rows <= TURNED_ROWS and fan_in >= NARROW_FAN_IN and fan_out * size >= VECTOR_BYTES:
        return TURNED
    most = FAST_WEIGHTS if rows > FEW_ROWS else FEW_ROWS_WEIGHTS
    fits = fan_in * fan_out * size <= most
    if load_int64(layer + W_COL) != size:
        return PACKED
    if not fits:
        return STREAMED if rows < STREAM_ROWS else PACKED
    collides = load_int64(layer + W_ROW) % COLLIDING_ROW == 0
    if rows >= STRADDLING_ROWS and fan_out * size >= PANEL_ROW and straddles(layer):
        collides = True
    if rows >= PACK_ROWS and collides:
        return PACKED
    aside = rows <= STRADDLING_FEW and fan_in >= CHUNK and fan_out * size >= STRADDLING_BYTES
    return STRADDLING if aside and straddles(layer) else IN_PLACE
