"""Numba's cache on disk, but with a file for each thing that is kept, and a checksum in it.

Numba's own keeps an index beside numbered files of machine code. A process that ends, or finds the disk
full, between writing the one and the other leaves an index that takes old code for new, and so may two
processes that write at once; and code with a hole in it, as a power cut leaves, is run. Here a file is named
by all that its contents depend on, so that it never comes to mean anything else, and what is damaged, or was
written under another name, is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from fastnet.kernels.jit import OPTIONS, whole, without_rewrites

_CHECKSUM_BYTES = 32


class _Files(IndexDataCacheFile):
    """Files without an index: a checksum of name and contents, then the contents."""

    def load(self, key: Any) -> Any:
        path = self._path(key)
        try:
            kept = path.read_bytes()
        except FileNotFoundError:
            return None
        contents = kept[_CHECKSUM_BYTES:]
        return pickle.loads(contents) if _checksum(path, contents) == kept[:_CHECKSUM_BYTES] else None

    def save(self, key: Any, data: Any) -> None:
        path, contents = self._path(key), dumps(data)
        with self._open_for_write(os.fspath(path)) as file:
            file.write(_checksum(path, contents) + contents)

    def _path(self, key: Any) -> Path:
        # signature, CPU, byte code and closure, which holds the digest of all kernel sources
        digest = hashlib.sha256(repr((numba.__version__, key)).encode()).hexdigest()
        return Path(self._cache_path, f"{Path(self._index_name).stem}.{digest[:16]}.nbc")


def _checksum(path: Path, contents: bytes) -> bytes:
    return hashlib.sha256(os.fsencode(path.name) + b"\0" + contents).digest()


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, None)


def cached(dispatcher: Any) -> Any:
    """Have what `numba.njit` returned load and keep its machine code here."""
    dispatcher._cache = _Cache(dispatcher.py_func)
    return dispatcher


def c_function(signature: Any, cache: bool) -> Callable[[Callable[..., Any]], Any]:
    """`numba.cfunc` with the options of all kernels, and with this cache if any."""

    def compile(function: Callable[..., Any]) -> Any:
        options = OPTIONS | without_rewrites(function)
        compiled: Any = CFunc(function, normalize_signature(signature), locals={}, options=options)
        if cache:
            compiled._cache = _Cache(function)
        whole(compiled.compile)()
        return compiled

    return compile
