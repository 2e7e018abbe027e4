"""Files made to do harm: a ValueError comes of them, or a model; never a signal, much memory or much time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks.processes import environment

pytest.importorskip("safetensors")

AFFINE = {"class": "Sequential", "layers": [{"class": "Affine"}]}


def mutated(name, count, seed):
    """What ``tests.mutation`` found in so many cases; a test fails with the number of the case."""
    command = [sys.executable, "-P", "-m", "tests.mutation", name, str(count), str(seed)]
    progress = f"/tmp/mutants.{os.getpid()}.{name}"
    done = subprocess.run(
        [*command, "--progress", progress],
        env=environment(OPENBLAS_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=60 + count // 100,
    )
    with open(progress) as file:
        case = file.read().strip()
    os.remove(progress)
    assert done.returncode >= 0, f"case {case}: {signal.Signals(-done.returncode).name}\n{done.stderr}"
    assert done.returncode == 0, f"case {case}: {done.stderr}"
    found = json.loads(done.stdout)
    assert found["tried"] == count
    assert found["read"] > count // 100, "hardly any mutant is read"
    assert found["refused"] > count // 2, "hardly any mutant is refused"
    return found
