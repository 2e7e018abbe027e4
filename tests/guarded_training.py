"""Training on memory between forbidden pages: ``python -m tests.guarded_training NOTEBOOK GROUP:EVERY...``.

Inputs, targets, parameters, gradients and all that training makes out of them end where a page begins that
nobody may touch, or begin where one ends. A touch outside is SIGSEGV. Results have to be, bit for bit, those
of ordinary memory.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import fastnet
from fastnet import backprop, fused
from fastnet.epochs import Epochs, trained_layers
from fastnet.training import _rows
from tests.cases import KERNEL_DTYPES
from tests.fenced_memory import FencedMemory
from tests.fenced_steps import FencedSteps
from tests.guarded import GROUPS, OTHERS, PLAIN, Shape, Yard, drawn
from tests.isolation import Notebook

Arrays = dict[str, np.ndarray]

LAYERS: dict[str, tuple[type, tuple[type, ...]]] = {
    "identity": (fastnet.Affine, ()),
    "sigmoid": (fastnet.Affine, (fastnet.Sigmoid,)),
    "tanh": (fastnet.Affine, (fastnet.Tanh,)),
    "affine sigmoid": (fastnet.AffineSigmoid, ()),
    "relu": (fastnet.Affine, (fastnet.ReLU,)),
    "softmax": (fastnet.Affine, (fastnet.Softmax,)),
    "relu, tanh": (fastnet.Affine, (fastnet.ReLU, fastnet.Tanh)),
}
#: the loss, and the dtype of its targets: of classes, of 0 and 1, or (None) of x's
LOSSES = [
    (fastnet.SoftmaxWithLoss, "classes", "int64"), (fastnet.SoftmaxWithLoss, "one-hot", None),
    (fastnet.MeanSquaredError, "numbers", None), (fastnet.SoftmaxWithLoss, "classes", "uint8"),
    (fastnet.SigmoidWithLoss, "one-hot", "int8"), (fastnet.SoftmaxWithLoss, "classes", "int32"),
    (fastnet.SoftmaxWithLoss, "one-hot", "int64"), (fastnet.SigmoidWithLoss, "one-hot", None),
    (fastnet.SoftmaxWithLoss, "classes", "uint64"), (fastnet.MeanSquaredError, "numbers", "float32"),
    (fastnet.SoftmaxWithLoss, "classes", "int16"),
]  # fmt: skip
OPTIMIZERS = [fastnet.SGD, fastnet.Momentum, fastnet.Adam]


class Case(NamedTuple):
    """A shape, its dtype, and a number that chooses loss and optimiser in turn."""

    shape: Shape
    dtype: str
    number: int

    @property
    def loss(self) -> tuple[Any, str, str | None]:
        """After a sigmoid or a softmax `fit` takes but one."""
        ends = self.shape.activations[-1] in ("sigmoid", "affine sigmoid", "softmax")
        return LOSSES[2] if ends else LOSSES[self.number % len(LOSSES)]

    @property
    def has_loss(self) -> bool:
        return bool(self.shape.rows and self.shape.sizes[-1])

    @property
    def trainable(self) -> bool:
        return self.has_loss and 0 not in self.shape.sizes

    def optimizer(self) -> Any:
        return OPTIMIZERS[self.number % len(OPTIMIZERS)](0.01)

    def arrays(self) -> Arrays:
        """Values; not to be written to."""
        sizes, _, rows = self.shape
        found = {"x": drawn(self.dtype, (rows, sizes[0]), rows)}
        for i, (n, m) in enumerate(pairwise(sizes)):
            found[f"W{i}"] = drawn(self.dtype, (n, m), i + 1) / np.sqrt(n or 1).astype(self.dtype)
            found[f"b{i}"] = drawn(self.dtype, (m,), i + 50)
        found["dout"] = drawn(self.dtype, (rows, sizes[-1]), rows + 90)
        _, form, dtype = self.loss
        t = found["dout"]
        if form != "numbers":
            classes = np.arange(rows) * 7 % max(sizes[-1], 1)
            t = classes if form == "classes" else np.arange(sizes[-1]) == classes[:, np.newaxis]
        found["t"] = t.astype(dtype or self.dtype)
        return found

    def network(self, a: Arrays) -> Any:
        """Its layers hold the arrays: parameters, and gradients if there are any."""
        layers: list[Any] = []
        for i, name in enumerate(self.shape.activations):
            first, behind = LAYERS[name]
            layers += [first(a[f"W{i}"], a[f"b{i}"]), *(make() for make in behind)]
            if f"dW{i}" in a:
                layers[-1 - len(behind)].grads = [a[f"dW{i}"], a[f"db{i}"]]
        book = self.shape.activations == ("sigmoid", "identity")
        net = fastnet.TwoLayerNet(1, 1, 1) if book else fastnet.Sequential([])
        fastnet.Sequential.__init__(net, layers)
        net.loss_layer = self.loss[0]()
        return net

    def ways_to_fit(self) -> dict[str, Any]:
        """Batches that divide the rows and others, in the order of the rows and others."""
        rows, some = self.shape.rows, self.number
        batch = (1, 2, 7, rows, rows + 3)[some % 5]
        return {"batch_size": max(batch, rows // 20), "shuffle": some // len(OTHERS) % 2 == 0}


# -- what is tried: each way gives its results


def copies(arrays: list[Any]) -> list[np.ndarray]:
    return [np.array(a) for a in arrays]


def state(optimizer: Any) -> list[Any]:
    return [*(getattr(optimizer, "m", None) or ()), *(getattr(optimizer, "v", None) or ())]


def by_network(case: Case, a: Arrays, yard: Any) -> list[Any]:
    """Scores and loss, back from both, and what optimisers make of the gradients."""
    net, optimizer = case.network(a), case.optimizer()
    results = [net.forward(a["x"]), net.backward(a["dout"]), *copies(net.grads)]
    if len(a["x"]) == 1:
        results += [net.forward(a["x"][0]), net.backward(a["dout"][0]), *copies(net.grads)]
    if case.has_loss:
        results += [net.forward(a["x"], a["t"]), net.backward(), net.backward(0.5), *copies(net.grads)]
    for _ in range(2):
        optimizer.update(net.params, net.grads)
    return [*results, *copies(net.params), *state(optimizer)]


def by_layers(case: Case, a: Arrays, yard: Any) -> list[Any]:
    """Layer by layer; activations and losses alone, too."""
    layers, y, d, results = case.network(a).layers, a["x"], a["dout"], []
    for layer in layers:
        y = layer.forward(y)
        results.append(y)
    for layer in reversed(layers):
        d = layer.backward(d)
        results += [d, *copies(layer.grads)]
        if not layer.params:
            results += [layer.forward(a["dout"]), layer.backward(a["dout"])]
    if case.has_loss:
        loss = case.loss[0]()
        results += [loss.forward(a["dout"], a["t"]), loss.backward(), loss.backward(0.5)]
    return results


def by_fit(case: Case, a: Arrays, yard: Any) -> list[Any]:
    """Whole epochs; the rows are the validation's, too."""
    net, optimizer = case.network(a), case.optimizer()
    held_out = (a["x"], a["t"])
    history = fastnet.fit(
        net, *held_out, 2, optimizer=optimizer, seed=0, validation=held_out, **case.ways_to_fit()
    )
    numbers = [history.loss, history.validation_loss, history.validation_accuracy]
    return [*copies([*numbers, *net.params]), *state(optimizer)]


def by_steps(case: Case, a: Arrays, yard: tuple[Yard, bool] | None) -> list[Any]:
    """The parts of steps, with fences around what lies side by side in one piece of memory otherwise."""
    net, optimizer, loss = case.network(a), case.optimizer(), case.loss[0]()
    layers, dtype = trained_layers(net)
    ways = case.ways_to_fit()
    run = Epochs(layers, *_rows(a["x"], a["t"], layers, dtype, loss), ways["batch_size"], optimizer, loss)
    if yard is not None:
        entries = backprop.entries(dtype)
        run._shared = FencedSteps(*yard, entries, run._table, layers, run._batch, a["x"])
    order = np.random.default_rng(0).permutation(case.shape.rows) if ways["shuffle"] else None
    return [run.epoch(order, lambda done: None), *copies(net.params), *state(optimizer)]


WAYS: tuple[Callable[[Case, Arrays, Any], list[Any]], ...] = (by_network, by_layers, by_fit, by_steps)


class Trials:
    """Cases on fenced memory."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.yard, self.memory = notebook, Yard(), FencedMemory()
        self.memory.serve_kernels()
        for dtype in map(np.dtype, KERNEL_DTYPES):  # tables and kernels stay: on ordinary memory
            fused.kernels(dtype).prepare()
            backprop.points(dtype)
            entries = backprop.entries(dtype)
            assert all((entries.run_epoch, entries.run_part))
        gc.collect()
        gc.freeze()  # what has been compiled stays, too

    def placed(self, a: Arrays, layouts: tuple[str, str, str], at_end: bool) -> Arrays:
        """Arrays in layouts of x and t, of weights, and of gradients, next to a forbidden page."""
        by_role = dict(zip("xWd", layouts, strict=True))
        if layouts != PLAIN:  # else they are what NumPy makes
            a = {**a, **{f"d{name}": p for name, p in a.items() if name[0] in "Wb"}}
        found = {}
        for name, value in a.items():
            layout = by_role.get(name[0], "C" if name == "t" and "one row" in layouts else layouts[0])
            rows = value if value.ndim == 2 else value[:, np.newaxis] if name == "t" else value
            array = self.yard.put(name, rows, layout, at_end)
            found[name] = array.reshape(value.shape) if rows is value else array[:, 0]
        return found

    def run(self, case: Case, layouts: tuple[str, str, str]) -> None:
        """All ways, on both sides of the fences, and then on ordinary memory."""
        for way in WAYS if case.trainable else WAYS[:2]:
            a, got = case.arrays(), {}
            if layouts[0] == "one row":
                a["x"] = np.broadcast_to(a["x"][:1], a["x"].shape)
            for side in ("end", "begin"):
                self.memory.at_end = side == "end"
                name = f"{case} {case.loss[0].__name__} {'/'.join(layouts)} {side} {way.__name__}"
                self.notebook.trying(name)
                given = self.memory.given
                with self.memory.arrays():
                    got[name] = way(case, self.placed(a, layouts, side == "end"), (self.yard, side == "end"))
                assert self.memory.given > given, "NumPy takes memory elsewhere"
            ordinary = {name: value.copy() for name, value in a.items()}
            want = [np.asarray(value).tobytes() for value in way(case, ordinary, None)]
            for name, results in got.items():
                same = [np.asarray(r).tobytes() == w for r, w in zip(results, want, strict=True)]
                assert all(same), f"{name}: result {same.index(False)} has other bits"


def cases(group: str, every: int) -> Iterator[Case]:
    """The shapes of ``guarded.py``, with layers, losses and optimisers in turn."""
    shapes, _, _ = GROUPS[group]
    names = list(LAYERS)
    for dtype in KERNEL_DTYPES:
        for i, shape in enumerate(shapes(every)):
            chosen = tuple(names[(i + 3 * k) % len(names)] for k in range(len(shape.sizes) - 1))
            yield Case(shape._replace(activations=chosen), dtype, i)


def main(notes: str, *groups: str) -> None:
    """Each group is its name, a colon, and that each so many-th shape of it is tried."""
    fastnet.set_num_threads(1)
    t = Trials(Notebook(notes))
    for group in groups:
        name, _, every = group.partition(":")
        for case in cases(name, int(every or 1)):
            t.run(case, PLAIN)
            t.run(case, OTHERS[case.number % len(OTHERS)])
    gc.collect()
    assert not t.memory.held, "arrays that nobody has are still there"
    t.notebook.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
