"""What was tried to break fastnet, how often, and what came of it: ``python -m benchmarks.hostile``.

Runs the hostile tests and sums, for each point of a table, what they say they have tried: a test calls
``record_property("tried", count)``; one that does not counts as one. ``--long`` takes those that last for
minutes, too; ``--only`` those of some points, whose rows replace those in the file, where the others stay as
they are. Exit code 1: a test failed, or nothing of a point was tried; the table says so, and is written.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.etree import ElementTree

import benchmarks
from benchmarks import machine
from benchmarks.table import markdown_table, with_tables

ROOT = Path(benchmarks.__file__).parents[1]

#: Row of the table -> where its tests are, as pytest names files, classes, functions and the beginnings of
#: parameters. A test that several rows name is in the first of them.
POINTS: dict[str, tuple[str, ...]] = {
    "Calls with random and with lying objects": ("tests/test_hostile.py",),
    "Guard pages around arrays and scratch memory": ("tests/test_guard_pages.py",),
    "Training: calls, threads, forks, interrupts, memory": (
        "tests/test_hostile_training.py",
        "tests/test_training_memory.py",
        "tests/test_hosts.py::test_training",
        "tests/test_hosts.py::test_long[tests.host_training",
    ),
    "Threads": (
        "tests/test_hosts.py::test_first_calls",
        "tests/test_hosts.py::test_threads_predict",
        "tests/test_hosts.py::test_threads_disturbed",
        "tests/test_hosts.py::test_long[tests.host_threads",
    ),
    "Processes, forks, interrupts": ("tests/test_hosts.py",),
    "The cache of compiled kernels": ("tests/test_cache.py",),
    "Memory": ("tests/test_memory.py",),
    "Model files made to do harm": ("tests/test_model_files.py",),
    "Interpreters, locales, CPU modes, BLAS": ("tests/test_surroundings.py",),
}


class Case(NamedTuple):
    """A test as it was run."""

    name: str
    tried: int
    #: passed, failed or skipped
    outcome: str


class Untested(Exception):
    """No result that a table could be made of."""


def run_tests(files: Iterable[str], long: bool, root: Path) -> list[Case]:
    """Run pytest in a process of its own; every test that it ran."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        marks = "long or not long" if long else "not long"
        command = [sys.executable, "-m", "pytest", *files, "-q", "-m", marks, f"--junitxml={report}"]
        code = subprocess.run(command, cwd=root).returncode
        if code not in (0, 1) or not report.exists():  # 1: some test failed
            what = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise Untested(f"pytest came to no result ({what})")
        return [read(case) for case in ElementTree.parse(report).iter("testcase")]


def read(case: ElementTree.Element) -> Case:
    found = {child.tag for child in case}
    tried = [int(p.get("value", "")) for p in case.iter("property") if p.get("name") == "tried"]
    outcome = "failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed"
    return Case(f"{case.get('classname')}.{case.get('name')}", sum(tried) if tried else 1, outcome)


def belongs(case: Case, where: Iterable[str]) -> bool:
    """Whether a test is at one of the places: tests/a.py::B is tests.a.B in a report."""
    for place in where:
        path, _, inside = place.partition("::")
        dotted = ".".join([path.removesuffix(".py").replace("/", "."), *filter(None, inside.split("::"))])
        if re.match(re.escape(dotted) + ("" if "[" in inside else r"(\.|\[|$)"), case.name):
            return True
    return False


def by_point(cases: Iterable[Case], points: Mapping[str, tuple[str, ...]]) -> dict[str, list[Case]]:
    """Every row with its tests; all tests are in one."""
    found: dict[str, list[Case]] = {point: [] for point in points}
    for case in cases:
        point = next((point for point, where in points.items() if belongs(case, where)), None)
        if point is None:
            raise Untested(f"{case.name} is in no row of the table")
        found[point].append(case)
    return found


def outcome(cases: list[Case]) -> str:
    failed = [case.name for case in cases if case.outcome == "failed"]
    skipped = sum(case.outcome == "skipped" for case in cases)
    if len(cases) == skipped:
        return f"**not tried**, {skipped} skipped" if cases else "**not tried**"
    text = f"**{len(failed)} failed**: {', '.join(failed)}" if failed else "held"
    return f"{text}, {skipped} skipped" if skipped else text


def rows_of(cases: list[Case], points: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """The row of each point."""
    rows = {}
    for point, mine in by_point(cases, points).items():
        ran = [case for case in mine if case.outcome != "skipped"]
        rows[point] = [point, str(len(ran)), f"{sum(case.tried for case in ran):,}", outcome(mine)]
    return rows


def rows_in(text: str) -> dict[str, list[str]]:
    """The rows of a table that was written before."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row for row in rows}


def table(rows: Iterable[list[str]]) -> str:
    rows = list(rows)
    total = sum(int(row[2].replace(",", "")) for row in rows)
    text = markdown_table(["what", "tests", "tried", "outcome"], rows)
    return f"{text}\n\n{total:,} tried in all. {versions()}"


def versions() -> str:
    facts = machine.describe()
    return (
        f"{facts['CPU']} ({facts['microarchitecture']}), {facts['system']}; "
        f"Python {facts['Python']}, NumPy {facts['NumPy']}, Numba {facts['Numba']}."
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__.split("\n")[0])
    parser.add_argument("--long", action="store_true", help="with the tests that take minutes")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", default=[],
        help="points with this in their names; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--write", metavar="FILE", nargs="?", type=Path, const=ROOT / "SECURITY.md",
        help="write the table between its markers (SECURITY.md)",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(
    argv: list[str] | None = None, points: Mapping[str, tuple[str, ...]] = POINTS, root: Path = ROOT
) -> int:
    options = parse(argv)
    chosen = [point for point in points if not options.only or any(text in point for text in options.only)]
    if not chosen:
        raise SystemExit(f"no row has any of {', '.join(options.only)} in its name")
    before: dict[str, list[str]] = {}
    if options.write:  # a file that cannot take the table fails now, not after the tests
        with_tables(options.write, {"hostile": ""})
        before = rows_in(options.write.read_text(encoding="utf-8"))
    kept = {point: before[point] for point in points if point not in chosen and point in before}
    if options.write and (missing := [p for p in points if p not in chosen and p not in kept]):
        raise SystemExit(f"{options.write} has no row yet of {', '.join(missing)}")
    files = dict.fromkeys(place.partition("::")[0] for point in chosen for place in points[point])
    if missing := [file for file in files if not (root / file).is_file()]:
        raise SystemExit(f"there is no {', '.join(missing)}")
    try:
        rows = rows_of(run_tests(files, options.long, root), points)
    except Untested as error:
        raise SystemExit(str(error)) from None
    text = table((rows | kept)[point] for point in points if point in chosen or point in kept)
    if options.write:
        options.write.write_text(with_tables(options.write, {"hostile": text}), encoding="utf-8")
    print(text)
    return 0 if all(rows[point][-1].startswith("held") for point in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
