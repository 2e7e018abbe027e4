"""Prove the gate: ``python -m benchmarks.gate_proof`` runs it on copies whose truth is known.

In a clone of this repository, at the commit that is checked out: the commit against itself, ten times; a
commit in which one kernel does 15 % of its work twice, ten times over three kernels; a commit with a wrong
answer. The record, ``.asv/gate-proof/runs.json``, is added to run by run: what it has is not run again.

Exit code 1 means that the gate did not do what it must: stay silent, name the kernel, refuse to time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import gate
from benchmarks.processes import environment
from benchmarks.table import markdown_table, replace_between_markers

MARKER = "gate"


class Edit(NamedTuple):
    """A change of one place in a file."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times, not once: {self.old!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


#: Way of ``ways.py`` -> what makes its kernel do 15 % of its work a second time, to the same result.
SLOWED = {
    # 36 of the 240 rows
    "in place": Edit(
        "fastnet/kernels/layer.py",
        "            k += step\n",
        """\
            if k == 0 and rows >= 120 and fan_in > 200:
                sweep(
                    zero, table, rows * 3 // 20, a, a_row, a_k, w, w_row, bias, 0, VECTOR_BYTES, here, c_row,
                    columns, depth, 0, activation if depth == fan_in else IDENTITY, 0, c, 0,
                )  # fmt: skip
            k += step
""",
    ),
    # of three blocks of 13 to 14 pairs of vectors, two pairs each
    "narrow": Edit(
        "fastnet/kernels/layer.py",
        "    for i in range(0, rows, 2 * lanes):\n",
        """\
    for turn in range(0, rows * 23 // 20, 2 * lanes):
        i = turn if turn < rows else turn - rows
""",
    ),
    # 3 of 20 vectors
    "sigmoid": Edit(
        "fastnet/kernels/entry.py",
        "        activate(zero, activation, x, out, 1, 0, vecs)\n",
        """\
        activate(zero, activation, x, out, 1, 0, vecs)
        if activation == 1:
            activate(zero, activation, x, out, 1, 0, vecs * 3 // 20)
""",
    ),
}
#: The last input of narrow layers is left out.
WRONG = Edit("fastnet/kernels/layer.py", "turned, fan_in,\n", "turned, fan_in - 1,\n")

SAME, WRONG_ANSWER = "same commit", "wrong answer"
#: what a run counts as, in addition, in which the gate refused to tell
NOISY = "too noisy"


def cases(runs: int) -> list[str]:
    """What is run, in an order that builds each commit once."""
    slowed = [f"slower: {list(SLOWED)[i * len(SLOWED) // runs]}" for i in range(runs)]
    return [WRONG_ANSWER, *[SAME] * runs, *slowed]


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=proof", "-c", "user.email=proof@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def clone(folder: Path) -> Path:
    """Return the copy; a new one if the checkout is at another commit than the copy was made of."""
    copy, commit = folder / "fastnet", git("rev-parse", "HEAD", cwd=gate.ROOT)
    if not copy.exists() or git("rev-parse", "proved", cwd=copy) != commit:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        git("clone", "--quiet", str(gate.ROOT), str(copy), cwd=folder)
        git("tag", "proved", commit, cwd=copy)
    git("checkout", "--quiet", "--force", "--detach", "proved", cwd=copy)
    return copy


def commit_edit(copy: Path, case: str, edit: Edit) -> str:
    """Return the commit that has the edit, the same one in every run; the checkout stays where it was."""
    tag = case.replace(" ", "-").replace(":", "")
    if not git("tag", "--list", tag, cwd=copy):
        edit.apply(copy)
        git("commit", "--quiet", "--all", "--message", case, cwd=copy)
        git("tag", tag, cwd=copy)
        git("checkout", "--quiet", "--detach", "proved", cwd=copy)
    return git("rev-parse", tag, cwd=copy)


def run(case: str, copy: Path) -> dict[str, Any]:
    """One run of the gate, in the copy: exit code, what it named and measured."""
    head = "proved"
    if case != SAME:
        edit = WRONG if case == WRONG_ANSWER else SLOWED[case.partition(": ")[2]]
        head = commit_edit(copy, case, edit)
    figures = copy.parent / "figures.json"
    figures.unlink(missing_ok=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gate", "proved", head, "--json", str(figures)],
        cwd=copy,
        env=environment(PYTHONPATH=str(copy)),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    record = {"case": case, "exit": done.returncode, "seconds": time.perf_counter() - start}
    if figures.exists():
        found = json.loads(figures.read_text(encoding="utf-8"))
        comparisons = gate.compare(*found["samples"])
        record["named"] = [c.name for c in comparisons if c.slower]
        record["growth"] = {c.name: {f: c.growth(f) for f in gate.FIGURES} for c in comparisons}
        if done.returncode == gate.UNUSABLE:
            record["case"] = NOISY
    else:
        record["said"] = done.stdout.strip().splitlines()[-2:]
    return record


def as_expected(record: dict[str, Any]) -> bool:
    """Whether the gate did what it must: for a slower kernel, name it in both dtypes, and nothing else."""
    case, kernel = record["case"], record["case"].partition(": ")[2]
    if case == NOISY:
        return True  # whatever it was given is run again
    if case == SAME:
        return bool(record["exit"] == gate.OK and record["named"] == [])
    if case == WRONG_ANSWER:
        return bool(record["exit"] == gate.WRONG and "growth" not in record)
    return bool(record["exit"] == gate.SLOWER and set(record["named"]) == set(places(kernel)))


def places(kernel: str) -> list[str]:
    return [f"{kernel}, {dtype}" for dtype in ("float32", "float64")]


def summary(records: list[dict[str, Any]]) -> str:
    """One row for each thing that was tried."""
    rows = []
    for case in dict.fromkeys(record["case"] for record in records):
        those = [record for record in records if record["case"] == case]
        good, kernel = sum(map(as_expected, those)), case.partition(": ")[2]
        tried, outcome = "the same commit twice", f"no alarm in {good}"
        if case == WRONG_ANSWER:
            tried, outcome = "a wrong answer, in narrow layers", f"refused in {good}, before any timing"
        elif case == NOISY:
            tried, outcome = "any of these, beside other work on the core", "refused: too noisy to tell"
        elif kernel:
            shares = (
                f"{median(r['growth'][place][figure] for r in those for place in places(kernel)):+.1%} {text}"
                for figure, text in (("seconds", "duration"), ("ratio", "ratio"))
            )
            tried = f"15 % of the kernel `{kernel}` twice ({', '.join(shares)})"
            outcome = f"`{kernel}` named, in both dtypes, and nothing else, in {good}"
        else:
            most = max(min(g.values()) for r in those for g in r["growth"].values())
            outcome += f"; most growth of a benchmark in both figures {most:+.1%}"
        rows.append([tried, str(len(those)), outcome])
    timed = [record["seconds"] for record in records if "growth" in record]
    lines = [markdown_table(["what the gate was given", "runs", "outcome"], rows)]
    if timed:
        lines.append(f"A run took {median(timed):.0f} s, {max(timed):.0f} s at most.")
    return "\n\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_proof", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of the same commit, and of slower ones (10)")
    parser.add_argument("--at-most", type=int, metavar="N", help="stop after N new runs")
    parser.add_argument("--folder", type=Path, default=gate.ROOT / ".asv" / "gate-proof")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the table between its markers")
    options = parser.parse_args(argv)
    copy = clone(options.folder.resolve())
    path = copy.parent / "runs.json"
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    missing = cases(options.runs)
    for record in records:
        if record["case"] in missing:
            missing.remove(record["case"])
    for case in missing[: options.at_most]:
        print(f"== {case}", file=sys.stderr)
        records.append(run(case, copy))
        path.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    table = summary(records)
    print(table)
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        options.write.write_text(replace_between_markers(text, MARKER, table), encoding="utf-8")
    return int(not all(map(as_expected, records)))


if __name__ == "__main__":
    sys.exit(main())
