"""A network and its twin in the reference, for hostile training: poisoned alike, compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnet
from fastnet import reference
from tests.compare import outcome
from tests.poisons import ARRAYS

#: what may be raised, besides the reference's own error
REFUSALS = (ValueError, TypeError, AttributeError, FloatingPointError, MemoryError, RuntimeError)
LOSSES = ("SoftmaxWithLoss", "SigmoidWithLoss", "MeanSquaredError")
OPTIMIZERS = {"SGD": (0.1,), "Momentum": (0.05, 0.8), "Adam": (0.01,)}


def _with(value: Any) -> Callable[[Any], Any]:
    """Its last element is this."""

    def change(a: np.ndarray) -> np.ndarray:
        a = a.copy() if a.dtype.kind == "f" or abs(value) < 2**40 else a.astype(float)
        if a.size:
            a.flat[-1] = value
        return a

    return change


VALUES: dict[str, Callable[[Any], Any]] = {
    "none": lambda a: a, "nan": _with(np.nan), "infinite": _with(np.inf), "out of range": _with(1000),
    "negative": _with(-1), "huge": _with(1e30),
}  # fmt: skip


def poisoned(kind: str, a: np.ndarray) -> Any:
    a = a.copy()
    return VALUES[kind](a) if kind in VALUES else ARRAYS[kind](a)


class Pair:
    """A network of fastnet and its twin in plain NumPy, each with arrays of its own."""

    def __init__(self, dtype: str, shape: tuple[int, int, int], rows: int, middle: str, loss: str) -> None:
        rng = np.random.default_rng(rows)
        self.dtype, self.loss, self.middle = dtype, loss, middle
        self.x = rng.standard_normal((rows, shape[0])).astype(dtype)
        classes = rng.integers(0, shape[2], rows)
        self.t = classes if loss == "SoftmaxWithLoss" else np.eye(shape[2], dtype=dtype)[classes]
        self.weights = [
            (rng.standard_normal(both) / 2).astype(dtype)
            for both in (shape[:2], shape[1:2], shape[1:], shape[2:])
        ]
        self.given: Any = None  # what `fit` has got as t
        self.heal()

    def heal(self) -> None:
        self.nets = []
        for lib in (fastnet, reference):
            W1, b1, W2, b2 = (w.copy() for w in self.weights)
            layers = [lib.Affine(W1, b1), getattr(lib, self.middle)(), lib.Affine(W2, b2)]
            net = fastnet.Sequential(layers) if lib is fastnet else reference.TwoLayerNet(1, 1, 1)
            net.layers, net.loss_layer = layers, getattr(lib, self.loss)()
            self.nets.append(net)

    def poison(self, where: int, kind: str) -> None:
        for net in self.nets:
            layer = net.layers[where // 2 * 2]
            layer.params[where % 2] = poisoned(kind, self.weights[where])

    def __repr__(self) -> str:
        return f"{self.middle}, {self.loss}, {self.dtype}, {[w.shape for w in self.weights]}, {self.x.shape}"


def params(net: Any) -> list[Any]:
    return [p for layer in net.layers for p in layer.params]


def gradients(net: Any) -> list[Any]:
    return [g for layer in net.layers for g in layer.grads]


def frozen(arrays: Any) -> list[bytes]:
    """The bits of those that are arrays, and no larger than memory."""
    plain = [np.ndarray.view(a, np.ndarray) for a in arrays if isinstance(a, np.ndarray)]
    return [a.tobytes() for a in plain if a.nbytes < 1 << 24]


def kept_gradients(net: Any) -> list[list[bytes]]:
    """The bits of those that layers have already, one array after the other."""
    return [[*map(frozen, ([g] for g in vars(layer).get("grads") or []))] for layer in net.layers[::2]]


def half_written(before: list[Any], after: list[Any]) -> bool:
    """Whether some layer has changed one of its arrays of gradients, and not the other."""
    pairs = [
        zip(*both, strict=True) for both in zip(before, after, strict=True) if [*map(len, both)] == [2, 2]
    ]
    return any(len({old != new for old, new in pair if b"" not in old}) > 1 for pair in pairs)


def quiet(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, Exception | None]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outcome(call, *args, **options)


def allowed(error: Exception, refusal: Exception | None, name: str, *sources: Any) -> None:
    """An error that says something; or one of the reference, or of what was passed in."""
    kinds = {type(refusal), *(type(quiet(np.asarray, source)[1]) for source in sources)}
    if not (isinstance(error, REFUSALS) and str(error)) and type(error) not in kinds:
        raise AssertionError(f"{name}: raises {error!r}, the reference {refusal!r}") from error


def close(got: Any, want: Any, scale: float, name: str, dtype: str = "float64") -> None:
    """Of finite real numbers: within some rounding errors of the largest, those of `dtype` at least."""
    got, want = (
        np.ndarray.view(a, np.ndarray) if isinstance(a, np.ndarray) else np.asarray(a) for a in (got, want)
    )
    assert got.shape == want.shape, f"{name}: shape {got.shape}, not {want.shape}"
    if want.dtype.kind != "f" or got.dtype.kind != "f" or not np.isfinite(want).all():
        return
    eps = max(float(np.finfo(kind).eps) for kind in (got.dtype, want.dtype, dtype))
    off = np.abs(got.astype("g") - want.astype("g")).max(initial=0)
    limit = 64 * eps * scale * (1 + float(np.abs(want).max(initial=0)))
    assert off <= limit or limit > 1e6, f"{name}: off by {off:.3g}, more than {limit:.3g}"


def largest(*arrays: Any) -> float:
    """A number beyond all elements, for what they may do to rounding errors; infinite if it is not known."""
    found = 1.0
    for a in arrays:
        values, error = quiet(np.asarray, a, float)
        known = error is None and values.nbytes < 1 << 24
        found *= 1 + float(np.abs(values).max(initial=0)) if known else np.inf
    return float(found)


def loop(net: Any, x: Any, t: Any, epochs: int, batch_size: int, optimizer: Any) -> None:
    """Training as the book writes it."""
    generator = np.random.default_rng(0)
    t = t if t.ndim == 2 or isinstance(net.loss_layer, reference.SoftmaxWithLoss) else t.reshape(-1, 1)
    for _ in range(epochs):
        order = generator.permutation(len(x))
        for first in range(0, len(x), batch_size):
            batch = order[first : first + batch_size]
            net.forward(x[batch], t[batch])
            net.backward()
            optimizer.update(params(net), gradients(net))
