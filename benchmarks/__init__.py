"""Benchmarks of fastnet against its NumPy reference; README.md beside this file has the rules.

A fair comparison is one thread against one, and BLAS reads its thread count once, when NumPy loads it.
So the count is set here, before any module of the suite can import NumPy.
"""

import os
import sys
from collections.abc import Iterable

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

#: Set to something else only in processes of their own, which ``benchmarks.workers`` starts.
COUNT_VARIABLE = "BENCHMARK_BLAS_THREADS"

#: Rounds of every comparison under asv, whose ``--quick`` knows nothing of them.
ROUNDS_VARIABLE = "BENCHMARK_ROUNDS"


def rounds(usual: int) -> int:
    """Rounds of a comparison, unless fewer are asked for."""
    return min(usual, int(os.environ.get(ROUNDS_VARIABLE, usual)))


def few_if_one_round(labels: Iterable[str]) -> list[str]:
    """All problems; or a few, where one round is to show that a suite runs at all: asv forks for each."""
    found = list(labels)
    return found[::8] if rounds(2) == 1 else found


if "numpy" not in sys.modules:
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, os.environ.get(COUNT_VARIABLE, "1")))

# asv installs one commit after the other in the same place. Numba tells their kernels apart by a digest of
# the sources (`fastnet/kernels/jit.py`); with a cache for each commit, nothing depends on that.
if {"ASV_COMMIT", "ASV_ENV_DIR"} <= os.environ.keys():
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(os.environ["ASV_ENV_DIR"], "numba", os.environ["ASV_COMMIT"])

#: Whether NumPy's BLAS was loaded, or is going to be, with one thread.
BLAS_HAS_ONE_THREAD = os.cpu_count() == 1 or all(os.environ.get(name) == "1" for name in THREAD_VARIABLES)


def limit_blas() -> None:
    """Leave BLAS one thread, also if NumPy came first, as under asv; skip the benchmark if that fails."""
    if BLAS_HAS_ONE_THREAD:
        return
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise NotImplementedError(
            f"BLAS may have several threads: set {', '.join(THREAD_VARIABLES)} to 1, or install threadpoolctl"
        ) from None
    threadpool_limits(1, user_api="blas")
