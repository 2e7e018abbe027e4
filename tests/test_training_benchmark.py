"""The comparison of trainings: the same losses everywhere before anything is timed, and the table."""

import json

import numpy as np
import pytest

from benchmarks import trainers, training
from fastnet.timing import Timing

#: what has to be there for a library
NEEDS = {"torch": "torch", "jax": "jax", "scikit-learn": "sklearn"}
RESULTS = {
    ("2-10-3 x 30", "float32"): {
        "fastnet": Timing(3e-3, 1.0),
        "fastnet-loop": Timing(15e-3, 5.0),
        "numpy": Timing(15e-2, 50.0),
        "torch": Timing(3e-1, 100.0),
        "jax": Timing(6e-2, 20.0),
    },
    ("24-8-2 x 200 tanh", "float64"): {
        "fastnet": Timing(6e-4, 1.0),
        "fastnet-loop": Timing(12e-4, 2.0),
        "numpy": Timing(48e-4, 8.0),
        "torch": Timing(54e-5, 0.9),
    },
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("label", trainers.TASKS)
@pytest.mark.parametrize("library", ["fastnet", "fastnet-loop", "numpy", *NEEDS])
def test_every_library_trains_alike(library, label, dtype):
    pytest.importorskip(NEEDS.get(library, "numpy"))
    if library == "scikit-learn" and label.partition(" ")[0] in (
        "30-100-2",
        "24-8-2",
        "4-32-16-4",
        "256-256-256",
    ):
        return
    train = trainers.prepared(library, label, dtype, 1, max_size=4)
    assert 0 < train() < 10


def test_scikit_learn_has_no_place_for_some():
    pytest.importorskip("sklearn")
    with pytest.raises(NotImplementedError, match="one output for two classes"):
        trainers.prepared("scikit-learn", "30-100-2 x 32", "float64", 1, max_size=4)


def test_a_wrong_training_is_not_timed(monkeypatch):
    monkeypatch.setitem(trainers.TRAINERS, "torch", lambda p: lambda: 1.0)
    with pytest.raises(ArithmeticError, match="further off"):
        trainers.prepared("torch", "2-10-3 x 30", "float32", 1, max_size=4)


def test_steps_of_a_call():
    assert trainers.TASKS["2-10-3 x 30"].steps == 3000
    assert trainers.TASKS["64-32-10 x 32"].steps == 5 * 44


def test_every_class_is_there_for_scikit_learn():
    for label in trainers.TASKS:
        p = trainers.problem(label, "float32")
        if p.t.ndim == 1:
            np.testing.assert_array_equal(np.unique(p.t), np.arange(p.task.sizes[-1]))


def test_table():
    text = training.markdown(RESULTS, "1 core(s)")
    assert "| 2-10-3 x 30 | float32 | 1.00 µs | 5.00 | 50.00 | 100.00 | - | **20.00** | - |" in text
    assert "A peer is ahead at: 24-8-2 x 200 tanh float64 (torch, 0.90)." in text
    assert "5.66 µs a step (the gradient alone" in text
    assert "here 6.00 µs" in text
    assert "`fit` is 4.24 times as fast as the best" in text  # sqrt(20 * 0.9)


def test_the_command(monkeypatch, tmp_path, capsys):
    """From workers to the file, with fastnet and NumPy alone."""
    for name in training.PEERS:
        monkeypatch.delitem(training.TRAINERS, name)
    monkeypatch.setattr(training, "PEERS", [])
    measure = training.measure
    monkeypatch.setattr(training, "measure", lambda *args: measure(*args, max_size=4, min_time=0))
    file, figures = tmp_path / "README.md", tmp_path / "figures.json"
    file.write_text("a\n<!-- training-one: begin -->\n<!-- training-one: end -->\nb\n")
    arguments = ["--only", "2-10-3", "--rounds", "1", "--write", str(file), "--json", str(figures)]
    assert training.main(arguments) == 0
    assert "| 2-10-3 x 30 | float64 |" in file.read_text()
    points = json.loads(figures.read_text())["points"]
    assert [p["dtype"] for p in points] == ["float32", "float64"]
    assert all(p["times_fit"]["numpy"] > 0 for p in points)
    with pytest.raises(SystemExit, match="no problem"):
        training.main(["--only", "nothing"])
