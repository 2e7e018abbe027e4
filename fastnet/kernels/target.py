"""The instruction set that Numba compiles for, and the tile sizes that follow from it."""

from __future__ import annotations

import platform
from functools import cache

from numba.core import config
from numba.core.registry import cpu_target

#: feature -> (bytes in a vector register, number of vector registers), widest first
_VECTOR_UNITS = {"avx512f": (64, 32), "avx2": (32, 16), "avx": (32, 16)}
_SSE = (16, 16)
_NEON = (16, 32)


def features() -> frozenset[str]:
    """Names of the CPU features that compiled code may use (llvm's names, without the plus)."""
    flags = config.CPU_FEATURES
    if flags is None:
        flags = cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(f[1:] for f in flags.split(",") if f.startswith("+"))


@cache
def zen() -> int:
    """Which of AMD's Zen code is compiled for; 0 for any other CPU."""
    cpu: str = config.CPU_NAME or cpu_target.target_context.codegen().magic_tuple()[1]
    return int(cpu.removeprefix("znver")) if cpu.startswith("znver") else 0


def is_arm() -> bool:
    return platform.machine().lower() in ("aarch64", "arm64")


def has_fma() -> bool:
    """Whether the target multiplies and adds in one rounding."""
    return is_arm() or "fma" in features()


def name() -> str:
    """The machine, the vector registers and the fused multiply-add that compiled code has."""
    parts = [platform.machine(), f"{VECTOR_REGISTERS} vectors of {8 * VECTOR_BYTES} bits"]
    return ", ".join(parts + ["fma"] * has_fma())


def _vector_unit() -> tuple[int, int]:
    if is_arm():
        return _NEON
    have = features()
    return next((unit for name, unit in _VECTOR_UNITS.items() if name in have), _SSE)


VECTOR_BYTES, VECTOR_REGISTERS = _vector_unit()
CACHE_LINE = 64
#: whether a vector across two cache lines takes longer than others even from the second-level cache: twice as
#: long on an Emerald Rapids, no longer on a Zen 5
SPLITS_COST = not zen()
#: and from farther away, where lines are read in order: a Zen 4 takes 1.2 times as long for one or two rows
SPLITS_COST_AFAR = zen() < 5

#: rows of a register tile -> how many vectors wide it may be, widest first. Accumulators, one row of
#: broadcasts and one loaded vector have to fit in the registers. One row reads weights as they lie in memory
#: where a tile is as wide as they are, up to twice as quickly on a Zen 5.
TILES = {
    16: {1: (8, 4, 2, 1), 2: (6, 4, 2, 1), 3: (4, 2, 1), 4: (3, 2, 1), 5: (2, 1), 6: (2, 1)},
    32: {
        1: (16, 8, 4, 2, 1),
        2: (8, 4, 2, 1),
        3: (8, 4, 2, 1),
        4: (6, 4, 2, 1),
        5: (4, 2, 1),
        6: (4, 2, 1),
        7: (3, 1),
        8: (3, 1),
    },
}[VECTOR_REGISTERS]
#: rows of the tiles that many rows are cut into; seven or eight alone are one tile where it fits
TILE_ROWS, MOST_ROWS = 6, max(TILES)
#: width of the tallest tile: the panels that weights are packed into
PANEL_VECTORS = TILES[TILE_ROWS][0]
PANEL_ROW = PANEL_VECTORS * VECTOR_BYTES
#: vectors of samples that go through a narrow network together; every tile width divides it or nearly
BLOCK_VECTORS = 12
#: width of the tallest tiles where inputs are more than a chunk: on a Zen 4 one that is held, which takes
#: 0.96 to 0.99 of the time from 33 inputs on; not measured elsewhere
HELD_VECTORS = 2 if zen() == 4 else PANEL_VECTORS
#: bytes of vectors that do where a row of the tallest tiles ends with no more, 0 if whole ones are as quick:
#: a Zen 4 computes with halves, and broadcasts to them, in half of the time
PART_BYTES = VECTOR_BYTES // 2 if zen() == 4 and VECTOR_BYTES == 64 else 0


def is_held(rows: int, vecs: int) -> bool:
    """Whether a tile of that size has registers for what earlier chunks of inputs have come to, too."""
    return 2 * rows * vecs + vecs + 1 <= VECTOR_REGISTERS
