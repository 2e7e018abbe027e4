"""The natural logarithm, for losses.

y = 2^k z with z between sqrt(1/2) and sqrt(2), and log z = log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)), with
f = z - 1 and s = f / (2 + f); R is the polynomial of fdlibm's log (of its logf for float32). Within 1 ulp.
"""

from __future__ import annotations

from llvmlite import ir

from fastnet.kernels.exponential import exp_of_minus
from fastnet.kernels.vector import Vec, itemsize_of, lanes_of

_POLYNOMIAL = {  # of s^2, highest power first
    4: (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693),
    8: (
        1.479819860511658591e-01,
        1.531383769920937332e-01,
        1.818357216161805012e-01,
        2.222219843214978396e-01,
        2.857142874366239149e-01,
        3.999999999940941908e-01,
        6.666666666666735130e-01,
    ),
}
_LN2_HIGH = {4: float.fromhex("0x1.62e300p-1"), 8: float.fromhex("0x1.62e42fee00000p-1")}
_LN2_LOW = {4: float.fromhex("0x1.2fefa2p-17"), 8: float.fromhex("0x1.a39ef35793c76p-33")}
#: bits of about sqrt(1/2), and of the mantissa
_SQRT_HALF = {4: 0x3F3504F3, 8: 0x3FE6A09E00000000}
_MANTISSA = {4: 23, 8: 52}


def log(y: Vec) -> Vec:
    """Each lane's logarithm, for normal numbers; NaN for NaN and for what is not above 0."""
    b, size, n = y.b, itemsize_of(y), lanes_of(y)
    ints = ir.VectorType(ir.IntType(8 * size), n)

    def constant(value: int) -> ir.Constant:
        return ints([value] * n)

    bits = b.bitcast(y.v, ints)
    above = b.sub(bits, constant(_SQRT_HALF[size]))
    exponent = b.ashr(above, constant(_MANTISSA[size]))
    z = b.sub(bits, b.shl(exponent, constant(_MANTISSA[size])))
    k = Vec(b, b.sitofp(exponent, y.v.type))
    f = Vec(b, b.bitcast(z, y.v.type)) - y.like(1.0)
    s = f / (y.like(2.0) + f)
    square = s * s
    r = y.like(_POLYNOMIAL[size][0])
    for coefficient in _POLYNOMIAL[size][1:]:
        r = r.fma(square, y.like(coefficient))
    half = f * f * y.like(0.5)
    low = k.fma(y.like(_LN2_LOW[size]), s * r.fma(square, half))
    result = k.fma(y.like(_LN2_HIGH[size]), (low - half) + f)
    return (y.like(0.0) < y).where(result, y.like(float("nan")))


def log_of_one_and_exp_of_minus(x: Vec) -> Vec:
    """log(1 + exp(-x)) for x from 0 up; NaN gives NaN."""
    one, highest = x.like(1.0), x.like(80.0 if itemsize_of(x) == 4 else 700.0)
    near = (highest < x).where(highest, x)  # beyond it lies nothing that a loss of any size would show
    power, q = exp_of_minus(near)
    u = q.fma(power, power)
    w = one + u
    return log(w) + (u - (w - one)) / w
