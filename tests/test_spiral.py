"""The book's training loop: with the import swapped the same loss curve, and the spirals learnt."""

import sys

import numpy as np
import pytest

import fastnet
from fastnet import reference
from fastnet.examples import spiral
from tests.test_optimizers import OPTIMIZERS


def test_the_same_curve_from_the_same_seed():
    net, losses = spiral.train(fastnet, 60)
    twin, expected = spiral.train(reference, 60)
    assert len(losses) == 60
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    for got, want in zip(net.params, twin.params, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-9)


def test_it_learns():
    net, losses = spiral.train(fastnet)
    x, t = spiral.spirals(100, np.random.default_rng(1984))
    assert losses[0] > 1.05
    assert losses[-1] < 0.2
    assert (net.predict(x).argmax(axis=1) == t).mean() > 0.9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_networks_own_loop(name, one_hot, dtype):
    """TwoLayerNet, all optimisers, classes and one-hot rows, with a last batch that is smaller."""
    x, t = spiral.spirals(25, np.random.default_rng(0))
    x, t = x.astype(dtype), np.eye(3, dtype=int)[t] if one_hot else t
    curves = []
    for library in (fastnet, reference):
        np.random.seed(3)
        drawn = library.TwoLayerNet(2, 10, 3)
        arrays = [p.astype(dtype) for p in drawn.params]
        affine = [library.Affine(*arrays[:2]), library.Affine(*arrays[2:])]
        drawn.layers = [affine[0], library.Sigmoid(), affine[1]]
        drawn.params, drawn.grads = arrays, [g for layer in affine for g in layer.grads]
        optimizer, losses = getattr(library, name)(**OPTIMIZERS[name]), []
        for _ in range(5):
            for start in range(0, len(x), 30):
                losses.append(drawn.forward(x[start : start + 30], t[start : start + 30]))
                drawn.backward()
                optimizer.update(drawn.params, drawn.grads)
        curves.append(losses)
    assert curves[1][-1] != curves[1][0]
    np.testing.assert_allclose(*curves, rtol=1e-10 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("arguments", [[], ["--reference"]])
def test_it_is_a_program(arguments, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "spiral.png"
    spiral.main([*arguments, "--epochs", "2", "--out", str(picture)])
    told = capsys.readouterr().out
    assert ("fastnet.reference" in told) == bool(arguments)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_it_names_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    net, losses = spiral.train(fastnet, 1)
    with pytest.raises(ImportError, match=r'pip install "fastnet\[examples\]"'):
        spiral.paint(net, losses, tmp_path / "spiral.png")
    assert not list(tmp_path.iterdir())
