"""Networks called from compiled code, beside the same calls from Python."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

import fastnet
from benchmarks import few_if_one_round
from benchmarks.common import DTYPES, Problem, Suite, WrongAnswer, network_problem, sequential
from fastnet.timing import take_turns

#: calls that compiled code makes in a row, so that the one call from Python into it counts for nothing
CALLS = 1000


@cache
def repeated() -> Any:
    """What calls ``predict`` over and over; compiled by its first call."""
    import numba

    predict, _ = fastnet.njit_predict(fastnet.TwoLayerNet(1, 1, 1))

    @numba.njit
    def repeat(x: Any, params: Any, out: Any, calls: int) -> None:
        for _ in range(calls):
            predict(x, params, out)

    return repeat


class InNjit(Suite):
    """``predict(x, params, out)`` in a loop under njit: one row as a vector, and small batches."""

    params = (
        few_if_one_round(["2-4-3 x 1", "16-32-8 x 1", "64-128-10 x 1", "2-4-3 x 10", "16-32-8 x 64"]),
        DTYPES,
    )
    param_names = ("problem", "dtype")

    def build(self, problem: str, dtype: str) -> Problem:
        def model(layers: list[Any]) -> Any:
            self.net = sequential(layers)
            return self.net

        return network_problem(problem, dtype, model, max_size=self.max_size)

    def setup(self, *params: str) -> None:
        if not hasattr(fastnet, "njit_predict"):
            raise NotImplementedError("this fastnet is called from Python only")
        super().setup(*params)
        x = self.problem.x[0] if len(self.problem.x) == 1 else self.problem.x
        expected = self.net.predict(x)
        out = np.full_like(expected, np.nan)
        self.calls = partial(repeated(), x, fastnet.njit_predict(self.net)[1], out)
        self.calls(1)
        if (out != expected).any():
            raise WrongAnswer("compiled code and Python get different bits")

    def compare(self) -> dict[str, Any]:
        calls = {"python": self.problem.fastnet, "compiled": partial(self.calls, CALLS)}
        return take_turns(calls, **self.timing)

    def track_time_ratio(self, *params: str) -> float:
        return float(self.compare()["compiled"].ratio / CALLS)

    def track_seconds(self, *params: str) -> float:
        return float(self.compare()["compiled"].seconds / CALLS)

    def track_seconds_from_python(self, *params: str) -> float:
        return float(self.compare()["python"].seconds)

    track_time_ratio.unit = "compiled / Python call"  # type: ignore[attr-defined]
    track_seconds.unit = "seconds"  # type: ignore[attr-defined]
    track_seconds_from_python.unit = "seconds"  # type: ignore[attr-defined]
