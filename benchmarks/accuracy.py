"""Sigmoids and rows beside those of other libraries: ``python -m benchmarks.accuracy`` (extra ``peers``).

Of every library: how far its sigmoid is from the exact value, where its lower tail goes wrong, whether it
leaves [0, 1], and how many rows of a network change their bits between a call of their own and a batch. One
that is not installed, or fails, is named and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastnet
from benchmarks import peers
from benchmarks.common import DTYPES, NETWORKS, draw, sequential
from benchmarks.table import markdown_table, replace_between_markers
from benchmarks.ulp import ERRORS, float64_points
from fastnet import reference

Function = Callable[[np.ndarray], Any]

#: ulp from which on a result counts as wrong, not as rounded; a 0 in place of a small number is that, too
WRONG = 1000
#: the network of the last column, its batch, and how many rows of it are run alone
ROWS_OF, BATCH, ALONE = "64-128-10 x 1024", 300, 30
_INFINITY = 0x7F800000
_BLOCK = 1 << 16


def _numpy(dtype: str) -> Function:
    return reference.Sigmoid().forward


def _fastnet(dtype: str) -> Function:
    return fastnet.Sigmoid().forward


def _torch(dtype: str) -> Function:
    import torch

    return lambda x: torch.sigmoid(torch.from_numpy(x)).numpy()


def _onnxruntime(dtype: str) -> Function:
    import onnxruntime
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x, y = (helper.make_tensor_value_info(name, kind, [None]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "sigmoid", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def _scipy(dtype: str) -> Function:
    from scipy.special import expit

    return expit


def _jax(dtype: str) -> Function:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.jit(jax.nn.sigmoid)


#: name in the table -> its sigmoid; the first is the reference
SIGMOIDS: dict[str, Callable[[str], Function]] = {
    "numpy": _numpy,
    "fastnet": _fastnet,
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "scipy": _scipy,
    "jax": _jax,
}


class Sigmoid(NamedTuple):
    """What `examine` finds."""

    #: largest error in ulp where the exact value is a normal number
    error: float
    #: the largest argument whose result is `WRONG` or more ulp off, and that result
    wrong_from: float | None
    instead: float | None
    #: how far results leave [0, 1]
    outside: float


def examine(function: Function, blocks: Iterable[np.ndarray]) -> Sigmoid:
    """Run over blocks of arguments, from the largest to the lowest."""
    error, outside = 0.0, 0.0
    wrong_from = instead = None
    for x in blocks:
        with np.errstate(all="ignore"):
            y = np.asarray(function(x))
        if y.dtype != x.dtype:
            raise TypeError(f"answers {y.dtype} to {x.dtype}")
        outside = max(outside, float(-y.min()), float(y.max()) - 1)
        units = ERRORS[x.dtype.name](x, y)
        error = max(error, float(units[x > np.finfo(x.dtype).minexp * np.log(2)].max(initial=0)))
        wrong = x[~(units < WRONG)]
        if wrong_from is None and wrong.size:
            wrong_from = float(wrong.max())
            instead = float(y[x == wrong.max()][0])
    return Sigmoid(error, wrong_from, instead, outside)


def arguments(dtype: str, every: int, count: int) -> Iterator[np.ndarray]:
    """One in `every` float32, or about `count` float64: blocks from the largest to the lowest."""
    if dtype == "float64":
        yield from np.array_split(np.sort(float64_points(np.random.default_rng(0), count))[::-1].copy(), 16)
        return
    numbers = np.arange(0, _INFINITY + 1, every, dtype=np.uint32)
    starts = range(0, numbers.size, _BLOCK)
    for start in reversed(starts):
        yield numbers[start : start + _BLOCK].view(np.float32)
    for start in starts:
        yield -numbers[start : start + _BLOCK].view(np.float32)


def changed_rows(name: str, dtype: str) -> str:
    """How many rows of a network have other bits alone than in a batch."""
    layers, x = draw(ROWS_OF, NETWORKS[ROWS_OF], dtype, None)
    pairs, x = [tuple(layer.params) for layer in layers], x[:BATCH]
    if name in peers.PEERS:

        def predict(rows: np.ndarray) -> np.ndarray:
            return np.asarray(peers.PEERS[name](pairs, rows, 1)())
    elif name in ("numpy", "fastnet"):
        net = reference.TwoLayerNet(1, 1, 1)
        net.layers = [layers[0], reference.Sigmoid(), layers[1]]
        predict = net.predict if name == "numpy" else sequential(net.layers).predict
    else:
        return "-"
    together = predict(x)
    places = np.linspace(0, BATCH - 1, ALONE).astype(int)
    changed = sum(predict(x[i : i + 1]).tobytes() != together[i : i + 1].tobytes() for i in places)
    return str(changed)


def row(name: str, dtype: str, found: Sigmoid, changed: str) -> list[str]:
    error = f"{found.error:.2f}" if found.error < WRONG else f"{found.error:.0e}"
    tail = "never"
    if found.wrong_from is not None:
        tail = f"{found.wrong_from:.2f}: {found.instead:.3g}"
    outside = f"{found.outside:.2g}" if found.outside > 0 else "none"
    return [name, dtype, error, tail, outside, changed]


def measure(every: int, count: int) -> str:
    rows, left_out = [], {}
    for dtype in DTYPES:
        for name, make in SIGMOIDS.items():
            try:
                found = examine(make(dtype), arguments(dtype, every, count))
                rows.append(row(name, dtype, found, changed_rows(name, dtype)))
            except Exception as error:  # whatever another library raises
                left_out[f"{name}, {dtype}"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            else:
                print(*rows[-1], sep=", ", file=sys.stderr)
    names = [name for name in SIGMOIDS if name != "fastnet"]
    header = [
        "sigmoid", "dtype", "largest error, ulp", "wrong below x: result", "beyond [0, 1]",
        f"rows of {ALONE} that change",
    ]  # fmt: skip
    text = "\n\n".join([markdown_table(header, rows), peers.versions(names)])
    if left_out:
        text += "\n\nLeft out: " + "; ".join(f"{name} ({why})" for name, why in left_out.items()) + "."
    return text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--every", type=int, default=61, help="one in so many float32 numbers (61)")
    parser.add_argument("--count", type=int, default=300_000, help="float64 numbers, about (300,000)")
    parser.add_argument(
        "--write", metavar="FILE", nargs="?", type=Path, const=Path("README.md"),
        help="write the table between its markers (README.md)",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if options.write:  # a file that cannot take the table fails now
        replace_between_markers(options.write.read_text(encoding="utf-8"), "accuracy", "")
    text = measure(options.every, options.count)
    if options.write:
        before = options.write.read_text(encoding="utf-8")
        options.write.write_text(replace_between_markers(before, "accuracy", text), encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
