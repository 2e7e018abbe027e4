"""What the suites share: the problems, their verification, and the comparison of one callable with another.

The tables of shapes are append-only, and a problem's numbers are drawn with a seed made of its label: results
of an old commit stay comparable with those of a new one.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

import benchmarks
import fastnet
from fastnet import reference
from fastnet.timing import Timing, take_turns

DTYPES = ("float32", "float64")

Shape = tuple[tuple[int, ...], int]


def _labelled(table: Iterable[tuple[tuple[int, ...], tuple[int, ...]]]) -> dict[str, Shape]:
    return {
        f"{'-'.join(map(str, sizes))} x {batch}": (sizes, batch)
        for sizes, batches in table
        for batch in batches
    }


#: Label -> ((input, hidden, output), batch). Append only.
NETWORKS = _labelled(
    (
        ((2, 4, 3), (1, 10, 1000, 100_000)),
        ((2, 10, 3), (1_000_000,)),
        ((16, 32, 8), (1, 64, 10_000)),
        ((30, 100, 2), (1, 256, 20_000)),
        ((64, 128, 10), (1, 32, 1024)),
        ((784, 128, 10), (1, 2, 64, 4096)),
        ((256, 256, 256), (16, 256)),
        ((1024, 1024, 1024), (1, 8, 512)),
    )
)

#: Awkward shapes, of any depth: primes, widths of 1, tile heights and vector lengths +-1, few rows through
#: much, deep ones, 4096 wide. Append only.
AWKWARD = _labelled(
    (
        ((1, 1, 1), (1, 7, 1000)),
        ((1, 16, 1), (1, 17, 10_000)),
        ((7, 1, 5), (1, 31, 10_000)),
        ((300, 1), (1, 1000)),
        ((2, 3, 5, 7, 11, 13), (1, 17, 1000)),
        ((13, 31, 7), (1, 2, 37, 9973)),
        ((101, 211, 1), (1, 2, 127, 4099)),
        ((15, 17, 15), (5, 6, 7, 15, 16, 17)),
        ((31, 33, 31), (5, 7, 33)),
        ((63, 65, 63), (2, 15, 16, 17, 1000)),
        ((257, 513, 3), (1, 6, 64, 1000)),
        ((513, 257, 257), (1, 2, 7, 100)),
        ((1024, 1024, 1024), (2, 3, 4, 5, 6, 7)),
        ((4096, 4096, 10), (1, 2, 64)),
        ((10, 4096, 2), (1, 100)),
        ((32,) * 16, (1, 1000)),
        ((300, 1), (20_000,)),
        ((64, 8), (100_000,)),
        ((100, 10), (1000, 100_000)),
    )
)

#: Other activations: the first of a label behind every layer but the last, the second behind the last.
#: Append only.
ACTIVATED = {
    f"{label} {activations}": shape
    for activations, table in (
        ("tanh", (((30, 100, 2), (1, 20_000)), ((256, 256, 256), (256,)))),
        ("relu", (((784, 128, 10), (1,)), ((64, 128, 10), (1024,)))),
        ("relu softmax", (((64, 128, 10), (1024,)),)),
    )
    for label, shape in _labelled(table).items()
}

#: The tables of networks by name, and all of them.
TABLES = {"grid": NETWORKS, "awkward": AWKWARD, "activated": ACTIVATED}
ALL_NETWORKS = NETWORKS | AWKWARD | ACTIVATED


class Activations(dict[str, Any]):
    """Activation in a label -> the reference's class. asv runs this suite on versions that lack some, too."""

    def __init__(self, **names: str) -> None:
        found = {label: getattr(reference, name, None) for label, name in names.items()}
        super().__init__({label: layer for label, layer in found.items() if layer})

    def __missing__(self, label: str) -> Any:
        raise NotImplementedError(f"this version of fastnet has no {label}")


ACTIVATIONS = Activations(sigmoid="Sigmoid", tanh="Tanh", relu="ReLU", softmax="Softmax")


def shown(label: str) -> str:
    """A label, or sizes alone, but short for deep networks of one width."""
    sizes, *batch = label.split(" ")
    widths = sizes.split("-")
    if len(widths) > 6 and len(set(widths)) == 1:
        sizes = f"{len(widths) - 1} layers of {widths[0]}"
    return " ".join([sizes, *batch])


#: Label -> ((fan_in, fan_out), batch). Append only.
LAYERS = _labelled(
    (
        ((2, 4), (1, 1000)),
        ((16, 32), (10_000,)),
        ((784, 128), (1, 64)),
        ((256, 256), (256,)),
    )
)


class WrongAnswer(AssertionError):
    """fastnet and the reference differ by more than rounding can explain."""


class Problem:
    """An input with two callables, ``reference()`` and ``fastnet()``, that answer it from the same weights.

    ``layers`` are the reference's, in order: what ``verify`` derives its tolerance from.
    """

    def __init__(
        self, layers: list[Any], x: np.ndarray, reference: Callable[..., Any], fastnet: Callable[..., Any]
    ) -> None:
        self.layers = layers
        self.x = x
        self.reference = partial(reference, x)
        self.fastnet = partial(fastnet, x)

    def compare(self, **options: Any) -> dict[str, Timing]:
        """Time ``reference`` and ``fastnet``, interleaved; ratios are to the reference."""
        return take_turns({"reference": self.reference, "fastnet": self.fastnet}, **options)

    def verify(self) -> float:
        """Raise WrongAnswer unless both callables give the same shape, dtype and, within rounding, values.

        Return the largest error over the bound that rounding explains.
        """
        expected, got = self.reference(), self.fastnet()
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise WrongAnswer(f"expected {expected.shape} {expected.dtype}, got {got.shape} {got.dtype}")
        error, bound = abs(got - expected), 2 * rounding_error(self.layers, self.x)
        if not (error <= bound).all():  # a NaN is wrong too
            raise WrongAnswer(f"error {(error / bound).max():.3g} times the bound that rounding explains")
        return float((error / np.where(bound > 0, bound, 1)).max(initial=0))


def rounding_error(layers: list[Any], x: np.ndarray) -> Any:
    """Bound, element by element, the error of any evaluation of ``layers`` that rounds every operation.

    A sum of n products is off by at most about n eps/2 times the sum of their absolute values, whatever
    the order of summation. A sigmoid shrinks what it gets to at most a quarter, tanh and the rectifier to no
    more than it was, a softmax to half a row's largest. Each adds a few ulp, a softmax those of its sum.
    """
    eps = float(np.finfo(x.dtype).eps)
    error: Any = np.zeros_like(x)
    for layer in layers:
        if layer.params:
            W, b = map(abs, layer.params)
            error = error @ W + (len(W) + 2) / 2 * eps * (abs(x) @ W + b)
        elif isinstance(layer, ACTIVATIONS.get("softmax", ())):
            error = error.max(-1, keepdims=True, initial=0.0) / 2 + (x.shape[-1] / 2 + 8) * eps
        else:
            error = error * (0.25 if isinstance(layer, reference.Sigmoid) else 1.0) + 4 * eps
        x = layer.forward(x)
    return error


def draw(label: str, shape: Shape, dtype: str, max_size: int | None) -> tuple[list[Any], np.ndarray]:
    """Draw the Affine layers and the input of a shape, no dimension above ``max_size``."""
    sizes, batch = shape
    if max_size is not None:
        sizes, batch = tuple(min(n, max_size) for n in sizes), min(batch, max_size)
    rng = np.random.RandomState(zlib.crc32(label.encode()))
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        W, b = (rng.randn(*s) / np.sqrt(fan_in) for s in ((fan_in, fan_out), (fan_out,)))
        layers.append(reference.Affine(W.astype(dtype), b.astype(dtype)))
    return layers, rng.randn(batch, sizes[0]).astype(dtype)


def twin(layer: Any) -> Any:
    """Return fastnet's layer with the name, and the very weights, of a layer of the reference."""
    return getattr(fastnet, type(layer).__name__)(*layer.params)


def sequential(layers: list[Any]) -> Any:
    return fastnet.Sequential([twin(layer) for layer in layers])


def network_problem(
    label: str,
    dtype: str,
    model: Callable[[list[Any]], Any] = sequential,
    max_size: int | None = None,
) -> Problem:
    """Return a network of the tables; ``model`` makes fastnet's from the reference's layers."""
    affine, x = draw(label, ALL_NETWORKS[label], dtype, max_size)
    _sizes, _x, _batch, *activations = label.split(" ")
    hidden, *last = [ACTIVATIONS[name] for name in activations or ["sigmoid"]]
    net = reference.TwoLayerNet(1, 1, 1)
    net.layers = affine[:1]
    for layer in affine[1:]:
        net.layers += [hidden(), layer]
    net.layers += [activation() for activation in last]
    return Problem(net.layers, x, net.predict, model(net.layers).predict)


def one_thread() -> None:
    """Leave BLAS and fastnet one thread each."""
    benchmarks.limit_blas()
    if hasattr(fastnet, "set_num_threads"):
        fastnet.set_num_threads(1)


class Suite(ABC):
    """Base of the classes that time a problem: prepared and verified in ``setup``, then timed.

    asv repeats ``setup`` before every call that a ``time_`` method times: one cold call is all it sees.
    Calls of a microsecond are timed warm and in batches here, and reported by ``track_`` methods.
    """

    #: Cap on every dimension, for a quick look at whether a class runs at all.
    max_size: int | None = None
    #: What ``take_turns`` is told; fewer rounds for a quick look, too.
    timing: ClassVar[dict[str, Any]] = {"rounds": benchmarks.rounds(15)}

    @abstractmethod
    def build(self, *params: str) -> Problem:
        """Return the problem that these params name."""

    def setup(self, *params: str) -> None:
        one_thread()
        self.problem = self.build(*params)
        self.problem.verify()

    def track_time_ratio(self, *params: str) -> float:
        return self.problem.compare(**self.timing)["fastnet"].ratio

    def track_seconds(self, *params: str) -> float:
        return take_turns({"fastnet": self.problem.fastnet}, **self.timing)["fastnet"].seconds

    track_time_ratio.unit = "fastnet / reference"  # type: ignore[attr-defined]
    track_seconds.unit = "seconds"  # type: ignore[attr-defined]
