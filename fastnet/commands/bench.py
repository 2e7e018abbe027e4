"""``fastnet bench``: how long a model takes, beside NumPy with the same weights."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastnet
from fastnet import reference
from fastnet.commands.errors import CommandError
from fastnet.commands.models import add_dtype, add_threads, dtype_of, fan_in, load_model, network_of, positive
from fastnet.timing import take_turns

BATCHES = (1, 100, 10_000)
DESCRIPTION = """\
Time predict on one row and on batches, beside the same layers in plain NumPy (fastnet.reference). Both get
the same random rows; before anything is timed, their answers are compared. Then they take turns; figures are
medians. NumPy's BLAS has the threads that it is set to (OPENBLAS_NUM_THREADS and the like).
"""


def add_to(commands: Any) -> None:
    """Add the sub-command to argparse's sub-parsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench", help="time a model beside NumPy", description=DESCRIPTION
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .safetensors or .onnx file")
    parser.add_argument(
        "--batch",
        type=positive,
        nargs="+",
        default=BATCHES,
        metavar="N",
        help=f"how many rows, any number of times (default: {' '.join(map(str, BATCHES))})",
    )
    add_dtype(parser)
    add_threads(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Verify, then time, then print."""
    model = load_model(arguments.model, arguments.dtype)
    if arguments.threads is not None:
        fastnet.set_num_threads(arguments.threads)
    network = network_of(model)
    twin = ReferenceNetwork(network.layers)
    dtype, rng = dtype_of(network), np.random.default_rng(0)
    print(f"{arguments.model}: {dtype}, {fastnet.get_num_threads()} thread(s) for fastnet")
    print(_line("rows", "fastnet", "NumPy", "times faster", "fastnet rows/s"), flush=True)
    for batch in arguments.batch:
        x = rng.standard_normal((batch, fan_in(network))).astype(dtype)
        verify(network.predict(x), twin, x)
        calls = {"fastnet": partial(network.predict, x), "NumPy": partial(twin.predict, x)}
        ours, theirs = take_turns(calls).values()
        times = _duration(ours.seconds), _duration(theirs.seconds), f"{theirs.ratio:.2f}"
        print(_line(f"{batch:,}", *times, f"{batch / ours.seconds:,.0f}"), flush=True)


def _line(*cells: str) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, (12, 14, 14, 14, 18), strict=True))


class ReferenceNetwork:
    """The reference's layers on the very weights of a network.

    Parameters
    ----------
    layers : iterable of layers
        Of fastnet's own kinds.
    """

    def __init__(self, layers: Iterable[Any]) -> None:
        self.layers: list[Any] = []
        for layer in layers:
            if type(layer) is fastnet.AffineSigmoid:
                self.layers += [reference.Affine(*layer.params), reference.Sigmoid()]
            else:
                twin = getattr(reference, type(layer).__name__, None)
                if twin is None:
                    raise CommandError(f"the reference has no layer {type(layer).__name__}")
                self.layers.append(twin(*layer.params))

    def predict(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x


def verify(result: Any, twin: ReferenceNetwork, x: Any) -> None:
    """Raise unless a result is the reference's within rounding.

    The bound is carried through the layers. A sum of n products is off by about n / 2 roundings of the sum of
    their absolute values, whatever its order. An activation does not enlarge an error, a sigmoid leaves a
    quarter of it; it adds roundings of its own: a few, and a softmax's sum of n another n.
    """
    eps = float(np.finfo(x.dtype).eps)
    bound: Any = np.zeros_like(x)
    expected = x
    with np.errstate(over="ignore"):  # in the reference's sigmoid, of large sums
        for layer in twin.layers:
            if layer.params:
                W, b = map(np.abs, layer.params)
                bound = bound @ W + (len(W) + 2) / 2 * eps * (np.abs(expected) @ W + b)
            else:
                steepest = 0.25 if type(layer) is reference.Sigmoid else 1.0
                bound = steepest * bound + (expected.shape[-1] + 8) * eps
            expected = layer.forward(expected)
    error = np.abs(result - expected)
    if not (error <= 2 * bound).all():  # a NaN is wrong, too
        raise CommandError(
            f"not timed: results are up to {error.max():.3g} away from NumPy's, more than rounding explains"
        )


def _duration(seconds: float) -> str:
    """Three digits and a unit: 512 ns, 1.2 ms."""
    for unit, size in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
