"""How far results of a sigmoid are from the exact value, in units in the last place (ulp) of that value.

Where the exact value is subnormal, a unit is the smallest subnormal number.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

Errors = NDArray[np.float64]

#: of MPFR: an error is known to better than 2**-60 ulp of float64
PRECISION = 120


@numba.njit(error_model="numpy", cache=True)
def _float32_errors(x, y, units):  # type: ignore[no-untyped-def]
    exact, scale = np.empty(1024), np.empty(1024)
    exact_bits, scale_bits = exact.view(np.int64), scale.view(np.int64)
    for start in range(0, x.size, 1024):
        count = min(1024, x.size - start)
        for i in range(count):
            power = math.exp(-abs(np.float64(x[start + i])))
            exact[i] = (1.0 if x[start + i] >= 0 else power) / (1.0 + power)
        for i in range(count):
            exponent = max((exact_bits[i] >> 52) - 1023, -126)
            scale_bits[i] = (1023 + 23 - exponent) << 52
        for i in range(count):
            units[start + i] = abs(y[start + i] - exact[i]) * scale[i]


def float32_errors(x: NDArray[np.float32], y: NDArray[np.float32]) -> Errors:
    """Errors of y as the sigmoid of x, both float32; NaN where one of them is.

    The exact value is taken in float64: a float32 is a float64, the C library's exp is within 1 ulp, and
    the sum and the quotient are within half a one each, so it is known to 2 * 2**-52 of its size. That is
    2**-27 ulp of float32, which its smallest numbers, 2**-149, are far inside the range of float64.
    """
    units = np.empty(x.size)
    _float32_errors(x, y, units)
    return units


def float64_errors(x: NDArray[np.float64], y: NDArray[np.float64]) -> Errors:
    """Errors of y as the sigmoid of x, both float64 and without NaN, against MPFR."""
    import gmpy2

    with gmpy2.context(gmpy2.get_context(), precision=PRECISION):
        exp, mpfr, exponent_of, times_two_to = gmpy2.exp, gmpy2.mpfr, gmpy2.get_exp, gmpy2.mul_2exp
        one = mpfr(1)
        units = np.empty(x.size)
        for i, (at, got) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            exact = one / (one + exp(mpfr(-at)))
            # get_exp is of a mantissa in [0.5, 1)
            exponent = max(exponent_of(exact) - 1, -1022) if exact else -1022
            units[i] = times_two_to(abs(got - exact), 52 - exponent)
    return units


ERRORS: dict[str, Callable[..., Errors]] = {"float32": float32_errors, "float64": float64_errors}


def around(x: np.ndarray, reach: int, step: int = 1) -> np.ndarray:
    """Up to `reach` floats on either side of each x that is not 0."""
    near = x.view(np.int64)[:, None] + np.arange(-reach, reach + 1) * step
    return near.view(np.float64).ravel()


def float64_points(rng: np.random.Generator, count: int) -> np.ndarray:
    """About so many, each tenth of them of another kind."""
    n = count // 10
    far, end = 746.0, 40.0
    k = np.arange(1, 1075)
    halves = np.log(2) * (np.arange(-1076, 60) + 0.5)  # the reduction goes on to the next multiple of ln 2
    powers = -k * np.log(2) - np.log1p(-(2.0**-k))  # results about 2**-k: below it a unit is half as large
    return np.concatenate(
        [
            around(halves, max(n // halves.size // 2, 1)),
            halves[rng.integers(halves.size, size=n)] * (1 + 1e-3 * rng.standard_normal(n)),
            around(powers[1:], max(n // powers.size // 2, 1)),
            rng.uniform(-far, end, n),
            rng.uniform(-far, -708, n),  # results from the smallest normal number to the last subnormal one
            around(np.linspace(-745.14, -745.12, 50), 5, step=1 << 32),
            rng.uniform(16, end, n),  # just below 1
            -np.log(2) * 53 * rng.uniform(-1.0, 1.0, n),
            rng.uniform(-2, 2, n),
            rng.uniform(-0.4, 0.4, n),
            np.ldexp(rng.uniform(0.5, 1, n), rng.integers(-1074, 0, n)) * rng.choice([-1, 1], n),
        ]
    )
