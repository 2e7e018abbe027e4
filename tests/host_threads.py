"""Threads: ``python -m tests.host_threads SCENARIO LAYER COUNT`` prints how many predicts it compared."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

import fastnet
from fastnet import Affine, Sequential
from fastnet.threads import limited
from tests.hosts import LARGE, SMALL, calls, main, make_net, together

THREADS = 8


def first_calls(count: int) -> int:
    """The very first calls of a process, on so many threads; nothing is compiled twice."""
    nets = [make_net((16, 32, 8), "float32") for _ in range(count)]
    small, large = np.ones((1, 16), np.float32), np.ones((6000, 16), np.float32)
    results: list[bytes] = []

    def first(i: int) -> None:
        results.append(nets[i].predict(large if i % 2 else small)[:1].tobytes())

    together([lambda i=i: first(i) for i in range(count)])
    assert set(results) == {nets[0].predict(small).tobytes()}
    assert len({id(net._shortcut.compiled) for net in nets}) == 1
    return count


def predicts(count: int) -> int:
    """So many on each of 8 threads, through networks shared by all and networks of their own."""
    shared = calls(SMALL + LARGE)
    own = [calls(SMALL + LARGE, seed) for seed in range(1, THREADS + 1)]

    def predict(thread: int) -> None:
        mixed = [call for pair in zip(shared, own[thread], strict=True) for call in pair]
        for i in range(count):
            mixed[(i + thread) % len(mixed)].check()

    together([lambda i=i: predict(i) for i in range(THREADS)])
    return THREADS * count


@contextmanager
def meanwhile(*disturbances) -> Iterator[None]:
    """Call these again and again on a thread of their own."""
    done = threading.Event()

    def disturb() -> None:
        while not done.is_set():
            for disturbance in disturbances:
                disturbance()
                done.wait(0.0002)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def settings(count: int) -> int:
    """While others set the number of threads, and run the garbage collector."""
    mixed = calls(SMALL + LARGE)

    def predict(thread: int) -> None:
        for i in range(count):
            with limited([None, 1, 2, 5][(i + thread) % 4]):
                mixed[(i + thread) % len(mixed)].check()

    sets = [lambda n=n: fastnet.set_num_threads(n) for n in (1, 4, 2, 3)]
    with meanwhile(*sets, gc.collect):
        together([lambda i=i: predict(i) for i in range(4)])
    return 4 * count


FAN_IN, ROWS = 256, 4000


def _ones_or_twos() -> tuple[Sequential, np.ndarray]:
    """With x all 1, W all 1 or all 2 and b = 0 every result is a sum that tells what was read."""
    net = Sequential([Affine(np.ones((FAN_IN, 20), np.float32), np.zeros(20, np.float32))])
    return net, np.ones((ROWS, FAN_IN), np.float32)


def edited(count: int) -> int:
    """Weights edited in place: every element is the sum of finite reads, each of an old or a new weight."""
    net, x = _ones_or_twos()
    W = net.layers[0].params[0]

    def predict() -> None:
        for i in range(count):
            y = net.predict(x if i % 2 else x[:3])
            assert ((y >= FAN_IN) & (y <= 2 * FAN_IN) & (y == np.rint(y))).all()

    with meanwhile(lambda: W.fill(2), lambda: W.fill(1)):
        together([predict] * 4)
    return 4 * count


def replaced(count: int) -> int:
    """Weights replaced, the old ones freed: a call has read those before or those after, whole."""
    net, x = _ones_or_twos()
    params = net.layers[0].params
    seen = set()

    def predict() -> None:
        for i in range(count):
            y = net.predict(x if i % 2 else x[:3])
            assert (y == y[0, 0]).all()
            seen.add(float(y[0, 0]))

    def replace(value: float) -> None:
        params[0] = np.full((FAN_IN, 20), value, np.float32)

    def renew() -> None:
        net.layers[0].params = params[:]  # the list itself
        net.layers[0].params = params

    with meanwhile(lambda: replace(2), lambda: replace(1), renew):
        together([predict] * 4)
    assert seen == {FAN_IN, 2 * FAN_IN}, f"nothing was replaced meanwhile: {seen}"
    return 4 * count


def dropped(count: int) -> int:
    """Networks that nobody but the call holds, on a pool of threads, and threads that end after one call."""
    x = np.random.default_rng(0).standard_normal((6000, 16)).astype(np.float32)
    want = make_net((16, 32, 8), "float32").predict(x).tobytes()

    def once() -> None:
        assert make_net((16, 32, 8), "float32").predict(x.copy()).tobytes() == want

    with ThreadPoolExecutor(THREADS) as pool, meanwhile(gc.collect):
        for done in [pool.submit(once) for _ in range(count)]:
            done.result()
        for _ in range(count // THREADS):
            together([once] * THREADS)
    return count + count // THREADS * THREADS


if __name__ == "__main__":
    main({f.__name__: f for f in (first_calls, predicts, settings, edited, replaced, dropped)})
