"""The asv suite and the table of ratios: every class runs, tiny, and none would time a wrong answer."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import pkgutil
import re
import runpy
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import benchmarks
import fastnet
from benchmarks import (
    common,
    control,
    kernels,
    memory,
    network,
    njit,
    processes,
    startup,
    table,
    threads,
    training,
    ways,
)
from fastnet import reference

KINDS = ("time_", "track_", "peakmem_")
GRID = """
    2-4-3 x 1, 2-4-3 x 10, 2-4-3 x 1000, 2-4-3 x 100000, 2-10-3 x 1000000,
    16-32-8 x 1, 16-32-8 x 64, 16-32-8 x 10000, 30-100-2 x 1, 30-100-2 x 256, 30-100-2 x 20000,
    64-128-10 x 1, 64-128-10 x 32, 64-128-10 x 1024,
    784-128-10 x 1, 784-128-10 x 2, 784-128-10 x 64, 784-128-10 x 4096,
    256-256-256 x 16, 256-256-256 x 256, 1024-1024-1024 x 1, 1024-1024-1024 x 8, 1024-1024-1024 x 512
"""


def benchmark_methods(cls: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(cls, inspect.isfunction) if name.startswith(KINDS)]


MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.iter_modules(benchmarks.__path__, f"{benchmarks.__name__}.")
]


def benchmark_classes() -> list[type]:
    """Every class that asv finds."""
    classes = {cls for module in MODULES for _, cls in inspect.getmembers(module, inspect.isclass)}
    found = [cls for cls in classes if benchmark_methods(cls) and not inspect.isabstract(cls)]
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def combinations(classes: list[type]) -> list:
    """(class, one combination of its params), for every one of the product."""
    found = []
    for cls in classes:
        params = cls.params if isinstance(cls.params[0], (list, tuple)) else [cls.params]
        found += [pytest.param(cls, c, id=f"{cls.__name__}-{'-'.join(c)}") for c in product(*params)]
    return found


CLASSES = benchmark_classes()
FRESH_PROCESSES = (startup.Startup, memory.Growth, threads.AllCores)
#: What measures everything in ``setup_cache``: tests of its own, in test_gate.py.
AT_ONCE = (ways.Answers, ways.Ways)
IN_PROCESS = [cls for cls in CLASSES if cls not in FRESH_PROCESSES + AT_ONCE]
#: those that verify a Problem; test_training_benchmark.py has the others
VERIFIED = [cls for cls in IN_PROCESS if cls not in (control.Control, training.Training)]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Small sizes and single calls; and no thread count, of BLAS or of fastnet, is at stake in a test."""
    for cls, name, value in [
        (common.Suite, "max_size", 5),
        (common.Suite, "timing", {"rounds": 1, "min_time": 0}),
        (memory.Memory, "max_size", 5),
        (threads.Threads, "max_size", 5),
        (threads.Threads, "timing", {"rounds": 1, "min_time": 0}),
        (training.Training, "max_size", 5),
        (training.Training, "timing", {"rounds": 1, "min_time": 0}),
        (control.Control, "size", 5),
    ]:
        monkeypatch.setattr(cls, name, value)
    monkeypatch.setattr(benchmarks, "BLAS_HAS_ONE_THREAD", True)
    monkeypatch.setattr(fastnet, "set_num_threads", lambda count: None, raising=False)


def prepare(cls: type, params: tuple[str, ...]):
    """Do what asv does before it runs a benchmark."""
    instance = cls()
    if hasattr(instance, "setup_cache"):
        instance.setup_cache()
    instance.setup(*params)
    return instance


@pytest.mark.parametrize(("cls", "params"), combinations(IN_PROCESS))
def test_every_benchmark_runs(cls, params):
    instance = prepare(cls, params)
    for name in benchmark_methods(cls):
        result = getattr(instance, name)(*params)
        if name.startswith("track_"):
            assert math.isfinite(result), name
            assert result > 0, name


def test_the_suites_are_found():
    expected = [
        kernels.Forward,
        memory.Growth,
        memory.Memory,
        network.OneRowOverhead,
        network.Predict,
        njit.InNjit,
        startup.Startup,
        threads.AllCores,
        threads.Threads,
        training.Training,
        ways.Answers,
        ways.Ways,
    ]
    assert [cls for cls in CLASSES if cls is not control.Control] == expected
    assert control.Control in CLASSES


def test_asv_finds_no_helper_by_its_name():
    functions = [name for module in MODULES for name, _ in inspect.getmembers(module, inspect.isfunction)]
    assert not [name for name in functions if name.startswith(KINDS)]


def test_no_class_is_found_twice():
    places = [vars(module).values() for module in MODULES]
    assert [sum(cls in values for values in map(list, places)) for cls in CLASSES] == [1] * len(CLASSES)


def test_the_control_never_touches_fastnet():
    assert "fastnet" not in inspect.getsource(control).partition('"""')[2].partition('"""')[2]


# The problems


def test_the_grid_has_every_shape():
    labels = [label.strip() for label in GRID.split(",")]
    assert set(labels) <= set(common.NETWORKS)
    assert set(labels) <= set(network.Predict.params[0])
    assert set(network.Predict.params[1]) == {"float32", "float64"}


@pytest.mark.parametrize("shapes", [common.NETWORKS, common.AWKWARD, common.LAYERS, memory.EXTREMES])
def test_labels_say_the_shape(shapes):
    for label, (sizes, batch) in shapes.items():
        assert label == "-".join(map(str, sizes)) + f" x {batch}"


def test_labels_say_the_activations():
    for label, (sizes, batch) in common.ACTIVATED.items():
        plain, hidden, *last = re.fullmatch(r"(\S+ x \d+) (\w+)(?: (\w+))?", label).groups("")
        assert plain == "-".join(map(str, sizes)) + f" x {batch}"
        layers = common.network_problem(label, "float32", max_size=3).layers
        between = [*[["Affine", hidden]] * (len(sizes) - 2), ["Affine", *filter(None, last)]]
        found = [type(layer).__name__ for layer in layers]
        assert [name.lower() for name in found] == [name.lower() for names in between for name in names]


def test_the_numbers_of_a_problem_never_change():
    (first, _), x = common.draw("2-4-3 x 1", common.NETWORKS["2-4-3 x 1"], "float64", None)
    W, b = first.params
    assert (W.shape, b.shape, x.shape) == ((2, 4), (4,), (1, 2))
    np.testing.assert_allclose(
        [W[0, 0], b[0], x[0, 0]], [-0.8212338332499494, 0.7211010309081076, 0.8259603003260368], rtol=1e-15
    )


@pytest.mark.parametrize("dtype", common.DTYPES)
def test_both_implementations_have_the_very_same_weights(dtype):
    (first, last), _ = common.draw("2-4-3 x 1", common.NETWORKS["2-4-3 x 1"], dtype, None)
    layers = [first, reference.Sigmoid(), last]
    for make in network.MODELS.values():
        ours = [p for layer in make(layers).layers for p in layer.params]
        theirs = [p for layer in layers for p in layer.params]
        assert [p.dtype for p in ours] == [dtype] * 4
        assert all(a is b for a, b in zip(ours, theirs, strict=True))


def test_no_label_is_in_two_tables():
    assert len(common.ALL_NETWORKS) == sum(map(len, common.TABLES.values()))


def test_awkward_shapes_are_awkward():
    sizes = [sizes for sizes, _ in common.AWKWARD.values()]
    batches = {batch for _, batch in common.AWKWARD.values()}
    assert {5, 6, 7, 15, 16, 17} <= batches
    assert {15, 17, 31, 33, 63, 65} <= {n for s in sizes for n in s}
    assert any(s[-1] == 1 for s in sizes)
    assert any(1 in s[1:-1] for s in sizes)
    assert {1, 257, 513} <= {fan_in for s in sizes for fan_in in s[:-1]}
    assert max(map(max, sizes)) == 4096
    assert {len(s) - 1 for s in sizes} == {1, 2, 5, 15}
    rows = {batch for s, batch in common.AWKWARD.values() if s == (1024, 1024, 1024)}
    assert {3, 4, 5, 6, 7} <= rows


def test_networks_have_any_depth():
    problem = common.network_problem("2-3-5-7-11-13 x 17", "float32")
    assert [type(layer).__name__ for layer in problem.layers] == ["Affine", "Sigmoid"] * 4 + ["Affine"]
    assert problem.fastnet().shape == (17, 13)
    problem.verify()


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("-".join(["32"] * 16) + " x 1000", "15 layers of 32 x 1000"),
        ("-".join(["32"] * 16), "15 layers of 32"),
        ("32-32-32 x 1", "32-32-32 x 1"),
        ("2-3-5-7-11-13-17 x 1", "2-3-5-7-11-13-17 x 1"),
    ],
)
def test_shown(label, text):
    assert common.shown(label) == text


# Verification


def make_wrong(monkeypatch):
    """Let every public class of fastnet err in the fourth digit."""

    def wrong(original):
        return lambda *args, **kwargs: original(*args, **kwargs) * 1.001

    for name in fastnet.__all__:
        cls = getattr(fastnet, name)
        if inspect.isclass(cls):
            methods = {m: wrong(getattr(cls, m)) for m in ("forward", "predict") if hasattr(cls, m)}
            monkeypatch.setattr(fastnet, name, type(name, (cls,), methods))


@pytest.mark.parametrize(("cls", "params"), combinations(VERIFIED))
def test_a_wrong_implementation_is_never_timed(cls, params, monkeypatch):
    make_wrong(monkeypatch)
    with pytest.raises(common.WrongAnswer, match="times the bound"):
        prepare(cls, params)


def test_the_table_verifies_too(monkeypatch):
    make_wrong(monkeypatch)
    with pytest.raises(common.WrongAnswer):
        table.measure("2-4-3 x 10", "float32", rounds=1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda y: y[:-1], "expected"),
        (lambda y: y.astype("float64"), "expected"),
        (lambda y: y * np.float32(1.00001), "times the bound"),
        (lambda y: y * np.float32("nan"), "times the bound"),
    ],
    ids=["shape", "dtype", "value", "nan"],
)
def test_verify_tells_wrong_answers(spoil, message):
    problem = common.network_problem("2-4-3 x 10", "float32")
    right = problem.reference()
    problem.fastnet = lambda: spoil(right)
    with pytest.raises(common.WrongAnswer, match=message):
        problem.verify()


@pytest.mark.parametrize("label", common.ALL_NETWORKS)
def test_verify_accepts_the_correctly_rounded_answer(label):
    problem = common.network_problem(label, "float32", max_size=300)
    x = problem.x.astype("float64")
    for layer in problem.layers:
        x = type(layer)(*(p.astype("float64") for p in layer.params)).forward(x)
    problem.fastnet = lambda: x.astype("float32")
    problem.verify()


# What is timed


@pytest.mark.parametrize(("ours", "theirs", "slower"), [(30_000, 1000, True), (1000, 30_000, False)])
def test_the_ratio_is_above_one_for_the_slower(ours, theirs, slower):
    class Sums(common.Suite):
        timing = {"rounds": 5, "min_time": 0.001}  # noqa: RUF012

        def build(self):
            x = np.ones(3)
            right = reference.Sigmoid()
            return common.Problem(
                [right],
                x,
                lambda x: (sum(range(theirs)), right.forward(x))[1],
                lambda x: (sum(range(ours)), right.forward(x))[1],
            )

    suite = prepare(Sums, ())
    assert (suite.track_time_ratio() > 1) == slower
    assert (suite.track_seconds() > 1e-4) == slower


def test_a_public_class_without_a_benchmark_is_an_error(monkeypatch):
    class Unmeasured:
        def forward(self, x):
            return x

    monkeypatch.setattr(fastnet, "Unmeasured", Unmeasured, raising=False)
    monkeypatch.setattr(fastnet, "__all__", [*fastnet.__all__, "Unmeasured"])
    with pytest.raises(ImportError, match="Unmeasured"):
        runpy.run_path(kernels.__file__)


def test_every_name_that_counts_as_benchmarked_is_among_the_params():
    assert set(kernels.PROBLEMS) == set(kernels.Forward.params[0])
    assert set(network.MODELS) == set(network.OneRowOverhead.params[0])


def test_fastnet_gets_one_thread(monkeypatch):
    counts = []
    monkeypatch.setattr(fastnet, "set_num_threads", counts.append, raising=False)
    prepare(network.Predict, ("2-4-3 x 1", "float32"))
    assert counts == [1]


def test_a_blas_that_cannot_be_limited_is_skipped(monkeypatch):
    monkeypatch.setattr(benchmarks, "BLAS_HAS_ONE_THREAD", False)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(NotImplementedError, match="OPENBLAS_NUM_THREADS"):
        prepare(network.Predict, ("2-4-3 x 1", "float32"))


@pytest.mark.parametrize("first", ["benchmarks", "numpy"])
def test_blas_has_one_thread_whatever_was_imported_first(first):
    code = (
        f"import {first}, benchmarks, threadpoolctl as t, numpy;"
        "benchmarks.limit_blas();"
        "print(*[p['num_threads'] for p in t.threadpool_info() if p['user_api'] == 'blas'])"
    )
    env = {name: value for name, value in os.environ.items() if name not in benchmarks.THREAD_VARIABLES}
    root = Path(benchmarks.__file__).parents[1]
    output = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=root, check=True, capture_output=True, text=True
    )
    assert output.stdout.split() == ["1"]


def test_rounds_can_be_fewer_for_a_quick_look():
    code = (
        "from benchmarks import common as c, startup as s; print(c.Suite.timing['rounds'], s.Startup.repeats)"
    )
    for rounds, expected in (("1", "1 1"), ("7", "7 3"), ("", "15 3"), ("20", "15 3")):
        variables = {benchmarks.ROUNDS_VARIABLE: rounds} if rounds else {}
        assert processes.printed(code, **variables).strip() == expected


# Start-up


def test_startup_runs_in_a_fresh_process(monkeypatch):
    monkeypatch.setattr(startup.Startup, "repeats", 1)
    assert 0.001 < startup.Startup().track_seconds("import fastnet") < 60


@pytest.mark.parametrize("step", startup.STEPS)
def test_startup_caches_are_cold_or_warm_as_the_step_says(step, monkeypatch):
    seen = []

    def run_once(step, cache):
        seen.append((cache, sorted(os.listdir(cache))))
        Path(cache, "kernel").touch()
        return float(len(seen))

    monkeypatch.setattr(startup, "run_once", run_once)
    value = startup.seconds(step, repeats=3)
    if "warm" in step:
        assert [files for _, files in seen] == [[], ["kernel"], ["kernel"], ["kernel"]]
        assert value == 3  # the run that filled the cache does not count
    else:
        assert [files for _, files in seen] == [[], [], []]
        assert value == 2
    assert not any(os.path.exists(cache) for cache, _ in seen)


# The table

MARKED = """before
<!-- table: begin -->
old
<!-- table: end -->
after | old
<!-- startup: begin --><!-- startup: end -->
"""


def test_only_what_is_between_the_markers_is_replaced():
    text = table.replace_between_markers(MARKED, "table", "new")
    assert text == MARKED.replace("-->\nold\n<!--", "-->\nnew\n<!--")
    assert table.replace_between_markers(text, "table", "new") == text
    assert "begin -->\nnew\n<!-- startup: end" in table.replace_between_markers(MARKED, "startup", "new")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- table: begin -->",
        "<!-- table: end --><!-- table: begin -->",
        MARKED + MARKED,
    ],
    ids=["none", "no end", "reversed", "twice"],
)
def test_markers_must_be_a_pair(text):
    with pytest.raises(ValueError, match="table: begin"):
        table.replace_between_markers(text, "table", "new")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.6e-9, "8.6 ns"),
        (9.5e-7, "0.95 µs"),
        (5.4e-6, "5.40 µs"),
        (1.234e-4, "123 µs"),
        (0.0123, "12.3 ms"),
        (2.5, "2.50 s"),
    ],
)
def test_duration_text(seconds, text):
    assert table.duration_text(seconds) == text


def test_grid_markdown():
    points = [
        table.Point("2-4-3 x 1", "float32", 8e-6, 2e-6, 0.25),
        table.Point("2-4-3 x 1", "float64", 8e-6, 8e-6, 1.0),
    ]
    facts = table.machine.describe()
    header, rule, row, *rest = table.grid_markdown(points, facts).splitlines()
    assert row == "| 2-4-3 x 1 | 8.00 µs | 2.00 µs | **4.00** | 8.00 µs | 8.00 µs | **1.00** |"
    assert header.count("|") == rule.count("|") == row.count("|")
    assert "2 points: 2.00 times as fast as the reference (geometric mean)" in rest[1]
    assert "worst point 1.00 times (2-4-3 x 1, float64)" in rest[1]
    assert f"NumPy {np.__version__}" in rest[3]


@pytest.fixture
def small_table(monkeypatch):
    monkeypatch.setattr(table, "NETWORKS", {"2-4-3 x 1": common.NETWORKS["2-4-3 x 1"]})
    monkeypatch.setattr(startup, "STEPS", {"import numpy": startup.STEPS["import numpy"]})
    monkeypatch.setattr(startup, "run_once", lambda step, cache: 0.125)


def test_table_is_measured_and_written(small_table, tmp_path, capsys):
    readme, record = tmp_path / "README.md", tmp_path / "record.json"
    readme.write_text(MARKED)
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    assert table.main(["--quick", "--write", str(readme), "--json", str(record)]) == 0
    assert affinity is None or os.sched_getaffinity(0) == affinity
    text, figures = readme.read_text(encoding="utf-8"), json.loads(record.read_text())
    assert text.startswith("before\n<!-- table: begin -->\n| input-hidden-output x rows |")
    assert "\n| 2-4-3 x 1 | " in text
    assert "| import numpy | 125 ms |\n<!-- startup: end -->" in text
    assert {p["dtype"] for p in figures["points"]} == set(common.DTYPES)
    assert all(p["ratio"] > 0 for p in figures["points"])
    assert figures["startup_seconds"] == {"import numpy": 0.125}
    assert figures["machine"]["NumPy"] == np.__version__
    assert capsys.readouterr().out.startswith("2 points: ")


def test_a_file_without_markers_fails_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(table, "measure_grid", lambda **_: pytest.fail("measured"))
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(ValueError, match="table: begin"):
        table.main(["--write", str(tmp_path / "README.md")])


@pytest.mark.parametrize(
    ("ratios", "arguments", "code", "measured"),
    [
        ([0.2, 1.0], ["--check"], 0, 2),
        ([0.2, 1.1, 0.9], ["--check"], 0, 3),
        ([0.2, 1.1, 1.1], ["--check"], 1, 3),
        ([0.8, 0.8], ["--check"], 1, 2),
        ([0.8, 1.1], [], 0, 2),
    ],
)
def test_check_measures_a_failing_point_once_more(
    small_table, ratios, arguments, code, measured, monkeypatch, capsys
):
    left = list(ratios)

    def measure(problem, dtype, rounds):
        ratio = left.pop(0)
        return table.Point(problem, dtype, 1e-6, ratio * 1e-6, ratio)

    monkeypatch.setattr(table, "measure", measure)
    monkeypatch.setattr(table, "measure_afresh", measure)
    assert table.main(["--quick", *arguments]) == code
    assert len(ratios) - len(left) == measured
    assert ("NO  " in capsys.readouterr().out) == code


def test_once_more_is_the_median_of_processes(monkeypatch):
    point = table.Point("2-4-3 x 1", "float32", 1e-6, 1e-6, 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(table, "PROCESSES", 1)
        measured = table.measure_afresh(*point[:2], rounds=1)
    assert measured[:2] == point[:2]
    assert measured.ratio > 0
    ratios = [1.2, 0.9, 1.3, 1.1, 0.8]
    left = list(ratios)
    monkeypatch.setattr(table, "printed", lambda code: json.dumps(point._replace(ratio=left.pop())))
    assert table.measure_afresh(*point[:2], rounds=1).ratio == 1.1
    assert not left


def test_what_is_too_slow_is_told():
    points = [table.Point("2-4-3 x 1", dtype, 1e-6, 1e-6, ratio) for dtype, ratio in [("a", 0.9), ("b", 1.1)]]
    assert table.too_slow(points) == [
        "geometric mean: 0.995 (at most 0.5)",
        "2-4-3 x 1, b: 1.100 (at most 1.05)",
    ]
    assert table.too_slow([point._replace(ratio=0.5) for point in points]) == []


def test_the_grid_alone_has_no_start_up_steps(small_table, monkeypatch, capsys):
    monkeypatch.setattr(startup, "seconds", lambda *_: pytest.fail("measured"))
    assert table.main(["--grid", "--quick"]) == 0
    assert "import numpy" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        table.main(["--grid", "--json", "x"])
