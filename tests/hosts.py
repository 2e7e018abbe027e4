"""Processes of their own for what might crash or hang one, and what their programs share.

A test calls `tried`; the program it names, say ``python -m tests.host_threads SCENARIO LAYER COUNT``, calls
`main` with its scenarios. Whatever goes wrong there is another exit code than 0, a signal, or no end in time.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.random  # NumPy would import it late, and a fork meanwhile leaves the child half of it

import fastnet
from fastnet import Affine, ReLU, Sequential, Sigmoid, Softmax, Tanh

ROOT = Path(__file__).parent.parent
#: seconds after which a program hangs
PATIENCE = 300


def _has_tbb() -> bool:
    try:
        metadata.version("tbb")
    except metadata.PackageNotFoundError:
        return False
    return True


#: threading layers of Numba that a host may have launched, and none
LAYERS = ["none", "workqueue"]
LAYERS += ["omp"] if sys.platform == "linux" else []
LAYERS += ["tbb"] if _has_tbb() else []


def tried(program: str, scenario: str, layer: str, count: int, patience: int = PATIENCE, **env: str) -> int:
    """Run a scenario to its end and return how much it tried; AssertionError if it ends in any other way."""
    libraries = os.pathsep.join(filter(None, [f"{sys.prefix}/lib", os.environ.get("LD_LIBRARY_PATH")]))
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries, **env}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", program, scenario, layer, str(count)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        printed, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)  # with what it has started; faulthandler says where they are
        printed, errors = process.communicate()
        raise AssertionError(f"no end after {patience} s\n{errors}") from None
    code = process.returncode
    assert code == 0, f"{signal.Signals(-code).name if code < 0 else f'exit code {code}'}\n{errors}"
    assert "Traceback" not in errors, errors  # of a thread or a finalizer
    return int(printed.split()[-1])


def main(scenarios: dict[str, Callable[[int], int]]) -> None:
    """Run the scenario that the command line names, in a process with this layer of Numba at work."""
    scenario, layer, count = sys.argv[1:]
    faulthandler.enable()
    fastnet.set_num_threads(3)
    with layer_at_work(layer):
        print(scenarios[scenario](int(count)), flush=True)
        if layer == "tbb":  # after a fork beside it, Numba's TBB layer hangs at the end of the interpreter
            os._exit(0)


@contextmanager
def layer_at_work(layer: str) -> Iterator[None]:
    """Have a threading layer of Numba launched, and used by one thread, as two may not share some of them."""
    if layer == "none":
        yield
        return
    import numba

    numba.config.THREADING_LAYER = layer

    @numba.njit(parallel=True, cache=True)
    def total(values):
        found = 0.0
        for i in numba.prange(values.size):
            found += values[i]
        return found

    values, done = np.ones(1000), threading.Event()
    assert total(values) == 1000
    assert numba.threading_layer() == layer

    def use() -> None:
        while not done.wait(0.001):
            assert total(values) == 1000

    user = threading.Thread(target=use, daemon=True)
    user.start()
    yield
    done.set()
    user.join()


class Call(NamedTuple):
    """A network, an input, and the result on one thread with nothing else going on."""

    net: Any
    x: np.ndarray
    want: bytes

    def check(self, out: np.ndarray | None = None) -> None:
        result = self.net.predict(self.x) if out is None else self.net.predict(self.x, out=out)
        if result.tobytes() != self.want:
            raise AssertionError(f"wrong bits: x of shape {self.x.shape}, {self.x.dtype}")


def make_net(sizes: tuple[int, ...], dtype: str, seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    layers: list[Any] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        W, b = rng.standard_normal((fan_in, fan_out)) / fan_in**0.5, rng.standard_normal(fan_out)
        layers += [Affine(W.astype(dtype), b.astype(dtype)), (Sigmoid, Tanh, ReLU, Softmax)[(i + seed) % 4]()]
    return Sequential(layers)


SMALL = [((2, 4, 3), 1), ((16, 32, 8), 64), ((30, 100, 2), 7)]
#: enough for several threads, by little
LARGE = [((16, 32, 8), 6000), ((300, 100, 5), 300)]


def calls(problems: list[Any], seed: int = 0, dtypes: tuple[str, ...] = ("float32", "float64")) -> list[Call]:
    found = []
    before = fastnet.get_num_threads()
    fastnet.set_num_threads(1)
    for sizes, rows in problems:
        for dtype in dtypes:
            net = make_net(sizes, dtype, seed)
            x = np.random.default_rng(seed + 1).standard_normal((rows, sizes[0])).astype(dtype)
            found.append(Call(net, x, net.predict(x).tobytes()))
    fastnet.set_num_threads(before)
    return found


def is_only_printed(frame: Any) -> bool:
    """Whether Python would only print what is raised here: in a finalizer, a weak reference's callback."""
    while frame is not None:
        code, frame = frame.f_code, frame.f_back
        of_weakrefs = code.co_filename.endswith(("_weakrefset.py", "weakref.py"))
        if of_weakrefs or code.co_name in ("__del__", "on_disposal"):
            return True
    return False


def together(functions: list[Callable[[], Any]]) -> None:
    """Call each on a thread of its own, all begun at once; raise what one of them raises."""
    barrier, errors = threading.Barrier(len(functions)), []

    def run(function: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            function()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(function,)) for function in functions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
