"""What a fresh process waits for: imports, and the first ``predict`` on a cold and on a warm cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import fastnet

_BOOK_EXAMPLE = """
import numpy as np
import fastnet
np.random.seed(0)
model, x = fastnet.TwoLayerNet(2, 4, 3), np.random.randn(10, 2)
"""

#: Step -> (what runs before, what is timed, whether the cache is filled first).
#: NumPy and Numba are the yardsticks.
STEPS = {
    "import numpy": ("", "import numpy", False),
    "import numba": ("", "import numba", False),
    "import fastnet": ("", "import fastnet", False),
    "first predict, cold cache": (_BOOK_EXAMPLE, "model.predict(x)", False),
    "first predict, warm cache": (_BOOK_EXAMPLE, "model.predict(x)", True),
}


def run_once(step: str, cache: str) -> float:
    """Return the seconds that a step takes in a new process whose Numba cache is the folder ``cache``."""
    before, timed, _ = STEPS[step]
    code = f"{before}\nimport time\nstart = time.perf_counter()\n{timed}\nprint(time.perf_counter() - start)"
    # The fastnet of this process, not what happens to lie in the working directory.
    path = str(Path(fastnet.__file__).parents[1])
    output = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return float(output)


def seconds(step: str, repeats: int = 3) -> float:
    """Return the median of ``repeats`` fresh processes, each on a cold cache or all on a warm one."""
    samples = []
    with TemporaryDirectory() as warm:
        keep_cache = STEPS[step][2]
        if keep_cache:
            run_once(step, warm)
        for _ in range(repeats):
            with TemporaryDirectory() as cold:
                samples.append(run_once(step, warm if keep_cache else cold))
    return median(samples)


class Startup:
    """Every step, in fresh processes."""

    params = tuple(STEPS)
    param_names = ("step",)
    unit = "seconds"
    repeats = 3

    def track_seconds(self, step: str) -> float:
        return seconds(step, self.repeats)
