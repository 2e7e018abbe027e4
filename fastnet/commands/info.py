"""``fastnet info``: what fastnet runs on here, and what it promises."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import fastnet

DESCRIPTION = """\
Say what fastnet runs on: versions, the CPU that kernels are compiled for, threads, the cache of compiled
kernels, whether results have the bits here that they have everywhere else, and any fall-back in force.
"""
#: packages that fastnet uses where they are, by their names at installation
OPTIONAL = ("onnx", "safetensors", "tqdm", "dask", "distributed", "scikit-learn", "matplotlib")


def add_to(commands: Any) -> None:
    """Add the sub-command to argparse's sub-parsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info", help="versions, CPU target, threads, cache, promises", description=DESCRIPTION
    )
    parser.add_argument(
        "--warmup",
        action="store_true",
        help="load the kernels, or compile them, as the first predict would, and say which it was",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each fact."""
    for name, text in facts(warm=arguments.warmup):
        print(f"{name:<16}{text}".rstrip(), flush=True)


def facts(warm: bool) -> Iterator[tuple[str, str]]:
    """Names and texts, in the order of the output; a name is empty where the line goes on."""
    yield from _listed("versions", _versions())
    yield "CPU target", _cpu_target()
    yield "vectors", _vectors()
    yield "threads", f"{fastnet.get_num_threads()} of {os.cpu_count()} CPUs"
    yield from _listed("cache", _cache())
    if warm:
        yield from _listed(
            "kernels", [f"{done.dtype}: {done.origin}, {done.seconds:.3g} s" for done in fastnet.warmup()]
        )
    promise = fastnet.guarantees()
    yield (
        "same bits",
        "yes: as on any CPU with IEEE arithmetic and fused multiply-add" if promise.same_bits else "no",
    )
    yield from _listed("fall-backs", [*promise.shortfalls, *_fall_backs()] or ["none"])


def _listed(name: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    yield from zip([name, *[""] * len(lines)], lines, strict=False)


def _versions() -> list[str]:
    main = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "llvmlite"))
    lines = [f"fastnet {fastnet.__version__}, Python {platform.python_version()}, {main}"]
    found = []
    for name in OPTIONAL:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return [*lines, ", ".join(found)]


def _cpu_target() -> str:
    from llvmlite import binding
    from numba.core import config

    name = config.CPU_NAME or binding.get_host_cpu_name()
    return f"{name} ({fastnet.guarantees().target})"


def _vectors() -> str:
    from fastnet.kernels import target

    lanes = ", ".join(f"{target.VECTOR_BYTES // size} x float{8 * size}" for size in (4, 8))
    return f"{8 * target.VECTOR_BYTES} bits: {lanes}"


def _cache_folder() -> Path | None:
    """Where Numba keeps the machine code of fastnet's kernels, or None if it finds no place."""
    from numba.core.caching import FunctionCache

    from fastnet.kernels import entry

    try:
        return Path(FunctionCache(entry.make_entries).cache_path)
    except RuntimeError:  # no locator available
        return None


def _cache() -> list[str]:
    folder = _cache_folder()
    if folder is None:
        return ["none: no folder can be written to"]
    # Numba's names begin with those of the module; other versions of Python keep theirs beside.
    tag = f".py{''.join(platform.python_version_tuple()[:2])}."
    files = [path for path in folder.glob("*.nbc") if tag in path.name]
    if not files:
        state = "empty: the first call compiles, for some ten seconds"
    else:
        size = sum(path.stat().st_size for path in files)
        state = f"{len(files)} pieces of machine code, {size / 1e6:.1f} MB"
    return [str(folder), state]


def _fall_backs() -> list[str]:
    """What does not run as it should, beyond the shortfalls of `guarantees`."""
    from fastnet.kernels.headers import layout_is_known

    found = []
    if not layout_is_known():
        found.append("this Python or NumPy lays out arrays in a way that the kernels do not know: none runs")
    if _cache_folder() is None:
        found.append("no cache: every process compiles its kernels anew; set NUMBA_CACHE_DIR to a folder")
    return found
