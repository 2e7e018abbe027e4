"""NumPy alone, nothing of fastnet: when these move, it was the machine."""

from __future__ import annotations

import numpy as np

from benchmarks import limit_blas


class Control:
    """A matrix product and an exponential, long enough (about a millisecond) to be timed one by one."""

    params = ("float32", "float64")
    param_names = ("dtype",)
    size = 256
    repeat = (10, 100, 2.0)

    def setup(self, dtype: str) -> None:
        limit_blas()
        self.x = np.random.RandomState(0).randn(self.size, self.size).astype(dtype)
        np.exp(self.x @ self.x)

    def time_matmul_exp(self, dtype: str) -> None:
        np.exp(self.x @ self.x)
