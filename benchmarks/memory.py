"""Peak memory: of a whole process that predicts once, and what a call takes beyond its output.

``python -m benchmarks.memory --check`` prints the second and exits with 1 if it is above 8 MiB anywhere.
``--predict`` measures ``fastnet predict`` on the command line instead (extra ``safetensors``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import few_if_one_round
from benchmarks.common import (
    DTYPES,
    NETWORKS,
    WrongAnswer,
    draw,
    network_problem,
    one_thread,
    rounding_error,
    sequential,
    shown,
)
from benchmarks.processes import printed
from benchmarks.table import markdown_table, with_tables
from fastnet import reference

ALLOWED = 8 * 2**20
#: what the command line runs over files of so many rows
COMMAND = ("16-32-8", "float32")
COMMAND_ROWS = (1000, 1_000_000, 10_000_000)

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

    params = (
        few_if_one_round(["2-10-3 x 1000000", "30-100-2 x 20000", "784-128-10 x 4096"]),
        DTYPES,
        ["reference", "fastnet"],
    )
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

    params = (few_if_one_round(EXTREMES), DTYPES)
    param_names = ("problem", "dtype")
    max_size: int | None = None
    timeout = 600

    def setup_cache(self) -> None:
        for dtype in DTYPES:  # compiles
            growth("784-128-10 x 1", dtype, 1)

    def track_mebibytes(self, problem: str, dtype: str) -> float:
        return max(growth(problem, dtype, self.max_size), 0) / 2**20

    track_mebibytes.unit = "MiB"  # type: ignore[attr-defined]


_COMMAND = """
from pathlib import Path
from fastnet import cli
assert cli.main({arguments!r}) == 0
lines = Path("/proc/self/status").read_text().splitlines()
print(*(line.split()[1] for line in lines if line.startswith("VmHWM:")))
"""


def command_peak(rows: int) -> tuple[int, int]:
    """Bytes of a .npy of so many rows, and the peak of a process that runs ``fastnet predict`` over it."""
    import fastnet

    label, dtype = COMMAND
    with TemporaryDirectory() as folder:
        model, x, y = (str(Path(folder) / name) for name in ("model.safetensors", "x.npy", "y.npy"))
        layers, few = draw(label, (NETWORKS[f"{label} x 1"][0], 1000), dtype, None)
        fastnet.save(sequential([layers[0], reference.Sigmoid(), layers[1]]), model)
        array = np.lib.format.open_memmap(x, "w+", dtype, (rows, few.shape[1]))
        for start in range(0, rows, len(few)):
            array[start : start + len(few)] = few[: rows - start]
        del array
        for _ in range(2):  # the first may compile
            peak = printed(_COMMAND.format(arguments=["predict", model, x, "-o", y]))
        return Path(x).stat().st_size, int(peak) * 1024


def command_table(batches: Iterable[int]) -> str:
    rows = []
    for batch in batches:
        size, peak = command_peak(batch)
        rows.append([f"{batch:,}", f"{size / 1e6:.3g} MB", f"{peak / 1e6:.0f} MB"])
    return markdown_table([f"rows through {COMMAND[0]}, {COMMAND[1]}", "INPUT", "peak of the process"], rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--only", default="", help="problems whose label contains this")
    parser.add_argument("--check", action="store_true", help="exit 1 if a call takes more than 8 MiB")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    parser.add_argument("--predict", action="store_true", help="the peak of fastnet predict instead")
    parser.add_argument(
        "--write",
        metavar="FILE",
        nargs="?",
        type=Path,
        const=Path("README.md"),
        help="with --predict: write the table between its markers (README.md)",
    )
    options = parser.parse_args(argv)
    if options.write and not options.predict:
        parser.error("--write goes with --predict")
    if options.predict:
        if options.write:  # a file that cannot take the table fails now
            with_tables(options.write, {"predict-memory": ""})
        text = command_table(COMMAND_ROWS)
        if options.write:
            options.write.write_text(with_tables(options.write, {"predict-memory": text}), encoding="utf-8")
        print(text)
        return 0
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
