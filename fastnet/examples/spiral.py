"""Chapter 1 of the book: a 2-10-3 network learns the spirals, batch by batch.

``python -m fastnet.examples.spiral`` trains it, and writes a picture of the loss and of the decision
boundary. ``--reference`` does the same in plain NumPy: nothing but the import is another.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

import fastnet
from fastnet import reference
from fastnet.examples.decision_boundary import CLASSES, REACH, mesh, spirals

HIDDEN, BATCH, EPOCHS, RATE = 10, 30, 300, 1.0
#: batches between two points of the loss curve
INTERVAL = 10


class Net:
    """Layers in a list, in a class of one's own, as the book writes it.

    Parameters
    ----------
    library : module
        Where the layers come from: `fastnet` or `fastnet.reference`.
    rng : Generator
        What the weights are drawn with.
    """

    def __init__(self, library: ModuleType, rng: np.random.Generator) -> None:
        W1, W2 = 0.01 * rng.standard_normal((2, HIDDEN)), 0.01 * rng.standard_normal((HIDDEN, CLASSES))
        self.layers: list[Any] = [
            library.Affine(W1, np.zeros(HIDDEN)),
            library.Sigmoid(),
            library.Affine(W2, np.zeros(CLASSES)),
        ]
        self.loss_layer: Any = library.SoftmaxWithLoss()
        self.params: list[Any] = []
        self.grads: list[Any] = []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def predict(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def forward(self, x: Any, t: Any) -> Any:
        return self.loss_layer.forward(self.predict(x), t)

    def backward(self, dout: Any = 1) -> Any:
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout


def train(library: ModuleType, epochs: int = EPOCHS, seed: int = 1984) -> tuple[Net, list[float]]:
    """Train a network.

    Parameters
    ----------
    library : module
        `fastnet` or `fastnet.reference`.
    epochs : int
        How often to go through all points.
    seed : int
        Of points, weights and orders.

    Returns
    -------
    net, losses
        The network, and the mean loss of every `INTERVAL` batches.
    """
    rng = np.random.default_rng(seed)
    x, t = spirals(100, rng)
    net = Net(library, rng)
    optimizer = library.SGD(lr=RATE)
    losses, total, count = [], 0.0, 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        x, t = x[order], t[order]
        for start in range(0, len(x), BATCH):
            total += net.forward(x[start : start + BATCH], t[start : start + BATCH])
            net.backward()
            optimizer.update(net.params, net.grads)
            count += 1
            if count == INTERVAL:
                losses.append(float(total / count))
                total, count = 0.0, 0
    return net, losses


def paint(net: Net, losses: Sequence[float], path: Path, side: int = 500, seed: int = 1984) -> None:
    """Write the picture: the loss, and the class of each point of the plane.

    Parameters
    ----------
    net : Net
        Trained.
    losses : sequence of float
        Of every `INTERVAL` batches.
    path : Path
        Where to; its ending says in which format.
    side : int
        Pixels of the plane in each direction.
    seed : int
        The one that the network was trained with.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{error}: pip install "fastnet[examples]"') from error
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    curve, plane = figure.subplots(1, 2)
    curve.plot(np.arange(1, len(losses) + 1) * INTERVAL, losses)
    curve.set(xlabel="batches", ylabel="loss", ylim=(0, None))
    classes = net.predict(mesh(side, np.float64)).argmax(axis=1).reshape(side, side)
    extent = (-REACH, REACH, -REACH, REACH)
    plane.imshow(classes, extent=extent, cmap=ListedColormap(["#cfe3f5", "#fbe0c3", "#d3ead0"]))
    x, t = spirals(100, np.random.default_rng(seed))
    for arm, (marker, colour) in enumerate(zip("ox^", ["#1f5f99", "#b35c00", "#2b7a2b"], strict=True)):
        plane.scatter(*x[t == arm].T, s=22, marker=marker, color=colour, label=f"class {arm}")
    plane.legend(loc="upper right")
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example from the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process unless given.
    """
    parser = argparse.ArgumentParser(prog="python -m fastnet.examples.spiral", description=__doc__)
    parser.add_argument("--reference", action="store_true", help="plain NumPy in place of fastnet")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"(default: {EPOCHS})")
    parser.add_argument("--out", type=Path, default=Path("spiral.png"), help="the picture")
    arguments = parser.parse_args(argv)
    library = reference if arguments.reference else fastnet
    train(library, 1)  # the kernels are there
    start = perf_counter()
    net, losses = train(library, arguments.epochs)
    seconds = perf_counter() - start
    x, t = spirals(100, np.random.default_rng(1984))
    accuracy = (net.predict(x).argmax(axis=1) == t).mean()
    loss = f"loss {losses[-1]:.4f}, " if losses else ""
    print(f"{arguments.epochs} epochs in {seconds:.2f} s with {library.__name__}: ", end="")
    print(f"{loss}{accuracy:.1%} of the points are in their class.")
    paint(net, losses, arguments.out)
    print(f"Written: {arguments.out}")


if __name__ == "__main__":
    main()
