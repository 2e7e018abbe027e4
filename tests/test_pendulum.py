"""The pendulum that a small network swings up."""

from __future__ import annotations

import os
import subprocess
import sys
from math import cos
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet.examples import pendulum

ROOT = Path(fastnet.__file__).parents[1]


def test_the_network_swings_it_up_and_holds_it():
    for name, way in pendulum.ways(pendulum.learn(), 600).items():
        assert way() > 0.95, name
    assert cos(pendulum.START[0]) < -0.99


def test_without_torque_it_only_hangs():
    """So it is the network that does it."""
    weights = [np.zeros_like(a) for a in pendulum.learn()]
    for name, way in pendulum.ways(weights, 600).items():
        assert way() < -0.9, name


def test_all_ways_go_the_same_way():
    """Rounding apart, which a swinging pendulum makes more of with time."""
    ends = [way() for way in pendulum.ways(pendulum.learn(), 30).values()]
    assert len(ends) >= 3
    np.testing.assert_allclose(ends, ends[0], rtol=1e-6)


def test_it_is_a_program():
    command = [sys.executable, "-m", "fastnet.examples.pendulum", "--steps", "20", "--rounds", "1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("20 steps", "NumPy", "fastnet, from Python", "fastnet, inside njit"):
        assert name in done.stdout


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "PyTorch" not in pendulum.ways(pendulum.learn(), 5)


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--rounds", "-1"], ["--steps", "many"]])
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        pendulum.main(arguments)
    assert end.value.code == 2
    assert arguments[0].strip("-") in capsys.readouterr().err
