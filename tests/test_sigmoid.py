"""The sigmoid over all float32 numbers, and over millions of float64 numbers where it is hardest."""

from __future__ import annotations

import numpy as np
import pytest

import fastnet
from benchmarks.ulp import around, float32_errors, float64_errors, float64_points

sigmoid = fastnet.Sigmoid().forward

#: bits of the infinity: the positive floats from 0 on are numbered 0 to this
INFINITY = 0x7F800000
BLOCK = 1 << 16
#: how many of the hardest float64 numbers are looked around at
HARD = 100
#: ulp: 1.047 is the largest error of all float32 numbers, at -37.77732; 1.027 of the float64 numbers tried
LARGEST = 1.05


def check_float32(first: int, count: int = BLOCK) -> float:
    """Numbers first, first + 1, ... of the positive floats, and the negative ones: their largest error.

    The block ends with the first number of the next one, so that all neighbours are compared.
    """
    x = np.arange(first, min(first + count, INFINITY) + 1, dtype=np.uint32).view(np.float32)
    y, z = sigmoid(x), sigmoid(-x)
    where = f"in the block of {x[0]!r}"
    assert y.dtype == z.dtype == np.float32
    assert z.min() >= 0, f"below 0 {where}"
    assert y.max() <= 1, f"above 1 {where}"
    assert (y[1:] >= y[:-1]).all(), f"falls {where}"
    assert (z[1:] <= z[:-1]).all(), f"falls {where}, negative"
    off = np.abs((y.astype(np.float64) - 1) + z).max()
    assert off <= np.finfo(np.float32).eps, f"sigmoid(-x) + sigmoid(x) is off 1 by {off} {where}"
    # the exact value is above the smallest subnormal number, 2**-149
    assert (z[x < 149 * np.log(2)] > 0).all(), f"flushed to 0 {where}"
    assert (z[x > 151 * np.log(2)] == 0).all(), f"not 0 {where}"
    assert (y[x > 26 * np.log(2)] == 1).all(), f"not 1 {where}"
    return max(float32_errors(x, y).max(), float32_errors(-x, z).max())


def sampled_blocks() -> list[tuple[int, int]]:
    """(first number, how many): every exponent, both edges of every binade, and where something changes."""
    rng = np.random.default_rng(0)
    starts = []
    for exponent in range(256):
        low = exponent << 23
        inside = [] if exponent == 255 else rng.integers(low, low + (1 << 23), 48)
        starts += [(max(low - 512, 0), 1024), *((int(start), 512) for start in inside)]
    turns = [
        *(np.log(2) * (np.arange(151) + 0.5)),  # the reduction goes on to the next multiple of ln 2
        *(np.log(2) * np.arange(1, 151)),
        *(24 * np.log(2), 32, 64, 126 * np.log(2), 88.72284, 104),  # 1 - 2**-24, limits, the subnormal tail
    ]
    return starts + [(int(np.float32(x).view(np.uint32)) - 2048, 4096) for x in turns]


def test_float32_sampled():
    largest = max(check_float32(first, count) for first, count in sampled_blocks())
    assert 0.9 < largest <= LARGEST, f"{largest} ulp"


@pytest.mark.long
def test_float32_all():
    """Every one of the 2**32."""
    largest = max(check_float32(first) for first in range(0, INFINITY, BLOCK))
    assert 1.0 < largest <= LARGEST, f"{largest} ulp"
    for first in range(INFINITY + 1, 1 << 31, BLOCK):
        bits = np.arange(first, min(first + BLOCK, 1 << 31), dtype=np.uint32)
        for x in (bits.view(np.float32), (bits | 1 << 31).view(np.float32)):
            assert np.isnan(sigmoid(x)).all(), f"not NaN in the block of {first:#x}"


def check_float64(x: np.ndarray) -> tuple[float, np.ndarray]:
    """What holds of all float32 numbers, of the given float64 ones: their largest error, and where."""
    x = np.sort(x)
    y, mirrored = sigmoid(x), sigmoid(-x)
    assert y.dtype == np.float64
    assert y.min() >= 0
    assert y.max() <= 1
    assert (np.diff(y) >= 0).all(), f"falls after {x[:-1][np.diff(y) < 0][0]!r}"
    off = np.abs((np.maximum(y, mirrored) - 1) + np.minimum(y, mirrored)).max()
    assert off <= np.finfo(np.float64).eps, f"sigmoid(-x) + sigmoid(x) is off 1 by {off}"
    assert (y[x > -1074 * np.log(2)] > 0).all(), "flushed to 0"
    assert (y[x < -1076 * np.log(2)] == 0).all(), "not 0"
    assert (y[x > 55 * np.log(2)] == 1).all(), "not 1"
    units = float64_errors(x, y)
    assert np.isfinite(units).all()
    worst = np.argsort(units)[-HARD:]
    return units[worst[-1]], x[worst]


def largest_float64(seed: int, count: int, rounds: int) -> float:
    """Of the points, then of those around the hardest so far, from round to round."""
    rng = np.random.default_rng(seed)
    largest, hard = check_float64(float64_points(rng, count))
    for _ in range(rounds):
        near = np.unique(np.concatenate([around(hard, count // HARD // 4), hard]))
        largest, hard = check_float64(near)
    return largest


def test_float64_sampled():
    largest = largest_float64(seed=0, count=300_000, rounds=3)
    assert 0.9 < largest <= LARGEST, f"{largest} ulp"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 9))
def test_float64_millions(seed):
    largest = largest_float64(seed, count=1_000_000, rounds=4)
    assert 0.9 < largest <= LARGEST, f"{largest} ulp"
