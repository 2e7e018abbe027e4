"""Lanes of several vectors put into another order, by shuffles of two vectors at a time."""

from __future__ import annotations

from collections.abc import Sequence

from fastnet.kernels.vector import Vec, itemsize_of, lanes_of

#: of 128 bits, that make a vector where halves are turned
PIECES = 4


def gather_lanes(vecs: Sequence[Vec], wanted: Sequence[int]) -> Vec:
    """The vector of the lanes `wanted`, numbered through the concatenation of `vecs`."""
    n = lanes_of(vecs[0])
    result: Vec | None = None
    for i, vec in enumerate(vecs):
        here = [w - i * n if i * n <= w < (i + 1) * n else None for w in wanted]
        if all(h is None for h in here):
            continue
        if result is None:
            result, known = vec.shuffle(vec, here), here
        else:
            pick = [None if h is None else n + h for h in here]
            result = result.shuffle(vec, pick)
            known = [h if h is not None else k for h, k in zip(here, known, strict=True)]
    assert result is not None
    return result


def transpose(rows: Sequence[Vec]) -> list[Vec]:
    """Transpose a square of n vectors of n lanes, in log2(n) rounds of two-input shuffles.

    First within pieces of 128 bits, then of whole pieces: shuffles that need no vector of indices. (Rounds
    that swap one bit of the two numbers each are as many, but LLVM merged them into others that spill.)
    """
    e = 16 // itemsize_of(rows[0])  # elements of a piece
    q = len(rows) // e

    def pieces(one: Vec, other: Vec, wanted: Sequence[int]) -> Vec:
        return one.shuffle(other, [w * e + i for w in wanted for i in range(e)])

    turned = [row for g in range(q) for row in turn_pieces(rows[g * e : (g + 1) * e])]
    out = [*rows]
    for j in range(e):
        column = turned[j::e]
        if q == 1:
            out[j] = column[0]
        elif q == 2:
            for p in range(2):
                out[p * e + j] = pieces(column[0], column[1], [p, 2 + p])
        else:
            a, b = (pieces(column[0], column[1], [h, h + 1, 4 + h, 5 + h]) for h in (0, 2))
            c, d = (pieces(column[2], column[3], [h, h + 1, 4 + h, 5 + h]) for h in (0, 2))
            for p, (low, high) in enumerate(((a, c), (a, c), (b, d), (b, d))):
                out[p * e + j] = pieces(low, high, [p % 2, 2 + p % 2, 4 + p % 2, 6 + p % 2])
    return out


def turn_pieces(rows: Sequence[Vec]) -> list[Vec]:
    """Transpose the squares that pieces of 128 bits make: as many vectors as a piece has elements."""
    e, n = len(rows), lanes_of(rows[0])

    def unpack(low: Vec, high: Vec, together: int, half: int) -> Vec:
        """From one half of each piece, elements of low and high in turn, so many together."""
        lanes: list[int | None] = []
        for piece in range(0, n, e):
            for i in range(piece + half * e // 2, piece + (half + 1) * e // 2, together):
                lanes += [*range(i, i + together), *range(n + i, n + i + together)]
        return low.shuffle(high, lanes)

    turned, together = [*rows], 1
    while together < e:
        now = [*turned]
        for i in range(e // 2):
            # neighbours at first, then two apart
            at = 2 * i if together == 1 else i
            low, high = now[at], now[at + together]
            turned[2 * i], turned[2 * i + 1] = (unpack(low, high, together, half) for half in (0, 1))
        together *= 2
    return turned


def paired_rows(n: int) -> list[tuple[int, int]]:
    """Which of n rows lie side by side in vectors of two halves: those of the same place in two pieces."""
    e = n // PIECES
    return [(g + i, g + i + e) for g in (0, 2 * e) for i in range(e)]


def turn_halves(pairs: Sequence[Vec]) -> list[Vec]:
    """Transpose halves of rows, as `paired_rows` says: to half of the columns of a square."""
    e = len(pairs) // 2
    one, other = turn_pieces(pairs[:e]), turn_pieces(pairs[e:])
    columns = [[p * e + i for p in (half, half + 2, half + 4, half + 6) for i in range(e)] for half in (0, 1)]
    return [low.shuffle(high, wanted) for wanted in columns for low, high in zip(one, other, strict=True)]


def turn_into_halves(columns: Sequence[Vec]) -> list[Vec]:
    """The way back: from half of the columns of a square."""
    e = len(columns) // 2
    one, other = turn_pieces(columns[:e]), turn_pieces(columns[e:])
    n = PIECES * e
    beside = [[at + p * e + i for p in (g, g + 1) for at in (0, n) for i in range(e)] for g in (0, 2)]
    return [low.shuffle(high, wanted) for wanted in beside for low, high in zip(one, other, strict=True)]
