"""Training without memory: ``python -m tests.scarce_training tight STEPS``, as ``tests.scarce_memory``.

After each failure the weights are those between two steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastnet
from fastnet import epochs, threads
from tests.scarce_memory import DTYPES, Call, network, tight

#: sizes, rows, rows of a batch, optimiser
PROBLEMS: list[tuple[Any, int, int, Callable[[], Any]]] = [
    ((2, 10, 3), 60, 30, lambda: fastnet.SGD(0.5)),
    ((64, 128, 10), 200, 100, lambda: fastnet.Adam(0.01)),
    ((300, 100, 5), 600, 300, lambda: fastnet.Momentum(0.05)),  # on two threads
]


class Training(Call):
    """Training from the same weights each time; its answer is the weights afterwards."""

    def __init__(self, name: str, net: Any, train: Callable[[Any, Any], None], x: Any, t: Any) -> None:
        self.params = [p for layer in net.layers for p in layer.params]
        self.before = [p.copy() for p in self.params]
        self.between: set[bytes] = set()

        def function(x: Any, t: Any) -> Any:
            train(x, t)
            return np.concatenate([p.ravel() for p in self.params])

        super().__init__(name, function, x, t)
        self.reset()

    def reset(self) -> None:
        for p, was in zip(self.params, self.before, strict=True):
            p[...] = was

    def bits(self) -> bytes:
        return b"".join(p.tobytes() for p in self.params)

    def again(self) -> None:
        if self.bits() not in self.between:
            raise AssertionError(f"{self.name}: half a step")
        self.reset()
        super().again()
        self.reset()


def calls() -> Iterator[Call]:
    """`fit` and the loop, each with buffers, copies, states of optimisers, threads."""
    for dtype in DTYPES:
        for sizes, rows, batch, optimizer in PROBLEMS:
            for way in ("fit", "loop"):
                net = network(sizes, dtype)
                for layer in net.layers[::2]:
                    if way == "fit" and sizes[0] == 64:  # trained in copies
                        layer.params[0] = np.asfortranarray(layer.params[0])
                rng = np.random.default_rng(1)
                x, t = rng.standard_normal((rows, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], rows)
                yield training(f"{way}, {sizes}, {dtype}", way, net, x, t, batch, optimizer)


def training(
    name: str, way: str, net: Any, x: Any, t: Any, batch: int, optimizer: Callable[[], Any]
) -> Training:
    def loop(x: Any, t: Any, then: Callable[[], object] = lambda: None) -> None:
        held = optimizer()
        params, grads = (
            [a for layer in net.layers for a in getattr(layer, name)] for name in ("params", "grads")
        )
        for first in range(0, len(x), batch):
            net.forward(x[first : first + batch], t[first : first + batch])
            net.backward()
            held.update(params, grads)
            then()

    def fit(x: Any, t: Any) -> None:
        fastnet.fit(net, x, t, 1, batch, optimizer(), shuffle=False)

    found = Training(name, net, fit if way == "fit" else loop, x, t)
    found.between.add(found.bits())
    loop(x, t, lambda: found.between.add(found.bits()))
    found.reset()
    return found


if __name__ == "__main__":
    threads.set_num_threads(2)
    threads._PAYS = 1 << 16
    epochs._PAYS = 1 << 25
    print(json.dumps(tight(int(sys.argv[2]), calls)))
