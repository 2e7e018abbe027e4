"""Peak memory: of a whole process that predicts once, and what a call takes beyond its output.

``python -m benchmarks.memory --check`` prints the second and exits with 1 if it is above 8 MiB anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.common import (
    DTYPES,
    WrongAnswer,
    draw,
    network_problem,
    one_thread,
    rounding_error,
    sequential,
    shown,
)
from benchmarks.processes import printed
from benchmarks.table import markdown_table
from fastnet import reference

ALLOWED = 8 * 2**20

#: Label -> (sizes, batch): few rows and many, through few units and many. Append only.
EXTREMES = {
    f"{'-'.join(map(str, sizes))} x {batch}": (sizes, batch)
    for sizes, batches in (
        ((784, 128, 10), (1, 64, 4096, 20_000)),
        ((4096, 4096, 4096), (1, 64, 4096, 20_000)),
        ((10, 4096, 2), (20_000,)),
        ((4096, 10, 4096), (20_000,)),
        ((2, 10, 3), (1_000_000,)),
        ((32,) * 16, (20_000,)),
    )
    for batch in batches
}


class Memory:
    """Reference and fastnet on the same problems: large batches, where a hidden layer may cost memory or not.

    Verification would count as memory, so it has a process of its own: asv's ``setup_cache``. That run also
    compiles, so that what is left to measure is a process with a warm cache.
    """

    params = (["2-10-3 x 1000000", "30-100-2 x 20000", "784-128-10 x 4096"], DTYPES, ["reference", "fastnet"])
    param_names = ("problem", "dtype", "implementation")
    max_size: int | None = None

    def setup_cache(self) -> None:
        for problem, dtype in product(*self.params[:2]):
            network_problem(problem, dtype, max_size=self.max_size).verify()

    def setup(self, problem: str, dtype: str, implementation: str) -> None:
        one_thread()
        self.call = getattr(network_problem(problem, dtype, max_size=self.max_size), implementation)

    def peakmem_predict(self, *params: str) -> None:
        self.call()


def _status(name: str) -> int:
    """Bytes that the kernel counts for this process under a name: VmRSS, VmHWM (its peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise NotImplementedError(f"this system does not tell {name}")


def beyond_output(predict: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> tuple[int, np.ndarray]:
    """By how many bytes the peak of this process grows in a call, its output not counted; and the output."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    out = predict(x)
    return _status("VmHWM") - before - out.nbytes, out


def growth_here(label: str, dtype: str, max_size: int | None = None) -> int:
    """``beyond_output`` of a network's first call with many rows, which has to be right."""
    affine, x = draw(label, EXTREMES[label], dtype, max_size)
    layers = [part for layer in affine for part in (layer, reference.Sigmoid())][:-1]
    model = sequential(layers)
    model.predict(x[:1])  # loads the kernels
    found, out = beyond_output(model.predict, x)
    few = np.ascontiguousarray(x[-2:])
    net = reference.TwoLayerNet(1, 1, 1)
    net.layers = layers
    bound = 2 * rounding_error(layers, few)
    if not (abs(out[-2:] - net.predict(few)) <= bound).all():
        raise WrongAnswer(f"{label}, {dtype}")
    return found


def growth(label: str, dtype: str, max_size: int | None = None) -> int:
    """``growth_here`` in a fresh process, whose allocator hands freed memory back: none is reused unseen."""
    if not Path("/proc/self/clear_refs").exists():
        raise NotImplementedError("the peak of a call can be told on Linux only")
    at_once = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536")
    arguments = f"{label!r}, {dtype!r}, {max_size!r}"
    code = f"from benchmarks import memory; print(memory.growth_here({arguments}))"
    return int(printed(code, MALLOC_TOP_PAD_="0", **at_once))


class Growth:
    """Memory of a call beyond its output, all threads included."""

    params = (list(EXTREMES), DTYPES)
    param_names = ("problem", "dtype")
    max_size: int | None = None
    timeout = 600

    def setup_cache(self) -> None:
        for dtype in DTYPES:  # compiles
            growth("784-128-10 x 1", dtype, 1)

    def track_mebibytes(self, problem: str, dtype: str) -> float:
        return max(growth(problem, dtype, self.max_size), 0) / 2**20

    track_mebibytes.unit = "MiB"  # type: ignore[attr-defined]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--only", default="", help="problems whose label contains this")
    parser.add_argument("--check", action="store_true", help="exit 1 if a call takes more than 8 MiB")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    options = parser.parse_args(argv)
    labels = [label for label in EXTREMES if options.only in label]
    if not labels:
        raise SystemExit(f"no problem's label contains {options.only!r}")
    found = {}
    for label, dtype in product(labels, DTYPES):
        found[label, dtype] = growth(label, dtype)
        print(f"{shown(label)}, {dtype}: {found[label, dtype] / 2**20:.2f} MiB", file=sys.stderr)
    rows = [
        [shown(label), *(f"{found[label, dtype] / 2**20:.2f} MiB" for dtype in DTYPES)] for label in labels
    ]
    print(markdown_table(["beyond the output", *DTYPES], rows))
    if options.json:
        points = [{"problem": n, "dtype": d, "bytes": size} for (n, d), size in found.items()]
        options.json.write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    return int(options.check and max(found.values()) > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
