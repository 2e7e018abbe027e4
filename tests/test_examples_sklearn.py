"""The examples with scikit-learn's estimators: run as a user runs them, and held to what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from fastnet import from_sklearn
from fastnet.examples import decision_boundary, sklearn_pipeline

pytest.importorskip("sklearn")
matplotlib = pytest.importorskip("matplotlib")


def run(folder, name, *options):
    environment = {**os.environ, "MPLCONFIGDIR": str(folder)}
    command = [sys.executable, "-m", f"fastnet.examples.{name}", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_boundary_runs(tmp_path):
    out = run(tmp_path, "decision_boundary", "--side", "90", "--out", "picture.png")
    assert re.search(
        r"^8,100 points: fastnet [\d.]+ ms, NumPy [\d.]+ ms, the same classes\.$", out, re.MULTILINE
    )
    assert float(re.match(r"([\d.]+)% of the training points", out)[1]) > 90
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_the_classes(tmp_path):
    """Where a training point lies on the canvas, the colour behind it is that of its arm."""
    import matplotlib.image

    boundary = decision_boundary.find(300)
    assert sorted(np.unique(boundary.classes)) == [0, 1, 2]
    assert boundary.accuracy > 0.95
    x, labels = decision_boundary.spirals(100, np.random.default_rng(1984))
    across = ((x[:, 0] + decision_boundary.REACH) / (2 * decision_boundary.REACH) * 300).astype(int)
    down = ((decision_boundary.REACH - x[:, 1]) / (2 * decision_boundary.REACH) * 300).astype(int)
    assert (boundary.classes[down, across] == labels).mean() > 0.95

    decision_boundary.paint(boundary, tmp_path / "picture.png")
    pixels = matplotlib.image.imread(tmp_path / "picture.png")[:, :, :3]
    shares = [
        np.isclose(pixels, np.array(colour) / 255, atol=1 / 255).all(axis=2).mean()
        for colour in ((0xCF, 0xE3, 0xF5), (0xFB, 0xE0, 0xC3), (0xD3, 0xEA, 0xD0))
    ]
    of_classes = np.bincount(boundary.classes.ravel()) / boundary.classes.size
    np.testing.assert_allclose(np.array(shares) / sum(shares), of_classes, atol=0.03)


def test_a_boundary_that_numpy_does_not_find(monkeypatch):
    forward = decision_boundary.reference.Affine.forward
    monkeypatch.setattr(
        decision_boundary.reference.Affine, "forward", lambda self, x: forward(self, x)[:, ::-1]
    )
    with pytest.raises(RuntimeError, match="different classes"):
        decision_boundary.find(30)


def test_pipeline_runs(tmp_path):
    out = run(tmp_path, "sklearn_pipeline", "--batch", "1", "500")
    rows = re.findall(
        r"^(\w[\w ]+?) +([\d.]+)% +([\d,]+) +([\d.,]+) us +([\d.,]+) us +([\d.]+)$", out, re.MULTILINE
    )
    assert [(data, n) for data, _, n, *_ in rows] == [
        ("digits", "1"),
        ("digits", "500"),
        ("breast cancer", "1"),
        ("breast cancer", "500"),
    ]
    assert all(float(accuracy) > 90 for _, accuracy, *_ in rows)
    assert out.endswith("Labels equal scikit-learn's on all held-out rows.\n")


@pytest.mark.parametrize("data", ["digits", "breast cancer"])
def test_other_labels_are_not_passed_over(monkeypatch, data):
    def shuffled(pipeline):
        model = from_sklearn(pipeline)
        model.classes_ = model.classes_[::-1]
        return model

    monkeypatch.setattr(sklearn_pipeline.fastnet, "from_sklearn", shuffled)
    with pytest.raises(RuntimeError, match="other labels"):
        list(sklearn_pipeline.compare(data, [1]))
