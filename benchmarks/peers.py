"""fastnet beside other libraries: ``python -m benchmarks.peers`` (extra ``peers``).

Every library has a process of its own, on the same weights and rows, with one core or all of them; they
take turns, one runs while the others are stopped (benchmarks/workers.py). A library's answers are verified
before it is timed; one that is not installed, or fails, or answers wrong, is named and left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import fastnet
from benchmarks import common, estimators, machine
from benchmarks.common import DTYPES, shown
from benchmarks.libraries import PEERS
from benchmarks.processes import SLOWING
from benchmarks.table import duration_text, markdown_table, pinned_to_one_core, with_tables
from benchmarks.workers import Worker, WorkerError, compare, working
from fastnet.timing import Timing

#: What can be measured, by name: the tables of networks, and the estimator of scikit-learn.
TABLES: dict[str, Any] = {**common.TABLES, "estimator": estimators.ESTIMATORS}

Results = dict[tuple[str, str], dict[str, Timing]]

#: A peer that takes less than so many times as long as fastnet is named.
CLOSE = 1.1


def best_peer(times: dict[str, Timing]) -> tuple[str, float]:
    """The quickest library beside fastnet, and how many times longer it takes."""
    name = min((name for name in times if name != "fastnet"), key=lambda name: times[name].ratio)
    return name, times[name].ratio


def others(label: str) -> list[str]:
    """What fastnet is compared with at this problem; the first is what people have."""
    return list(estimators.LIBRARIES) if label in estimators.ESTIMATORS else ["numpy", *PEERS]


class LeftOut(dict[tuple[str, str, str], list[str]]):
    """(library, dtype, reason) -> the problems that it does not answer."""

    def text(self, problems: list[str]) -> str:
        """A sentence about these problems; empty if nothing was left out."""
        parts = []
        for (name, dtype, why), labels in self.items():
            here = [label for label in labels if label in problems]
            where = "" if len(here) == len(problems) else f" at {', '.join(map(shown, here))}"
            parts += [f"{name}, {dtype}{where} ({why})"] if here else []
        return f"Left out: {'; '.join(parts)}." if parts else ""


def measure(
    workers: dict[str, Worker], points: Iterable[tuple[str, str]], rounds: int, **options: Any
) -> tuple[Results, LeftOut]:
    """Time of every library that can, fastnet first: it is the baseline of the ratios."""
    results: Results = {}
    left_out = LeftOut()
    for label, dtype in points:
        asked = {name: workers[name] for name in ("fastnet", *others(label))}
        times, failed = compare(asked, label, dtype, rounds, **options)
        for name, why in failed.items():
            left_out.setdefault((name, dtype, why), []).append(label)
        best, ratio = best_peer(times)
        print(f"{shown(label)}, {dtype}: {ratio:.2f} times as long: {best}", file=sys.stderr)
        results[label, dtype] = times
    return results, left_out


def summary(results: Results, cores: str) -> str:
    """The geometric means, and where a peer is ahead or near."""
    best = {f"{shown(label)} {dtype}": best_peer(times) for (label, dtype), times in results.items()}
    over_best = geometric_mean(ratio for _, ratio in best.values())
    before = others(next(iter(results))[0])[0]
    over_before = geometric_mean(times[before].ratio for times in results.values() if before in times)
    ahead = [f"{at} ({name}, {ratio:.2f})" for at, (name, ratio) in best.items() if ratio < 1]
    close = [f"{at} ({name}, {ratio:.2f})" for at, (name, ratio) in best.items() if 1 <= ratio < CLOSE]
    return (
        f"On {cores}, {len(results)} points: {over_best:.2f} times as fast as the best of the others at each "
        f"point, {over_before:.2f} times as fast as {before.replace('numpy', 'NumPy')} (geometric means).\n\n"
        f"A peer is ahead at: {', '.join(ahead) or 'no point'}. "
        f"Within 10 %: {', '.join(close) or 'none'}."
    )


def markdown(results: Results, cores: str) -> str:
    """How many times longer than fastnet each library takes, for points of one table."""
    names = others(next(iter(results))[0])
    rows = []
    for (label, dtype), times in results.items():
        cells = [f"{times[name].ratio:.2f}" if name in times else "-" for name in names]
        best = names.index(best_peer(times)[0])
        cells[best] = f"**{cells[best]}**"
        rows.append([shown(label), dtype, duration_text(times["fastnet"].seconds), *cells])
    table = markdown_table(["input-hidden-output x rows", "dtype", "fastnet", *names], rows)
    return f"{table}\n\n{summary(results, cores)}"


def versions(names: Iterable[str]) -> str:
    """The processor, and the version of each library."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    facts = machine.describe()
    return f"{facts['CPU']} ({facts['microarchitecture']}: {facts['SIMD']}); " + ", ".join(found)


def record(results: Results, left_out: LeftOut, threads: int, blas: str) -> dict[str, Any]:
    """Every figure, for a script."""
    points = [
        {
            "problem": label,
            "table": next((name for name, table in TABLES.items() if label in table), None),
            "dtype": dtype,
            "seconds": {name: t.seconds for name, t in times.items()},
            "times_fastnet": {name: t.ratio for name, t in times.items()},
        }
        for (label, dtype), times in results.items()
    ]
    return {
        "machine": machine.describe(),
        "versions": versions(["numpy", *PEERS]),
        "numpy_blas": blas,
        "cores": threads,
        "left_out": [
            {"library": name, "dtype": dtype, "reason": why, "problems": labels}
            for (name, dtype, why), labels in left_out.items()
        ],
        "points": points,
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--cores", choices=("one", "all"), default="one", help="pinned to one core, or on all"
    )
    parser.add_argument(
        "--shapes", choices=(*TABLES, "all"), default="grid", help="which table of problems (grid)"
    )
    parser.add_argument("--only", action="append", help="problems whose label contains this (repeatable)")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write a plot of the speed-ups (SVG)")
    parser.add_argument(
        "--write",
        metavar="FILE",
        type=Path,
        help="write the tables between their markers (peers-one, peers-all, and those with -awkward, "
        "-activated, -estimator)",
    )
    return parser.parse_args(argv)


def wanted(label: str, parts: list[str] | None) -> bool:
    return parts is None or any(part in label for part in parts)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    names = list(TABLES) if options.shapes == "all" else [options.shapes]
    chosen = {name: [label for label in TABLES[name] if wanted(label, options.only)] for name in names}
    chosen = {name: labels for name, labels in chosen.items() if labels}
    if not chosen:
        raise SystemExit(f"no problem's label contains {' or '.join(options.only)}")
    if options.plot and set(chosen) == {"estimator"}:
        raise SystemExit("--plot draws networks, and none was chosen")
    if "estimator" in chosen and importlib.util.find_spec("sklearn") is None:
        raise SystemExit("the estimator's table needs scikit-learn: pip install 'fastnet[peers]'")
    markers = {name: f"peers-{options.cores}" + ("" if name == "grid" else f"-{name}") for name in chosen}
    if options.write:  # a file that cannot take the tables fails now, not after an hour of measuring
        with_tables(options.write, dict.fromkeys(markers.values(), ""))
    points = list(product((label for labels in chosen.values() for label in labels), DTYPES))
    with pinned_to_one_core() if options.cores == "one" else nullcontext():
        threads = fastnet.get_num_threads()
        with working(dict.fromkeys(["fastnet", "numpy", *PEERS, *estimators.LIBRARIES]), threads) as workers:
            results, left_out = measure(workers, points, options.rounds)
            try:
                blas = workers["numpy"].blas()
            except WorkerError as error:
                blas = f"unknown BLAS ({error})"
    slowing = f"NumPy's BLAS: {blas}; the variables {', '.join(SLOWING)} are not passed on."
    tables = {}
    for name, labels in chosen.items():
        part = {point: times for point, times in results.items() if point[0] in labels}
        about = f"{versions(dict.fromkeys(['numpy', *others(labels[0])]))}. {slowing}"
        parts = [markdown(part, f"{threads} core(s)"), about, left_out.text(labels)]
        tables[markers[name]] = "\n\n".join(filter(None, parts))
    if options.json:
        text = json.dumps(record(results, left_out, threads, blas), indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.plot:
        from benchmarks.figures import speedups

        drawn = {p: best_peer(times)[1] for p, times in results.items() if p[0] not in estimators.ESTIMATORS}
        speedups(drawn, options.plot, threads)
    if options.write:
        options.write.write_text(with_tables(options.write, tables), encoding="utf-8")
    print(*tables.values(), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
