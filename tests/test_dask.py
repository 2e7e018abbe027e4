"""``fastnet.dask.predict``: lazily, in chunks, on processes of their own, the bits of a local predict."""

from __future__ import annotations

import os
from contextlib import suppress

import numpy as np
import pytest

import fastnet
import fastnet.dask
from fastnet import threads
from fastnet.estimators import Classifier
from tests.test_bits import bits

da = pytest.importorskip("dask.array")

SCHEDULERS = ["synchronous", "threads"]


def network(dtype=np.float64, sizes=(6, 9, 3)):
    rng = np.random.default_rng(0)
    W1, b1, W2, b2 = (
        rng.standard_normal(s).astype(dtype) for s in ((sizes[0], sizes[1]), sizes[1], sizes[1:], sizes[2])
    )
    return fastnet.Sequential([fastnet.Affine(W1, b1), fastnet.Sigmoid(), fastnet.Affine(W2, b2)])


def rows(n=1000, width=6, dtype=np.float64):
    return np.random.default_rng(1).standard_normal((n, width)).astype(dtype)


class Spy(fastnet.Sequential):
    """Gives the number of threads that a call may use, in place of scores; for the one row of a trial 0."""

    def predict(self, x, out=None):
        return np.full((len(x), 1), fastnet.get_num_threads() if len(x) > 1 else 0)


class Counted(fastnet.Sequential):
    """Counts in a folder in which process it was unpickled, and writes down who computes."""

    def __init__(self, layers, folder):
        super().__init__(layers)
        self.folder = str(folder)

    def note(self, what):
        with open(os.path.join(self.folder, what), "a") as file:
            file.write(f"{os.getpid()}\n")

    def __setstate__(self, state):
        vars(self).update(state)
        self.note("received")

    def predict(self, x, out=None):
        if len(x) > 1:
            self.note("computed")
        return super().predict(x, out)

    def noted(self, what):
        with open(os.path.join(self.folder, what)) as file:
            return [int(line) for line in file]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("chunks", [(1000, 6), (300, 6), (1, 6), (300, 2), ((0, 7, 993, 0), (1, 5))], ids=str)
@pytest.mark.parametrize(
    ("of_x", "of_net"), [("f8", "f8"), ("f4", "f4"), ("f4", "f8"), ("i4", "f8"), ("f2", "f2")]
)
def test_same_bits_as_local(scheduler, chunks, of_x, of_net):
    n = 20 if chunks == (1, 6) else 1000
    net, x = network(of_net), (8 * rows(n)).astype(of_x)
    lazy = fastnet.dask.predict(net, da.from_array(x, chunks))
    right = net.predict(x)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (right.shape, right.dtype)
    assert (type(lazy._meta), lazy._meta.dtype, lazy._meta.shape) == (np.ndarray, right.dtype, (0, 0))
    assert lazy.chunks == (da.from_array(x, chunks).chunks[0], (3,))
    got = lazy.compute(scheduler=scheduler)
    assert got.dtype == right.dtype
    if right.dtype == np.float16:
        np.testing.assert_array_equal(got, right)
    else:
        np.testing.assert_array_equal(bits(got), bits(right))


def test_rows_of_unknown_number():
    x = rows()
    some = da.from_array(x, (300, 6))[da.from_array(x[:, 0] > 0, 300)]
    assert np.isnan(some.shape[0])
    lazy = fastnet.dask.predict(network(), some)
    np.testing.assert_array_equal(lazy.compute(), network().predict(x[x[:, 0] > 0]))


def test_more_dimensions():
    x = rows(60).reshape(5, 12, 6)
    lazy = fastnet.dask.predict(network(), da.from_array(x, (2, 5, 3)))
    assert lazy.chunks == ((2, 2, 1), (5, 5, 2), (3,))
    np.testing.assert_array_equal(lazy.compute(), network().predict(x))


@pytest.mark.parametrize("classes", [["a", "bee", "c"], [3, 1, 2]], ids=str)
def test_a_classifier(classes):
    model = Classifier(fastnet.Sequential([*network().layers, fastnet.Softmax()]), classes)
    x = rows()
    lazy = da.from_array(x, (300, 2))
    labels, p = fastnet.dask.predict(model, lazy), fastnet.dask.predict(model, lazy, method="predict_proba")
    right = model.predict(x)
    assert (labels.shape, labels.dtype, labels.chunks) == ((1000,), right.dtype, ((300, 300, 300, 100),))
    np.testing.assert_array_equal(labels.compute(), right)
    np.testing.assert_array_equal(p.compute(), model.predict_proba(x))
    assert len(np.unique(right)) > 1


def test_nothing_is_computed_before_it_is_asked_for():
    def source(block_id):
        raise RuntimeError("computed")

    x = da.map_blocks(source, chunks=((10, 10), (6,)), dtype=float, meta=np.empty((0, 0)))
    lazy = fastnet.dask.predict(network(), x)
    with pytest.raises(RuntimeError, match="computed"):
        lazy.compute()


def test_the_model_is_taken_as_it_is():
    net, x = network(), rows()
    right = net.predict(x)
    lazy = fastnet.dask.predict(net, da.from_array(x, (300, 6)))
    net.layers[0].params[0] *= 0
    np.testing.assert_array_equal(lazy.compute(), right)
    net.layers.clear()
    np.testing.assert_array_equal(lazy.compute(), right)


def test_two_models_do_not_mix():
    x = da.from_array(rows(), (300, 6))
    net = network()
    first = fastnet.dask.predict(net, x)
    net.layers[2].params[1] += 1
    second = fastnet.dask.predict(net, x)
    assert first.name != second.name
    one, other = da.compute(first, second)
    assert (other > one).all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_threads_of_a_task(scheduler):
    before = threads._wanted
    fastnet.set_num_threads(7)
    try:
        model, x = Spy(network().layers), da.from_array(rows(), (250, 6))
        for number, found in ((1, 1), (3, 3), (None, 7)):
            lazy = fastnet.dask.predict(model, x, threads=number)
            assert (lazy.compute(scheduler=scheduler) == found).all()
        assert (fastnet.dask.predict(model, x).compute(scheduler=scheduler) == 1).all()
        assert fastnet.get_num_threads() == 7
    finally:
        threads._wanted = before


def test_a_limit_is_of_one_python_thread_and_ends():
    before = fastnet.get_num_threads()
    with threads.limited(before + 1):
        assert fastnet.get_num_threads() == before + 1
        with threads.limited(None):
            assert fastnet.get_num_threads() == before + 1
        with suppress(ZeroDivisionError), threads.limited(1):
            assert fastnet.get_num_threads() == 1
            raise ZeroDivisionError
        assert fastnet.get_num_threads() == before + 1
    assert fastnet.get_num_threads() == before


@pytest.mark.parametrize(
    ("x", "options", "error", "words"),
    [
        (rows(), {}, TypeError, "must be a dask array, not ndarray"),
        (da.zeros((10, 5), chunks=5), {}, ValueError, r"\(1, 5\)"),
        (da.zeros(6, chunks=3), {}, ValueError, r"shape \(6,\)"),
        (da.zeros((10, 6), chunks=5), {"threads": 0}, ValueError, "at least 1, not 0"),
        (da.full((10, 6), "a", chunks=5), {}, TypeError, "dtype"),
        (da.ma.masked_array(da.zeros((10, 6), chunks=5)), {}, TypeError, "MaskedArray"),
    ],
    ids=str,
)
def test_refused_before_there_is_a_graph(x, options, error, words):
    with pytest.raises(error, match=words):
        fastnet.dask.predict(network(), x, **options)


def test_without_dask(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dask.array", None)
    with pytest.raises(ImportError, match=r'pip install "fastnet\[dask\]"'):
        fastnet.dask.predict(network(), rows())


@pytest.fixture(scope="module")
def client():
    dask, distributed = map(pytest.importorskip, ("dask", "distributed"))
    options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    # a stolen task is received by two, whatever it holds
    with (
        dask.config.set({"distributed.scheduler.work-stealing": False}),
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_worker_processes(client, tmp_path, dtype):
    """The same bits; each process receives the model once, whatever the number of chunks."""
    x = rows(20_000, dtype=dtype)
    model = Counted(network(dtype).layers, tmp_path)
    lazy = fastnet.dask.predict(model, da.from_array(x, (400, 4)))
    (tmp_path / "received").unlink()  # the copy is made here
    (kept,) = client.persist([lazy])
    got = kept.compute()
    np.testing.assert_array_equal(bits(got), bits(network(dtype).predict(x)))
    workers = {worker["pid"] for worker in client.run(lambda: {"pid": os.getpid()}).values()}
    received = [pid for pid in model.noted("received") if pid in workers]
    assert len(workers) == 2
    assert sorted(received) == sorted(workers)
    computed = model.noted("computed")
    assert len(computed) == 50
    assert set(computed) == workers


def test_the_graph_holds_the_model_once(client):
    """As bytes: what is sent grows with the chunks by far less than a model a chunk."""
    import cloudpickle

    model = network(sizes=(6, 2000, 3))
    size = len(cloudpickle.dumps(model))
    x = da.zeros((10_000, 6), chunks=(100, 6))
    sent = len(cloudpickle.dumps(fastnet.dask.predict(model, x).__dask_graph__()))
    assert size < sent < 2 * size


def test_a_classifier_on_worker_processes(client):
    model = Classifier(fastnet.Sequential([*network().layers, fastnet.Softmax()]), ["a", "bee", "c"])
    x = rows(5000)
    labels = fastnet.dask.predict(model, da.from_array(x, (1000, 6)))
    np.testing.assert_array_equal(client.compute(labels).result(), model.predict(x))
