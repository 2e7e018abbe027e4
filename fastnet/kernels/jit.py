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


@contextmanager
def compiling() -> Iterator[None]:
    """Surroundings of the compiler.

    Without the cyclic garbage collector, which takes a tenth of the time; and also where NUMBA_DISABLE_JIT is
    set: that lets the user's functions run in Python, for a debugger or for coverage, but kernels work on
    addresses, which Python cannot do.
    """
    was_on, disabled = gc.isenabled(), config.DISABLE_JIT
    gc.disable()
    config.DISABLE_JIT = 0
    try:
        yield
    finally:
        config.DISABLE_JIT = disabled
        if was_on:
            gc.enable()


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` in these surroundings, now and whenever the function is compiled."""

    def decorate(function: Callable[..., Any]) -> Any:
        with compiling():
            compiled = numba.njit(**options)(function)
        compiled.compile = compiling()(compiled.compile)
        return compiled

    return decorate


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that only other compiled functions call: it needs no way in from Python or C.

    Left alone, Numba would compile it anew for every number that a caller writes out as an argument.
    """
    compiled = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(function)
    template = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: template(tuple(map(types.unliteral, args)), kws)
    return compiled


def source_digest() -> str:
    """Digest of every kernel source and of the settings that change what they compile to."""
    digest = hashlib.sha256(f"{config.OPT} {config.LOOP_VECTORIZE} {config.SLP_VECTORIZE}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
