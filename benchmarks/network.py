"""Whole networks: ``predict`` of fastnet beside the reference's, and beside the machine's limit."""

from __future__ import annotations

from typing import Any

import fastnet
from benchmarks import few_if_one_round
from benchmarks.common import DTYPES, NETWORKS, Problem, Suite, network_problem, sequential


def two_layer_net(layers: list[Any]) -> Any:
    """Return a TwoLayerNet that has the weights of the reference's layers, in their dtype."""
    first, _, last = layers
    net = fastnet.TwoLayerNet(*first.params[0].shape, last.params[0].shape[1])
    for mine, theirs in zip(net.layers, layers, strict=True):
        mine.params[:] = theirs.params
    return net


#: Public class -> what makes one from the reference's layers.
MODELS = {"Sequential": sequential, "TwoLayerNet": two_layer_net}


class Predict(Suite):
    """The grid: every network of the table, in both dtypes."""

    params = (few_if_one_round(NETWORKS), DTYPES)
    param_names = ("problem", "dtype")

    def build(self, problem: str, dtype: str) -> Problem:
        return network_problem(problem, dtype, max_size=self.max_size)

    def track_times_limit(self, problem: str, dtype: str) -> float:
        try:
            from benchmarks import limit
        except ImportError:  # an old version lacks what the limit is measured with
            return float("nan")  # to asv: left out
        point = limit.measure(self.problem, problem, **self.timing)
        return point.seconds / point.limit

    track_times_limit.unit = "fastnet / limit"  # type: ignore[attr-defined]


class OneRowOverhead(Suite):
    """One row through the smallest network: next to no arithmetic, so this is what a call costs by itself."""

    params = (list(MODELS), DTYPES)
    param_names = ("model", "dtype")

    def build(self, model: str, dtype: str) -> Problem:
        return network_problem("2-4-3 x 1", dtype, MODELS[model], self.max_size)
