"""exp(-x) in two factors, for every activation that is made of it.

With n = round(-x / ln 2) and t = x + n ln 2, exp(-x) = 2^n exp(-t). n is rounded by adding a constant so
large that its last bit is worth 1, which also leaves n, biased, in the low bits, ready to become an
exponent. t is taken in two parts of ln 2 (Cody and Waite). exp(-t) = 1 + q, q = -t + t^2 P(t), P the minimax
polynomial of the relative error on \\|t\\| <= ln 2 / 2 (Remez exchange; 2^-26.8 for float32 with coefficients
rounded one by one, 2^-57.9 for float64).
"""

from __future__ import annotations

from dataclasses import dataclass

from fastnet.kernels.vector import Vec, itemsize_of


@dataclass(frozen=True)
class Constants:
    log2_e: float
    ln2_high: float
    ln2_low: float
    round_and_bias: float  # 1.5 * 2^(mantissa bits) + exponent bias
    unit: float  # a power of two with room below it for all of exp(-x) down to subnormals
    unit_exponent: int
    lowest: float  # exp of anything below rounds to 0
    polynomial: tuple[float, ...]  # P(t), highest power first


FLOAT32 = Constants(
    log2_e=float.fromhex("0x1.715476p+0"),
    ln2_high=float.fromhex("0x1.62e400p-1"),
    ln2_low=float.fromhex("0x1.7f7d1cp-20"),
    round_and_bias=1.5 * 2**23 + 127,
    unit=2.0**64,
    unit_exponent=64,
    lowest=-104.0,
    polynomial=tuple(
        float.fromhex(c)
        for c in ("0x1.6b124cp-10", "-0x1.123cccp-7", "0x1.555882p-5", "-0x1.55548cp-3", "0x1.fffffcp-2")
    ),
)
FLOAT64 = Constants(
    log2_e=float.fromhex("0x1.71547652b82fep+0"),
    ln2_high=float.fromhex("0x1.62e42fee00000p-1"),
    ln2_low=float.fromhex("0x1.a39ef35793c76p-33"),
    round_and_bias=1.5 * 2**52 + 1023,
    unit=2.0**512,
    unit_exponent=512,
    lowest=-745.2,
    polynomial=(
        -2.500001885308334e-08,
        2.7630306255647857e-07,
        -2.755758680384707e-06,
        2.480149294961707e-05,
        -0.00019841269505773806,
        0.0013888888943759984,
        -0.008333333333494976,
        0.041666666666529725,
        -0.1666666666666641,
        0.5000000000000011,
    ),
)


def constants_for(x: Vec) -> Constants:
    return FLOAT32 if itemsize_of(x) == 4 else FLOAT64


def exp_of_minus(x: Vec, unit_exponent: int = 0, lost: Vec | None = None) -> tuple[Vec, Vec]:
    """(power, q) with exp(-(x + lost)) 2^unit_exponent = power + power q, power one of 2; `lost` is tiny."""
    c = constants_for(x)
    magic = x.like(c.round_and_bias + unit_exponent)
    biased = x.fma(x.like(-c.log2_e), magic)
    n = biased - magic
    t = n.fma(x.like(c.ln2_high), x)
    t = n.fma(x.like(c.ln2_low), t)
    if lost is not None:
        t = t + lost
    p = x.like(c.polynomial[0])
    for coefficient in c.polynomial[1:]:
        p = p.fma(t, x.like(coefficient))
    return biased.exponent_field(), (t * t).fma(p, -t)
