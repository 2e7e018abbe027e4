"""The one place for compile options, and the digest that ties cached code to the kernel sources."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core import config

#: no fastmath: contraction is written out as fma, and nothing else may be reordered
OPTIONS = {"error_model": "numpy", "boundscheck": False}


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, but NUMBA_DISABLE_JIT does not apply: the user's functions are to run in Python, for a
    debugger or for coverage, while kernels work on addresses, which Python cannot do.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        disabled = config.DISABLE_JIT
        config.DISABLE_JIT = 0
        try:
            return numba.njit(**options)(function)
        finally:
            config.DISABLE_JIT = disabled

    return decorate


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that only other compiled functions call: it needs no way in from Python or C.

    Left alone, Numba would compile it anew for every number that a caller writes out as an argument.
    """
    compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(function)
    template = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: template(tuple(map(types.unliteral, args)), kws)
    return compiled


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic garbage collector, which takes a tenth of the time that Numba compiles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def source_digest() -> str:
    """Digest of every kernel source and of the settings that change what they compile to."""
    digest = hashlib.sha256(f"{config.OPT} {config.LOOP_VECTORIZE} {config.SLP_VECTORIZE}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
