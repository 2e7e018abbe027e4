"""One cached function of one line: what any first call of compiled code waits for, whoever compiled it."""

import numba


@numba.njit(cache=True)
def increment(x):
    return x + 1
