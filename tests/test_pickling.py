"""Models copied, pickled and sent to other processes: the same bits everywhere, and weights of their own."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet.estimators import Classifier, Regressor
from tests.models import ARCHITECTURES, BY_LABEL, DTYPES
from tests.workers import WAYS

ROOT = Path(__file__).parent.parent
TWINS = {
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda model, protocol=protocol: pickle.loads(pickle.dumps(model, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.label)
def test_networks(architecture, dtype, twin):
    """Before a first call and after it; the copy is alive, and the original is not touched by it."""
    net, x = architecture.build(dtype), architecture.x(dtype)
    fresh = TWINS[twin](net)
    want = net.predict(x)
    for other in (fresh, TWINS[twin](net)):
        np.testing.assert_array_equal(other.predict(x), want, strict=True)
        held = [p for layer in other.layers for p in layer.params]
        assert all(a is b for a, b in zip(other.params, held, strict=True)), "params of its own layers"
        for weights in other.params:
            weights[...] = 0
        other.predict(x)
        np.testing.assert_array_equal(net.predict(x), want, strict=True)
        other.layers.pop(0)
        np.testing.assert_array_equal(net.predict(x), want, strict=True)


@pytest.mark.parametrize("twin", TWINS)
def test_estimators(twin):
    softmax, single = BY_LABEL["relu-softmax"], BY_LABEL["one output"]
    for model, x in [
        (
            Classifier(softmax.build("float32"), ["a", "b", "c"], True, list("wxyz")),
            softmax.x("float32"),
        ),
        (Classifier(single.build("float64"), [3, 5]), single.x("float64")),
        (Regressor(single.build("float64")), single.x("float64")),
    ]:
        for other in (TWINS[twin](model), TWINS[twin](model) if model.predict(x) is not None else None):
            np.testing.assert_array_equal(other.predict(x), model.predict(x), strict=True)
            assert vars(other).keys() == vars(model).keys()
            assert not np.shares_memory(other.network.params[0], model.network.params[0])


def test_shallow_copies_share_weights():
    net, x = BY_LABEL["deep"].build("float32"), BY_LABEL["deep"].x("float32")
    other = copy.copy(net)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    net.params[0] *= 2
    np.testing.assert_array_equal(other.predict(x), net.predict(x))


def test_joblib_files(tmp_path):
    joblib = pytest.importorskip("joblib")
    net, x = BY_LABEL["wide"].build("float32"), BY_LABEL["wide"].x("float32")
    joblib.dump(net, tmp_path / "net.joblib")
    for mode in (None, "r", "c"):
        other = joblib.load(tmp_path / "net.joblib", mmap_mode=mode)
        assert isinstance(other.params[0], np.memmap) == (mode is not None)
        np.testing.assert_array_equal(other.predict(x), net.predict(x), strict=True)


def test_a_pickle_is_small():
    """Weights once, and no compiled code."""
    net, x = BY_LABEL["wide"].build("float32"), BY_LABEL["wide"].x("float32")
    net.predict(x)
    assert len(pickle.dumps(net)) < 1000 + sum(p.nbytes for p in net.params)


@pytest.mark.parametrize("way", WAYS)
def test_workers(way):
    """Eight ways to other processes and threads."""
    if "joblib" in way:
        pytest.importorskip("joblib")
    places = os.pathsep.join([str(Path(fastnet.__file__).parent.parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.workers", way],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    name, compared = done.stdout.split()[-2:]
    assert name == way
    assert int(compared) > 2 * 10 * 40_000
