"""The hyperbolic tangent.

With a = \\|x\\| and exp(-2a) = 2^n (1 + q) as `exp_of_minus` gives it,

    tanh(a) = (1 - exp(-2a)) / (1 + exp(-2a)) = ((1 - 2^n) - 2^n q) / ((1 + 2^n) + 2^n q).

Small arguments need no case of their own: there n = 0 and the numerator is -q, which has the relative
accuracy of -t + t^2 P(t) with t = 2a exact. The sign is put back in the end, so the function is odd to the
last bit.
"""

from __future__ import annotations

from fastnet.kernels.exponential import exp_of_minus
from fastnet.kernels.vector import Vec, itemsize_of

#: results for anything above are 1
_HIGHEST = {4: 10.0, 8: 20.0}


def tanh(x: Vec) -> Vec:
    """Each lane's hyperbolic tangent; NaN gives NaN."""
    one, highest = x.like(1.0), x.like(_HIGHEST[itemsize_of(x)])
    a = abs(x)
    a = (highest < a).where(highest, a)
    power, q = exp_of_minus(a + a)
    numerator = (-q).fma(power, one - power)
    denominator = q.fma(power, one + power)
    return (numerator / denominator).with_sign_of(x)
