"""The book's decision boundary: a 2-10-3 network on the spirals, asked at every pixel of a picture.

``python -m fastnet.examples.decision_boundary`` trains the network with scikit-learn, hands its weights to
fastnet, predicts a class for each of four million points, and paints them. NumPy does the same beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import fastnet
from fastnet import reference

CLASSES = 3
REACH = 1.1  # of the picture, in each direction


class Boundary(NamedTuple):
    """What the example found."""

    classes: np.ndarray[Any, Any]
    #: share of the training points that the network puts into their class
    accuracy: float
    #: for the scores of all points
    seconds: float
    seconds_of_numpy: float


def spirals(rows: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Points on three arms of a spiral, and the arm each is on: the task of the book's chapter 1."""
    radius = np.tile(np.arange(rows) / rows, CLASSES)
    arm = np.repeat(np.arange(CLASSES), rows)
    angle = 4 * arm + 4 * radius + 0.2 * rng.standard_normal(len(arm))
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)]), arm


def train(x: Any, labels: Any) -> fastnet.Sequential:
    """Fit a 2-10-3 network with a sigmoid; its scores are those before the softmax."""
    try:
        from sklearn.neural_network import MLPClassifier
    except ImportError as error:
        raise ImportError(f'{error}: pip install "fastnet[examples]"') from error
    fitted = MLPClassifier(
        10, activation="logistic", solver="lbfgs", alpha=1e-4, max_iter=2000, random_state=0
    )
    fitted.fit(x, labels)
    (W1, W2), (b1, b2) = fitted.coefs_, fitted.intercepts_
    return fastnet.Sequential([fastnet.Affine(W1, b1), fastnet.Sigmoid(), fastnet.Affine(W2, b2)])


def mesh(side: int, dtype: Any) -> Any:
    """The centres of side x side pixels, a point a row, from the upper left."""
    centres = (np.arange(side, dtype=dtype) + 0.5) / side * (2 * REACH) - REACH
    points = np.empty((side, side, 2), dtype)
    points[:, :, 0], points[:, :, 1] = centres, -centres[:, np.newaxis]
    return points.reshape(-1, 2)


def find(side: int, rows: int = 100) -> Boundary:
    """Train, and classify side x side points with fastnet and with NumPy.

    Raises
    ------
    RuntimeError
        If they disagree about a point whose two best scores differ by more than rounding.
    """
    x, labels = spirals(rows, np.random.default_rng(1984))
    net = train(x, labels)
    points = mesh(side, x.dtype)
    twin = reference.TwoLayerNet(2, 10, CLASSES)
    twin.layers[0].params, twin.layers[2].params = net.layers[0].params, net.layers[2].params

    fastnet.warmup(net)
    scores, seconds = _timed(net, points)
    expected, seconds_of_numpy = _timed(twin, points)
    classes = scores.argmax(axis=1)
    second, best = np.sort(expected, axis=1)[:, -2:].T
    clear = best - second > 1e-9 * np.abs(expected).max()
    if (classes != expected.argmax(axis=1))[clear].any():
        raise RuntimeError("fastnet and NumPy put a point into different classes")
    accuracy = float((net.predict(x).argmax(axis=1) == labels).mean())
    return Boundary(classes.reshape(side, side), accuracy, seconds, seconds_of_numpy)


def _timed(net: Any, points: Any) -> tuple[Any, float]:
    start = perf_counter()
    scores = net.predict(points)
    return scores, perf_counter() - start


def paint(boundary: Boundary, path: Path, rows: int = 100) -> None:
    """Write the picture: a colour for each class, and the training points."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{error}: pip install "fastnet[examples]"') from error
    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    extent = (-REACH, REACH, -REACH, REACH)
    axes.imshow(boundary.classes, extent=extent, cmap=ListedColormap(["#cfe3f5", "#fbe0c3", "#d3ead0"]))
    x, labels = spirals(rows, np.random.default_rng(1984))
    for arm, (marker, colour) in enumerate(zip("ox^", ["#1f5f99", "#b35c00", "#2b7a2b"], strict=True)):
        across, up = x[labels == arm].T
        axes.scatter(across, up, s=22, marker=marker, color=colour, label=f"class {arm}")
    axes.set(xlabel="x", ylabel="y", title=f"2-10-3 on the spirals, {boundary.classes.size:,} points")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example from the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process unless given.
    """
    parser = argparse.ArgumentParser(prog="python -m fastnet.examples.decision_boundary", description=__doc__)
    parser.add_argument("--side", type=int, default=2000, help="pixels in each direction (default: 2000)")
    parser.add_argument("--out", type=Path, default=Path("decision_boundary.png"), help="the picture")
    arguments = parser.parse_args(argv)
    found = find(arguments.side)
    print(f"{found.accuracy:.1%} of the training points are in their class.")
    print(f"{found.classes.size:,} points: fastnet {found.seconds * 1e3:.1f} ms, ", end="")
    print(f"NumPy {found.seconds_of_numpy * 1e3:.1f} ms, the same classes.")
    paint(found, arguments.out)
    print(f"Written: {arguments.out}")


if __name__ == "__main__":
    main()
