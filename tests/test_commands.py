"""``fastnet bench``, ``info`` and ``convert``, and what all commands have in common."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fastnet
from fastnet import Affine, AffineSigmoid, ReLU, Sequential, Sigmoid, Softmax, Tanh, cli, threads
from fastnet.commands import bench, info
from fastnet.estimators import Classifier
from tests.test_bits import bits

pytest.importorskip("safetensors")

COMMAND = [sys.executable, "-m", "fastnet"]
TIME = r"[\d.]+ (?:ns|us|ms|s)"


def affine(fan_in, fan_out, dtype=np.float64):
    rng = np.random.default_rng([fan_in, fan_out])
    return Affine(*(rng.standard_normal(shape).astype(dtype) for shape in ((fan_in, fan_out), fan_out)))


def network(dtype=np.float64):
    """One layer of each kind."""
    fused = AffineSigmoid(*affine(4, 5, dtype).params)
    layers = [affine(3, 4, dtype), Tanh(), fused, affine(5, 6, dtype), ReLU(), affine(6, 4, dtype)]
    return Sequential([*layers, Sigmoid(), affine(4, 3, dtype), Softmax()])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    fastnet.save(network(), path)
    return path


@pytest.fixture(autouse=True)
def number_of_threads():
    before = threads._wanted
    yield
    threads._wanted = before


def refused(capsys):
    _, err = capsys.readouterr()
    assert err.startswith("fastnet: ")
    assert err.count("\n") == 1
    return err


# bench


def test_bench(model, capsys):
    assert cli.main(["bench", str(model), "--batch", "1", "2000", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.match(rf"{re.escape(str(model))}: float64, 1 thread\(s\)", out)
    rows = re.findall(rf"^ *([\d,]+) +{TIME} +{TIME} +([\d.]+) +([\d,]+)$", out, re.MULTILINE)
    assert [n for n, _, _ in rows] == ["1", "2,000"]
    assert all(float(ratio) > 0 and int(speed.replace(",", "")) > 0 for _, ratio, speed in rows)


def test_bench_times_what_it_says(model, capsys, monkeypatch):
    """The figures of a row, from times that are known."""
    calls = []

    def take_turns(given):
        calls.append(given)
        ours, theirs = (call() for call in given.values())
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        assert ours.shape == (100, 3)
        assert ours.dtype == np.float32
        timing = fastnet.timing.Timing
        return dict(zip(given, (timing(2e-3, 1.0), timing(8e-3, 4.0)), strict=True))

    monkeypatch.setattr(bench, "take_turns", take_turns)
    assert cli.main(["bench", str(model), "--batch", "100", "--dtype", "float32"]) == 0
    assert capsys.readouterr().out.split("\n")[2].split() == ["100", "2", "ms", "8", "ms", "4.00", "50,000"]
    assert [list(given) for given in calls] == [["fastnet", "NumPy"]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bench_compares_first(model, capsys, monkeypatch, dtype):
    """A little off in one row, and nothing is timed."""
    predict = Sequential.predict

    def wrong(self, x, out=None):
        y = predict(self, x, out)
        y[-1, -1] += 1e-3 if dtype == "float32" else 1e-11
        return y

    monkeypatch.setattr(bench, "take_turns", lambda calls: pytest.fail("timed"))
    monkeypatch.setattr(Sequential, "predict", wrong)
    assert cli.main(["bench", str(model), "--dtype", dtype]) == 1
    assert "not timed: results are up to" in refused(capsys)


@pytest.mark.parametrize("batch", [["0"], ["-1"], ["many"], []], ids=str)
def test_bench_of_no_rows(model, capsys, batch):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", str(model), "--batch", *batch])
    assert stopped.value.code == 2
    assert "usage: fastnet bench" in capsys.readouterr().err


# info


def shown(capsys, *options):
    assert cli.main(["info", *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) < 200
    facts, name = {}, None
    for line in out.splitlines():
        name = line[:16].strip() or name
        facts.setdefault(name, []).append(line[16:])
    return facts


def test_info(capsys):
    fastnet.warmup()
    facts = shown(capsys)
    assert f"fastnet {fastnet.__version__}, Python {sys.version.split()[0]}, numpy {np.__version__}," in str(
        facts["versions"]
    )
    assert fastnet.guarantees().target in facts["CPU target"][0]
    assert re.fullmatch(r"\d+ bits: (\d+) x float32, (\d+) x float64", facts["vectors"][0])
    assert facts["threads"] == [f"{fastnet.get_num_threads()} of {os.cpu_count()} CPUs"]
    folder, state = facts["cache"]
    assert list(os.scandir(folder))
    assert re.fullmatch(r"\d+ pieces of machine code, [\d.]+ MB", state)
    assert facts["same bits"][0].startswith("yes")
    assert facts["fall-backs"] == ["none"]
    assert "kernels" not in facts


def test_info_after_warming_up(capsys):
    kernels = shown(capsys, "--warmup")["kernels"]
    assert [line.split(":")[0] for line in kernels] == ["float32", "float64"]
    assert all(re.search(r"(loaded|compiled|there already).*, [\d.e-]+ s$", line) for line in kernels)


def test_info_tells_of_fall_backs(capsys, monkeypatch):
    from fastnet.kernels import headers

    found = fastnet.guarantees()._replace(same_bits=False, shortfalls=("the CPU is a loom", "and slow"))
    monkeypatch.setattr(fastnet, "guarantees", lambda: found)
    monkeypatch.setattr(headers, "layout_is_known", lambda: False)
    monkeypatch.setattr(info, "_cache_folder", lambda: None)
    facts = shown(capsys)
    assert facts["same bits"] == ["no"]
    assert facts["fall-backs"][:2] == ["the CPU is a loom", "and slow"]
    assert "none runs" in facts["fall-backs"][2]
    assert "no cache" in facts["fall-backs"][3]
    assert len(facts["fall-backs"]) == 4
    assert facts["cache"] == ["none: no folder can be written to"]


def test_info_on_an_empty_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([*COMMAND, "info"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path) in done.stdout
    assert "empty: the first call compiles" in done.stdout
    assert not list(tmp_path.rglob("*.nb?")), "it has compiled"


# convert


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_there_and_back(model, dtype, capsys):
    pytest.importorskip("onnx")
    folder = model.parent
    options = [] if dtype is None else ["--dtype", dtype]
    (folder / "model.onnx").write_bytes(b"replaced")
    assert cli.main(["convert", str(model), str(folder / "model.onnx"), *options]) == 0
    assert cli.main(["convert", str(folder / "model.onnx"), str(folder / "back.safetensors")]) == 0
    assert capsys.readouterr() == ("", "")
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(dtype or "float64")
    right = network()
    if dtype == "float32":
        for layer in right.layers:
            layer.params = [param.astype(dtype) for param in layer.params]
    for got in (fastnet.from_onnx(folder / "model.onnx"), fastnet.load(folder / "back.safetensors")):
        y = got.predict(x)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(bits(y), bits(right.predict(x)))
    assert sorted(os.listdir(folder)) == ["back.safetensors", "model.onnx", "model.safetensors"]


def test_onnx_runtime_agrees(model):
    runtime = pytest.importorskip("onnxruntime")
    target = model.with_suffix(".onnx")
    assert cli.main(["convert", str(model), str(target), "--dtype", "float32"]) == 0
    session = runtime.InferenceSession(target, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    [got] = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(got, network(np.float32).predict(x), rtol=1e-4)


def test_a_classifier_to_onnx(model, capsys):
    """Its network, and a word about what is left behind; between .safetensors nothing is."""
    pytest.importorskip("onnx")
    fastnet.save(Classifier(network(), ["a", "b", "c"]), model)
    assert cli.main(["convert", str(model), str(model.with_suffix(".onnx"))]) == 0
    assert "without names of classes" in refused(capsys)
    x = np.ones((2, 3))
    np.testing.assert_array_equal(
        fastnet.from_onnx(model.with_suffix(".onnx")).predict(x), network().predict(x)
    )
    assert cli.main(["convert", str(model), str(model.with_name("copy.safetensors"))]) == 0
    assert fastnet.load(model.with_name("copy.safetensors")).classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [
        ("none.onnx", "new.safetensors", "none.onnx: No such file"),
        ("bad.onnx", "new.safetensors", "bad.onnx"),
        ("bad.safetensors", "new.onnx", "bad.safetensors"),
        ("model.safetensors", "new.pkl", "new.pkl: a model's name must end in"),
        ("model.safetensors", "no/new.onnx", "no: no such directory"),
        ("model.safetensors", "folder.onnx", "folder.onnx: is a directory"),
    ],
)
def test_conversions_that_are_refused(model, capsys, source, target, complaint):
    pytest.importorskip("onnx")
    folder = model.parent
    (folder / "bad.onnx").write_bytes(b"no model")
    (folder / "bad.safetensors").write_bytes(b"no model")
    (folder / "folder.onnx").mkdir()
    before = sorted(os.listdir(folder))
    assert cli.main(["convert", str(folder / source), str(folder / target)]) == 1
    line = refused(capsys)
    assert complaint in line
    assert line.count(source) <= 1, "names the file twice"
    assert sorted(os.listdir(folder)) == before


def test_a_conversion_that_fails_half_way(model, capsys, monkeypatch):
    def save(model, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    (model.parent / "new.safetensors").write_bytes(b"as it was")
    monkeypatch.setattr(fastnet, "save", save)
    assert cli.main(["convert", str(model), str(model.parent / "new.safetensors")]) == 1
    assert "No space left" in refused(capsys)
    assert sorted(os.listdir(model.parent)) == ["model.safetensors", "new.safetensors"]
    assert (model.parent / "new.safetensors").read_bytes() == b"as it was"


# All commands


@pytest.mark.parametrize("command", ["predict", "bench", "info", "convert"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: fastnet {command}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert re.search(rf"^    {command} +\w", capsys.readouterr().out, re.MULTILINE)


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train"])
    assert stopped.value.code == 2
    assert "invalid choice: 'train'" in capsys.readouterr().err


def test_help_is_quick():
    """It loads neither Numba nor anything that a command alone needs."""
    code = (
        "import sys\nfrom fastnet import cli\ntry:\n    cli.main(['predict', '--help'])\nexcept SystemExit:\n"
        "    print({'numba', 'onnx', 'safetensors', 'tqdm', 'dask'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n")


def test_a_missing_library_is_named(model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    model.with_suffix(".onnx").touch()
    assert cli.main(["bench", str(model.with_suffix(".onnx"))]) == 1
    assert 'pip install "fastnet[onnx]"' in refused(capsys)


def test_the_reader_leaves_early():
    with subprocess.Popen([*COMMAND, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"versions")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
