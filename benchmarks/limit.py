"""How near fastnet comes to what the machine could do: ``python -m benchmarks.limit`` (one core, one thread).

The limit of a call, in seconds::

    limit = fixed + max(flops / peak, bytes / bandwidth) + hidden * rows * sigmoid

    flops      2 * rows * sum(fan_in * fan_out)
    peak       of fused multiply-adds on registers alone, in the widest vectors that are quick
    bytes      of all weights: a call reads them at least once, which is what one row waits for
    bandwidth  of reading so many bytes over and over, from whichever cache or memory holds them
    hidden     units that an activation follows
    sigmoid    of one element of an array that fits the first-level cache, by fastnet's own kernel
    fixed      0.5 us: a Python call that makes the result and enters compiled code

peak, bandwidth and sigmoid are measured in rounds together with the call that they judge, so that a change of
clock speed falls on both. ``fixed`` is a constant, so that the bar is the same in every run; what the pieces
take on this machine is measured once and printed beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.common import DTYPES, NETWORKS, Problem, network_problem, one_thread
from benchmarks.table import (
    duration_text,
    machine_text,
    markdown_table,
    pinned_to_one_core,
    with_tables,
)
from fastnet import fused
from fastnet.kernels.table import SIGMOID
from fastnet.timing import take_turns

FIXED = 0.5e-6
#: bytes of the two arrays whose difference in time gives the sigmoid's cost: that of getting there cancels
SIGMOID_BYTES = (1536, 12288)
#: what a probe lasts, at least, so that entering it does not count
_PROBE_FLOPS, _PROBE_BYTES = 4_000_000, 4_000_000


class Point(NamedTuple):
    """One place of the grid: what was measured together, and the limit that follows."""

    problem: str
    dtype: str
    seconds: float
    limit: float
    peak: float  # flops a second
    bandwidth: float  # bytes a second, of reading the weights
    sigmoid: float  # seconds an element

    @property
    def share(self) -> float:
        return self.limit / self.seconds


def limit(
    layers: list[Any], rows: int, peak: float, bandwidth: float, sigmoid: float, fixed: float = FIXED
) -> float:
    """Seconds that a call cannot do without: the formula above."""
    weights = [layer.params[0] for layer in layers if layer.params]
    flops = 2 * rows * sum(W.size for W in weights)
    hidden = sum(W.shape[1] for (W, activation) in _activated(layers) if activation)
    reading = sum(W.nbytes for W in weights) / bandwidth
    return fixed + max(flops / peak, reading) + hidden * rows * sigmoid


def _activated(layers: list[Any]) -> list[tuple[Any, bool]]:
    """(weights, whether an activation follows) of each affine layer."""
    following = [*(not after.params for _, after in pairwise(layers)), False]
    pairs = zip(layers, following, strict=True)
    return [(layer.params[0], activated) for layer, activated in pairs if layer.params]


def probes(dtype: str, weight_bytes: int) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    """Callables to be timed, and how many flops, bytes or elements each gets done."""
    from benchmarks import machine_code

    zero = np.dtype(dtype).type(0)
    calls: dict[str, Callable[[], object]] = {}
    amounts: dict[str, float] = {}
    for width in machine_code.WIDTHS:
        flops = 2 * machine_code.CHAINS * width // zero.itemsize
        loops = -(-_PROBE_FLOPS // flops)
        calls[f"peak {width}"] = partial(machine_code.multiply_add, zero, width, loops)
        amounts[f"peak {width}"] = loops * flops
    step = machine_code.READ_BYTES
    memory = np.zeros(-(-weight_bytes // step) * step, np.uint8)
    times = -(-_PROBE_BYTES // memory.nbytes)
    calls["read"], amounts["read"] = partial(machine_code.read, zero, memory, times), times * memory.nbytes
    for size in SIGMOID_BYTES:
        x = np.linspace(-8, 8, size // zero.itemsize, dtype=dtype)
        calls[f"sigmoid {size}"] = partial(
            fused.kernels(x.dtype).activate, x, np.empty_like(x), SIGMOID, x.size
        )
        amounts[f"sigmoid {size}"] = x.size
    return calls, amounts


def measure(problem: Problem, label: str, **timing: Any) -> Point:
    """Time a call and, in the same rounds, everything that its limit is made of."""
    dtype = problem.x.dtype.name
    weight_bytes = sum(layer.params[0].nbytes for layer in problem.layers if layer.params)
    calls, amounts = probes(dtype, weight_bytes)
    times = {
        name: t.seconds for name, t in take_turns({"fastnet": problem.fastnet, **calls}, **timing).items()
    }
    peak = max(amounts[name] / times[name] for name in calls if name.startswith("peak"))
    few, many = (f"sigmoid {size}" for size in SIGMOID_BYTES)
    sigmoid = max(times[many] - times[few], 0.0) / (amounts[many] - amounts[few])
    bandwidth = amounts["read"] / times["read"]
    bound = limit(problem.layers, len(problem.x), peak, bandwidth, sigmoid)
    return Point(label, dtype, times["fastnet"], bound, peak, bandwidth, sigmoid)


@cache
def call_pieces() -> dict[str, float]:
    """Seconds of what any such call does: making the result, entering compiled code with two arrays."""
    from benchmarks import machine_code

    x, out = np.ones((1, 2)), np.empty((1, 3))
    machine_code.nothing(x, out)
    calls = {
        "np.empty((1, 3))": partial(np.empty, (1, 3), x.dtype),
        "entering compiled code": partial(machine_code.nothing, x, out),
    }
    return {name: t.seconds for name, t in take_turns(calls).items()}


def markdown(points: list[Point]) -> str:
    header = ["input-hidden-output x rows"]
    for dtype in DTYPES:
        header += [f"{dtype}: limit", "fastnet", "share"]
    rows = []
    by_place = {(point.problem, point.dtype): point for point in points}
    for label in dict.fromkeys(point.problem for point in points):
        row = [label]
        for dtype in DTYPES:
            point = by_place[label, dtype]
            row += [duration_text(point.limit), duration_text(point.seconds), f"**{point.share:.2f}**"]
        rows.append(row)
    below = [f"{p.problem} {p.dtype} ({p.share:.2f})" for p in points if p.share < 0.85]
    return "\n\n".join(
        [
            markdown_table(header, rows),
            f"{len(points)} points: {statistics.geometric_mean(p.share for p in points):.2f} of the limit "
            f"(geometric mean). Below 0.85: {', '.join(below) or 'none'}.",
            constants(points),
            machine_text(machine.describe()),
        ]
    )


def constants(points: list[Point]) -> str:
    """What the limits were made of: medians over the points."""
    parts = []
    for dtype in DTYPES:
        mine = [point for point in points if point.dtype == dtype]
        peak, sigmoid = (statistics.median(getattr(p, name) for p in mine) for name in ("peak", "sigmoid"))
        parts.append(f"{dtype}: {peak / 1e9:.0f} GFLOP/s, {sigmoid * 1e9:.2f} ns a sigmoid")
    reading = {}
    for point in points:
        sizes, _ = NETWORKS[point.problem]
        count = sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))
        reading.setdefault(count * np.dtype(point.dtype).itemsize, []).append(point.bandwidth)
    speeds = [
        f"{statistics.median(speed) / 1e9:.0f} GB/s ({size / 1024:.0f} KiB)"
        for size, speed in sorted(reading.items())
        if size >= 1024
    ]
    pieces = [f"{name} {duration_text(seconds)}" for name, seconds in call_pieces().items()]
    return (
        f"{'; '.join(parts)}. Reading weights: {', '.join(speeds) or 'next to nothing'}. "
        f"A call: {duration_text(FIXED)}, of which here {', '.join(pieces)}."
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="problems whose label contains this")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    parser.add_argument(
        "--write",
        metavar="FILE",
        nargs="?",
        type=Path,
        const=Path("README.md"),
        help="write the table between the markers limit (README.md)",
    )
    options = parser.parse_args(argv)
    labels = [label for label in NETWORKS if options.only in label]
    if not labels:
        raise SystemExit(f"no problem's label contains {options.only!r}")
    if options.write:  # a file that cannot take the table fails now
        with_tables(options.write, {"limit": ""})
    one_thread()
    points = []
    with pinned_to_one_core():
        for label, dtype in product(labels, DTYPES):
            problem = network_problem(label, dtype)
            problem.verify()
            points.append(measure(problem, label, rounds=options.rounds))
            print(f"{label}, {dtype}: {points[-1].share:.2f} of the limit", file=sys.stderr)
        text = markdown(points)
    if options.write:
        options.write.write_text(with_tables(options.write, {"limit": text}), encoding="utf-8")
    if options.json:
        found = [point._asdict() | {"share": point.share} for point in points]
        record = {"machine": machine.describe(), "call_pieces": call_pieces(), "points": found}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
