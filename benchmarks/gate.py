"""Is a commit slower than the one before? ``python -m benchmarks.gate BASE [HEAD]`` says, by exit code too.

asv builds each commit in an environment of its own, with a Numba cache of its own, below ``.asv/gate``; both
run the benchmarks of this checkout. First the answers of both are compared with the reference's: if one is
wrong, nothing is timed. Then fresh processes time every way through the kernels (``ways.py``), the two
commits in turn, A B B A A B ..., pinned to one core.

A benchmark got slower if both its figures did, the ratio fastnet / reference of one process and the duration
itself: each median by more than 8 %, and each by an exact one-sided Mann-Whitney test over the processes at
a level of 1 % divided by twice the number of benchmarks (Bonferroni), since there may be two looks: if a
median grew but not beyond chance, or noise hides too much, as many processes again are run. So two equal
commits raise a false alarm in at most 1 run of 100, all benchmarks together, however the noise is
distributed, provided that it falls on both alike; the turns see to that.

Exit code 0: nothing got slower. 1: something did. 2: nothing could be compared: an unknown commit, say, one
that cannot be built, or a machine so noisy that 15 % would be lost in it. 3: a wrong answer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.processes import environment
from benchmarks.table import pinned_to_one_core
from benchmarks.verdict import FIGURES, LOOKS, Samples, blind, compare, report

ROOT = Path(__file__).resolve().parents[1]
#: the share of benchmarks where noise may hide a growth that has to be visible
MOST_BLIND = 0.25
#: processes of each commit in a look
ROUNDS = 12

OK, SLOWER, UNUSABLE, WRONG = range(4)
#: asv's exit code for this; others say that it could not run or build
BENCHMARK_FAILED = 2


class GateError(Exception):
    """What keeps the gate from comparing."""


class Side:
    """A commit with its environment, its Numba cache and its results, all of them asv's doing."""

    def __init__(self, name: str, commit: str, folder: Path) -> None:
        self.name, self.commit, self.folder = name, commit, folder / name
        self.cache = self.folder / "numba" / commit
        for other in self.cache.parent.glob("*"):
            if other != self.cache:
                shutil.rmtree(other)
        shutil.rmtree(self.folder / "results", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "asv.conf.json").write_text(json.dumps(self.config(), indent=2), encoding="utf-8")

    def config(self) -> dict[str, Any]:
        """The project's configuration with folders of this side, for the Python that runs the gate."""
        from asv.util import load_json

        return {
            **load_json(str(ROOT / "asv.conf.json"), 1, js_comments=True),
            "version": 1,
            "repo": str(ROOT),
            "branches": [self.commit],
            "pythons": ["{}.{}".format(*sys.version_info)],
            "benchmark_dir": str(ROOT / "benchmarks"),
            **{f"{kind}_dir": str(self.folder / kind) for kind in ("env", "results", "html")},
        }

    def run(self, benchmark_class: str, may_fail: bool = False) -> str:
        """Let asv run a class once, building what is not built yet; append its samples. Return its output.

        A benchmark that fails is an error, too: asv would drop the samples of earlier rounds.
        """
        options = ["--append-samples", "--launch-method", "forkserver", "--show-stderr", "--no-pull"]
        done = asv(
            "--config", str(self.folder / "asv.conf.json"),
            "run", f"{self.commit}^!", *options, "--bench", rf"^ways\.{benchmark_class}\.",
            NUMBA_CACHE_DIR=str(self.cache),
        )  # fmt: skip
        if done.returncode != 0 and not (may_fail and done.returncode == BENCHMARK_FAILED):
            raise GateError(f"asv could not run the {self.name}, {self.commit}:\n{done.stdout}")
        return done.stdout

    def results(self) -> Any:
        """What asv has stored."""
        from asv.results import iter_results

        found = list(iter_results(str(self.folder / "results")))
        if len(found) != 1:
            raise GateError(f"asv stored no results of the {self.name}, {self.commit}")
        return found[0]

    def failed(self) -> list[str]:
        """The benchmarks whose answers are wrong."""
        results = self.results()
        key = "ways.Answers.track_error"
        params = results.get_result_params(key)
        values = results.get_result_value(key, params) or []
        return [name for name, value in zip(labels(params), values, strict=True) if value is None]

    def samples(self) -> Samples:
        """Every sample of the benchmarks that this commit has."""
        results, found = self.results(), {}
        for figure, method in FIGURES.items():
            key = f"ways.Ways.{method}"
            params = results.get_result_params(key)
            for name, values in zip(labels(params), results.get_result_samples(key, params), strict=True):
                if values:
                    found.setdefault(name, {})[figure] = values
        return found

    def requirements(self) -> dict[str, str]:
        """Name -> version of everything in the environment, but fastnet."""
        places = map(str, self.folder.glob("env/*/lib/python*/site-packages"))
        found = {d.name: d.version for d in metadata.distributions(path=[*places])}
        return {name: version for name, version in found.items() if name != "fastnet"}


def labels(params: list[list[str]]) -> list[str]:
    """``narrow, float32`` and so on, in asv's order."""
    ways, dtypes = ([text.strip("'") for text in values] for values in params)
    return [f"{way}, {dtype}" for way in ways for dtype in dtypes]


def asv(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run asv with this Python, its output kept."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "asv", *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def prepare_asv() -> None:
    """Let asv describe this machine, once; it would ask otherwise."""
    if find_spec("asv") is None:
        raise GateError('asv is not installed: python -m pip install -e ".[dev]"')
    if not (Path.home() / ".asv-machine.json").exists():
        asv("machine", "--yes")


def resolve(revision: str) -> str:
    """Return the commit's full hash; raise GateError if there is none."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GateError(f"unknown commit: {revision!r}")
    return done.stdout.strip()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check_answers(sides: Iterable[Side]) -> bool:
    """Build, compile and verify each side; print what is wrong."""
    right = True
    for side in sides:
        say(f"{side.name} {side.commit[:12]}: building, then its answers")
        output = side.run("Answers", may_fail=True)
        if failed := side.failed():
            right = False
            print(output, f"Wrong answers, or none, of the {side.name}, {side.commit}:", sep="\n")
            print("; ".join(failed))
    return right


def in_turns(sides: list[Side], rounds: int) -> None:
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for side in sides if number % 2 == 0 else reversed(sides):
            side.run("Ways")


def run(options: argparse.Namespace) -> int:
    base, head = map(resolve, (options.base, options.head))
    prepare_asv()
    sides = [Side("base", base, options.folder), Side("head", head, options.folder)]
    if not check_answers(sides):
        return WRONG
    first, second = (side.requirements() for side in sides)
    if first != second:
        different = sorted({name for name, _ in first.items() ^ second.items()})
        raise GateError(f"the environments differ in {', '.join(different)}: delete {options.folder}")
    if options.answers:
        print("The answers of both are right.")
        return OK
    rounds = 0
    for _ in range(LOOKS):
        with pinned_to_one_core():
            in_turns(sides, options.rounds)
        rounds += options.rounds
        samples = [side.samples() for side in sides]
        comparisons, hidden = compare(*samples), blind(samples[0])
        if not comparisons:
            raise GateError("the commits have no benchmark in common")
        noisy = len(hidden) > MOST_BLIND * len(comparisons)
        if not noisy and not any(c.undecided for c in comparisons):
            break
    print(report(comparisons, rounds, options.every, hidden))
    if options.json:
        record = {"base": base, "head": head, "rounds": rounds, "samples": samples}
        record["slower"] = [c.name for c in comparisons if c.slower]
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if any(c.slower for c in comparisons):
        return SLOWER
    if noisy:
        raise GateError("the machine is too noisy to tell; nothing else may run on it meanwhile")
    return OK


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("base", help="the commit to compare with, as main or HEAD~1")
    parser.add_argument("head", nargs="?", default="HEAD", help="the commit that may be slower (HEAD)")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"processes of each commit in a look ({ROUNDS})"
    )
    parser.add_argument("--answers", action="store_true", help="build and verify only, time nothing")
    parser.add_argument("--every", action="store_true", help="print every benchmark, not only slower ones")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample to a file")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".asv" / "gate", help="environments and results (.asv/gate)"
    )
    options = parser.parse_args(argv)
    if options.rounds < 8:
        parser.error("--rounds: fewer than 8 cannot reach the level of the test")
    options.folder = options.folder.resolve()
    return options


def main(argv: list[str] | None = None) -> int:
    try:
        return run(parse(argv))
    except GateError as error:
        say(f"gate: {error}")
        return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
