"""The logistic function, written once for every kernel.

``sigmoid(x) = 1 / (1 + exp(-x))``. With n = round(-x / ln 2) and t = x + n ln 2, exp(-x) = 2^n exp(-t).

n is rounded by adding a constant so large that its last bit is worth 1, which also leaves n, biased, in the
low bits, ready to become an exponent. t is taken in two parts of ln 2 (Cody and Waite).
exp(-t) = 1 + q, q = -t + t^2 P(t), P the minimax polynomial of the relative error on \\|t\\| <= ln 2 / 2
(Remez exchange; 2^-26.8 for float32 with coefficients rounded one by one, 2^-57.9 for float64).

1 + exp(-x) = (1 + 2^n) + 2^n q: the bracket is exact or its error is, so that the denominator is known to
twice the precision. All of it is carried times a power of two, `unit`: neither exp(-x) nor the quotient
overflows or is subnormal, and only the last multiplication rounds a result into the subnormal range.
One Newton step with the residual of the division and what the denominator lost leaves the rounding of the
result and the error of q: at most 1.05 ulp for float32, 2.5 without the step, and the function is monotone
over all floats.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastnet.kernels.vector import Vec, itemsize_of


@dataclass(frozen=True)
class Constants:
    lowest: float  # results for anything below round to 0
    highest: float  # results for anything above are 1
    log2_e: float
    ln2_high: float
    ln2_low: float
    round_and_bias: float  # 1.5 * 2^(mantissa bits) + exponent bias + log2(unit)
    unit: float
    polynomial: tuple[float, ...]  # P(t), highest power first


FLOAT32 = Constants(
    lowest=-104.0,
    highest=32.0,
    log2_e=float.fromhex("0x1.715476p+0"),
    ln2_high=float.fromhex("0x1.62e400p-1"),
    ln2_low=float.fromhex("0x1.7f7d1cp-20"),
    round_and_bias=1.5 * 2**23 + 127 - 64,
    unit=2.0**-64,
    polynomial=tuple(
        float.fromhex(c)
        for c in ("0x1.6b124cp-10", "-0x1.123cccp-7", "0x1.555882p-5", "-0x1.55548cp-3", "0x1.fffffcp-2")
    ),
)
FLOAT64 = Constants(
    lowest=-745.2,
    highest=64.0,
    log2_e=float.fromhex("0x1.71547652b82fep+0"),
    ln2_high=float.fromhex("0x1.62e42fee00000p-1"),
    ln2_low=float.fromhex("0x1.a39ef35793c76p-33"),
    round_and_bias=1.5 * 2**52 + 1023 - 512,
    unit=2.0**-512,
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


def sigmoid(x: Vec) -> Vec:
    """Each lane's logistic function; NaN gives NaN."""
    c = FLOAT32 if itemsize_of(x) == 4 else FLOAT64
    unit, magic = x.like(c.unit), x.like(c.round_and_bias)

    x = (x < x.like(c.lowest)).where(x.like(c.lowest), x)
    x = (x.like(c.highest) < x).where(x.like(c.highest), x)
    biased = x.fma(x.like(-c.log2_e), magic)
    n = biased - magic
    t = n.fma(x.like(c.ln2_high), x)
    t = n.fma(x.like(c.ln2_low), t)

    p = x.like(c.polynomial[0])
    for coefficient in c.polynomial[1:]:
        p = p.fma(t, x.like(coefficient))
    q = (t * t).fma(p, -t)  # exp(-t) - 1
    power = biased.exponent_field()  # 2^n unit

    most = unit + power
    s = q.fma(power, most)  # (1 + exp(-x)) unit
    lost = q.fma(power, most - s) + (unit - (most - power))
    y = x.like(1.0) / s
    residual = (-y).fma(s, x.like(1.0))
    residual = (-y).fma(lost, residual)
    return residual.fma(y, y) * unit
