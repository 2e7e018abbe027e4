"""What ``python -m fastnet`` shows: a trained network at work, beside the NumPy reference."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any, NamedTuple, TextIO

import numba
import numpy as np

import fastnet
from fastnet import digits, reference
from fastnet.timing import take_turns

WIDTH = 80
SHOWN = 5
CELL = WIDTH // SHOWN  # columns for one digit: 8 pixels of 2 columns
MANY = 100_000
ROUNDS = 7


class Glyphs(NamedTuple):
    """The characters of the output that not every terminal has."""

    shades: str
    rule: str
    best: str
    micro: str


UNICODE = Glyphs(" ░▒▓█", "─", "«", "µ")
ASCII = Glyphs(" .+%@", "-", "<", "u")


def glyphs_for(encoding: str | None) -> Glyphs:
    """Pick block characters where the encoding has them; a stream without one takes any text."""
    try:
        "".join(UNICODE).encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return ASCII
    return UNICODE


def show(stream: TextIO) -> None:
    """Write the demonstration to a text stream, each part as soon as it is known."""
    glyphs = glyphs_for(stream.encoding)
    for line in chain(_title(glyphs), _digits(glyphs), _book(glyphs)):
        print(line.rstrip(), file=stream, flush=True)


def _title(glyphs: Glyphs) -> Iterator[str]:
    yield f"fastnet {fastnet.__version__}"
    yield f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"


def _heading(text: str, glyphs: Glyphs) -> Iterator[str]:
    yield ""
    yield f"{text} ".ljust(WIDTH, glyphs.rule)
    yield ""


def _digits(glyphs: Glyphs) -> Iterator[str]:
    """Recognise the held-out digits: pictures, accuracy, agreement, time."""
    network, images, labels = digits.load()
    x = images.astype(np.float64)
    twin = ReferenceNet(network.params)

    yield from _heading("Handwritten digits", glyphs)
    yield "A network of 64-32-10 with a sigmoid, and 8 x 8 images it was not trained on."
    start = perf_counter()
    network.predict(x[:1])
    took = perf_counter() - start
    yield f"First call: {duration(took, glyphs)}, which compiles the kernels or loads them from the cache."

    scores, expected = network.predict(x), twin.predict(x)
    predicted = scores.argmax(axis=1)
    right = predicted == labels
    wrong = np.flatnonzero(~right[SHOWN - 1 :])[:1] + SHOWN - 1  # none, if the network is perfect
    chosen = [*range(SHOWN - 1), *(wrong if wrong.size else [SHOWN - 1])]
    yield ""
    yield from pictures(images[chosen], glyphs)
    yield ""
    yield _cells(f"predicted  {p}" for p in predicted[chosen])
    yield _cells(f"true       {t}" for t in labels[chosen])
    yield ""
    yield from score_table(scores[chosen], glyphs)
    yield ""
    yield f"Above: the first {SHOWN - 1} held-out images, and " + (
        "the first after them that it gets wrong." if wrong.size else "one more; it gets all of them right."
    )
    yield f"Accuracy over all {len(x)} held-out images: {right.mean():.2%} ({right.sum()} right)."
    yield agreement(scores, expected)

    yield from _heading("Time per call", glyphs)
    yield f"{'rows':>8}{'fastnet':>14}{'reference':>14}{'fastnet / reference':>24}"
    for n in (1, len(x), MANY):
        batch = np.resize(x, (n, x.shape[1]))  # repeats the images
        calls = {"reference": partial(twin.predict, batch), "fastnet": partial(network.predict, batch)}
        times = take_turns(calls, rounds=ROUNDS)
        cost = {name: duration(timing.seconds, glyphs) for name, timing in times.items()}
        yield f"{n:8,}{cost['fastnet']:>14}{cost['reference']:>14}{times['fastnet'].ratio:24.2f}"
    yield ""
    yield f"In {x.dtype}, the median of {ROUNDS} rounds in which both take turns. The reference is"
    yield "plain NumPy, its BLAS with the threads it is set to. Below 1, fastnet is faster."


def _book(glyphs: Glyphs) -> Iterator[str]:
    """Run the example of the book, the same seed for both."""

    def example(package: Any) -> Any:
        np.random.seed(0)
        x = np.random.randn(10, 2)
        return package.TwoLayerNet(2, 4, 3).predict(x)

    scores = example(fastnet)
    yield from _heading("The book's example", glyphs)
    yield "np.random.seed(0); x = np.random.randn(10, 2); TwoLayerNet(2, 4, 3).predict(x)"
    yield ""
    yield from ("".join(f"{score:12.6f}" for score in row) for row in scores)
    yield ""
    yield agreement(scores, example(reference))


class ReferenceNet:
    """The reference's layers, Affine, Sigmoid, Affine, on given weights."""

    def __init__(self, params: Sequence[Any]) -> None:
        W1, b1, W2, b2 = params
        self.layers: list[Any] = [reference.Affine(W1, b1), reference.Sigmoid(), reference.Affine(W2, b2)]

    def predict(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x


def pictures(images: Any, glyphs: Glyphs) -> Iterator[str]:
    """Draw 8 x 8 images of 0 to 16 side by side, a pixel two characters wide to come out square."""
    shades = np.array(list(glyphs.shades))
    levels = (images.astype(int) * (len(shades) - 1) + 8) // 16
    for row in levels.reshape(-1, 8, 8).swapaxes(0, 1):
        yield "".join(shades[row.ravel()].repeat(2))


def score_table(scores: Any, glyphs: Glyphs) -> Iterator[str]:
    """List the score of every class below each image, the highest marked."""
    best = scores.argmax(axis=1)
    for number, row in enumerate(scores.T):
        yield _cells(
            f"{number}  {score:8.3f} {glyphs.best if number == top else ''}"
            for score, top in zip(row, best, strict=True)
        )


def _cells(texts: Iterable[str]) -> str:
    return "".join(f" {text}".ljust(CELL) for text in texts)


def agreement(scores: Any, expected: Any) -> str:
    """Say in one line how far two answers differ, and what one rounding error would be."""
    difference, largest = np.abs(scores - expected).max(), np.abs(expected).max()
    return (
        f"Largest difference from the reference: {difference:.2g} "
        f"({scores.dtype} ulp at {largest:.3g}: {np.spacing(largest):.2g})."
    )


def duration(seconds: float, glyphs: Glyphs) -> str:
    """Three digits and a unit: 512 ns, 1.2 ms."""
    for unit, size in (("ns", 1e-9), (f"{glyphs.micro}s", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
