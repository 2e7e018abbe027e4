"""Time per row for every batch from 1 to 130: ``python -m benchmarks.cliffs`` (one core, one thread).

A cliff is a jump between neighbours. Upwards it is the ratio of the times per row. Downwards, a call's fixed
cost that more rows share lets the time per row fall, from 1 row to 2 by half: that is no cliff. So downwards
it is the ratio of the times per call: how much cheaper one row more makes it.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.common import DTYPES, draw, one_thread, sequential, shown
from benchmarks.table import duration_text, machine_text, markdown_table, pinned_to_one_core
from fastnet import reference
from fastnet.timing import take_turns

BATCHES = 130
#: what --check allows
ALLOWED = 1.3
NETWORKS = (
    (2, 4, 3),
    (16, 32, 8),
    (13, 31, 7),
    (30, 100, 2),
    (64, 128, 10),
    (63, 65, 63),
    (257, 513, 3),
    (256, 256, 256),
    (784, 128, 10),
    (32,) * 16,
    (1024, 1024, 1024),
)


class Jump(NamedTuple):
    """Between a batch and the next."""

    size: float
    batch: int

    def __str__(self) -> str:
        return f"{self.size:.2f} ({self.batch} to {self.batch + 1} rows)"


def largest_jump(calls: list[float]) -> Jump:
    """Of the seconds a call takes with 1, 2, 3, ... rows."""
    jumps = [
        Jump(max(after / (n + 1) / (before / n), before / after), n)
        for n, (before, after) in enumerate(pairwise(calls), 1)
    ]
    return max(jumps)


def measure(sizes: tuple[int, ...], dtype: str, batches: int, rounds: int, min_time: float) -> list[float]:
    """Seconds of a call with 1 to ``batches`` rows, in rounds that go through all of them."""
    layers, x = draw("-".join(map(str, sizes)), (sizes, batches), dtype, None)
    layers = [part for affine in layers for part in (affine, reference.Sigmoid())][:-1]
    predict = sequential(layers).predict
    calls = {str(n): partial(predict, np.ascontiguousarray(x[:n])) for n in range(1, batches + 1)}
    return [t.seconds for t in take_turns(calls, rounds=rounds, min_time=min_time).values()]


def markdown(curves: dict[tuple[str, str], list[float]]) -> str:
    header = ["network", "dtype", "1 row", f"a row of {len(next(iter(curves.values())))}", "largest jump"]
    rows = [
        [
            name,
            dtype,
            duration_text(calls[0]),
            duration_text(calls[-1] / len(calls)),
            str(largest_jump(calls)),
        ]
        for (name, dtype), calls in curves.items()
    ]
    return f"{markdown_table(header, rows)}\n\n{machine_text(machine.describe())}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cliffs", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="networks whose sizes, 784-128-10, contain this")
    parser.add_argument("--batches", type=int, default=BATCHES, help="rows of the largest batch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--min-time", type=float, default=0.001, help="seconds of a turn")
    parser.add_argument("--check", action="store_true", help=f"exit 1 if a jump is above {ALLOWED}, twice")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write the curves (SVG)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    options = parser.parse_args(argv)
    if options.batches < 2:
        parser.error("a jump takes two batches")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    chosen = [(name, sizes) for sizes in NETWORKS if options.only in (name := "-".join(map(str, sizes)))]
    if not chosen:
        raise SystemExit(f"no network's sizes contain {options.only!r}")
    one_thread()
    curves = {}
    with pinned_to_one_core():
        for (name, sizes), dtype in product(chosen, DTYPES):
            for _ in range(2):  # a jump counts if it is there twice
                calls = measure(sizes, dtype, options.batches, options.rounds, options.min_time)
                print(f"{shown(name)}, {dtype}: {largest_jump(calls)}", file=sys.stderr)
                if not options.check or largest_jump(calls).size <= ALLOWED:
                    break
            curves[name, dtype] = calls
    if options.json:
        points = [{"network": n, "dtype": d, "seconds": calls} for (n, d), calls in curves.items()]
        record = {"machine": machine.describe(), "curves": points}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        from benchmarks.figures import costs

        costs({at: [c / n for n, c in enumerate(calls, 1)] for at, calls in curves.items()}, options.plot)
    print(markdown(curves))
    return int(options.check and any(largest_jump(calls).size > ALLOWED for calls in curves.values()))


if __name__ == "__main__":
    sys.exit(main())
