"""Peak memory of a whole process that predicts once."""

from __future__ import annotations

from itertools import product

from benchmarks.common import DTYPES, network_problem, one_thread


class Memory:
    """Reference and fastnet on the same problems: large batches, where a hidden layer may cost memory or not.

    Verification would count as memory, so it has a process of its own: asv's ``setup_cache``. That run also
    compiles, so that what is left to measure is a process with a warm cache.
    """

    params = (["2-10-3 x 1000000", "30-100-2 x 20000", "784-128-10 x 4096"], DTYPES, ["reference", "fastnet"])
    param_names = ("problem", "dtype", "implementation")
    max_size: int | None = None

    def setup_cache(self) -> None:
        for problem, dtype in product(*self.params[:2]):
            network_problem(problem, dtype, max_size=self.max_size).verify()

    def setup(self, problem: str, dtype: str, implementation: str) -> None:
        one_thread()
        self.call = getattr(network_problem(problem, dtype, max_size=self.max_size), implementation)

    def peakmem_predict(self, *params: str) -> None:
        self.call()
