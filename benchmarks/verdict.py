"""The gate's rule, stated in ``gate.py``: samples of two commits, and which benchmarks got slower."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.table import duration_text, markdown_table

#: chance of a false alarm, all benchmarks of a run together
FALSE_ALARMS = 0.01
#: what a median has to grow by: two environments of one commit may differ by 5 % in calls of a microsecond,
#: for good, since files and hence memory lie in another order
THRESHOLD = 0.08
#: growth that has to be visible
SEEN = 0.15
#: how often samples may be taken
LOOKS = 2

#: benchmark -> figure -> a sample from each process
Samples = dict[str, dict[str, list[float]]]
#: figure -> the benchmark class's method
FIGURES = {"ratio": "track_time_ratio", "seconds": "track_seconds"}


class Comparison(NamedTuple):
    """One benchmark on both commits: medians, and how probable so much growth is by chance."""

    name: str
    ratio: tuple[float, float]
    seconds: tuple[float, float]
    p: float
    slower: bool
    #: whether the medians grew so much, but not beyond chance
    undecided: bool

    def growth(self, figure: str) -> float:
        base, head = getattr(self, figure)
        return float(head / base - 1)


def compare(base: Samples, head: Samples) -> list[Comparison]:
    """Apply the rule to the benchmarks that both commits have, most grown first.

    Of the two p-values the larger counts: an alarm needs both figures, so it is no more frequent than either.
    """
    from scipy.stats import mannwhitneyu

    shared = [name for name in base if name in head]
    found = []
    for name in shared:
        pairs = {figure: (base[name][figure], head[name][figure]) for figure in FIGURES}
        p = max(
            float(mannwhitneyu(after, before, alternative="greater", method="exact").pvalue)
            for before, after in pairs.values()
        )
        medians = {figure: (median(before), median(after)) for figure, (before, after) in pairs.items()}
        growth = min(after / before - 1 for before, after in medians.values())
        certain, grown = p <= FALSE_ALARMS / (LOOKS * len(shared)), growth > THRESHOLD
        found.append(
            Comparison(name, **medians, p=p, slower=certain and grown, undecided=grown and not certain)
        )
    return sorted(found, key=lambda c: -min(map(c.growth, FIGURES)))


def blind(base: Samples) -> list[str]:
    """The benchmarks whose noise would hide 15 %: their own samples, so much larger, raise no alarm."""
    grown = {n: {f: [v * (1 + SEEN) for v in s] for f, s in figures.items()} for n, figures in base.items()}
    return sorted(c.name for c in compare(base, grown) if not c.slower)


def report(
    comparisons: list[Comparison], rounds: int, every: bool = False, hidden: Sequence[str] = ()
) -> str:
    """The benchmarks that got slower or may have, or ``every`` one, with both figures; the verdict in a line.

    ``hidden`` are those that `blind` found.
    """
    slower = [c for c in comparisons if c.slower]
    rows = [
        [
            c.name,
            *(duration_text(value) for value in c.seconds),
            f"{c.growth('seconds'):+.1%}",
            *(f"{value:.3f}" for value in c.ratio),
            f"{c.growth('ratio'):+.1%}",
            f"{c.p:.1g}",
            "slower" if c.slower else "perhaps" if c.undecided else "",
        ]
        for c in comparisons
        if every or c.slower or c.undecided
    ]
    header = ["benchmark", "duration: base", "head", "change", "ratio: base", "head", "change", "p", ""]
    verdict = (
        f"{len(slower)} of {len(comparisons)} benchmarks got slower, by more than {THRESHOLD:.0%} in ratio "
        f"and in duration ({rounds} processes of each commit; chance of a false alarm at most "
        f"{FALSE_ALARMS:.0%})."
    )
    noisy = f"Too noisy to show {SEEN:.0%} of growth: {'; '.join(hidden)}."
    table = [markdown_table(header, rows)] if rows else []
    return "\n\n".join([*table, verdict, *([noisy] if hidden else [])])
