"""The comparison with other libraries: answers verified, one process running at a time, tables and a plot."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import benchmarks
from benchmarks import common, estimators, figures, libraries, peers, processes, threads, workers
from fastnet.timing import Timing, Turn, interleave

TINY = {"max_size": 5, "min_time": 0}
RESULTS = {
    ("2-4-3 x 1", "float32"): {
        "fastnet": Timing(1e-6, 1.0),
        "numpy": Timing(4e-6, 4.0),
        "other": Timing(2e-6, 2.0),
    },
    ("2-4-3 x 10", "float32"): {"fastnet": Timing(1e-6, 1.0), "numpy": Timing(5e-7, 0.5)},
    ("16-32-8 x 1", "float64"): {
        "fastnet": Timing(1e-6, 1.0),
        "numpy": Timing(4e-6, 1.3),
        "other": Timing(1.05e-6, 1.05),
    },
}


def make_stub(monkeypatch, tmp_path, name, body):
    """A module that takes the place of an installed one, in workers."""
    (tmp_path / f"{name}.py").write_text(body)
    before = processes.environment
    monkeypatch.setattr(
        workers,
        "environment",
        lambda **changes: (
            (env := before(**changes)) | {"PYTHONPATH": os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])}
        ),
    )


# Libraries


def test_a_wrong_peer_is_not_timed():
    problem = common.network_problem("2-4-3 x 10", "float64")
    assert libraries.verified(problem, problem.reference) == problem.reference
    with pytest.raises(ArithmeticError, match="further off"):
        libraries.verified(problem, lambda: problem.reference() + 1e-9)
    with pytest.raises(ArithmeticError, match="float32"):
        libraries.verified(problem, lambda: problem.reference().astype(np.float32))


def test_a_wrong_fastnet_is_not_timed():
    problem = common.network_problem("2-4-3 x 10", "float64")
    problem.fastnet = lambda: problem.reference() + 1e-9
    with pytest.raises(common.WrongAnswer):
        libraries.prepared("fastnet", problem, 1)


#: what has to be there for a library
NEEDS = {"torch": ["torch"], "onnxruntime": ["onnxruntime", "onnx"], "scikit-learn": ["sklearn"]}


@pytest.mark.parametrize("label", ["30-100-2 x 1", *common.ACTIVATED])
@pytest.mark.parametrize("library", NEEDS)
def test_peers_know_the_activations(library, label):
    for name in NEEDS[library]:
        pytest.importorskip(name)
    problem = common.network_problem(label, "float64", max_size=5)
    if library == "scikit-learn" and "softmax" in label:
        with pytest.raises(NotImplementedError, match="no activation behind its last layer"):
            libraries.prepared(library, problem, 1)
        return
    answer = np.asarray(libraries.prepared(library, problem, 1)())
    np.testing.assert_allclose(answer.reshape(len(problem.x), -1), problem.reference(), rtol=1e-5)


def test_a_library_is_given_what_follows_each_layer():
    problem = common.network_problem("64-128-10 x 1024 relu softmax", "float32", max_size=5)
    net = libraries.Network.of(problem, 3)
    assert [found.onnx for found in net.activations] == ["Relu", "Softmax"]
    assert [W.shape for W, _ in net.pairs] == [(5, 5), (5, 5)]
    assert net.threads == 3
    plain = libraries.Network.of(common.network_problem("300-1 x 1", "float32"), 1)
    assert plain.activations == [None]


# The estimator


@pytest.fixture
def quickly_fitted(monkeypatch):
    """A classifier of the same shape after a few steps, in place of one that learns for seconds."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    datasets = pytest.importorskip("sklearn.datasets")

    def fitted(dtype):
        x, y = datasets.load_digits(return_X_y=True)
        x = (x / 16).astype(dtype)
        estimator = neural_network.MLPClassifier((100,), random_state=0)
        return estimator.partial_fit(x[:100], y[:100], classes=np.unique(y)), x

    monkeypatch.setattr(estimators, "fitted", fitted)


@pytest.mark.parametrize("dtype", common.DTYPES)
@pytest.mark.parametrize("library", ["fastnet", *estimators.LIBRARIES])
def test_estimators_answer(quickly_fitted, library, dtype):
    if library == "onnxruntime":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("skl2onnx")
    for label, rows in estimators.ESTIMATORS.items():
        answer = estimators.prepared(library, label, dtype, 1, max_size=2000)()
        assert answer.shape == (min(rows, 2000), 10)
        assert answer.dtype == dtype
        np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
        if rows > 1:
            # the digits again; other libraries give a row other bits in another place
            np.testing.assert_allclose(answer[1797:], answer[: 2000 - 1797], rtol=1e-4)


@pytest.mark.parametrize(
    ("library", "error"), [("fastnet", common.WrongAnswer), ("scikit-learn", ArithmeticError)]
)
def test_a_wrong_estimator_is_not_timed(quickly_fitted, library, error, monkeypatch):
    fitted, digits = estimators.fitted("float64")
    right = estimators.estimator_problem("MLPClassifier 64-100-10 relu x 1", "float64")
    wrong = common.Problem(right.layers, right.x, right.reference.func, lambda x: right.fastnet() + 1e-9)
    monkeypatch.setattr(fitted, "predict_proba", lambda x: right.reference() + 1e-9, raising=False)
    monkeypatch.setattr(estimators, "fitted", lambda dtype: (fitted, digits))
    monkeypatch.setattr(estimators, "estimator_problem", lambda *_: wrong)
    with pytest.raises(error):
        estimators.prepared(library, "MLPClassifier 64-100-10 relu x 1", "float64", 1)


def test_the_estimator_itself_has_learnt():
    pytest.importorskip("sklearn")
    problem = estimators.estimator_problem("MLPClassifier 64-100-10 relu x 1", "float32")
    problem.verify()
    estimator, digits = estimators.fitted("float32")
    assert estimator.coefs_[0].dtype == np.float32
    assert len(digits) == 1797
    assert estimator.best_loss_ < 0.1


# Turns


def test_a_turn_is_of_enough_calls():
    turn = Turn(lambda: time.sleep(0.001), min_time=0.01)
    assert 2 <= turn.loops <= 20
    assert turn() >= 1e6


def test_ratios_are_within_a_round():
    values = {"a": iter([1e9, 2e9, 4e9]), "b": iter([3e9, 6e9, 8e9])}
    order = []

    def turn(name):
        order.append(name)
        return next(values[name])

    times = interleave({name: lambda name=name: turn(name) for name in values}, rounds=3)
    assert times == {"a": Timing(2.0, 1.0), "b": Timing(6.0, 3.0)}
    assert order == ["a", "b", "b", "a", "a", "b"]


# Workers


def test_workers_compare_and_name_the_absent(monkeypatch, tmp_path):
    make_stub(monkeypatch, tmp_path, "torch", "raise ImportError('no such library')")
    with workers.working(["fastnet", "numpy", "torch"], 1) as found:
        times, failed = workers.compare(found, "2-4-3 x 10", "float32", 2, **TINY)
        blas = found["numpy"].blas()
    assert list(times) == ["fastnet", "numpy"]
    assert times["fastnet"].ratio == 1
    assert all(math.isfinite(t.seconds) and t.seconds > 0 for t in times.values())
    assert failed == {"torch": "ImportError: no such library"}
    assert "1 thread(s)" in blas
    assert all(worker.process is None for worker in found.values())


def test_a_worker_that_dies_is_named_and_started_again(monkeypatch, tmp_path):
    make_stub(monkeypatch, tmp_path, "torch", "import os; os._exit(7)")
    with workers.working(["torch"], 1) as found:
        for _ in range(2):
            with pytest.raises(workers.WorkerError, match="ended with code 7"):
                found["torch"].prepare("2-4-3 x 1", "float32", **TINY)


def test_what_a_library_prints_is_no_answer(monkeypatch, tmp_path):
    make_stub(monkeypatch, tmp_path, "torch", "import os; os.write(1, b'[1, 2]\\n'); raise ImportError('x')")
    with workers.working(["torch"], 1) as found, pytest.raises(workers.WorkerError, match="ImportError: x"):
        found["torch"].prepare("2-4-3 x 1", "float32", **TINY)


def test_the_baseline_has_to_answer():
    with (
        workers.working(["fastnet", "numpy"], 1) as found,
        pytest.raises(workers.WorkerError, match="KeyError"),
    ):
        workers.compare(found, "no such label", "float32", 1, **TINY)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads the states of processes")
def test_only_the_one_whose_turn_it_is_runs():
    def state(worker):
        deadline = time.monotonic() + 10
        while True:
            stat = Path(f"/proc/{worker.process.pid}/stat").read_text()
            found = stat.rpartition(")")[2].split()[0]
            if found == "T" or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    with workers.working(["numpy", "fastnet"], 1) as found:
        for worker in found.values():
            worker.prepare("2-4-3 x 1", "float32", **TINY)
            assert worker.turn() > 0
        assert [state(worker) for worker in found.values()] == ["T", "T"]


def test_workers_have_their_threads_and_no_slowing_variables(monkeypatch):
    for name in processes.SLOWING:
        monkeypatch.setenv(name, "1")
    code = "import benchmarks, os; print(os.environ['OPENBLAS_NUM_THREADS'], benchmarks.BLAS_HAS_ONE_THREAD)"
    assert processes.printed(code, **{benchmarks.COUNT_VARIABLE: "3"}).split() == ["3", "False"]
    assert processes.printed(code).split() == ["1", "True"]
    assert not set(processes.SLOWING) & set(processes.environment())


def test_a_stopped_worker_ends_with_its_block():
    with workers.working(["numpy"], 1) as found:
        found["numpy"].prepare("2-4-3 x 1", "float32", **TINY)
        process = found["numpy"].process
    assert process.poll() == -signal.SIGKILL


def test_all_cores_beside_the_reference(monkeypatch):
    monkeypatch.setattr(threads.AllCores, "max_size", 5)
    monkeypatch.setattr(threads.AllCores, "timing", {"rounds": 1, "min_time": 0})
    instance = threads.AllCores()
    instance.setup("2-4-3 x 10", "float32")
    assert 0 < instance.track_time_ratio("2-4-3 x 10", "float32") < math.inf


# The tables


def test_table_names_the_best_and_the_near(monkeypatch):
    monkeypatch.setattr(peers, "PEERS", {"other": None})
    text = peers.markdown(RESULTS, "1 core(s)")
    assert "| 2-4-3 x 1 | float32 | 1.00 µs | 4.00 | **2.00** |" in text
    assert "| 2-4-3 x 10 | float32 | 1.00 µs | **0.50** | - |" in text
    assert "On 1 core(s), 3 points: 1.02 times as fast as the best of the others at each point" in text
    assert "1.38 times as fast as NumPy (geometric means)" in text
    assert "A peer is ahead at: 2-4-3 x 10 float32 (numpy, 0.50)." in text
    assert "Within 10 %: 16-32-8 x 1 float64 (other, 1.05)." in text


def test_what_is_left_out_is_said_once():
    left_out = peers.LeftOut()
    left_out["a", "float64", "absent"] = ["2-4-3 x 1", "2-4-3 x 10"]
    left_out["b", "float32", "wrong"] = ["2-4-3 x 10"]
    assert left_out.text(["2-4-3 x 1", "2-4-3 x 10"]) == (
        "Left out: a, float64 (absent); b, float32 at 2-4-3 x 10 (wrong)."
    )
    assert left_out.text(["2-4-3 x 1"]) == "Left out: a, float64 (absent)."
    assert left_out.text(["1-1-1 x 1"]) == ""


def test_the_command(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("threadpoolctl")
    pytest.importorskip("sklearn")
    monkeypatch.setattr("fastnet.threads._wanted", None)  # nobody has said how many
    monkeypatch.setattr(peers, "PEERS", {})
    monkeypatch.setitem(peers.TABLES, "grid", {"2-4-3 x 1": ((2, 4, 3), 1)})
    monkeypatch.setitem(peers.TABLES, "awkward", {"1-1-1 x 7": ((1, 1, 1), 7)})
    monkeypatch.setitem(peers.TABLES, "activated", {"30-100-2 x 1 tanh": ((30, 100, 2), 1)})
    monkeypatch.setitem(peers.TABLES, "estimator", {"MLPClassifier 64-100-10 relu x 1": 1})
    marked, plot, record = tmp_path / "README.md", tmp_path / "p.svg", tmp_path / "p.json"
    text = "<!-- peers-one: begin --><!-- peers-one: end -->\n"
    names = ["one", "one-awkward", "one-activated", "one-estimator"]
    marked.write_text("".join(text.replace("one", name) for name in names))
    arguments = ["--shapes", "all", "--rounds", "1", "--write", marked, "--plot", plot, "--json", record]
    assert peers.main([str(argument) for argument in arguments]) == 0
    written = marked.read_text()
    grid, awkward, activated, estimator = re.split(r"<!-- peers-one-\w+: begin -->", written)
    assert "| 2-4-3 x 1 | float64 |" in grid
    assert "1-1-1" not in grid
    assert "| 1-1-1 x 7 | float32 |" in awkward
    assert "| 30-100-2 x 1 tanh | float32 |" in activated
    assert "| dtype | fastnet | scikit-learn | onnxruntime |" in estimator
    assert "| MLPClassifier 64-100-10 relu x 1 | float64 |" in estimator
    assert "times as fast as scikit-learn (geometric means)" in estimator
    assert "; numpy " in estimator
    assert ", scikit-learn " in estimator
    assert "NumPy's BLAS: " in grid
    figures = json.loads(record.read_text())
    assert [(p["problem"], p["table"]) for p in figures["points"]][::2] == [
        ("2-4-3 x 1", "grid"),
        ("1-1-1 x 7", "awkward"),
        ("30-100-2 x 1 tanh", "activated"),
        ("MLPClassifier 64-100-10 relu x 1", "estimator"),
    ]
    assert figures["cores"] == 1
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert capsys.readouterr().out.count("2 points: ") == 4


@pytest.mark.parametrize("shapes", ["estimator", "all"])
def test_no_plot_without_networks(shapes, monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "measure", lambda *_: pytest.fail("measured"))
    plot = str(tmp_path / "p.svg")
    with pytest.raises(SystemExit, match="--plot draws networks"):
        peers.main(["--shapes", shapes, "--only", "MLPClassifier", "--plot", plot])


def test_the_estimator_needs_scikit_learn(monkeypatch):
    monkeypatch.setattr(peers, "measure", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="needs scikit-learn"):
        peers.main(["--shapes", "estimator"])


def test_a_file_without_markers_fails_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "measure", lambda *_: pytest.fail("measured"))
    (tmp_path / "README.md").write_text("<!-- peers-all: begin --><!-- peers-all: end -->")
    with pytest.raises(ValueError, match="peers-one: begin"):
        peers.main(["--write", str(tmp_path / "README.md")])
    with pytest.raises(SystemExit, match="no problem"):
        peers.main(["--only", "no such"])


# The plot


@pytest.fixture
def ratios():
    pytest.importorskip("matplotlib")
    return {
        (label, dtype): 1 + (i % 7) / 2
        for i, label in enumerate(common.ALL_NETWORKS)
        for dtype in common.DTYPES
    }


def test_the_plot_is_the_same_every_time(ratios, tmp_path):
    texts = []
    for name in ("a.svg", "b.svg"):
        figures.speedups(ratios, tmp_path / name, 1)
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert "<dc:date>" not in texts[0]
    figures.speedups(ratios | {("2-4-3 x 1", "float32"): 9.0}, tmp_path / "c.svg", 1)
    assert (tmp_path / "c.svg").read_text() != texts[0]


def test_the_plot_has_a_line_a_network(ratios, tmp_path, monkeypatch):
    drawn = []
    original = figures.figure

    def figure(*args):
        drawn.append(original(*args))
        return drawn[-1]

    seen = []
    monkeypatch.setattr(figures, "figure", figure)
    from matplotlib.axes import Axes

    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda *a, **k: (seen.append((k["label"], list(a[1]))), plot(*a, **k))[1]
    )
    figures.speedups(ratios, tmp_path / "a.svg", 1)
    assert [label for label, _ in seen] == 2 * list(
        dict.fromkeys("-".join(map(str, sizes)) for sizes, _ in common.NETWORKS.values())
    )
    assert dict(seen)["784-128-10"] == [1, 2, 64, 4096]


def test_the_package_is_not_needed_to_read_the_help():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--help"],
        env=processes.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--shapes" in done.stdout
