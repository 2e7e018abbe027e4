"""Memory of a call beyond its output: at most 8 MiB, whatever the batch, up to 4096 units wide."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import common, memory
from benchmarks.processes import printed

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")

MIB = 2**20


@pytest.mark.parametrize("dtype", common.DTYPES)
@pytest.mark.parametrize(
    "label", ["784-128-10 x 20000", "4096-4096-4096 x 1", "4096-4096-4096 x 64", "10-4096-2 x 20000"]
)
def test_a_call_takes_little_beyond_its_output(label, dtype):
    assert memory.growth(label, dtype) <= memory.ALLOWED


@pytest.mark.long
@pytest.mark.parametrize("dtype", common.DTYPES)
@pytest.mark.parametrize("label", memory.EXTREMES)
def test_no_call_takes_much_beyond_its_output(label, dtype):
    assert memory.growth(label, dtype) <= memory.ALLOWED


@pytest.mark.parametrize("before", ["", "np.ones(6 << 20).sum()  # freed again, but perhaps kept by malloc"])
def test_growth_is_seen(before):
    """Even where the memory was there before, and was freed: an allocator set to hand it back does."""
    code = f"""
import numpy as np
from benchmarks.memory import beyond_output
{before}
def predict(x):
    hidden = np.ones(5 << 17)  # 5 MiB
    return np.ones(3 << 17) * hidden[0]
grown, out = beyond_output(predict, None)
print(grown, out.nbytes)
"""
    settings = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536")
    grown, output = map(int, printed(code, **settings).split())
    assert output == 3 * MIB
    assert 5 * MIB - 2**19 <= grown <= 9 * MIB  # NumPy's product may take another 3 MiB


def test_the_suite_and_the_command(monkeypatch, capsys):
    monkeypatch.setattr(memory, "growth", lambda label, dtype, max_size=None: 3 * MIB)
    assert memory.Growth().track_mebibytes("784-128-10 x 1", "float32") == 3
    assert memory.main(["--only", "784-128-10 x 1", "--check"]) == 0
    assert "| 784-128-10 x 1 | 3.00 MiB | 3.00 MiB |" in capsys.readouterr().out
    monkeypatch.setattr(memory, "growth", lambda label, dtype: 9 * MIB)
    assert memory.main(["--only", "784", "--check"]) == 1
    assert memory.main(["--only", "784"]) == 0
    with pytest.raises(SystemExit, match="no problem"):
        memory.main(["--only", "no such"])


def test_peak_of_the_command(monkeypatch, tmp_path, capsys):
    """Of a process of its own that predicts."""
    pytest.importorskip("safetensors")
    size, peak = memory.command_peak(2500)
    assert size == 2500 * 16 * 4 + 128
    assert 30 * MIB < peak < 2000 * MIB
    monkeypatch.setattr(memory, "command_peak", lambda rows: (64 * rows, 10**8 + rows))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- predict-memory: begin -->\n<!-- predict-memory: end -->\n")
    assert memory.main(["--predict", "--write", str(readme)]) == 0
    assert "\n| 1,000,000 | 64 MB | 101 MB |\n" in readme.read_text()
    assert capsys.readouterr().out.strip() in readme.read_text()
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="predict-memory: begin"):
        memory.main(["--predict", "--write", str(readme)])
    with pytest.raises(SystemExit, match="2"):
        memory.main(["--write", str(readme)])
