"""Measure the grid and write the README's tables: ``python -m benchmarks.table --write``.

Every network of the grid in both dtypes, one thread pinned to one core, reference and fastnet interleaved;
then the start-up steps. ``--grid --quick --check`` is the floor: exit code 1 if the geometric mean of
fastnet / reference is above 0.5, or a point above 1 and, measured again in five processes, above 1.05.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import NamedTuple

from benchmarks import machine, startup
from benchmarks.common import DTYPES, NETWORKS, network_problem, one_thread
from benchmarks.processes import printed

#: The names of the markers.
TABLES = ("table", "startup")
#: What the geometric mean of the ratios may be, and each of them. One that is above is measured again, in so
#: many processes, and their median may then be above by what noise comes to where a point is even.
MOST_MEAN, MOST, NOISE, PROCESSES = 0.5, 1.0, 0.05, 5


class Point(NamedTuple):
    """One place of the grid: seconds a call, and fastnet's time over the reference's."""

    problem: str
    dtype: str
    reference: float
    fastnet: float
    ratio: float

    @property
    def name(self) -> str:
        return f"{self.problem}, {self.dtype}"


@contextlib.contextmanager
def pinned_to_one_core() -> Iterator[None]:
    """Keep this process, and those it starts, on the last core it may use, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def measure(problem: str, dtype: str, rounds: int) -> Point:
    """Verify, then time."""
    candidate = network_problem(problem, dtype)
    candidate.verify()
    times = candidate.compare(rounds=rounds)
    point = Point(problem, dtype, times["reference"].seconds, *times["fastnet"])
    print(f"{point.name}: {point.ratio:.3f}", file=sys.stderr)
    return point


def measure_afresh(problem: str, dtype: str, rounds: int) -> Point:
    """Return the median of processes of their own.

    Where large weights lie in memory decides on some percent, for one side or the other, as long as a process
    lives: eight measurements of 1024-1024-1024 x 1 were all below 1.01 in one, all above 1.02 in another.
    """
    code = f"""
import json
from benchmarks import table
table.one_thread()
print(json.dumps(table.measure({problem!r}, {dtype!r}, {rounds})))
"""
    points = sorted((Point(*json.loads(printed(code))) for _ in range(PROCESSES)), key=lambda p: p.ratio)
    return points[PROCESSES // 2]


def measure_grid(rounds: int, repeat_failing: bool) -> list[Point]:
    """Measure every point, and with ``repeat_failing`` once more those that lose to the reference."""
    points = [measure(problem, dtype, rounds) for problem, dtype in product(NETWORKS, DTYPES)]
    if repeat_failing:
        again = max(rounds, 25)
        points = [measure_afresh(p.problem, p.dtype, again) if p.ratio > MOST else p for p in points]
    return points


def too_slow(points: list[Point]) -> list[str]:
    """What is too slow, in words."""
    mean = geometric_mean(point.ratio for point in points)
    found = [f"geometric mean: {mean:.3f} (at most {MOST_MEAN})"] if mean > MOST_MEAN else []
    most = MOST + NOISE
    slow = [point for point in points if point.ratio > most]
    return found + [f"{point.name}: {point.ratio:.3f} (at most {most:g})" for point in slow]


def duration_text(seconds: float) -> str:
    """Three significant digits and a unit: ``5.40 µs``."""
    if seconds < 1e-7:
        return f"{seconds * 1e9:.3g} ns"
    value, unit = seconds * 1e6, "µs"
    for larger in ("ms", "s"):
        if value >= 1000:
            value, unit = value / 1000, larger
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def verdict(points: list[Point]) -> str:
    worst = max(points, key=lambda point: point.ratio)
    mean = geometric_mean(point.ratio for point in points)
    return (
        f"{len(points)} points: {1 / mean:.2f} times as fast as the reference (geometric mean); "
        f"worst point {1 / worst.ratio:.2f} times ({worst.name})."
    )


def machine_text(facts: dict[str, str]) -> str:
    return (
        f"{facts['CPU']} ({facts['microarchitecture']}: {facts['SIMD']}), one core, one thread; "
        f"Python {facts['Python']}, NumPy {facts['NumPy']} ({facts['BLAS']}), Numba {facts['Numba']}."
    )


def grid_markdown(points: list[Point], facts: dict[str, str]) -> str:
    """One row a network, for each dtype the two times a call and how many times faster fastnet is."""
    header = ["input-hidden-output x rows"]
    for dtype in DTYPES:
        header += [f"{dtype}: reference", "fastnet", "times faster"]
    by_place = {(point.problem, point.dtype): point for point in points}
    rows = []
    for problem in dict.fromkeys(point.problem for point in points):
        row = [problem]
        for dtype in DTYPES:
            point = by_place[problem, dtype]
            row += [
                duration_text(point.reference),
                duration_text(point.fastnet),
                f"**{1 / point.ratio:.2f}**",
            ]
        rows.append(row)
    return "\n\n".join([markdown_table(header, rows), verdict(points), machine_text(facts)])


def startup_markdown(steps: dict[str, float]) -> str:
    return markdown_table(
        ["in a fresh process", "time"], [[step, duration_text(value)] for step, value in steps.items()]
    )


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def replace_between_markers(text: str, name: str, body: str) -> str:
    """Return ``text`` with ``body`` between the comments ``name: begin`` and ``name: end``."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected one {begin} and, after it, one {end}")
    return f"{text.partition(begin)[0]}{begin}\n{body}\n{end}{text.partition(end)[2]}"


def with_tables(path: Path, tables: dict[str, str]) -> str:
    """Return the text of a file with every table between its markers."""
    text = path.read_text(encoding="utf-8")
    for name, body in tables.items():
        text = replace_between_markers(text, name, body)
    return text


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument(
        "--write",
        metavar="FILE",
        nargs="?",
        type=Path,
        const=Path("README.md"),
        help="write the tables between their markers (README.md)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    parser.add_argument("--check", action="store_true", help="exit 1 if fastnet is not quick enough")
    parser.add_argument("--grid", action="store_true", help="the grid alone, without the start-up steps")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args(argv)
    if options.grid and (options.write or options.json):
        parser.error("--grid: --write and --json need the start-up steps, too")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if options.write:  # a file that cannot take the tables fails now, not after minutes of measuring
        with_tables(options.write, dict.fromkeys(TABLES, ""))
    one_thread()
    with pinned_to_one_core():
        points = measure_grid(rounds=5 if options.quick else 25, repeat_failing=options.check)
        timed = [] if options.grid else startup.STEPS
        steps = {step: startup.seconds(step, 1 if options.quick else 5) for step in timed}
    facts = machine.describe()
    tables = {"table": grid_markdown(points, facts)}
    if steps:
        tables["startup"] = startup_markdown(steps)
    if options.write:
        options.write.write_text(with_tables(options.write, tables), encoding="utf-8")
    else:
        print(*tables.values(), sep="\n\n", end="\n\n")
    if options.json:
        record = {"machine": facts, "points": [point._asdict() for point in points], "startup_seconds": steps}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(verdict(points))
    failed = too_slow(points) if options.check else []
    print(*(f"NO  {text}" for text in failed), sep="\n", end="\n" if failed else "")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
