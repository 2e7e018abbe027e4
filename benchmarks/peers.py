"""fastnet beside other libraries: ``python -m benchmarks.peers`` (extra ``peers``).

One process, one core or all of them, every library on the same weights and rows. A library's answers are
verified before it is timed; one that is not installed, or fails, or answers wrong, is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

import fastnet
from benchmarks import machine
from benchmarks.common import DTYPES, NETWORKS, Problem, network_problem, rounding_error
from benchmarks.table import duration_text, markdown_table, pinned_to_one_core, replace_between_markers
from fastnet.timing import Timing, take_turns

Predict = Callable[[], Any]
Pair = tuple[np.ndarray, np.ndarray]


def _torch(pairs: list[Pair], x: np.ndarray, threads: int) -> Predict:
    import torch

    torch.set_num_threads(threads)
    layers: list[Any] = []
    for W, b in pairs:
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, x.dtype.name))
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
        layers += [linear, torch.nn.Sigmoid()]
    net, rows = torch.nn.Sequential(*layers[:-1]).eval(), torch.from_numpy(x)

    def predict() -> Any:
        with torch.inference_mode():
            return net(rows)

    return predict


def _onnx_model(pairs: list[Pair], dtype: np.dtype) -> Any:
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(dtype)
    nodes, weights, last = [], [], "x"
    for i, (W, b) in enumerate(pairs):
        weights += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [last := f"y{i}"]))
        if i + 1 < len(pairs):
            nodes.append(helper.make_node("Sigmoid", [last], [last := f"h{i}"]))
    x = helper.make_tensor_value_info("x", kind, [None, pairs[0][0].shape[0]])
    y = helper.make_tensor_value_info(last, kind, [None, pairs[-1][0].shape[1]])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _onnxruntime(pairs: list[Pair], x: np.ndarray, threads: int) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    model = _onnx_model(pairs, x.dtype).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def _openvino(pairs: list[Pair], x: np.ndarray, threads: int) -> Predict:
    import openvino

    core = openvino.Core()
    model = core.read_model(_onnx_model(pairs, x.dtype).SerializeToString())
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": x.dtype.name.replace("float", "f"),
    }
    request = core.compile_model(model, "CPU", config).create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True)[0]


def _jax(pairs: list[Pair], x: np.ndarray, threads: int) -> Predict:
    import jax

    jax.config.update("jax_enable_x64", True)
    rows, weights = jax.numpy.asarray(x), [(jax.numpy.asarray(W), jax.numpy.asarray(b)) for W, b in pairs]

    @jax.jit
    def net(h: Any, weights: Any) -> Any:
        for i, (W, b) in enumerate(weights):
            h = h @ W + b
            if i + 1 < len(weights):
                h = jax.nn.sigmoid(h)
        return h

    return lambda: net(rows, weights).block_until_ready()


def _sklearn(pairs: list[Pair], x: np.ndarray, threads: int) -> Predict:
    from sklearn.neural_network import MLPRegressor

    hidden = tuple(W.shape[1] for W, _ in pairs[:-1])
    fan_out = pairs[-1][0].shape[1]
    net = MLPRegressor(hidden_layer_sizes=hidden, activation="logistic", max_iter=1, solver="sgd")
    few = np.random.default_rng(0).standard_normal((2, x.shape[1])).astype(x.dtype)
    net.partial_fit(few, np.zeros((2, fan_out), x.dtype).squeeze())
    net.coefs_, net.intercepts_ = [W for W, _ in pairs], [b for _, b in pairs]
    return lambda: net.predict(x)


PEERS: dict[str, Callable[[list[Pair], np.ndarray, int], Predict]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "jax": _jax,
    "scikit-learn": _sklearn,
}


def verified(problem: Problem, predict: Predict) -> Predict:
    """Raise unless the answer is the reference's, within what rounding explains."""
    expected, got = problem.reference(), np.asarray(predict()).reshape(len(problem.x), -1)
    error, bound = abs(got - expected), 8 * rounding_error(problem.layers, problem.x)
    if got.dtype != expected.dtype or not (error <= bound).all():
        raise ArithmeticError(f"answers {got.dtype}, {(error / bound).max():.2g} times the bound")
    return predict


def measure(label: str, dtype: str, threads: int, rounds: int, left_out: dict[str, str]) -> dict[str, Timing]:
    """Time of every library that can, fastnet first: it is the baseline of the ratios."""
    problem = network_problem(label, dtype)
    problem.verify()
    pairs = [tuple(layer.params) for layer in problem.layers if layer.params]
    calls: dict[str, Predict] = {"fastnet": problem.fastnet, "numpy": problem.reference}
    for name, make in PEERS.items():
        try:
            calls[name] = verified(problem, make(pairs, problem.x, threads))
        except Exception as error:  # whatever another library raises
            left_out[f"{name}, {dtype}"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    times = take_turns(calls, rounds=rounds)
    best = min((name for name in times if name != "fastnet"), key=lambda name: times[name].ratio)
    print(f"{label}, {dtype}: {times[best].ratio:.2f} times as long: {best}", file=sys.stderr)
    return times


def best_peer(times: dict[str, Timing]) -> tuple[str, float]:
    """The quickest library beside fastnet, and how many times longer it takes."""
    name = min((name for name in times if name != "fastnet"), key=lambda name: times[name].ratio)
    return name, times[name].ratio


def markdown(results: dict[tuple[str, str], dict[str, Timing]], cores: str) -> str:
    """How many times longer than fastnet each library takes."""
    names = ["numpy", *PEERS]
    rows = []
    for (label, dtype), times in results.items():
        cells = [f"{times[name].ratio:.2f}" if name in times else "-" for name in names]
        best = names.index(best_peer(times)[0])
        cells[best] = f"**{cells[best]}**"
        rows.append([label, dtype, duration_text(times["fastnet"].seconds), *cells])
    table = markdown_table(["input-hidden-output x rows", "dtype", "fastnet", *names], rows)
    ratios = [best_peer(times)[1] for times in results.values()]
    numpy = [times["numpy"].ratio for times in results.values()]
    close = [f"{label} {dtype}" for (label, dtype), t in results.items() if 1 <= best_peer(t)[1] < 1.1]
    ahead = [
        f"{label} {dtype} ({best_peer(t)[0]})" for (label, dtype), t in results.items() if best_peer(t)[1] < 1
    ]
    means = f"{geometric_mean(ratios):.2f} times as fast as the best of the others at each point"
    summary = f"On {cores}: {means}, {geometric_mean(numpy):.2f} times as fast as NumPy (geometric means)."
    order = (
        f"A peer is ahead at: {', '.join(ahead) or 'no point'}. Within 10 %: {', '.join(close) or 'none'}."
    )
    return "\n\n".join([table, summary, order])


def versions(names: Iterable[str]) -> str:
    """The processor, and the version of each library."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    facts = machine.describe()
    return f"{facts['CPU']} ({facts['microarchitecture']}: {facts['SIMD']}); " + ", ".join(found)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--cores", choices=("one", "all"), default="one", help="pinned to one core, or on all"
    )
    parser.add_argument("--only", default="", help="problems whose label contains this")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the table between its markers")
    options = parser.parse_args(argv)
    left_out: dict[str, str] = {}
    from threadpoolctl import threadpool_limits  # the package leaves BLAS one thread unless told otherwise

    with pinned_to_one_core() if options.cores == "one" else nullcontext():
        threads = fastnet.get_num_threads()
        threadpool_limits(threads)
        results = {
            (label, dtype): measure(label, dtype, threads, options.rounds, left_out)
            for label, dtype in product((n for n in NETWORKS if options.only in n), DTYPES)
        }
    text = "\n\n".join([markdown(results, f"{threads} core(s)"), versions(["numpy", *PEERS])])
    if left_out:
        text += "\n\nLeft out: " + "; ".join(f"{name} ({why})" for name, why in left_out.items()) + "."
    if options.write:
        before = options.write.read_text(encoding="utf-8")
        options.write.write_text(
            replace_between_markers(before, f"peers-{options.cores}", text), encoding="utf-8"
        )
    if options.json:
        points = [
            {"problem": label, "dtype": dtype, "seconds": {name: t.seconds for name, t in times.items()},
             "times_fastnet": {name: t.ratio for name, t in times.items()}}
            for (label, dtype), times in results.items()
        ]  # fmt: skip
        record = {"machine": machine.describe(), "cores": threads, "left_out": left_out, "points": points}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
