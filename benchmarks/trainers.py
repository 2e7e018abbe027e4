"""Training in each of the libraries that are compared: the same weights, batches, steps; the losses verified.

What a problem's callable does is a whole training: so many epochs over all batches, always in one order, with
plain gradient descent or Adam, from where the last call ended. It returns the mean loss of its batches.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import fastnet
from fastnet import reference

Train = Callable[[], float]


class Task(NamedTuple):
    """A network and its training."""

    sizes: tuple[int, ...]
    rows: int
    batch: int
    epochs: int  # of a call
    activation: str = "sigmoid"
    loss: str = "SoftmaxWithLoss"
    optimizer: str = "SGD"

    @property
    def steps(self) -> int:
        """Batches of a call."""
        return self.epochs * -(-self.rows // self.batch)


#: Label -> task. Append only.
TASKS = {
    "2-10-3 x 30": Task((2, 10, 3), 300, 30, 300),
    "64-32-10 x 32": Task((64, 32, 10), 1397, 32, 5),
    "30-100-2 x 32": Task((30, 100, 2), 512, 32, 8),
    "30-100-1 x 32": Task((30, 100, 1), 512, 32, 8, loss="SigmoidWithLoss"),
    "784-128-10 x 32": Task((784, 128, 10), 1024, 32, 1),
    "784-128-10 x 128": Task((784, 128, 10), 2048, 128, 1),
    "784-128-10 x 1024": Task((784, 128, 10), 4096, 1024, 1),
    "256-256-256 x 64": Task((256, 256, 256), 1024, 64, 1),
    "24-8-2 x 200 tanh": Task((24, 8, 2), 200, 200, 100, "tanh", "MeanSquaredError"),
    "4-32-16-4 x 10000 tanh Adam": Task(
        (4, 32, 16, 4), 10_000, 10_000, 4, "tanh", "MeanSquaredError", "Adam"
    ),
}
#: SimpleChains.jl's documentation, of its own machines: microseconds a step, and what they are for.
PUBLISHED = {
    ("24-8-2 x 200 tanh", "float64"): (
        5.66,
        "the gradient alone, with dropout, without the last bias and an update",
    ),
    ("4-32-16-4 x 10000 tanh Adam", "float32"): (164.0, "Core i7-1165G7, 8 threads: 10,000 steps in 1.64 s"),
}
RATE = 0.01
#: how far the mean loss of a training may be from the reference's in extended precision
TOLERANCE = {"float32": 2e-4, "float64": 1e-9}


class Problem(NamedTuple):
    """A task with its numbers."""

    task: Task
    weights: list[np.ndarray]  # W1, b1, W2, b2, ...
    x: np.ndarray
    t: np.ndarray
    threads: int

    def layers(self, library: Any, dtype: Any = None) -> list[Any]:
        """Layers of fastnet or of the reference, with weights of their own."""
        arrays = [np.array(a, dtype) for a in self.weights]
        layers = []
        for W, b in zip(arrays[::2], arrays[1::2], strict=True):
            layers += [library.Affine(W, b), getattr(library, _LAYERS[self.task.activation])()]
        return layers[:-1]

    def batches(self, convert: Callable[[np.ndarray], Any] = lambda a: a) -> list[tuple[Any, Any]]:
        cut = range(0, len(self.x), self.task.batch)
        return [
            (convert(self.x[i : i + self.task.batch]), convert(self.t[i : i + self.task.batch])) for i in cut
        ]


_LAYERS = {"sigmoid": "Sigmoid", "tanh": "Tanh"}


def problem(label: str, dtype: str, threads: int = 1, max_size: int | None = None) -> Problem:
    """The numbers of a task; no dimension above `max_size`."""
    task = TASKS[label]
    if max_size is not None:
        task = task._replace(
            sizes=tuple(min(n, max_size) for n in task.sizes),
            rows=min(task.rows, 7),
            batch=min(task.batch, 3),
            epochs=2,
        )
    rng = np.random.default_rng(zlib.crc32(label.encode()))
    weights = []
    for fan_in, fan_out in pairwise(task.sizes):
        weights += [rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in), np.zeros(fan_out)]
    x = rng.standard_normal((task.rows, task.sizes[0]))
    if task.loss == "SoftmaxWithLoss":
        t = rng.integers(0, task.sizes[-1], task.rows)
        t[: task.sizes[-1]] = np.arange(task.sizes[-1])[: len(t)]  # every class is there
    elif task.loss == "SigmoidWithLoss":
        t = (np.arange(task.rows * task.sizes[-1]) % 2).reshape(task.rows, -1).astype(dtype)
    else:
        t = rng.standard_normal((task.rows, task.sizes[-1])).astype(dtype)
    return Problem(task, [w.astype(dtype) for w in weights], x.astype(dtype), t, threads)


def _loop(p: Problem, library: Any, net: Any, dtype: Any = None) -> Train:
    """The book's loop, step by step from Python."""
    optimizer = getattr(library, p.task.optimizer)(lr=RATE)
    x, t, size = p.x if dtype is None else p.x.astype(dtype), p.t, p.task.batch
    params, grads = net.params, net.grads

    def train() -> float:
        total, count = 0.0, 0
        for _ in range(p.task.epochs):
            for start in range(0, len(x), size):
                total += net.forward(x[start : start + size], t[start : start + size])
                net.backward()
                optimizer.update(params, grads)
                count += 1
        return float(total / count)

    return train


def _numpy(p: Problem, dtype: Any = None) -> Train:
    net = reference.TwoLayerNet(1, 1, 1)
    net.layers, net.loss_layer = p.layers(reference, dtype), getattr(reference, p.task.loss)()
    net.params = [a for layer in net.layers for a in layer.params]
    net.grads = [a for layer in net.layers for a in layer.grads]
    return _loop(p, reference, net, dtype)


def _network(p: Problem) -> Any:
    net = fastnet.Sequential(p.layers(fastnet))
    net.loss_layer = getattr(fastnet, p.task.loss)()
    return net


def _fastnet_loop(p: Problem) -> Train:
    fastnet.set_num_threads(p.threads)
    return _loop(p, fastnet, _network(p))


def _fastnet(p: Problem) -> Train:
    fastnet.set_num_threads(p.threads)
    net, optimizer = _network(p), getattr(fastnet, p.task.optimizer)(lr=RATE)
    sizes = [len(x) for x, _ in p.batches()]

    def train() -> float:
        history = fastnet.fit(net, p.x, p.t, p.task.epochs, p.task.batch, optimizer, shuffle=False)
        return float(np.mean(history.loss))

    train.by_rows = len(set(sizes)) > 1  # type: ignore[attr-defined]
    return train


def _torch(p: Problem, compile: bool = False) -> Train:
    import torch
    from torch import nn

    torch.set_num_threads(p.threads)
    layers: list[Any] = []
    for W, b in zip(p.weights[::2], p.weights[1::2], strict=True):
        linear = nn.Linear(*W.shape, dtype=getattr(torch, p.x.dtype.name))
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
        layers += [linear, getattr(nn, _LAYERS[p.task.activation])()]
    model = nn.Sequential(*layers[:-1])
    measure = {
        "SoftmaxWithLoss": nn.CrossEntropyLoss,
        "SigmoidWithLoss": nn.BCEWithLogitsLoss,  # a mean, as there is one output
        "MeanSquaredError": nn.MSELoss,
    }[p.task.loss]()

    def forward(x: Any, t: Any) -> Any:
        return measure(model(x), t)

    if compile:
        forward = torch.compile(forward)
    if p.task.optimizer == "SGD":
        optimizer: Any = torch.optim.SGD(model.parameters(), lr=RATE)
    else:  # the book adds eps where PyTorch does, but for the correction of the bias: 1e-7 either way
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE, eps=1e-7)
    batches = p.batches(torch.from_numpy)

    def train() -> float:
        losses = []
        for _ in range(p.task.epochs):
            for x, t in batches:
                optimizer.zero_grad()
                loss = forward(x, t)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return train


def _jax(p: Problem) -> Train:
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp, task = jax.numpy, p.task
    activation = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}[task.activation]

    def loss_of(weights: Any, x: Any, t: Any) -> Any:
        *hidden, (W, b) = zip(weights[::2], weights[1::2], strict=True)
        for V, c in hidden:
            x = activation(x @ V + c)
        x = x @ W + b
        if task.loss == "SoftmaxWithLoss":
            return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], axis=1).mean()
        if task.loss == "SigmoidWithLoss":
            return (jnp.maximum(x, 0) - x * t + jnp.log1p(jnp.exp(-abs(x)))).mean()
        return ((x - t) ** 2).mean()

    def sgd(state: Any, x: Any, t: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(state, x, t)
        return jax.tree.map(lambda w, g: w - RATE * g, state, grads), loss

    def adam(state: Any, x: Any, t: Any) -> Any:
        weights, m, v, count = state
        loss, grads = jax.value_and_grad(loss_of)(weights, x, t)
        count = count + 1
        rate = RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        m = jax.tree.map(lambda a, g: a + (1 - 0.9) * (g - a), m, grads)
        v = jax.tree.map(lambda a, g: a + (1 - 0.999) * (g * g - a), v, grads)
        weights = jax.tree.map(
            lambda w, a, b: w - (rate * a / (jnp.sqrt(b) + 1e-7)).astype(w.dtype), weights, m, v
        )
        return (weights, m, v, count), loss

    step = jax.jit(sgd if task.optimizer == "SGD" else adam, donate_argnums=0)
    weights = [jnp.array(w) for w in p.weights]
    zeros = [[jnp.zeros_like(w) for w in weights] for _ in range(2)]
    state: Any = weights if task.optimizer == "SGD" else (weights, *zeros, jnp.zeros((), p.x.dtype))
    batches = p.batches(jnp.asarray)

    def train() -> float:
        nonlocal state
        losses = []
        for _ in range(task.epochs):
            for x, t in batches:
                state, loss = step(state, x, t)
                losses.append(loss)
        return float(np.mean([float(loss) for loss in losses]))

    return train


def _sklearn(p: Problem) -> Train:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    task = p.task
    if task.loss == "MeanSquaredError" or (task.loss == "SoftmaxWithLoss" and task.sizes[-1] == 2):
        raise NotImplementedError("MLPClassifier has one output for two classes, and no squared errors")
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is given
    model = MLPClassifier(
        task.sizes[1:-1],
        activation={"sigmoid": "logistic", "tanh": "tanh"}[task.activation],
        solver="sgd",
        alpha=0.0,
        batch_size=task.batch,
        learning_rate_init=RATE,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
        warm_start=True,
        tol=0.0,
        n_iter_no_change=10**9,
        max_iter=1,
    )
    classes = p.t.reshape(len(p.x)).astype(int)
    model.fit(p.x, classes)  # makes the arrays that are replaced now
    model.set_params(max_iter=task.epochs)
    model.coefs_ = [w.copy() for w in p.weights[::2]]
    model.intercepts_ = [w.copy() for w in p.weights[1::2]]

    def train() -> float:
        model.fit(p.x, classes)
        return float(np.mean(model.loss_curve_[-task.epochs :]))

    train.by_rows = True  # type: ignore[attr-defined]
    return train


#: Libraries, by the names of the table's columns; fastnet's `fit` is the baseline.
TRAINERS: dict[str, Callable[[Problem], Train]] = {
    "fastnet": _fastnet,
    "fastnet-loop": _fastnet_loop,
    "numpy": _numpy,
    "torch": _torch,
    "torch.compile": lambda p: _torch(p, compile=True),
    "jax": _jax,
    "scikit-learn": _sklearn,
}


def expected(p: Problem, by_rows: bool) -> float:
    """The mean loss of a first call in extended precision: of batches, or of rows."""
    task = p.task
    if not by_rows or task.rows % task.batch == 0:
        return _numpy(p, np.longdouble)()
    net = reference.TwoLayerNet(1, 1, 1)
    net.layers, net.loss_layer = p.layers(reference, np.longdouble), getattr(reference, task.loss)()
    optimizer, total = getattr(reference, task.optimizer)(lr=RATE), 0.0
    params = [a for layer in net.layers for a in layer.params]
    grads = [a for layer in net.layers for a in layer.grads]
    for _ in range(task.epochs):
        for x, t in p.batches():
            total += net.forward(x.astype(np.longdouble), t) * len(x)
            net.backward()
            optimizer.update(params, grads)
    return float(total / (task.epochs * task.rows))


def prepared(library: str, label: str, dtype: str, threads: int, max_size: int | None = None) -> Train:
    """A callable of this library that trains; raise unless its first call's loss is right."""
    p = problem(label, dtype, threads, max_size)
    train = TRAINERS[library](p)
    want, got = expected(p, getattr(train, "by_rows", False)), train()
    tolerance = TOLERANCE[dtype] if p.task.optimizer == "SGD" else 1e-4  # PyTorch adds Adam's eps elsewhere
    if not abs(got - want) <= tolerance * abs(want):
        raise ArithmeticError(f"the loss is {got}, further off {want} than rounding explains")
    return train
