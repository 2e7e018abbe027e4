"""The surroundings of fresh processes: the code of this one, and no setting that slows NumPy down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import benchmarks
import fastnet

#: Settings for other machines that make NumPy's BLAS run slower kernels than it would choose.
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def environment(**changes: str) -> dict[str, str]:
    """Variables for a process that imports this fastnet, not what happens to lie in the working directory."""
    roots = dict.fromkeys(str(Path(m.__file__).parents[1]) for m in (fastnet, benchmarks) if m.__file__)
    path = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if name not in SLOWING}
    return {**kept, "PYTHONPATH": path, **changes}


def printed(code: str, **changes: str) -> str:
    """What a fresh interpreter prints that runs ``code``."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment(**changes),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout
