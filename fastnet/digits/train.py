"""Train the digits network and write ``digits.npz``: ``python -m fastnet.digits.train``.

On scikit-learn's copy of the UCI handwritten digits; see README.md beside this file. Every random choice
comes from one seed, and `fastnet.fit` makes the same bits of it everywhere. The weights are rounded to a grid
that float32 holds exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnet.layers import Affine, Sigmoid
from fastnet.network import Sequential
from fastnet.optimizers import Momentum
from fastnet.training import History
from fastnet.training import fit as train

Floats = NDArray[np.float64]
Labels = NDArray[Any]

FILE = Path(__file__).with_name("digits.npz")
SEED = 2
HELD_OUT = 400
HIDDEN = 32
CLASSES = 10
EPOCHS = 100
BATCH = 32
RATE = 0.5  # falls linearly to zero
MOMENTUM = 0.9
DECAY = 3e-4  # pulls to zero the weights of pixels that are always blank
GRID = 4096  # weights are multiples of 1 / GRID: exact in float32 too
FULL = 16  # the value of a fully inked pixel


def initial(rng: np.random.Generator, sizes: Sequence[int]) -> list[Floats]:
    """Draw W1, b1, W2, b2, ... for layers of these sizes: normal over sqrt(fan-in), biases zero."""
    params: list[Floats] = []
    for fan_in, fan_out in pairwise(sizes):
        params += [rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in), np.zeros(fan_out)]
    return params


def fit(x: Floats, labels: Labels, rng: np.random.Generator, epochs: int = EPOCHS) -> list[Floats]:
    """Train W1, b1, W2, b2 by stochastic gradient descent with momentum, decaying after each epoch."""
    W1, b1, W2, b2 = params = initial(rng, (x.shape[1], HIDDEN, CLASSES))
    network = Sequential([Affine(W1, b1), Sigmoid(), Affine(W2, b2)])
    optimizer = Momentum(RATE, MOMENTUM)
    batches = -(-len(x) // BATCH)

    def after_epoch(history: History) -> None:
        for p in params:  # a step reaches 1 / (1 - MOMENTUM) times as far in the end
            p *= 1 - batches * optimizer.lr / (1 - MOMENTUM) * DECAY
        optimizer.lr = RATE * (1 - len(history) / epochs)

    train(network, x, labels, epochs, BATCH, optimizer, seed=rng, callback=after_epoch)
    return params


def make(epochs: int = EPOCHS) -> dict[str, NDArray[Any]]:
    """Split the digits, train on one part, and return what ``digits.npz`` holds.

    Returns
    -------
    dict
        ``W1`` (64, 32), ``b1``, ``W2`` (32, 10), ``b2``: float32, for pixel values 0 to 16;
        ``images`` (400, 64) and ``labels``: uint8, the held-out part.
    """
    from sklearn.datasets import load_digits  # only training needs scikit-learn

    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(images))
    held_out, training = order[:HELD_OUT], order[HELD_OUT:]
    W1, b1, W2, b2 = (
        np.round(p * GRID) / GRID for p in fit(images[training] / FULL, labels[training], rng, epochs)
    )
    weights = {"W1": W1 / FULL, "b1": b1, "W2": W2, "b2": b2}  # FULL is a power of two: exact
    return {
        **{name: w.astype(np.float32) for name, w in weights.items()},
        "images": images[held_out].astype(np.uint8),
        "labels": labels[held_out].astype(np.uint8),
    }


def main() -> None:
    """Train, write the file, and say how well the network does."""
    arrays: dict[str, Any] = make()
    np.savez(FILE, **arrays)  # not compressed: another zlib would write other bytes
    hidden = 1 / (1 + np.exp(-(arrays["images"] @ arrays["W1"] + arrays["b1"])))
    scores = hidden @ arrays["W2"] + arrays["b2"]
    accuracy = (scores.argmax(axis=1) == arrays["labels"]).mean()
    print(f"{FILE}: {FILE.stat().st_size:,} bytes, {accuracy:.2%} of {HELD_OUT} held-out images right")


if __name__ == "__main__":
    main()
