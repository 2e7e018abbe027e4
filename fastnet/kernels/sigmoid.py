"""The logistic function, written once for every kernel.

``sigmoid(x) = 1 / (1 + exp(-x))``. With z = -\\|x\\| and e = exp(z), it is 1 / (1 + e) for x >= 0 and
e / (1 + e) for x < 0, so nothing overflows and the tail keeps its relative accuracy.

exp(z): n = round(z / ln 2) by adding a constant so large that its last bit is worth 1 (which also leaves
n, biased, in the low bits, ready to become an exponent); r = z - n ln 2 in two parts (Cody and Waite);
exp(r) = 1 + r + r^2 P(r), P the minimax polynomial of the relative error on \\|r\\| <= ln 2 / 2 (Remez
exchange; 2^-26.8 for float32 with coefficients rounded one by one, 2^-57.9 for float64).

e is carried as e * 2^SHIFT, so that it is never subnormal: only the last multiplication by 2^-SHIFT
rounds a result into the subnormal range. One Newton step with the residual of the division, and with
what was lost in 1 + e, takes the largest error of float32 from 2.40 to 1.49 ulp, and makes the function
monotone over all floats. Correcting for the rounding of e as well gives 1.13 ulp, but four more
operations, and neighbouring floats whose results decrease.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastnet.kernels.vector import Vec, itemsize_of


@dataclass(frozen=True)
class Constants:
    lowest: float  # exp of anything below rounds to 0
    log2_e: float
    ln2_high: float
    ln2_low: float
    round_and_bias: float  # 1.5 * 2^(mantissa bits) + exponent bias + SHIFT
    shift: float  # 2^SHIFT
    polynomial: tuple[float, ...]  # highest power first


FLOAT32 = Constants(
    lowest=-104.0,
    log2_e=float.fromhex("0x1.715476p+0"),
    ln2_high=float.fromhex("0x1.62e400p-1"),
    ln2_low=float.fromhex("0x1.7f7d1cp-20"),
    round_and_bias=1.5 * 2**23 + 127 + 64,
    shift=2.0**64,
    polynomial=tuple(
        float.fromhex(c)
        for c in ("0x1.6b124cp-10", "0x1.123cccp-7", "0x1.555882p-5", "0x1.55548cp-3", "0x1.fffffcp-2")
    ),
)
FLOAT64 = Constants(
    lowest=-745.2,
    log2_e=float.fromhex("0x1.71547652b82fep+0"),
    ln2_high=float.fromhex("0x1.62e42fee00000p-1"),
    ln2_low=float.fromhex("0x1.a39ef35793c76p-33"),
    round_and_bias=1.5 * 2**52 + 1023 + 512,
    shift=2.0**512,
    polynomial=(
        2.500001885308334e-08,
        2.7630306255647857e-07,
        2.755758680384707e-06,
        2.480149294961707e-05,
        0.00019841269505773806,
        0.0013888888943759984,
        0.008333333333494976,
        0.041666666666529725,
        0.1666666666666641,
        0.5000000000000011,
    ),
)


def sigmoid(x: Vec) -> Vec:
    """Each lane's logistic function; NaN gives NaN."""
    c = FLOAT32 if itemsize_of(x) == 4 else FLOAT64
    one, shift, unshift = x.like(1.0), x.like(c.shift), x.like(1.0 / c.shift)

    z = x.negative_abs()
    z = (z < x.like(c.lowest)).where(x.like(c.lowest), z)
    biased = z.fma(x.like(c.log2_e), x.like(c.round_and_bias))
    n = biased - x.like(c.round_and_bias)
    r = n.fma(x.like(-c.ln2_high), z)
    r = n.fma(x.like(-c.ln2_low), r)

    p = x.like(c.polynomial[0])
    for coefficient in c.polynomial[1:]:
        p = p.fma(r, x.like(coefficient))
    q = (r * r).fma(p, r)
    power = biased.exponent_field()
    e = q.fma(power, power)  # exp(z) * 2^SHIFT

    s = e.fma(unshift, one)
    lost = e.fma(unshift, one - s)  # 1 + e = s + lost exactly
    negative = x < x.like(0.0)
    numerator = negative.where(e, shift)
    y = numerator / s
    residual = (-y).fma(s, numerator)
    residual = (-y).fma(lost, residual)
    y_true = y * unshift
    reciprocal = negative.where(one - y_true, y_true)  # 1 / s, nearly
    return residual.fma(reciprocal, y) * unshift
