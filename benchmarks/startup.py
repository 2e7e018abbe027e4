"""What a fresh process waits for: imports, and the first ``predict`` on a cold and on a warm cache.

``python -m benchmarks.startup --check`` prints every step and exits with 1 unless these hold: importing
fastnet takes at most 1.15 times what importing Numba takes; a process that imports fastnet and predicts, its
kernels in the cache, at most 0.15 s more than one that imports Numba and calls one cached function of one
line; a first ``predict`` that compiles at most 6 s. ``--allow 2`` doubles these seconds, for a machine that
is slow or busy. What does not hold is measured once more before it counts. Processes find the byte code of
all modules in Python's cache, as those of any user do but the first.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import few_if_one_round, rounds
from benchmarks.processes import printed

_IMPORTS = """
import numpy as np
import fastnet
"""
_EXAMPLE = """
np.random.seed(0)
model, x = fastnet.TwoLayerNet(2, 4, 3), np.random.randn(10, 2)
"""
_FLOAT32 = """
for layer in model.layers:
    layer.params[:] = [p.astype(np.float32) for p in layer.params]
x = x.astype(np.float32)
"""
_LARGE_EXAMPLE = """
x = np.ones((64, 784), np.float32)
w, b = np.ones((784, 128), np.float32), np.ones(128, np.float32)
w_last, b_last = np.ones((128, 10), np.float32), np.ones(10, np.float32)
model = fastnet.Sequential([fastnet.Affine(w, b), fastnet.Sigmoid(), fastnet.Affine(w_last, b_last)])
"""
_BOOK_EXAMPLE = _IMPORTS + _EXAMPLE
_FLOOR = "import numba\nfrom benchmarks.floor import increment\nincrement(1.0)"
_WHOLE = f"{_BOOK_EXAMPLE}\nmodel.predict(x)"
_WHOLE_FLOAT32 = f"{_BOOK_EXAMPLE}{_FLOAT32}\nmodel.predict(x)"

FLOOR = "import Numba and call one function, warm cache"
WHOLE = "import fastnet and predict, warm cache"
COLD_LARGE = "first predict, cold cache, 784-128-10 x 64, float32"

#: Step -> (what runs before, what is timed, whether the cache is filled first).
#: NumPy and Numba are the yardsticks. Append only.
STEPS = {
    "import numpy": ("", "import numpy", False),
    "import numba": ("", "import numba", False),
    "import fastnet": ("", "import fastnet", False),
    "first predict, cold cache": (_BOOK_EXAMPLE, "model.predict(x)", False),
    "first predict, warm cache": (_BOOK_EXAMPLE, "model.predict(x)", True),
    "first predict, cold cache, float32": (_BOOK_EXAMPLE + _FLOAT32, "model.predict(x)", False),
    FLOOR: ("", _FLOOR, True),
    WHOLE: ("", _WHOLE, True),
    f"{WHOLE}, float32": ("", _WHOLE_FLOAT32, True),
    COLD_LARGE: (_IMPORTS + _LARGE_EXAMPLE, "model.predict(x)", False),
}

#: What is judged beside Numba's floor.
WARM = (WHOLE, f"{WHOLE}, float32")
#: What compiles, and the seconds that each may take.
COLD, COLD_SECONDS = ("first predict, cold cache", "first predict, cold cache, float32", COLD_LARGE), 6


def run_once(step: str, cache: str) -> float:
    """Return the seconds that a step takes in a new process whose Numba cache is the folder ``cache``."""
    before, timed, _ = STEPS[step]
    code = f"{before}\nimport time\nstart = time.perf_counter()\n{timed}\nprint(time.perf_counter() - start)"
    return float(printed(code, NUMBA_CACHE_DIR=cache, PYTHONDONTWRITEBYTECODE=""))


def measure(steps: list[str], repeats: int) -> dict[str, float]:
    """Medians of rounds of fresh processes, each on a cold cache, or all of a step on a warm one."""
    samples: dict[str, list[float]] = {step: [] for step in steps}
    with ExitStack() as folders:
        warm = {step: folders.enter_context(TemporaryDirectory()) for step in steps if STEPS[step][2]}
        for step, cache in warm.items():
            run_once(step, cache)
        for _ in range(repeats):
            for step in steps:
                with TemporaryDirectory() as cold:
                    samples[step].append(run_once(step, warm.get(step, cold)))
    return {step: median(values) for step, values in samples.items()}


def seconds(step: str, repeats: int = 3) -> float:
    """Return the median of ``repeats`` fresh processes."""
    return measure([step], repeats)[step]


class Startup:
    """Every step, in fresh processes."""

    params = tuple(few_if_one_round(STEPS))
    param_names = ("step",)
    unit = "seconds"
    repeats = rounds(3)

    def track_seconds(self, step: str) -> float:
        return seconds(step, self.repeats)


def verdicts(steps: dict[str, float], allow: float = 1.0) -> dict[str, bool]:
    """What is asked of start-up, with the figures -> whether it holds. ``allow`` multiplies the seconds."""
    imports = steps["import fastnet"] / steps["import numba"]
    found = {f"import fastnet: {imports:.2f} times import numba (at most 1.15)": imports <= 1.15}
    for step in WARM:
        more, most = steps[step] - steps[FLOOR], 0.15 * allow
        found[f"{step}: {more:+.3f} s beside Numba's floor (at most +{most:.2f})"] = more <= most
    for step in COLD:
        most = COLD_SECONDS * allow
        found[f"{step}: {steps[step]:.2f} s (at most {most:g})"] = steps[step] <= most
    return found


def judged(rounds: int, quick: bool) -> dict[str, float]:
    """Measure every step; if ``quick`` only those that are judged, and those that compile once."""
    if not quick:
        return measure(list(STEPS), rounds)
    return measure(["import numba", "import fastnet", FLOOR, *WARM], rounds) | measure([*COLD], 1)


def main(argv: list[str] | None = None) -> int:
    from benchmarks.table import pinned_to_one_core, startup_markdown

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description="Time the start of fresh processes, on one core."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit 1 if something takes longer than it may")
    parser.add_argument("--quick", action="store_true", help="only what is judged; what compiles, once")
    parser.add_argument("--allow", metavar="FACTOR", type=float, default=1.0, help="of the seconds (1)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure to a file")
    options = parser.parse_args(argv)
    with pinned_to_one_core():
        steps = judged(options.rounds, options.quick)
        if options.check and not all(verdicts(steps, options.allow).values()):
            print("measured once more: something took too long", file=sys.stderr)
            steps = judged(options.rounds, options.quick)
    found = verdicts(steps, options.allow)
    print(
        startup_markdown(steps), *(f"{'yes' if ok else 'NO '} {text}" for text, ok in found.items()), sep="\n"
    )
    if options.json:
        options.json.write_text(json.dumps(steps, indent=2) + "\n", encoding="utf-8")
    return int(options.check and not all(found.values()))


if __name__ == "__main__":
    sys.exit(main())
