"""Training at once, forked, interrupted: ``python -m tests.host_training SCENARIO LAYER COUNT``.

Each scenario prints how often it trained.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import fastnet
from fastnet import Affine, Sequential, Sigmoid
from tests.host_processes import STARTS, end_in_every_way, forked, run
from tests.host_threads import meanwhile
from tests.hosts import LARGE, SMALL, calls, is_only_printed, together

THREADS = 8
OPTIMIZERS: list[Callable[[], Any]] = [
    lambda: fastnet.SGD(0.5), lambda: fastnet.Momentum(0.05), lambda: fastnet.Adam(0.01),
]  # fmt: skip


def network(sizes: tuple[int, ...], dtype: str, seed: int, order: str = "C") -> Sequential:
    """Affine layers with sigmoids between them."""
    rng, layers = np.random.default_rng(seed), []
    for shape in pairwise(sizes):
        W, b = rng.standard_normal(shape) / shape[0] ** 0.5, rng.standard_normal(shape[1])
        layers += [Affine(np.asarray(W, dtype, order=order), b.astype(dtype)), Sigmoid()]
    return Sequential(layers[:-1])


class Job:
    """A network to be trained, and what comes of it on one thread with nothing else going on."""

    def __init__(
        self, sizes: tuple[int, ...], rows: int, batch: int, dtype: str, seed: int = 0, order: str = "C"
    ) -> None:
        self.sizes, self.batch, self.dtype, self.seed, self.order = sizes, batch, dtype, seed, order
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((rows, sizes[0])).astype(dtype)
        self.t = rng.integers(0, sizes[-1], rows)
        self.optimizer = OPTIMIZERS[seed % 3]
        with fastnet.threads.limited(1):
            self.want = self.fit()

    def start(self) -> tuple[Sequential, Any]:
        return network(self.sizes, self.dtype, self.seed, self.order), self.optimizer()

    def fit(self) -> list[bytes]:
        net, optimizer = self.start()
        fastnet.fit(net, self.x, self.t, 2, self.batch, optimizer, seed=self.seed)
        return state(net, optimizer)

    def loop(self, then: Callable[..., Any] = lambda *_: None, epochs: int = 2) -> list[bytes]:
        """As `fit`, step by step; then(net, optimizer) after each."""
        (net, optimizer), generator = self.start(), np.random.default_rng(self.seed)
        for _ in range(epochs):
            order = generator.permutation(len(self.x))
            for first in range(0, len(order), self.batch):
                batch = order[first : first + self.batch]
                net.forward(self.x[batch], self.t[batch])
                net.backward()
                optimizer.update(net.params, net.grads)
                then(net, optimizer)
        return state(net, optimizer)

    def check(self, i: int = 0) -> None:
        if (self.loop() if i % 2 else self.fit()) != self.want:
            raise AssertionError(f"wrong bits: {self.sizes}, {len(self.x)} rows, {self.dtype}")


def state(net: Any, optimizer: Any) -> list[bytes]:
    """The bits of the weights and of what the optimiser remembers."""
    held = [getattr(optimizer, name, None) or [] for name in ("m", "v")]
    return [a.tobytes() for arrays in (net.params, *held) for a in arrays]


#: the last one's steps are shared out over threads
SIZES = [((2, 10, 3), 71, 7), ((64, 32, 10), 200, 32), ((256, 128, 10), 640, 640)]


def jobs(seed: int = 0, sizes: Any = SIZES) -> list[Job]:
    return [
        Job(*problem, dtype, seed + i, order)
        for i, problem in enumerate(sizes)
        for dtype, order in (("float32", "C"), ("float64", "F"))
    ]


def train_all() -> int:
    """For children that have to compute even what is expected."""
    for job in jobs():
        job.check(0)
        job.check(1)
    return os.getpid()


def trains(count: int) -> int:
    """Threads that train networks of their own, by `fit` and by the loop, while others predict."""
    own, mixed, done = [jobs(seed) for seed in range(THREADS)], calls(SMALL + LARGE), threading.Event()
    busy = threading.Semaphore(0)

    def train(thread: int) -> None:
        try:
            for i in range(count):
                own[thread][(i // 2 + thread) % len(own[thread])].check(i)
        finally:
            busy.release()

    def predict() -> None:
        while not done.is_set():
            for call in mixed:
                call.check()

    def wait() -> None:
        for _ in range(THREADS):
            busy.acquire()
        done.set()

    together([predict, predict, wait, *[lambda i=i: train(i) for i in range(THREADS)]])
    return THREADS * count


#: what may come of arrays that change in between
DOCUMENTED = (ValueError, TypeError, RuntimeError, FloatingPointError)


def same(count: int) -> int:
    """Threads that train one network, with one optimiser, while its parts are replaced and it predicts."""
    net, optimizer = network((64, 32, 10), "float64", 0), fastnet.Momentum(1e-4)
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((5000, 64)), rng.integers(0, 10, 5000)
    kept, right = [list(layer.params) for layer in net.layers[::2]], t.copy()
    trained = 0

    def allowed(call: Callable[[], Any]) -> None:
        nonlocal trained
        try:
            call()
            trained += 1
        except DOCUMENTED:
            pass

    def fit() -> None:
        for _ in range(count):
            allowed(lambda: fastnet.fit(net, x, right, 1, 500, optimizer))

    def step() -> None:
        net.forward(x, t)
        net.backward()
        optimizer.update(net.params, net.grads)

    def loop() -> None:
        for _ in range(count):
            allowed(step)

    def predict() -> None:
        for i in range(4 * count):
            assert np.isfinite(net.predict(x[: 1 + 99 * (i % 2)])).all()

    def replace() -> None:
        for layer, params in zip(net.layers[::2], kept, strict=True):
            layer.params = [p.copy() for p in params]
            layer.params[0] = params[0].copy()
            layer.grads[0] = np.zeros_like(params[0])
        net.layers[0] = Affine(*(p.copy() for p in kept[0]))
        net.params[:] = [p for layer in net.layers for p in layer.params]

    def forget() -> None:
        if optimizer.v is not None:
            optimizer.v.clear()
        optimizer.v = None

    with meanwhile(replace, forget, lambda: t.fill(1 << 40), lambda: np.copyto(t, right), gc.collect):
        together([fit, fit, loop, loop, predict])
    assert trained > count // 4, f"only {trained} came to their end"
    for layer, params in zip(net.layers[::2], kept, strict=True):
        for p, was in zip(layer.params, params, strict=True):
            assert p.shape == was.shape
            assert np.isfinite(p).all()
    return 4 * count


def forks(count: int) -> int:
    """Children of a process that has trained, and of threads while others train; and their children."""
    found, done = jobs(), threading.Event()

    def work() -> None:
        for i, job in enumerate(found):
            job.check(i)

    def work_and_fork() -> None:
        work()
        assert forked(work) == 0

    work()
    assert forked(work_and_fork) == 0

    def fit() -> None:
        while not done.is_set():
            work()

    def fork() -> None:
        try:
            for _ in range(count):
                assert forked(work) == 0
        finally:
            done.set()

    together([fit, fit, fork])
    return (3 + count) * len(found)


def workers(count: int) -> int:
    """Processes started in each way, after training here."""
    train_all()
    pids = set()
    for start in STARTS:
        with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as executor:
            pids |= {done.result() for done in [executor.submit(train_all) for _ in range(count)]}
    assert len(pids) == len(STARTS)
    return len(pids) * count


def interrupts(count: int) -> int:
    """SIGINT, once or several times, in `fit` and in the loop: the weights are those between two steps."""
    found = jobs(sizes=[((64, 32, 10), 320, 32), ((256, 128, 10), 640, 640)])
    found += [Job((64, 32, 10), 320, 32, "float64", 2, "F")]
    # more steps than a machine takes until the interrupt comes
    between = [steps_of(job, epochs=200 if job.batch == 32 else 60) for job in found]
    for job in found:
        job.check()  # which loads what has yet to be: Numba does not take interrupts there well
    armed, times, hits, rng = False, 1, [0, 0], np.random.default_rng(0)

    def interrupt(_: int, frame: Any) -> None:
        nonlocal armed
        if armed and not is_only_printed(frame):  # not in this test's own lines
            armed = times > 1
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGALRM, interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def train(job: Job, net: Any, optimizer: Any, by_fit: bool) -> None:
        nonlocal armed
        armed = True
        if by_fit:
            fastnet.fit(net, job.x, job.t, 4000, job.batch, optimizer, seed=job.seed)
        else:
            job.loop(epochs=4000)
        armed = False

    for i in range(count):
        by_fit, which = i % 4 > 0, i // 4 % len(found)
        job, times = found[which], 1 + (i % 3 == 2) * 3
        net, optimizer = job.start()
        job.start = lambda made=(net, optimizer): made  # type: ignore[method-assign]
        # again if it came too early
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3), 5e-5 if times > 1 else 3e-3)
        try:
            train(job, net, optimizer, by_fit)
            raise AssertionError("it came to its end")
        except KeyboardInterrupt:
            armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        del job.start
        hits[by_fit] += 1
        step = between[which].get(b"".join(p.tobytes() for p in net.params))
        assert all(np.isfinite(p).all() for p in net.params)
        if job.order == "C" or (times == 1 and by_fit):  # else NumPy's steps, or copies, one after the other
            assert step is not None, f"half a step: {i}, {job.order}, by_fit={by_fit}, times={times}"
        if times == 1 and by_fit:
            assert getattr(optimizer, "iter", step) == step
        if i % 8 == 0:
            job.check(i // 8)
    return sum(hits)


def steps_of(job: Job, epochs: int) -> dict[bytes, int]:
    """The weights after each step, and its number."""
    net, _ = job.start()
    found = {b"".join(p.tobytes() for p in net.params): 0}
    job.loop(
        lambda net, _: found.setdefault(b"".join(p.tobytes() for p in net.params), len(found)), epochs=epochs
    )
    return found


def ends(count: int) -> int:
    """Children that end in every way while a thread trains, or train while they end."""
    return end_in_every_way([partial(job.check, i) for i, job in enumerate(jobs())], count)


if __name__ == "__main__":
    run({f.__name__: f for f in (trains, same, forks, workers, interrupts, ends)})
    sys.exit(0)
