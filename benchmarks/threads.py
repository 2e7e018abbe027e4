"""All the cores that the process may use: beside one thread, and beside the reference on all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import fastnet
from benchmarks import few_if_one_round
from benchmarks.common import DTYPES, NETWORKS, Suite, network_problem, one_thread
from benchmarks.workers import compare, working
from fastnet.timing import take_turns


class Threads:
    """What threads gain where there is enough to do, and that they cost nothing where there hardly is."""

    params = (few_if_one_round(label for label, (_, batch) in NETWORKS.items() if batch > 100), DTYPES)
    param_names = ("problem", "dtype")
    timing: ClassVar[dict[str, Any]] = Suite.timing
    max_size: int | None = None

    def setup(self, problem: str, dtype: str) -> None:
        self.count = fastnet.get_num_threads()
        one_thread()
        self.problem = network_problem(problem, dtype, max_size=self.max_size)
        self.problem.verify()

    def teardown(self, *params: str) -> None:
        fastnet.set_num_threads(self.count)

    def _on(self, count: int) -> Callable[[], object]:
        def call() -> object:
            fastnet.set_num_threads(count)
            return self.problem.fastnet()

        return call

    def track_time_ratio(self, *params: str) -> float:
        return take_turns({"one": self._on(1), "all": self._on(self.count)}, **self.timing)["all"].ratio

    track_time_ratio.unit = "all cores / one thread"  # type: ignore[attr-defined]


class AllCores:
    """The whole grid with all cores for either: each in a process of its own, one running at a time."""

    params = (few_if_one_round(NETWORKS), DTYPES)
    param_names = ("problem", "dtype")
    timing: ClassVar[dict[str, Any]] = Suite.timing
    max_size: int | None = None

    def setup(self, problem: str, dtype: str) -> None:
        network_problem(problem, dtype, max_size=self.max_size).verify()

    def track_time_ratio(self, problem: str, dtype: str) -> float:
        with working(["numpy", "fastnet"], fastnet.get_num_threads()) as workers:
            times, failed = compare(workers, problem, dtype, max_size=self.max_size, **self.timing)
        if failed:
            raise RuntimeError(failed)
        return times["fastnet"].ratio

    track_time_ratio.unit = "fastnet / reference, all cores"  # type: ignore[attr-defined]
