"""The speed of old versions, as pages: ``python -m benchmarks.history`` (extra ``dev``).

asv builds commits since the first kernel, spread evenly over those of its branch that change the package,
measures the ratios of the grid on each with the suite of today, and publishes them. A commit that has been
measured is not measured again, so ``--commits`` may grow from run to run. A commit takes one to two minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.table import pinned_to_one_core

ROOT = Path(benchmarks.__file__).parents[1]
#: the folders of the package and, in it, of what every fast version has
PACKAGE, KERNELS = "fastnet", "fastnet/kernels"
#: the grid, and what shows that the machine has changed
SUITE = (r"^network\.Predict\.track_time_ratio", r"^control\.")


class NoHistory(Exception):
    """What keeps commits from being chosen."""


def git(*arguments: str, root: Path) -> list[str]:
    """The lines that git prints."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], check=True, capture_output=True, encoding="utf-8"
        )
    except FileNotFoundError:
        raise NoHistory("git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise NoHistory(error.stderr.strip()) from None
    return done.stdout.splitlines()


def changes(path: str, branch: str, root: Path, *options: str) -> list[str]:
    """Commits on the branch itself that change what is under a path, the oldest first.

    A merge stands for all that it brings: asv draws a branch by first parents, too.
    """
    log = ("log", "--first-parent", "-m", "--reverse", "--format=%H")
    return git(*log, *options, branch, "--", path, root=root)


def since_first_kernel(branch: str, root: Path = ROOT) -> list[str]:
    """Commits that change the package, from the one that brought the kernels on."""
    if git("rev-parse", "--is-shallow-repository", root=root) == ["true"]:
        raise NoHistory("this clone is shallow: git fetch --unshallow brings the rest")
    added = changes(KERNELS, branch, root, "--diff-filter=A")
    if not added:
        raise NoHistory(f"no commit of {branch} adds {KERNELS}")
    commits = changes(PACKAGE, branch, root)
    return commits[commits.index(added[0]) :]


def spread(commits: Sequence[str], count: int) -> list[str]:
    """So many of them, or all: the first, the last, and others evenly between."""
    if count >= len(commits):
        return list(commits)
    return [commits[round(i * (len(commits) - 1) / (count - 1))] for i in range(count)]


def run(commits: Sequence[str]) -> int:
    """Measure with asv what it has no results of; its exit code."""
    suite = [argument for pattern in SUITE for argument in ("-b", pattern)]
    # The newest first: it is the one that asv asks for the names of the benchmarks.
    hashes = "\n".join(reversed(commits))
    with pinned_to_one_core():
        return asv("run", "--skip-existing-successful", *suite, "HASHFILE:-", text=hashes)


def asv(*arguments: str, text: str = "") -> int:
    command = [sys.executable, "-m", "asv", *arguments]
    return subprocess.run(command, cwd=ROOT, input=text, encoding="utf-8").returncode


def at_least_two(text: str) -> int:
    if (count := int(text)) < 2:
        raise argparse.ArgumentTypeError("a history takes two commits")
    return count


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__.split("\n")[0])
    parser.add_argument("--commits", type=at_least_two, default=12, help="how many, at most (12)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print the commits, and measure nothing")
    what.add_argument("--publish", action="store_true", help="pages of what has been measured, no more")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        from asv.config import Config
        from asv.machine import MachineCollection
    except ImportError:
        raise SystemExit('this needs asv: python -m pip install -e ".[dev]"') from None
    config = Config.load(str(ROOT / "asv.conf.json"))
    status = 0
    if not options.publish:
        try:
            commits = spread(since_first_kernel(config.branches[0]), options.commits)
        except NoHistory as error:
            raise SystemExit(str(error)) from None
        if options.list:
            print(*commits, sep="\n")
            return 0
        if not Path(MachineCollection.get_machine_file_path()).exists():
            asv("machine", "--yes")
        status = run(commits)
    published = asv("publish", "--no-pull")
    if published == 0:
        print(f"pages: {ROOT / config.html_dir / 'index.html'} (asv preview serves them)")
    return status or published


if __name__ == "__main__":
    sys.exit(main())
