"""Which orientation and block a call runs in: the smaller of two estimated costs.

Estimates are in cycles of the fused multiply-add units. They decide speed alone: the order of every sum,
hence every bit of the result, is the same either way.
"""

from __future__ import annotations

from fastnet.kernels.jit import OPTIONS, kernel, njit
from fastnet.kernels.network import result_rows
from fastnet.kernels.primitives import load_int64, size_of
from fastnet.kernels.table import ACTIVATION, CALL_BYTES, DEPTH, FAN_IN, FAN_OUT, IDENTITY, LAYER_BYTES, X_ROW
from fastnet.kernels.target import BLOCK_VECTORS, PANEL_VECTORS, PART_BYTES, TILE_ROWS, VECTOR_BYTES, zen
from fastnet.kernels.ways import (
    BLOCK_ROWS,
    FAR_BLOCK_ROWS,
    FAST_WEIGHTS,
    NEAR_WEIGHTS,
    is_from_memory,
    is_narrow,
    way,
)

#: vectors that are multiplied and added in a cycle: a Zen 4 takes halves of them
_FMAS = 1 if zen() == 4 else 2
#: fused multiply-add takes so many cycles, so a tile needs eight chains to keep two units busy
_LATENCY = 4
#: cycles that turning a vector of one column takes: in registers, where a layer is narrow; through memory, on
#: the way in and out
_TURN_NARROW, _TURN, _TURN_OUT = (2, 3, 2) if PART_BYTES else (4, 4, 2)
#: and so many more where rows of x come from memory: turned, they wait for it, tiles do not. On a Zen 4 that
#: halves the time of 16-16 x 200000, and 100-10 x 100000 takes 0.7; it was not measured elsewhere
_TURN_FROM_MEMORY = 10 if zen() == 4 else 0
#: cycles for a tile beside its multiply-adds
_TILE = 16
#: cycles that an activation takes for a vector, and for each byte of an element: 24 for float32, 32 for
#: float64; and for a row of vectors, whose last may be computed for less than four rows
_ACTIVATION, _ACTIVATION_BYTE, _ACTIVATED_ROW = 16, 2, 16
#: scratch for the sums of a block, so that it stays in the caches
_BLOCK_SCRATCH = 3 << 20
#: and for the columns of a block of narrow layers, which is up to so many times as long: up to a tenth less
#: time at 2-4-3, but a sixth more at 2-10-3, whose columns do not fit
_NARROW_SCRATCH, _NARROW_BLOCKS = 14 << 10, 3


@kernel
def plan(zero, table, first, stop):
    """(samples in lanes?, rows of a block) for these rows of a call."""
    size, batch = size_of(zero), stop - first
    lanes = VECTOR_BYTES // size
    if 8 * batch < 5 * lanes:  # fewer rows than these leave the lanes too empty
        return 0, lanes
    layers, depth = table + CALL_BYTES, load_int64(table + DEPTH)
    vecs, tiles = (batch + lanes - 1) // lanes, (batch + TILE_ROWS - 1) // TILE_ROWS
    by_samples, by_outputs, weights, widest = 0, 0, 0, 1
    columns, fan_out = load_int64(layers + FAN_IN), 0
    vector_cycles = _ACTIVATION + _ACTIVATION_BYTE * size
    for i in range(depth):
        fan_in = load_int64(layers + i * LAYER_BYTES + FAN_IN)
        fan_out = load_int64(layers + i * LAYER_BYTES + FAN_OUT)
        weights += fan_in * fan_out * size
        widest = max(widest, fan_out)
        columns += fan_out
        out_vecs, out_rows = (fan_out + lanes - 1) // lanes, batch
        if is_narrow(zero, fan_in, fan_out, batch):
            out_vecs, out_rows = 1, fan_out * batch // lanes
            by_outputs += fan_in * batch * (_TURN_NARROW + fan_out) // (_FMAS * lanes)
        else:
            halves = (2 * fan_out + lanes - 1) // lanes if PART_BYTES else 2 * out_vecs
            by_outputs += max(fan_in * batch * halves // (2 * _FMAS), fan_in * _LATENCY * tiles)
            by_outputs += tiles * ((out_vecs + PANEL_VECTORS - 1) // PANEL_VECTORS) * _TILE
        by_samples += max(fan_in * fan_out * vecs // _FMAS, fan_in * _LATENCY)
        by_samples += (
            (fan_out + TILE_ROWS - 1) // TILE_ROWS * (vecs + PANEL_VECTORS - 1) // PANEL_VECTORS * _TILE
        )
        if load_int64(layers + i * LAYER_BYTES + ACTIVATION) != IDENTITY:
            by_outputs += out_rows * (out_vecs * vector_cycles + _ACTIVATED_ROW)
            by_samples += fan_out * (vecs * vector_cycles + _ACTIVATED_ROW)
    turn = _TURN + _TURN_FROM_MEMORY if is_from_memory(stop * load_int64(table + X_ROW)) else _TURN
    by_samples += (load_int64(layers + FAN_IN) * turn + fan_out * _TURN_OUT) * vecs
    if weights > FAST_WEIGHTS:  # broadcast from afar for each block anew
        by_samples += by_samples
    if by_samples <= by_outputs:
        widest = max(widest, load_int64(layers + FAN_IN))
        fitting = _BLOCK_SCRATCH // (2 * (widest + lanes) * VECTOR_BYTES)
        longer = _NARROW_SCRATCH // (columns * BLOCK_VECTORS * VECTOR_BYTES)
        wanted = max(min(longer, _NARROW_BLOCKS), 1) * BLOCK_VECTORS
        return 1, max(min(wanted, fitting), 1) * lanes
    most = BLOCK_ROWS if weights <= NEAR_WEIGHTS else FAR_BLOCK_ROWS
    one, other = result_rows(zero, table)
    block = min(most, _BLOCK_SCRATCH // max(one + other, 1) // TILE_ROWS * TILE_ROWS)
    block = max(block, 2 * TILE_ROWS)
    blocks = (batch + block - 1) // block  # all of about the same height, none too low to pay for packing
    each = (batch + blocks - 1) // blocks
    return 0, (each + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS


@njit(**OPTIONS)
def explained(zero, table, first, stop, i):
    """For Python to call: (samples in lanes?, rows of a block, how layer i reads its weights then)."""
    by_samples, block = plan(zero, table, first, stop)
    block = min(block, stop - first)
    return by_samples, block, way(zero, table + CALL_BYTES + i * LAYER_BYTES, block)
