"""Calls without memory: ``python -m tests.scarce_memory WHAT`` prints as JSON how many were tried.

A program of its own, so that a signal and a hang are told from an exception. Whatever is neither the right
answer nor a MemoryError, leaves a reference behind or keeps the next call from its answer, is raised.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import signal
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import fastnet
from fastnet import threads

DTYPES = ("float32", "float64")
#: at these settings of malloc, what is larger than a few pages is asked of the system, and given back to it
MALLOC = {"MALLOC_TOP_PAD_": "0", "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}
PIECE = 16384
#: how a SystemError begins that is not ours: calls of classes, as CPython 3.11 makes them without memory
NOT_OURS = "<class '"
#: calls that go straight to the compiled entry point
COMPILED = ("one row,", "result,", "scratch,", "softmax,")


class Call:
    """A call with its right answer."""

    def __init__(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        self.name, self.function = name, function
        self.arguments = [a.copy() if a.flags.c_contiguous else a[:] for a in arguments]
        self.want = np.array(function(*self.arguments))

    def attempt(self) -> Any:
        """Its answer, or None if there was not enough memory for it."""
        try:
            return self.function(*self.arguments)
        except MemoryError:
            return None
        except SystemError as error:
            where = traceback.extract_tb(error.__traceback__)[-1].filename
            if not str(error).startswith(NOT_OURS) and os.sep + "numpy" + os.sep not in where:
                raise
            return None

    def check(self, got: Any) -> None:
        """Not by bits: where NumPy has no memory to compare dtypes, the reference answers."""
        if got.dtype != self.want.dtype or not np.allclose(got, self.want, rtol=1e-4, atol=1e-6):
            raise AssertionError(f"{self.name}: another answer")

    def again(self) -> None:
        got = self.attempt()
        if got is None:
            raise AssertionError(f"{self.name}: no memory when there is")
        self.check(got)


def network(sizes: tuple[int, ...], dtype: str, last: Any = None) -> Any:
    rng = np.random.default_rng(0)
    layers: list[Any] = []
    for fan_in, fan_out in pairwise(sizes):
        W, b = rng.standard_normal((fan_in, fan_out)), rng.standard_normal(fan_out)
        layers += [fastnet.Affine((W / fan_in**0.5).astype(dtype), b.astype(dtype)), fastnet.Sigmoid()]
    return fastnet.Sequential(layers[:-1] + ([last] if last else []))


def calls() -> Iterator[Call]:
    """Each way through the library that allocates: results, scratch, packed weights, conversions, threads."""
    for dtype in DTYPES:
        rng = np.random.default_rng(1)
        small, wide, large = (
            network((2, 10, 3), dtype),
            network((64, 128, 10), dtype),
            network((700, 900, 5), dtype),
        )
        x2, x64 = rng.standard_normal((2500, 2)).astype(dtype), rng.standard_normal((100, 64)).astype(dtype)
        x700 = rng.standard_normal((240, 700)).astype(dtype)
        softmax = network((64, 128, 10), dtype, fastnet.Softmax())
        deep = network((4,) * 40, dtype)
        yield Call(f"one row, {dtype}", small.predict, x2[:1].copy())
        yield Call(f"result, {dtype}", small.predict, x2)
        yield Call(f"scratch, {dtype}", wide.predict, x64)
        yield Call(f"scratch and out, {dtype}", wide.predict, x64, np.empty((100, 10), dtype))
        yield Call(f"softmax, {dtype}", softmax.predict, x64)
        yield Call(f"two threads, {dtype}", large.predict, x700)
        yield Call(f"two threads, one layer, {dtype}", large.layers[0].forward, x700)
        yield Call(
            f"two threads, transposed weights, {dtype}",
            fastnet.Affine(np.ones((900, 700), dtype).T, np.ones(900, dtype)).forward,
            x700,
        )
        yield Call(f"many layers, {dtype}", deep.predict, np.ones((900, 4), dtype))
        yield Call(f"activation, {dtype}", fastnet.Sigmoid().forward, x64)
        yield Call(f"softmax alone, {dtype}", fastnet.Softmax().forward, x64)
        yield Call(f"strided activation, {dtype}", fastnet.Tanh().forward, x64[:, ::2])
        yield Call(f"converted, {dtype}", wide.predict, np.ones((100, 64), np.int64))
        yield Call(f"byte-swapped, {dtype}", wide.predict, x64.astype(x64.dtype.newbyteorder("S")))
        yield Call(f"reference, {dtype}", wide.predict, np.ones((100, 64), complex))


@contextmanager
def scarcity(left: int) -> Iterator[None]:
    """No more memory, from the system or from malloc, than pieces of 16 KB, so many of them."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    eaten: list[Any] = []
    resource.setrlimit(resource.RLIMIT_AS, (held, hard))
    try:
        for size in (1 << 20, 1 << 17, PIECE):
            with suppress(MemoryError):
                while True:
                    eaten.append(np.empty(size, np.uint8))
        del eaten[len(eaten) - left :]
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        eaten.clear()


def references() -> dict[str, int]:
    """How many there are to what every call counts; a lost array holds one to its dtype."""
    gc.collect()
    return {name: sys.getrefcount(np.dtype(name)) for name in DTYPES}


def checked(call: Call, before: dict[str, int], allowed: int = 4) -> None:
    """Raise unless the call has its answer again, and nothing is left of those that failed."""
    call.again()
    lost = {name: count - before[name] for name, count in references().items()}
    if any(n > allowed for n in lost.values()):  # a few, for what is kept on purpose, once
        raise AssertionError(f"{call.name}: references left behind: {lost}")


def tight(steps: int, of: Callable[[], Iterator[Call]] = calls) -> dict[str, int]:
    """Next to no memory, then a piece more, and so on, for every call."""
    found = {"tried": 0, "without memory": 0, "calls without memory": 0}
    for call in of():
        before, failed = references(), 0
        for left in range(steps):
            faulthandler.dump_traceback_later(60, exit=True)
            got = None
            with suppress(MemoryError), scarcity(left):  # maybe in this program's own frames
                got = call.attempt()
            faulthandler.cancel_dump_traceback_later()
            if got is None:
                failed += 1
            else:
                call.check(got)
            call.again()
        checked(call, before)
        found["tried"] += steps
        found["without memory"] += failed
        found["calls without memory"] += failed > 0
    return found


def nth(most: int) -> dict[str, int]:
    """Each allocation of Python's own that a call makes fails in turn, with all that follow or alone."""
    from _testcapi import remove_mem_hooks, set_nomemory

    # what hangs ends the program; faulthandler's own watch is a thread, which may begin while hooks change
    faulthandler.register(signal.SIGALRM, chain=True)
    found = {"tried": 0, "without memory": 0}
    for call in calls():
        if call.name.startswith("reference"):  # np.errstate of NumPy 2.4 crashes
            continue
        before = references()
        arguments = [weakref.ref(a) for a in call.arguments]
        count = most
        for alone in (False, True):
            for n in range(1, count + 1):
                signal.alarm(60)
                got = None
                set_nomemory(n, n + 1 if alone else 0)
                try:
                    got = call.attempt()
                except MemoryError:  # in this program's own frames
                    got = None
                finally:
                    remove_mem_hooks()
                signal.alarm(0)
                found["tried"] += 1
                if got is None:
                    found["without memory"] += 1
                else:
                    call.check(got)
                call.again()
                if got is not None and not alone:
                    count = n
                    break
        # CPython itself loses the arguments of a function with closures if it has no memory for their cells
        compiled = call.name.startswith(COMPILED)
        checked(call, before, 4 if compiled else 64)
        call.arguments = []
        gc.collect()
        if compiled and any(reference() is not None for reference in arguments):
            raise AssertionError(f"{call.name}: an argument is kept alive")
    return found


def main() -> None:
    threads.set_num_threads(2)
    threads._PAYS = 1 << 16  # threads for calls of this size
    what, *numbers = sys.argv[1:]
    print(json.dumps({"tight": tight, "nth": nth}[what](*map(int, numbers))))


if __name__ == "__main__":
    main()
