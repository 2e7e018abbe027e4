"""Time per row over the batch: what counts as a cliff, and the command."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import cliffs

FLAT = [float(n) for n in range(1, 20)]


def test_a_fixed_cost_is_no_cliff():
    assert cliffs.largest_jump([10 + 0.1 * n for n in range(1, 131)]).size < 1.01
    assert cliffs.largest_jump(FLAT).size == pytest.approx(1)


@pytest.mark.parametrize(
    ("calls", "size", "batch"),
    [
        ([1.0, 4.0, 6.0], 2.0, 1),  # 2 rows cost twice as much a row as 1
        ([*FLAT[:9], 15.0, 16.5], 1.5, 9),
        ([*FLAT[:9], 4.5, 4.95], 2.0, 9),  # a call with one row more takes half the time
    ],
    ids=["second row", "up", "down"],
)
def test_cliffs_in_either_direction(calls, size, batch):
    jump = cliffs.largest_jump(calls)
    assert jump.size == pytest.approx(size)
    assert jump.batch == batch
    assert str(jump) == f"{size:.2f} ({batch} to {batch + 1} rows)"


def test_every_batch_is_measured():
    calls = cliffs.measure((2, 4, 3), "float32", 5, 1, 0)
    assert len(calls) == 5
    assert min(calls) > 0


@pytest.mark.parametrize(
    ("sizes", "arguments", "code", "measured"),
    [
        ([1.1, 1.2], ["--check"], 0, 2),
        ([1.1, 1.5, 1.2], ["--check"], 0, 3),  # once is no proof
        ([1.1, 1.5, 1.4], ["--check"], 1, 3),
        ([1.1, 1.5], [], 0, 2),
    ],
)
def test_check(sizes, arguments, code, measured, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    left = list(sizes)
    monkeypatch.setattr(cliffs, "one_thread", lambda: None)
    monkeypatch.setattr(cliffs, "measure", lambda *_: [1e-6, 2e-6, 3e-6 * left.pop(0)])
    plot, record = tmp_path / "c.svg", tmp_path / "c.json"
    assert cliffs.main(["--only", "30-100-2", *arguments, "--plot", str(plot), "--json", str(record)]) == code
    assert len(sizes) - len(left) == measured
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert [c["dtype"] for c in json.loads(record.read_text())["curves"]] == ["float32", "float64"]
    assert (
        f"| 30-100-2 | float32 | 1.00 µs | 1.10 µs | {sizes[0]:.2f} (2 to 3 rows) |"
        in capsys.readouterr().out
    )


def test_bad_options(capsys):
    with pytest.raises(SystemExit, match="no network"):
        cliffs.main(["--only", "no such"])
    with pytest.raises(SystemExit):
        cliffs.main(["--batches", "1"])
    assert "two batches" in capsys.readouterr().err
