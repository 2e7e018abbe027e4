"""The limit that calls are held against: its formula, the probes it is made of, the command."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest

from benchmarks import common, limit, machine_code, network, table

TINY = {"rounds": 1, "min_time": 0}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(limit, "_PROBE_FLOPS", 1000)
    monkeypatch.setattr(limit, "_PROBE_BYTES", 1000)
    monkeypatch.setattr(limit, "one_thread", lambda: None)


def layers(label):
    return common.network_problem(label, "float32").layers


def test_the_formula_by_hand():
    # 2-4-3: 20 weights of 4 bytes, 40 flops and 4 sigmoids a row
    costs = {"peak": 1e9, "bandwidth": 1e12, "sigmoid": 1e-9}
    assert limit.limit(layers("2-4-3 x 10"), 10, **costs) == pytest.approx(0.5e-6 + 400e-9 + 40e-9)
    costs["bandwidth"] = 80e6  # a microsecond to read the weights
    assert limit.limit(layers("2-4-3 x 10"), 10, **costs) == pytest.approx(0.5e-6 + 1000e-9 + 40e-9)
    assert limit.limit(layers("300-1 x 1"), 1, 1e9, 1e12, 1.0) == pytest.approx(0.5e-6 + 600e-9)
    assert limit.limit(layers("2-4-3 x 10"), 10, **costs, fixed=0.0) == pytest.approx(1040e-9)


def test_every_activation_counts():
    # 15 layers of 32: an activation behind all but the last
    label = next(label for label in common.AWKWARD if common.shown(label) == "15 layers of 32 x 1")
    assert limit.limit(layers(label), 1, math.inf, math.inf, 1.0, fixed=0.0) == 14 * 32


@pytest.mark.parametrize("dtype", common.DTYPES)
def test_what_the_probes_compute(dtype):
    """Fused multiply-adds in every lane, so many times; and a sum of all that is in memory."""
    one = np.dtype(dtype).type(1)
    for width in machine_code.WIDTHS:
        # sums start at 1 + chain, factor and addend are 1: each grows by one a loop
        expected = sum(1 + chain + 5 for chain in range(machine_code.CHAINS))
        assert machine_code.multiply_add(one, width, 5) == expected
    numbers = np.zeros(3 * machine_code.READ_BYTES // one.itemsize, dtype)
    lanes = machine_code.READ_BYTES // 4 // one.itemsize
    numbers[::lanes] = np.arange(1, 13)  # the first lane of each vector
    assert machine_code.read(one * 0, numbers.view(np.uint8), 2) == 2 * 78


def test_probes_take_as_long_as_they_have_to_do():
    zero = np.float64(0)

    def seconds(loops):
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            machine_code.multiply_add(zero, 16, loops)
            best = min(best, time.perf_counter() - start)
        return best

    seconds(1)
    assert seconds(400_000) > 5 * seconds(20_000)  # not folded into a formula


def test_probes_read_as_many_bytes_as_the_weights():
    _, amounts = limit.probes("float64", 784 * 128 * 8)
    assert amounts["read"] == 784 * 128 * 8
    _, amounts = limit.probes("float32", 80)
    assert amounts["read"] == 4 * machine_code.READ_BYTES


@pytest.mark.parametrize("dtype", common.DTYPES)
def test_a_point(dtype):
    problem = common.network_problem("16-32-8 x 64", dtype)
    point = limit.measure(problem, "16-32-8 x 64", rounds=3, min_time=0.0001)
    assert point.dtype == dtype
    assert point.limit == limit.limit(problem.layers, 64, point.peak, point.bandwidth, point.sigmoid)
    assert point.share == point.limit / point.seconds
    assert point.peak > 1e8
    assert point.bandwidth > 1e8


def test_asv_tracks_what_is_better_when_lower(monkeypatch):
    point = limit.Point("2-4-3 x 1", "float32", seconds=4e-6, limit=1e-6, peak=1, bandwidth=1, sigmoid=1)
    monkeypatch.setattr(limit, "measure", lambda problem, label, **timing: point)
    suite = network.Predict()
    suite.problem = None
    assert suite.track_times_limit("2-4-3 x 1", "float32") == 4


def test_the_command_writes_between_markers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(limit, "NETWORKS", {"2-4-3 x 1": ((2, 4, 3), 1)})
    marked = tmp_path / "README.md"
    marked.write_text("<!-- limit: begin --><!-- limit: end -->")
    record = tmp_path / "limit.json"
    assert limit.main(["--rounds", "1", "--write", str(marked), "--json", str(record)]) == 0
    for point in json.loads(record.read_text())["points"]:
        assert point["share"] == pytest.approx(point["limit"] / point["seconds"])
    text = marked.read_text(encoding="utf-8")
    assert "| 2-4-3 x 1 | " in text
    assert "2 points: " in text
    assert "GFLOP/s" in text
    assert capsys.readouterr().out.strip() in text


def test_points_below_are_named():
    points = [
        limit.Point("2-4-3 x 1", dtype, seconds, 1e-6, 1e11, 1e11, 1e-9)
        for dtype, seconds in (("float32", 1e-6), ("float64", 2e-6))
    ]
    text = limit.markdown(points)
    assert "| 2-4-3 x 1 | 1.00 µs | 1.00 µs | **1.00** | 1.00 µs | 2.00 µs | **0.50** |" in text
    assert "2 points: 0.71 of the limit (geometric mean). Below 0.85: 2-4-3 x 1 float64 (0.50)." in text
    assert "float32: 100 GFLOP/s, 1.00 ns a sigmoid" in text


def test_a_file_without_markers_fails_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(limit, "measure", lambda *_, **__: pytest.fail("measured"))
    (tmp_path / "README.md").write_text("")
    with pytest.raises(ValueError, match="limit: begin"):
        limit.main(["--write", str(tmp_path / "README.md")])
    with pytest.raises(SystemExit, match="no problem"):
        limit.main(["--only", "no such"])
    assert table.duration_text(limit.FIXED) == "0.50 µs"
