"""Plots as SVG that do not change unless the figures do: no date, no random names (extra ``peers``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.common import ALL_NETWORKS, DTYPES, NETWORKS, shown


@contextmanager
def figure(path: Path, panels: int, height: float) -> Iterator[Any]:
    """Panels side by side, with one vertical axis; written to ``path`` at the end of the block.

    White behind everything, so that it can be read on a dark page as well.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings = {"svg.hashsalt": "fastnet", "font.size": 9, "axes.axisbelow": True, "legend.fontsize": 8}
    with mpl.rc_context(settings):
        drawn = Figure(figsize=(5 * panels, height), facecolor="white", layout="constrained")
        axes = drawn.subplots(1, panels, sharey=True, squeeze=False)[0]
        for axis in axes:
            axis.grid(color="0.9")
            axis.spines[["top", "right"]].set_visible(False)
        yield axes
        drawn.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def speedups(ratios: Mapping[tuple[str, str], float], path: Path, cores: int) -> None:
    """How many times faster than the best peer, by batch size: a line a network, a panel a dtype.

    ``ratios`` are by label and dtype. Shapes that are not of the grid are grey dots.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    networks = list(dict.fromkeys(sizes for sizes, _ in NETWORKS.values()))
    with figure(path, len(DTYPES), 4.2) as axes:
        for axis, dtype in zip(axes, DTYPES, strict=True):
            points = [
                (label in NETWORKS, *ALL_NETWORKS[label], ratio)
                for (label, kind), ratio in ratios.items()
                if kind == dtype
            ]
            for sizes, group in groupby((p for p in points if p[0]), key=lambda p: p[1]):
                number = networks.index(sizes)
                axis.plot(
                    *zip(*[(batch, ratio) for _, _, batch, ratio in group], strict=True),
                    color=colormaps["tab10"]((0, 1, 2, 3, 4, 5, 6, 8, 9)[number % 9]),  # 7 is grey
                    marker="osD^v<>P*X"[number % 10],
                    markersize=4,
                    linewidth=1.4,
                    label="-".join(map(str, sizes)),
                )
            others = [(batch, ratio) for grid, _, batch, ratio in points if not grid]
            if others:
                axis.scatter(*zip(*others, strict=True), s=9, color="0.65", label="other shapes")
            axis.axhline(1, color="black", linewidth=1)
            axis.set(xscale="log", yscale="log", title=dtype, xlabel="rows in a call")
            low = min([0.8, *(ratio for *_, ratio in points)]) * 0.9
            high = max([2, *(ratio for *_, ratio in points)]) * 1.15
            axis.set_ylim(min(low, axis.get_ylim()[0]), max(high, axis.get_ylim()[1]))
            ticks = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50)
            axis.yaxis.set_major_locator(FixedLocator(ticks))
            axis.yaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes[0].set_ylabel(f"times as fast as the best other library, {cores} core(s)")
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def costs(curves: Mapping[tuple[str, str], list[float]], path: Path) -> None:
    """Time per row by batch, relative to the last batch: a line a network, a panel a dtype."""
    with figure(path, len(DTYPES), 4.2) as axes:
        for axis, dtype in zip(axes, DTYPES, strict=True):
            for (name, kind), per_row in curves.items():
                if kind == dtype:
                    batches = range(1, len(per_row) + 1)
                    axis.plot(
                        batches, [cost / per_row[-1] for cost in per_row], linewidth=1.1, label=shown(name)
                    )
            axis.set(yscale="log", title=dtype, xlabel="rows in a call")
        axes[0].set_ylabel("time per row, 1 for the largest batch")
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
