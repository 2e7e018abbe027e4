"""Which orientation and block a call runs in: the smaller of two estimated costs.

Estimates are in cycles of the fused multiply-add units, two vectors a cycle. They decide speed alone:
the order of every sum, hence every bit of the result, is the same either way.
"""

from __future__ import annotations

from fastnet.kernels.jit import OPTIONS, kernel, njit
from fastnet.kernels.network import result_rows
from fastnet.kernels.primitives import load_int64, size_of
from fastnet.kernels.table import CALL_BYTES, DEPTH, FAN_IN, FAN_OUT, LAYER_BYTES
from fastnet.kernels.target import BLOCK_VECTORS, PANEL_VECTORS, TILE_ROWS, VECTOR_BYTES
from fastnet.kernels.ways import BLOCK_ROWS, FAR_BLOCK_ROWS, FAST_WEIGHTS, NEAR_WEIGHTS, is_narrow, way

#: fused multiply-add takes so many cycles, so a tile needs eight chains to keep two units busy
_LATENCY = 4
#: rounds of shuffles that transpose a square
_ROUNDS = 4
#: cycles that turning a vector of one column takes, through memory
_TURN = 4
#: cycles for a tile beside its multiply-adds
_TILE = 24
#: scratch for the sums of a block, so that it stays in the caches
_BLOCK_SCRATCH = 3 << 20
#: and for the columns of a block of narrow layers, which is up to so many times as long: up to a tenth less
#: time at 2-4-3, but a sixth more at 2-10-3, whose columns do not fit
_NARROW_SCRATCH, _NARROW_BLOCKS = 14 << 10, 3


@kernel
def plan(zero, table, batch):
    """(samples in lanes?, rows of a block) for a call of so many rows."""
    size = size_of(zero)
    lanes = VECTOR_BYTES // size
    if 8 * batch < 5 * lanes:  # fewer rows than these leave the lanes too empty
        return 0, lanes
    layers, depth = table + CALL_BYTES, load_int64(table + DEPTH)
    vecs = (min(batch, BLOCK_VECTORS * lanes) + lanes - 1) // lanes
    rows = min(batch, BLOCK_VECTORS * lanes)
    tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
    by_samples, by_outputs, weights, widest = 0, 0, 0, 1
    columns = load_int64(layers + FAN_IN)
    for i in range(depth):
        fan_in = load_int64(layers + i * LAYER_BYTES + FAN_IN)
        fan_out = load_int64(layers + i * LAYER_BYTES + FAN_OUT)
        weights += fan_in * fan_out * size
        widest = max(widest, fan_out)
        columns += fan_out
        out_vecs = (fan_out + lanes - 1) // lanes
        if is_narrow(zero, fan_in, fan_out, rows):
            by_outputs += fan_in * rows * (_ROUNDS + fan_out) // (2 * lanes)
        else:
            by_outputs += max(fan_in * rows * out_vecs // 2, fan_in * _LATENCY * tiles)
            by_outputs += tiles * ((out_vecs + PANEL_VECTORS - 1) // PANEL_VECTORS) * _TILE
        by_samples += max(fan_in * fan_out * vecs // 2, fan_in * _LATENCY)
        by_samples += (
            (fan_out + TILE_ROWS - 1) // TILE_ROWS * (vecs + PANEL_VECTORS - 1) // PANEL_VECTORS * _TILE
        )
    by_samples += load_int64(layers + FAN_IN) * vecs * _TURN
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
def explained(zero, table, batch, i):
    """For Python to call: (samples in lanes?, rows of a block, how layer i reads its weights then)."""
    by_samples, block = plan(zero, table, batch)
    block = min(block, max(batch, 1))
    return by_samples, block, way(zero, table + CALL_BYTES + i * LAYER_BYTES, block)
