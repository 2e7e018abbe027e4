"""The table of cases: implementations beside their reference twins, dtypes, layouts, shapes.

A case is a pair: a fastnet object and the reference's, holding the very same weight arrays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

import fastnet
from fastnet import reference

Weights = list[tuple[Any, Any]]


class AffineSigmoid:
    """What ``fastnet.AffineSigmoid`` fuses, one reference layer after the other."""

    def __init__(self, W: Any, b: Any) -> None:
        self.params = [W, b]
        self.grads = reference.zeros_like(self.params)

    def forward(self, x: Any) -> Any:
        self.affine, self.sigmoid = reference.Affine(0.0, 0.0), reference.Sigmoid()
        self.affine.params = self.params
        return self.sigmoid.forward(self.affine.forward(x))

    def backward(self, dout: Any) -> Any:
        self.affine.grads = self.grads
        return self.affine.backward(self.sigmoid.backward(dout))


class Loop:
    """What ``fastnet.Sequential`` compiles: the loop of ``reference.TwoLayerNet.predict``."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = list(layers)

    @property
    def grads(self) -> list[Any]:
        return [g for layer in self.layers for g in layer.grads]

    def predict(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    forward = predict

    def backward(self, dout: Any) -> Any:
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


@dataclass(frozen=True)
class Library:
    """The names a case is built from, in fastnet or in the reference."""

    Affine: Callable[..., Any]
    Sigmoid: Callable[..., Any]
    Tanh: Callable[..., Any]
    ReLU: Callable[..., Any]
    Softmax: Callable[..., Any]
    AffineSigmoid: Callable[..., Any]
    Sequential: Callable[..., Any]
    TwoLayerNet: Callable[..., Any]


FAST = Library(
    fastnet.Affine,
    fastnet.Sigmoid,
    fastnet.Tanh,
    fastnet.ReLU,
    fastnet.Softmax,
    fastnet.AffineSigmoid,
    fastnet.Sequential,
    fastnet.TwoLayerNet,
)
REFERENCE = Library(
    reference.Affine,
    reference.Sigmoid,
    reference.Tanh,
    reference.ReLU,
    reference.Softmax,
    AffineSigmoid,
    Loop,
    reference.TwoLayerNet,
)


def _sequential(lib: Library, weights: Weights) -> Any:
    """Sigmoid between affine layers, raw scores at the end."""
    layers = [lib.Affine(*weights[0])]
    for W, b in weights[1:]:
        layers += [lib.Sigmoid(), lib.Affine(W, b)]
    return lib.Sequential(layers)


def _fused(lib: Library, weights: Weights) -> Any:
    """The hidden layers fused by hand, and a sigmoid at the end as well."""
    hidden = [lib.AffineSigmoid(W, b) for W, b in weights[:-1]]
    return lib.Sequential([*hidden, lib.Affine(*weights[-1]), lib.Sigmoid()])


def _linear(lib: Library, weights: Weights) -> Any:
    """Affine after affine, with nothing between them to fuse."""
    return lib.Sequential([lib.Affine(W, b) for W, b in weights])


def _tanh(lib: Library, weights: Weights) -> Any:
    """Hyperbolic tangents between affine layers, and at the end."""
    return lib.Sequential([layer for W, b in weights for layer in (lib.Affine(W, b), lib.Tanh())])


def _classifier(lib: Library, weights: Weights) -> Any:
    """Rectifiers between affine layers, probabilities at the end."""
    layers = [lib.Affine(*weights[0])]
    for W, b in weights[1:]:
        layers += [lib.ReLU(), lib.Affine(W, b)]
    return lib.Sequential([*layers, lib.Softmax()])


LISTS = ("params", "grads")


def _two_layer_net(lib: Library, weights: Weights) -> Any:
    net = lib.TwoLayerNet(1, 1, 1)
    for layer, pair in zip([net.layers[0], net.layers[2]], weights, strict=True):
        layer.params[:] = pair
        layer.grads = reference.zeros_like(layer.params)
    net.params, net.grads = ([a for layer in net.layers for a in getattr(layer, which)] for which in LISTS)
    return net


@dataclass(frozen=True)
class Implementation:
    """One row of the table: how many affine layers it has, and how either library builds it."""

    label: str
    affines: int
    build: Callable[[Library, Weights], Any]


IMPLEMENTATIONS = {
    i.label: i
    for i in [
        Implementation("Affine", 1, lambda lib, w: lib.Affine(*w[0])),
        Implementation("Sigmoid", 0, lambda lib, w: lib.Sigmoid()),
        Implementation("Tanh", 0, lambda lib, w: lib.Tanh()),
        Implementation("ReLU", 0, lambda lib, w: lib.ReLU()),
        Implementation("Softmax", 0, lambda lib, w: lib.Softmax()),
        Implementation("AffineSigmoid", 1, lambda lib, w: lib.AffineSigmoid(*w[0])),
        Implementation("Sequential1", 1, _sequential),
        Implementation("Sequential2", 2, _sequential),
        Implementation("Sequential3", 3, _sequential),
        Implementation("Sequential4", 4, _sequential),
        Implementation("SequentialFused", 2, _fused),
        Implementation("SequentialLinear", 2, _linear),
        Implementation("SequentialTanh", 2, _tanh),
        Implementation("SequentialReLUSoftmax", 2, _classifier),
        Implementation("TwoLayerNet", 2, _two_layer_net),
    ]
}

LABELS = list(IMPLEMENTATIONS)
ACTIVATIONS = [label for label, i in IMPLEMENTATIONS.items() if i.affines == 0]
WITH_WEIGHTS = [label for label, i in IMPLEMENTATIONS.items() if i.affines]
LAYERS = [label for label, i in IMPLEMENTATIONS.items() if i.affines == 1]
NETS = [label for label, i in IMPLEMENTATIONS.items() if i.affines >= 2]

KERNEL_DTYPES = ["float32", "float64"]
OTHER_DTYPES = [
    "float16",
    "longdouble",
    "complex64",
    "complex128",
    "int8",
    "uint8",
    "int64",
    "bool",
    "object",
]
DTYPES = [*KERNEL_DTYPES, *OTHER_DTYPES]

# Sizes on both sides of vector widths, tile heights and block edges.
FAN_INS = [0, 1, 2, 3, 5, 7, 8, 9, 13, 16, 17, 31, 95, 96, 97, 192, 193, 255, 256, 257, 300, 511, 512, 513]
FAN_OUTS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 127, 129, 300]
BATCHES = [*range(20), 23, 29, 31, 32, 33, 47, 49, 63, 64, 65, 96, 97, 127, 128, 129, 192, 257]
NET_SIZES = [
    (2, 4, 3),
    (1, 1, 1),
    (3, 1, 7),
    (7, 5, 1),
    (16, 32, 8),
    (17, 33, 9),
    (30, 100, 2),
    (64, 128, 10),
    (0, 3, 2),
    (3, 0, 2),
    (3, 2, 0),
    (257, 16, 13),
    (13, 257, 17),
    (97, 193, 300),
]


def take(sizes: Sequence[int], affines: int) -> tuple[int, ...]:
    """Sizes for that many affine layers, going round again where the tuple is too short."""
    return tuple(sizes[i % len(sizes)] for i in range(affines + 1))


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values of order 1 in any dtype; small whole numbers in integer dtypes."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        return rng.integers(-3 if kind == "i" else 0, 4, shape).astype(dtype)
    if kind == "b":
        return rng.random(shape) < 0.5
    values = rng.standard_normal(shape)
    if kind == "c":
        values = values + 0.25j * rng.standard_normal(shape)
    return values.astype(dtype)


def draw_weights(rng: np.random.Generator, sizes: Sequence[int], dtype: str) -> Weights:
    """W of shape (fan_in, fan_out), about 1 / sqrt(fan_in) large, and b of shape (fan_out,)."""
    weights = []
    for fan_in, fan_out in pairwise(sizes):
        W, b = draw(rng, (fan_in, fan_out), dtype), draw(rng, (fan_out,), dtype)
        if W.dtype.kind in "fc":
            W = (2 * W / max(fan_in, 1) ** 0.5).astype(dtype)
        weights.append((W, b))
    return weights


@dataclass
class Case:
    """A fastnet object, its twin, an input, and words for all of it."""

    name: str
    fast: Any
    ref: Any
    x: Any
    weights: Weights = field(repr=False)

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        yield "x", self.x
        for i, (W, b) in enumerate(self.weights):
            yield f"W{i}", W
            yield f"b{i}", b


def case(
    label: str,
    dtype: str = "float64",
    sizes: Sequence[int] = (5, 9, 3),
    lead: tuple[int, ...] = (7,),
    x_layout: str = "C",
    w_layout: str = "C",
    w_dtype: str | None = None,
    seed: int = 0,
) -> Case:
    """The case of these coordinates; x has shape ``(*lead, sizes[0])``."""
    rng = np.random.default_rng(seed)
    implementation = IMPLEMENTATIONS[label]
    sizes = take(sizes, implementation.affines)
    w_dtype = w_dtype or dtype
    x = LAYOUTS[x_layout](draw(rng, (*lead, sizes[0]), dtype))
    weights = [tuple(LAYOUTS[w_layout](a) for a in pair) for pair in draw_weights(rng, sizes, w_dtype)]
    name = f"{label} sizes={sizes} x={dtype}/{x_layout}/{x.shape} weights={w_dtype}/{w_layout}"
    return Case(
        name, implementation.build(FAST, weights), implementation.build(REFERENCE, weights), x, weights
    )


def _strided(a: np.ndarray) -> np.ndarray:
    big = np.full([2 * n + 1 for n in a.shape], 99).astype(a.dtype)
    view = big[tuple(slice(1, 2 * n + 1, 2) for n in a.shape)]
    view[...] = a
    return view


def _padded(a: np.ndarray) -> np.ndarray:
    """Rows contiguous but apart, as in a slice of columns."""
    big = np.full((*a.shape[:-1], a.shape[-1] + 3), 99).astype(a.dtype)
    view = big[..., 1 : a.shape[-1] + 1]
    view[...] = a
    return view


def _reversed(a: np.ndarray) -> np.ndarray:
    flip = (slice(None, None, -1),) * a.ndim
    return a[flip].copy()[flip]


def _read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def _misaligned(a: np.ndarray) -> np.ndarray:
    view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _offset(a: np.ndarray) -> np.ndarray:
    """Contiguous and aligned to its items, not to a vector."""
    view = np.zeros(a.size + 1, a.dtype)[1:].reshape(a.shape)
    view[...] = a
    return view


def _memory_mapped(a: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryFile() as file:  # the mapping outlives the file's name and handle
        mapped = np.memmap(file, a.dtype, "w+", shape=(max(a.size, 1),))
    view = mapped[: a.size].reshape(a.shape)
    view[...] = a
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda a: a.copy(order="C"),
    "F": lambda a: a.copy(order="F"),
    "strided": _strided,
    "padded": _padded,
    "reversed": _reversed,
    "read-only": _read_only,
    "misaligned": _misaligned,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "memory-mapped": _memory_mapped,
    "offset": _offset,
}
