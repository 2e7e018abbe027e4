"""The logistic function, written once for every kernel.

``sigmoid(x) = 1 / (1 + exp(-x))``, and exp(-x) = 2^n (1 + q) as `exp_of_minus` gives it.

1 + exp(-x) = (1 + 2^n) + 2^n q: the bracket is exact or its error is, so that the denominator is known to
twice the precision. All of it is carried times a power of two, `unit`: neither exp(-x) nor the quotient
overflows or is subnormal, and only the last multiplication rounds a result into the subnormal range.
One Newton step with the residual of the division and what the denominator lost leaves the rounding of the
result and the error of q: at most 1.05 ulp for float32, 2.5 without the step, and the function is monotone
over all floats.
"""

from __future__ import annotations

from fastnet.kernels.exponential import constants_for, exp_of_minus
from fastnet.kernels.vector import Vec, itemsize_of

#: results for anything above are 1
_HIGHEST = {4: 32.0, 8: 64.0}


def sigmoid(x: Vec) -> Vec:
    """Each lane's logistic function; NaN gives NaN."""
    c = constants_for(x)
    unit = x.like(1 / c.unit)
    lowest, highest = x.like(c.lowest), x.like(_HIGHEST[itemsize_of(x)])

    x = (x < lowest).where(lowest, x)
    x = (highest < x).where(highest, x)
    power, q = exp_of_minus(x, -c.unit_exponent)  # 2^n unit

    most = unit + power
    s = q.fma(power, most)  # (1 + exp(-x)) unit
    lost = q.fma(power, most - s) + (unit - (most - power))
    y = x.like(1.0) / s
    residual = (-y).fma(s, x.like(1.0))
    residual = (-y).fma(lost, residual)
    return residual.fma(y, y) * unit
