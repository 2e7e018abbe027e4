"""Models in other processes and threads: ``python -m tests.workers WAY`` fails unless all bits are the same.

A program of its own: started by ``spawn``, a worker imports the main module again, and a ``fork`` is to meet
this package's threads and no others.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

import fastnet
from fastnet.estimators import Classifier, Regressor
from tests.models import ARCHITECTURES, BY_LABEL, DTYPES

LARGE = 40_000  # rows, enough for several threads


def models() -> Iterator[tuple[Any, list[np.ndarray]]]:
    """Every architecture, an estimator of each kind, and inputs: rows alone, batches, a large one."""
    for dtype in DTYPES:
        for architecture in ARCHITECTURES:
            x = architecture.x(dtype, 200)
            yield architecture.build(dtype), [x[:1], x[:3], x]
    x = BY_LABEL["wide"].x("float32", LARGE)
    yield BY_LABEL["wide"].build("float32"), [x, x[:7]]
    softmax, single = BY_LABEL["relu-softmax"], BY_LABEL["one output"]
    yield Classifier(softmax.build("float32"), ["a", "b", "c"]), [softmax.x("float32")]
    yield Classifier(single.build("float64"), [0, 1]), [single.x("float64")]
    yield Regressor(single.build("float64")), [single.x("float64")]


class All:
    """Several models as one, so that one pool of workers does for all."""

    def __init__(self, models: list[Any]) -> None:
        self.models = models

    def predict(self, inputs: list[list[np.ndarray]]) -> list[list[Any]]:
        return [[m.predict(x) for x in xs] for m, xs in zip(self.models, inputs, strict=True)]


Task = tuple[All, list[list[np.ndarray]]]


def work(task: Task) -> list[list[Any]]:
    models, inputs = task
    return models.predict(inputs)


def pool(start: str, tasks: list[Task]) -> list[Any]:
    """multiprocessing, with processes started in this way."""
    with multiprocessing.get_context(start).Pool(2) as workers:
        return workers.map(work, tasks, chunksize=1)


def executor(start: str, tasks: list[Task]) -> list[Any]:
    """concurrent.futures, with processes started in this way."""
    with ProcessPoolExecutor(2, multiprocessing.get_context(start)) as workers:
        return list(workers.map(work, tasks))


def threads(tasks: list[Task]) -> list[Any]:
    with ThreadPoolExecutor(4) as workers:
        return list(workers.map(work, tasks * 3))


def joblib(backend: str, tasks: list[Task]) -> list[Any]:
    """joblib, with all arrays but the smallest handed over as read-only memory maps."""
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=2, backend=backend, max_nbytes=64)(delayed(work)(task) for task in tasks))


WAYS: dict[str, Callable[[list[Task]], list[Any]]] = {
    "multiprocessing-fork": partial(pool, "fork"),
    "multiprocessing-spawn": partial(pool, "spawn"),
    "futures-fork": partial(executor, "fork"),
    "futures-spawn": partial(executor, "spawn"),
    "futures-threads": threads,
    "joblib-loky": partial(joblib, "loky"),
    "joblib-multiprocessing": partial(joblib, "multiprocessing"),
    "joblib-threading": partial(joblib, "threading"),
}


def main(way: str) -> None:
    fastnet.set_num_threads(2)
    made = list(models())
    fresh, used = All([model for model, _ in made]), All([model for model, _ in models()])
    inputs = [xs for _, xs in made]
    want = used.predict(inputs)
    compared = 0
    # without a call yet, and with what a call leaves on the object
    for result in WAYS[way]([(fresh, inputs), (used, inputs)]):
        for got, expected in zip(result, want, strict=True):
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)
                compared += a.size
    print(way, compared)


if __name__ == "__main__":
    main(sys.argv[1])
