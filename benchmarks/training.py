"""Training beside other libraries: ``python -m benchmarks.training`` (extra ``peers``).

Whole trainings, from the same weights, over the same batches, as in ``benchmarks/trainers.py``; every library
in a process of its own, in turns (benchmarks/workers.py), with one core or all of them. The mean loss of the
first one is verified before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import Any, ClassVar

import fastnet
from benchmarks import few_if_one_round, machine, rounds
from benchmarks.common import DTYPES, one_thread
from benchmarks.peers import LeftOut, versions, wanted
from benchmarks.table import duration_text, markdown_table, pinned_to_one_core, with_tables
from benchmarks.trainers import PUBLISHED, TASKS, TRAINERS, prepared
from benchmarks.workers import compare, working
from fastnet.timing import Timing, take_turns

Results = dict[tuple[str, str], dict[str, Timing]]

#: what `fit` competes with; the others are the loops in fastnet and NumPy
PEERS = [name for name in TRAINERS if name not in ("fastnet", "fastnet-loop", "numpy")]
HEADINGS = {"fastnet-loop": "loop", "numpy": "NumPy loop"}


class Training:
    """For asv: `fit`, and the book's loop with fastnet, beside the book's loop with the reference."""

    params = (few_if_one_round(["2-10-3 x 30", "64-32-10 x 32", "784-128-10 x 128"]), DTYPES)
    param_names = ("problem", "dtype")
    #: Cap on every dimension, for a quick look at whether it runs at all.
    max_size: int | None = None
    timing: ClassVar[dict[str, Any]] = {"rounds": rounds(7)}

    def setup(self, problem: str, dtype: str) -> None:
        one_thread()
        names = ("numpy", "fastnet", "fastnet-loop")
        self.trained = {name: prepared(name, problem, dtype, 1, self.max_size) for name in names}

    def _ratio(self, name: str) -> float:
        calls = {"numpy": self.trained["numpy"], name: self.trained[name]}
        return take_turns(calls, **self.timing)[name].ratio

    def track_fit_ratio(self, problem: str, dtype: str) -> float:
        return self._ratio("fastnet")

    def track_loop_ratio(self, problem: str, dtype: str) -> float:
        return self._ratio("fastnet-loop")

    track_fit_ratio.unit = "fit / loop of the reference"  # type: ignore[attr-defined]
    track_loop_ratio.unit = "loop of fastnet / loop of the reference"  # type: ignore[attr-defined]


def best_peer(times: dict[str, Timing]) -> tuple[str, float]:
    """The quickest other library, and how much longer than `fit` it takes; else NumPy."""
    name = min((n for n in PEERS if n in times), key=lambda n: times[n].ratio, default="numpy")
    return name, times[name].ratio


def measure(
    points: list[tuple[str, str]], threads: int, rounds: int, skip: Iterable[str] = (), **options: Any
) -> tuple[Results, LeftOut]:
    """Time of every library that can, `fit` first: it is the baseline of the ratios."""
    results: Results = {}
    left_out = LeftOut()
    with working([name for name in TRAINERS if name not in skip], threads) as workers:
        for label, dtype in points:
            times, failed = compare(workers, label, dtype, rounds, training=True, **options)
            for name, why in failed.items():
                left_out.setdefault((name, dtype, why), []).append(label)
            results[label, dtype] = times
            name, ratio = best_peer(times)
            print(f"{label}, {dtype}: {ratio:.2f} times as long: {name}", file=sys.stderr)
    return results, left_out


def markdown(results: Results, cores: str) -> str:
    """Time of a step in `fit`, and how many times longer everything else takes."""
    names = [name for name in TRAINERS if name != "fastnet"]
    rows = []
    for (label, dtype), times in results.items():
        cells = [f"{times[name].ratio:.2f}" if name in times else "-" for name in names]
        best, _ = best_peer(times)
        cells[names.index(best)] = f"**{cells[names.index(best)]}**"
        rows.append([label, dtype, duration_text(times["fastnet"].seconds / TASKS[label].steps), *cells])
    headings = ["network x rows of a batch", "dtype", "fit: a step", *(HEADINGS.get(n, n) for n in names)]
    return f"{markdown_table(headings, rows)}\n\n{summary(results, cores)}{published(results)}"


def summary(results: Results, cores: str) -> str:
    """The geometric means, and where a peer is ahead."""
    best = {f"{label} {dtype}": best_peer(times) for (label, dtype), times in results.items()}
    mean = geometric_mean(ratio for _, ratio in best.values())
    loops = geometric_mean(t["numpy"].ratio / t["fastnet-loop"].ratio for t in results.values())
    fits = geometric_mean(times["numpy"].ratio for times in results.values())
    ahead = [f"{at} ({name}, {ratio:.2f})" for at, (name, ratio) in best.items() if ratio < 1]
    return (
        f"On {cores}, {len(results)} points, geometric means: `fit` is {mean:.2f} times as fast as the best "
        f"other library at each point, and {fits:.2f} times as fast as the NumPy loop; the same loop with "
        f"fastnet is {loops:.2f} times as fast as that. A peer is ahead at: {', '.join(ahead) or 'no point'}."
    )


def published(results: Results) -> str:
    """What SimpleChains.jl's documentation has for its own cases, measured on other machines."""
    found = [
        f"{label}, {dtype}: {us:.3g} µs a step ({what}); here "
        f"{duration_text(results[label, dtype]['fastnet'].seconds / TASKS[label].steps)}"
        for (label, dtype), (us, what) in PUBLISHED.items()
        if (label, dtype) in results
    ]
    if not found:
        return ""
    return "\n\nPublished by SimpleChains.jl, measured on another machine: " + "; ".join(found) + "."


def record(results: Results, left_out: LeftOut, threads: int) -> dict[str, Any]:
    """Every figure, for a script."""
    return {
        "machine": machine.describe(),
        "cores": threads,
        "left_out": [
            {"library": name, "dtype": dtype, "reason": why, "problems": labels}
            for (name, dtype, why), labels in left_out.items()
        ],
        "points": [
            {
                "problem": label,
                "dtype": dtype,
                "steps": TASKS[label].steps,
                "seconds": {name: t.seconds for name, t in times.items()},
                "times_fit": {name: t.ratio for name, t in times.items()},
            }
            for (label, dtype), times in results.items()
        ],
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument(
        "--cores", choices=("one", "all"), default="one", help="pinned to one core, or on all"
    )
    parser.add_argument("--only", action="append", help="problems whose label contains this (repeatable)")
    parser.add_argument("--skip", action="append", choices=PEERS, default=[], help="libraries (repeatable)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    parser.add_argument(
        "--write",
        metavar="FILE",
        type=Path,
        help="write the table between its markers (training-one, training-all)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    labels = [label for label in TASKS if wanted(label, options.only)]
    if not labels:
        raise SystemExit(f"no problem's label contains {' or '.join(options.only)}")
    marker = f"training-{options.cores}"
    if options.write:  # a file that cannot take the table fails now
        with_tables(options.write, {marker: ""})
    with pinned_to_one_core() if options.cores == "one" else nullcontext():
        threads = fastnet.get_num_threads()
        results, left_out = measure(list(product(labels, DTYPES)), threads, options.rounds, options.skip)
    libraries = [name for name in PEERS if name != "torch.compile"]
    parts = [
        markdown(results, f"{threads} core(s)"),
        f"{versions(['numpy', *libraries])}.",
        left_out.text(labels),
    ]
    table = "\n\n".join(filter(None, parts))
    if options.json:
        text = json.dumps(record(results, left_out, threads), indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.write:
        options.write.write_text(with_tables(options.write, {marker: table}), encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
