"""All the cores that the process may use, beside one thread."""

from __future__ import annotations

from collections.abc import Callable

import fastnet
from benchmarks.common import DTYPES, NETWORKS, Problem, Suite, network_problem
from fastnet.timing import take_turns


class Threads(Suite):
    """The grid again: what threads gain where work is large, and that they cost nothing where it is not."""

    params = (list(NETWORKS), DTYPES)
    param_names = ("problem", "dtype")

    def build(self, problem: str, dtype: str) -> Problem:
        return network_problem(problem, dtype, max_size=self.max_size)

    def teardown(self, *params: str) -> None:
        fastnet.set_num_threads(self.count)

    def setup(self, *params: str) -> None:
        self.count = fastnet.get_num_threads()
        super().setup(*params)

    def _on(self, count: int) -> Callable[[], object]:
        def call() -> object:
            fastnet.set_num_threads(count)
            return self.problem.fastnet()

        return call

    def track_time_ratio(self, *params: str) -> float:
        return take_turns({"one": self._on(1), "all": self._on(self.count)}, **self.timing)["all"].ratio

    def track_seconds(self, *params: str) -> float:
        return take_turns({"all": self._on(self.count)}, **self.timing)["all"].seconds

    track_time_ratio.unit = "all cores / one thread"  # type: ignore[attr-defined]
    track_seconds.unit = "seconds"  # type: ignore[attr-defined]
