"""The table of errors beside other libraries: measured, written, and able to tell a bad sigmoid."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import accuracy, peers
from benchmarks.ulp import ERRORS
from fastnet import reference

MARKED = "before\n<!-- accuracy: begin -->\nold\n<!-- accuracy: end -->\nafter\n"
QUICK = ["--every", "200003", "--count", "2000"]


def examined(function, dtype="float32"):
    return accuracy.examine(function, accuracy.arguments(dtype, every=20011, count=4000))


@pytest.mark.parametrize("dtype", accuracy.DTYPES)
def test_fastnet_beside_numpy(dtype):
    ours, theirs = (examined(accuracy.SIGMOIDS[name](dtype), dtype) for name in ("fastnet", "numpy"))
    assert 0.5 < ours.error < 1.05 < theirs.error < 5
    assert ours.wrong_from is ours.instead is None
    assert theirs.wrong_from == pytest.approx({"float32": -88.75, "float64": -709.8}[dtype], abs=0.3)
    assert theirs.instead == 0
    assert ours.outside <= 0
    assert theirs.outside <= 0


def test_a_bad_sigmoid_is_told():
    def bad(x):
        y = accuracy.SIGMOIDS["fastnet"]("float32")(x)
        y[x < -20] = -1e-9
        y[x > 15] *= np.float32(1.0001)
        return y

    found = examined(bad)
    assert found.outside == pytest.approx(1e-4, rel=0.01)
    assert found.wrong_from > 15
    assert found.error > 1e7

    def odd(x):
        return np.where(x == 0, np.nan, accuracy.SIGMOIDS["fastnet"]("float32")(x))

    assert examined(odd).wrong_from == 0, "NaN in place of a number"


def test_another_dtype_is_refused():
    with pytest.raises(TypeError, match="float64"):
        examined(lambda x: np.zeros(x.shape))


def test_errors_of_known_results():
    for dtype, errors in ERRORS.items():
        info = np.finfo(dtype)
        x = np.array([0, 0, 0, -np.inf, np.inf, np.inf], dtype)
        y = np.array(
            [0.5, 0.5 + 3 * info.eps / 2, 0.5 - info.eps / 2, 3 * info.smallest_subnormal, 1, 1 - info.eps]
        )
        assert errors(x, y.astype(dtype)).tolist() == [0, 3, 1, 3, 0, 1]


def test_rows_that_change():
    assert accuracy.changed_rows("fastnet", "float32") == "0"
    assert int(accuracy.changed_rows("numpy", "float32")) > 0
    assert accuracy.changed_rows("scipy", "float32") == "-"


def test_table_is_measured_and_written(monkeypatch, tmp_path, capsys):
    def absent(dtype):
        raise ImportError("No module named 'absent'")

    few = {name: accuracy.SIGMOIDS[name] for name in ("numpy", "fastnet")}
    monkeypatch.setattr(accuracy, "SIGMOIDS", {**few, "absent": absent})
    readme = tmp_path / "README.md"
    readme.write_text(MARKED)
    assert accuracy.main([*QUICK, "--write", str(readme)]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- accuracy: begin -->\n| sigmoid | dtype | largest error, ulp |")
    assert text.endswith("<!-- accuracy: end -->\nafter\n")
    for dtype in accuracy.DTYPES:
        assert f"\n| fastnet | {dtype} | 0." in text
        assert f"\n| numpy | {dtype} | " in text
    assert "absent, float32 (ImportError: No module named 'absent')" in text
    assert f"numpy {np.__version__}" in text
    assert "| fastnet | float64 |" in capsys.readouterr().out


def test_a_file_without_markers_fails_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, "measure", lambda *_: pytest.fail("measured"))
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(ValueError, match="accuracy: begin"):
        accuracy.main(["--write", str(tmp_path / "README.md")])


def test_peers_answer_one_row_like_many():
    """What the last column asks of them; the reference stands in for those that are not installed."""
    layers, x = accuracy.draw(accuracy.ROWS_OF, accuracy.NETWORKS[accuracy.ROWS_OF], "float64", None)
    assert len(x) >= accuracy.BATCH > accuracy.ALONE
    assert set(accuracy.SIGMOIDS) - {"numpy", "fastnet", "scipy"} <= set(peers.PEERS)
    assert isinstance(layers[0], reference.Affine)
