"""Every way through the kernels, a short problem each: what ``gate.py`` compares two commits by.

A problem spends nearly all its time in the kernel that its name says (``fastnet.explain`` says the same), so
that a slower kernel shows undiluted and by name. One process measures all of them, in ``setup_cache``; the
benchmarks hand on its figures, as a sample each: ``asv run --append-samples`` collects one a process.
"""

from __future__ import annotations

import traceback
from itertools import product
from random import SystemRandom
from typing import Any, ClassVar, NamedTuple

import numpy as np

import fastnet
from benchmarks import rounds
from benchmarks.common import ACTIVATIONS, DTYPES, Problem, draw, one_thread, sequential, twin
from fastnet import reference
from fastnet.timing import Timing


class Way(NamedTuple):
    """Affine layers of these sizes, then the activation; of one size, the activation alone."""

    sizes: tuple[int, ...]
    rows: int
    activation: str = ""
    #: whether weights lie column by column
    transposed: bool = False
    #: bytes behind the start of a cache line where weights begin: how NumPy puts them changes from run to run
    begins: int = 0


#: Append only.
WAYS = {
    "call": Way((2, 4, 3), 1, "sigmoid"),
    "one row": Way((64, 128), 1),
    "one row, streamed": Way((512, 512), 1),
    "few rows": Way((240, 240), 8),
    "few rows, streamed": Way((512, 512), 8),
    "in place": Way((240, 240), 240),
    "in place, sigmoid": Way((64, 240), 240, "sigmoid"),
    "packed": Way((640, 640), 96),
    "packed, transposed": Way((240, 240), 96, transposed=True),
    "narrow": Way((128, 4), 640),
    "samples in lanes": Way((4, 8, 4), 960),
    "samples in lanes, softmax": Way((4, 8, 4), 960, "softmax"),
    "sigmoid": Way((128,), 256, "sigmoid"),
    "tanh": Way((128,), 256, "tanh"),
    "relu": Way((128,), 256, "relu"),
    "softmax": Way((128,), 256, "softmax"),
    "few rows, transposed": Way((240, 240), 4, transposed=True),
    # or in place, where vectors across lines take no longer than others
    "one row, across lines": Way((256, 256), 1, begins=16),
    "packed, across lines": Way((240, 240), 240, begins=16),
}


def placed(W: np.ndarray, way: Way) -> np.ndarray:
    """A copy of weights that lies as a way has them; made here, as an older fastnet is measured, too."""
    memory = np.empty(W.nbytes + 128, np.uint8)
    first = -memory.ctypes.data % 64 + way.begins
    shape = W.shape[::-1] if way.transposed else W.shape
    copy = memory[first : first + W.nbytes].view(W.dtype).reshape(shape)
    copy = copy.T if way.transposed else copy
    copy[...] = W
    return copy


def way_problem(name: str, dtype: str, max_size: int | None = None) -> Problem:
    """Return the problem of a way, or raise NotImplementedError if this fastnet lacks a layer of it."""
    way = WAYS[name]
    affine, x = draw(name, (way.sizes, way.rows), dtype, max_size)
    affine = [reference.Affine(placed(W, way), b) for W, b in (layer.params for layer in affine)]
    layers = [*affine, *([ACTIVATIONS[way.activation]()] if way.activation else [])]
    if lacking := {type(layer).__name__ for layer in layers} - set(fastnet.__all__):
        raise NotImplementedError(f"this fastnet has no {', '.join(lacking)}")
    net = reference.TwoLayerNet(1, 1, 1)
    net.layers = layers
    ours = twin(layers[0]).forward if len(layers) == 1 else sequential(layers).predict
    return Problem(layers, x, net.predict, ours)


def problems(max_size: int | None) -> dict[tuple[str, str], Problem]:
    """Every way in both dtypes, but those that this fastnet lacks."""
    found = {}
    for name, dtype in product(WAYS, DTYPES):
        try:
            found[name, dtype] = way_problem(name, dtype, max_size)
        except NotImplementedError:
            continue
    return found


class Answers:
    """Whether the answers are right: to be run before anything is timed."""

    params = (list(WAYS), DTYPES)
    param_names = ("way", "dtype")
    max_size: int | None = None

    def setup_cache(self) -> dict[tuple[str, str], float | str]:
        """Way and dtype -> the largest error over its bound, or what is wrong."""
        one_thread()
        found: dict[tuple[str, str], float | str] = {}
        for place, problem in problems(self.max_size).items():
            try:
                found[place] = problem.verify()
            except Exception:  # one that fails must not hide the others
                found[place] = traceback.format_exc()
        return found

    def track_error(self, found: dict[tuple[str, str], float | str], way: str, dtype: str) -> float:
        error = found.get((way, dtype), float("nan"))
        if isinstance(error, str):
            raise RuntimeError(error)
        return error

    track_error.unit = "of what rounding explains"  # type: ignore[attr-defined]


class Ways:
    """Time and ratio of every way, one sample of each."""

    params = (list(WAYS), DTYPES)
    param_names = ("way", "dtype")
    max_size: int | None = None
    timing: ClassVar[dict[str, Any]] = {"rounds": rounds(7), "min_time": 0.002}

    def setup_cache(self) -> dict[tuple[str, str], Timing]:
        one_thread()
        # Memory lies differently in every process, or else well for one commit and badly for another.
        draw = SystemRandom()
        scattered = [bytearray(draw.randrange(1, 2048)) for _ in range(draw.randrange(1000, 3000))]
        del scattered[:: draw.randrange(2, 5)]
        found = problems(self.max_size)
        return {place: problem.compare(**self.timing)["fastnet"] for place, problem in found.items()}

    def track_time_ratio(self, found: dict[tuple[str, str], Timing], way: str, dtype: str) -> Any:
        return sample(found[way, dtype].ratio if (way, dtype) in found else float("nan"))

    def track_seconds(self, found: dict[tuple[str, str], Timing], way: str, dtype: str) -> Any:
        return sample(found[way, dtype].seconds if (way, dtype) in found else float("nan"))

    track_time_ratio.unit = "fastnet / reference"  # type: ignore[attr-defined]
    track_seconds.unit = "seconds"  # type: ignore[attr-defined]


def sample(value: float) -> Any:
    """A figure in the form in which asv keeps all of them, not the last alone; nothing, if it is NaN."""
    return value if np.isnan(value) else {"samples": [value], "number": 1}
