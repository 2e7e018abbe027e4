"""``save`` and ``load``: the same bits back, and a ValueError for whatever is no whole file of a model."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnet
from fastnet.estimators import Classifier, Regressor
from tests.cases import DTYPES as ALL_DTYPES
from tests.cases import LAYOUTS, draw
from tests.models import ARCHITECTURES, BY_LABEL, DTYPES

safetensors = pytest.importorskip("safetensors.numpy")


def classes_of(net):
    """Classes of layers, of networks in networks too."""
    return [
        (type(layer), classes_of(layer)) if isinstance(layer, fastnet.Sequential) else type(layer)
        for layer in net.layers
    ]


def same_network(got, want, x):
    assert type(got) is type(want)
    assert classes_of(got) == classes_of(want)
    np.testing.assert_array_equal(got.predict(x), want.predict(x), strict=True)
    for a, b in zip(got.params, want.params, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
        assert a.flags.writeable
        assert a.flags.c_contiguous
        assert not np.shares_memory(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.label)
def test_there_and_back(architecture, dtype, tmp_path):
    net, path = architecture.build(dtype), tmp_path / "net.safetensors"
    assert fastnet.save(net, path) is None
    assert os.listdir(tmp_path) == ["net.safetensors"]
    again = fastnet.load(str(path))
    path.unlink()
    same_network(again, net, architecture.x(dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [d for d in ALL_DTYPES if d not in ("longdouble", "object")])
def test_dtypes_and_layouts(dtype, layout, tmp_path):
    rng = np.random.default_rng(0)
    W, b = (LAYOUTS[layout](draw(rng, shape, dtype)) for shape in [(4, 3), (3,)])
    net, path = fastnet.Sequential([fastnet.Affine(W, b)]), tmp_path / "net"
    if dtype.startswith("complex"):
        with pytest.raises(ValueError, match=rf"W of layer 0 of dtype .*{np.dtype(dtype).kind}"):
            fastnet.save(net, path)
        return
    fastnet.save(net, path)
    for got, want in zip(fastnet.load(path).params, (W, b), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype.newbyteorder("=")


def test_nested_fused_and_two_layers(tmp_path):
    two = fastnet.TwoLayerNet(3, 4, 3)
    inner = fastnet.Sequential([fastnet.Affine(np.ones((3, 5)), np.array(0.5)), fastnet.ReLU()])
    net = fastnet.Sequential([
        *(fastnet.Tanh(), two, inner, fastnet.Sequential([]), fastnet.Softmax()),
        fastnet.AffineSigmoid(np.ones((5, 2)), np.ones((1, 2))),
    ])  # fmt: skip
    path, x = tmp_path / "net", np.random.default_rng(0).standard_normal((7, 3))
    for model in (net, two, fastnet.Sequential([]), fastnet.Sequential([fastnet.Sigmoid()])):
        state = np.random.get_state()[1].tolist()
        fastnet.save(model, path)
        same_network(fastnet.load(path), model, x)
        assert np.random.get_state()[1].tolist() == state, "loading draws from NumPy's generator"


CLASSES = {
    "strings": np.array(["a", "bc", "grün \N{SNOWMAN}"]),
    "objects": np.array(["a", "bc", "\ud800"], dtype=object),
    "integers": np.array([3, -1, 7]),
    "floats": np.array([0.5, 1.5, np.inf], "float32"),
    "booleans": np.array([False, True, True]),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classifiers(kind, tmp_path):
    architecture, path = BY_LABEL["relu-softmax"], tmp_path / "net"
    x = architecture.x("float32")
    for multilabel, names in [(False, None), (True, ["a", "b", "c", "ü"])]:
        model = Classifier(architecture.build("float32"), CLASSES[kind], multilabel, names)
        fastnet.save(model, path)
        again = fastnet.load(path)
        assert (type(again), again.multilabel) == (Classifier, multilabel)
        np.testing.assert_array_equal(again.classes_, model.classes_)
        assert again.classes_.dtype == model.classes_.dtype
        np.testing.assert_array_equal(again.predict(x), model.predict(x), strict=True)
        assert hasattr(again, "feature_names_in_") == (names is not None)
        same_network(again.network, model.network, x)
    assert again.feature_names_in_.tolist() == names


def test_regressors(tmp_path):
    architecture, path = BY_LABEL["one output"], tmp_path / "net"
    model = Regressor(architecture.build("float64"), ["a", "b", "c"])
    fastnet.save(model, path)
    again, x = fastnet.load(path), architecture.x("float64")
    assert type(again) is Regressor
    np.testing.assert_array_equal(again.predict(x), model.predict(x), strict=True)
    assert again.feature_names_in_.tolist() == ["a", "b", "c"]


def test_what_from_sklearn_returns(tmp_path):
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_iris

    from tests.test_from_sklearn import LABELS, classifier, fit

    x, y = load_iris(return_X_y=True)
    for target in LABELS.values():
        model = fastnet.from_sklearn(fit(classifier(max_iter=3), x, target(y)))
        fastnet.save(model, tmp_path / "net")
        again = fastnet.load(tmp_path / "net")
        np.testing.assert_array_equal(again.predict(x), model.predict(x), strict=True)
        np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x), strict=True)


# what is not saved


class OwnAffine(fastnet.Affine):
    pass


class OwnNet(fastnet.Sequential):
    pass


def test_refused_by_name(tmp_path):
    a = np.ones((3, 3))
    replaced = fastnet.Affine(a, a[0])
    replaced.forward = lambda x: x
    itself = fastnet.Sequential([])
    itself.layers.append(itself)
    three = BY_LABEL["relu-softmax"].build("float64")
    path = tmp_path / "net"
    path.write_bytes(b"before")

    def net(*layers):
        return fastnet.Sequential(layers)

    for model, error, text in [
        (net(OwnAffine(a, a[0])), ValueError, "OwnAffine"),
        (OwnNet([]), ValueError, "OwnNet"),
        (net(OwnNet([])), ValueError, "OwnNet"),
        (net(replaced), ValueError, "replaced"),
        (net(object()), ValueError, "object"),
        (net(Regressor(three)), ValueError, "Regressor"),
        (itself, ValueError, "in themselves"),
        (net(fastnet.Affine(a, 0.5)), ValueError, "b is of class float"),
        (net(fastnet.Affine(a.tolist(), a[0])), ValueError, "W is of class list"),
        (net(fastnet.Affine(a, np.ones(2))), ValueError, r"\(3, 3\) and b of shape \(2,\)"),
        (net(fastnet.Affine(a[np.newaxis], a[0])), ValueError, r"\(1, 3, 3\)"),
        (net(fastnet.Affine(a.astype("longdouble"), a[0])), ValueError, "W of layer 0 of dtype"),
        (net(fastnet.Affine(a.astype(object), a[0])), ValueError, "object"),
        (net(fastnet.Affine(a, a[0]), fastnet.Affine(np.ones((2, 2)), np.ones(2))), ValueError, "fan_in 2"),
        (Classifier(three, np.array([b"a", b"b", b"c"])), ValueError, r"classes of dtype \|S1"),
        (Classifier(three, np.array(["a", 1, None], dtype=object)), ValueError, "1 is neither"),
        (Classifier(three, np.arange(3).astype("M8[s]")), ValueError, "datetime64"),
        (fastnet.Affine(a, a[0]), TypeError, "not Affine"),
        (None, TypeError, "NoneType"),
    ]:
        with pytest.raises(error, match=text):
            fastnet.save(model, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["net"]


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(moment, tmp_path, monkeypatch):
    """Whenever the disk is full: no half file, no file left over."""
    path = tmp_path / "net"
    old, new = (BY_LABEL["deep"].build(dtype) for dtype in DTYPES)
    fastnet.save(old, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    if moment == "write":
        from fastnet.formats import saving

        class Full:
            def __enter__(self):
                from fastnet.formats.files import atomic_write

                self.context = atomic_write(path)
                self.file = self.context.__enter__()
                return self

            def write(self, content):
                self.file.write(content[:100])
                full()

            def __exit__(self, *error):
                return self.context.__exit__(*error)

        monkeypatch.setattr(saving, "atomic_write", lambda path: Full())
    else:
        monkeypatch.setattr(os, moment, full)
    with pytest.raises(OSError, match="No space left"):
        fastnet.save(new, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net"]
    fastnet.save(new, path)
    assert fastnet.load(path).params[0].dtype == "float64"


def test_killed_while_saving(tmp_path):
    """The old file is there whole, if the process ends in the middle of writing."""
    path = tmp_path / "net"
    fastnet.save(BY_LABEL["sigmoid"].build("float32"), path)
    before = path.read_bytes()
    code = (
        "import os, sys, numpy as np, fastnet\n"
        "os.fsync = lambda number: os._exit(9)\n"
        "fastnet.save(fastnet.TwoLayerNet(50, 50, 50), sys.argv[1])\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 9
    assert path.read_bytes() == before
    fastnet.load(path)


def test_links_and_modes(tmp_path):
    net = BY_LABEL["sigmoid"].build("float32")
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real", tmp_path / "link"
    fastnet.save(net, real)
    (tmp_path / "plain").write_bytes(b"")
    assert real.stat().st_mode == (tmp_path / "plain").stat().st_mode, "of a file as open() makes it"
    real.chmod(0o600)
    link.symlink_to(real)
    fastnet.save(net, link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="folder"):
        fastnet.save(net, tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        fastnet.save(net, tmp_path / "missing" / "net")
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "plain"]


# what is not loaded


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a saved classifier with everything in it."""
    path = tmp_path_factory.mktemp("saved") / "net"
    model = Classifier(BY_LABEL["relu-softmax"].build("float32"), ["a", "b", "c"], False, list("wxyz"))
    fastnet.save(model, path)
    return path.read_bytes()


def unpack(content):
    """Header and buffer of a safetensors file, and the description in the header."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["fastnet"]), content[8 + size :]


def pack(header, description, buffer):
    header = {**header, "__metadata__": {"fastnet": json.dumps(description)}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + buffer


def refused(path, content, text=""):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text) as caught:
        fastnet.load(path)
    assert type(caught.value) is ValueError
    assert str(path) in str(caught.value)


def test_unpacked_and_packed(content, tmp_path):
    (tmp_path / "net").write_bytes(pack(*unpack(content)))
    assert fastnet.load(tmp_path / "net").classes_.tolist() == ["a", "b", "c"]


def test_truncated_anywhere(content, tmp_path):
    for size in range(len(content)):
        refused(tmp_path / "net", content[:size], "no complete safetensors file")


def test_damaged_files(content, tmp_path):
    path = tmp_path / "net"
    for damaged in (content + b"\0", content + content, content[8:], b"\xff" * 8 + content[8:], bytes(5000)):
        refused(path, damaged, "no complete safetensors file")
    with path.open("wb") as file:  # much of nothing behind it
        file.write(content)
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="not fully covered"):
        fastnet.load(path)
    with pytest.raises(FileNotFoundError):
        fastnet.load(tmp_path / "missing")
    with pytest.raises(OSError, match=r"\w"):
        fastnet.load(tmp_path)


def test_files_of_others(tmp_path):
    path = tmp_path / "net"
    refused(path, safetensors.save({"0.weight": np.ones((2, 2))}), "from_state_dict")
    refused(path, safetensors.save({"a": np.ones(2)}, metadata={"format": "pt"}), "none of fastnet.save")
    for text, message in [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "format None"),
        ("7", "format None"),
        ("{}", "format None"),
        ('{"format": 2, "model": {}}', "format 2; this version of fastnet reads format 1"),
        ('{"format": true, "model": {}}', "format True"),
        ('{"format": 1.0, "model": {}}', "format 1.0"),
        ('{"format": "1", "model": {}}', "format '1'"),
        ('{"format": 1}', "no model"),
        ('{"format": 1, "model": {}}', "class, layers are due"),
        ('{"format": 1, "model": [1]}', "class, layers are due"),
        ('{"format": 1, "model": NaN}', "class, layers are due"),
        ('{"format": 1, "model": {"class": "Sequential", "layers": []}}', "belong to no layer: a"),
        ('{"format": 1, "model": {"class": "os.system", "layers": []}}', "where a network is due"),
        (
            '{"format": 1, "model": {"class": "Sequential", "layers": [{"class": "Pool"}]}}',
            "'Pool' is unknown",
        ),
        ('{"format": 1, "model": {"class": "Sequential", "layers": [{"class": "Affine"}]}}', "0.W, 0.b"),
    ]:
        refused(path, safetensors.save({"a": np.ones(2)}, metadata={"fastnet": text}), message)


def set_in(value, path, new):
    """A copy of nested dictionaries and lists with one entry replaced, or left out if new is Ellipsis."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    copied[path[0]] = set_in(copied[path[0]] if path[1:] or path[0] in copied else None, path[1:], new)
    copied = {key: item for key, item in copied.items() if item is not ...}
    return copied if isinstance(value, dict) else list(copied.values())


@pytest.mark.parametrize(
    ("where", "new", "text"),
    [
        (["class"], "Regressor", "are due"),
        (["class"], "Sequential", "are due"),
        (["class"], ["Classifier"], "are due"),
        (["extra"], 1, "are due"),
        (["network"], ..., "are due"),
        (["network"], None, "class, layers are due"),
        (["network", "layers"], 5, "where a network is due"),
        (["network", "layers"], [], "without weights"),
        (["network", "layers", 0], ..., "missing|belong|shape|fan_in|classes"),
        (["network", "layers", 0, "class"], 5, "unknown"),
        (["network", "layers", 0, "class"], "Relu", "unknown"),
        (["network", "layers", 2], ..., "belong to no layer|classes"),
        (["network", "layers", 1], {"class": "Affine"}, "2.W, 2.b"),
        (["network", "layers", 1], [], "class are due"),
        (["multilabel"], 0, "neither true nor false"),
        (["classes"], None, "neither strings nor a tensor"),
        (["classes"], ["a", "b", "c"], "neither strings"),
        (["classes"], {"str": ["a", "b"]}, "classes of shape"),
        (["classes"], {"str": ["a", "b", 3]}, "neither strings"),
        (["classes"], {"pickle": ["a", "b", "c"]}, "neither strings"),
        (["feature_names"], ["w", "x"], "2 names for 4 features"),
        (["feature_names"], [1, 2, 3, 4], "no strings"),
        (["feature_names"], "wxyz", "no strings"),
    ],
    ids=str,
)
def test_mislabelled_models(content, where, new, text, tmp_path):
    header, description, buffer = unpack(content)
    description["model"] = set_in(description["model"], where, new)
    refused(tmp_path / "net", pack(header, description, buffer), text)


@pytest.mark.parametrize(
    ("where", "new", "text"),
    [
        (["0.W"], ..., "no complete|0.W"),
        (["0.W", "dtype"], "F64", "no complete"),
        (["0.W", "dtype"], "F7", "no complete"),
        (["0.W", "dtype"], "C64", "no complete"),
        (["0.W", "shape"], [9, 4], "fan_in 9|bias|b of shape"),
        (["0.W", "shape"], [36], r"W of shape \(36,\)"),
        (["0.W", "shape"], [4, 9, 1], r"\(4, 9, 1\)"),
        (["0.W", "shape"], [2**40, 2**40], "no complete"),
        (["0.W", "data_offsets"], [0, 0], "no complete"),
        (["0.b", "shape"], [3, 3], r"b of shape \(3, 3\)"),
        (["1.W", "shape"], [3, 9], "1.b|b of shape|fan_in"),
    ],
    ids=str,
)
def test_mislabelled_tensors(content, where, new, text, tmp_path):
    header, description, buffer = unpack(content)
    refused(tmp_path / "net", pack(set_in(header, where, new), description, buffer), text)


def test_tensors_of_other_types(content, tmp_path):
    """Sizes that fit, of types that NumPy does not have, or that weights cannot have."""
    header, description, buffer = unpack(content)
    for dtype, shape in [("BF16", [4, 18]), ("C64", [2, 9]), ("F8_E4M3", [16, 9])]:
        changed = set_in(set_in(header, ["0.W", "dtype"], dtype), ["0.W", "shape"], shape)
        refused(tmp_path / "net", pack(changed, description, buffer), f"0.W of type {dtype}|no complete")


def test_more_tensors_than_layers(content, tmp_path):
    header, description, buffer = unpack(content)
    header["code"] = {"dtype": "U8", "shape": [4], "data_offsets": [len(buffer), len(buffer) + 4]}
    refused(tmp_path / "net", pack(header, description, buffer + b"\0" * 4), "belong to no layer: code")


# whatever happens to the bytes

byte_edits = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4)
cuts = st.tuples(st.integers(0, 1 << 20), st.integers(0, 60), st.binary(max_size=20))
words = st.sampled_from(["Affine", "AffineSigmoid", "Sequential", "TwoLayerNet", "Regressor", "F64", "I32"])
keys = st.sampled_from(["class", "layers", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 64) | st.floats() | st.text(max_size=4) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner),
    max_leaves=5,
)


def places(value, at=()):
    """Every place in nested dictionaries and lists."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*at, key))


@st.composite
def mutants(draw, content):
    """The file with bytes changed, a piece replaced, or a value of its JSON replaced or left out."""
    way = draw(st.sampled_from(["bytes", "piece", "header", "description"]))
    if way == "bytes":
        changed = bytearray(content)
        for at, value in draw(byte_edits):
            changed[at % len(changed)] = value
        return bytes(changed)
    if way == "piece":
        at, size, new = draw(cuts)
        at %= len(content)
        return content[:at] + new + content[at + size :]
    header, description, buffer = unpack(content)
    target = header if way == "header" else description
    where = draw(st.sampled_from(sorted(places(target), key=str)))
    changed = set_in(target, where, draw(values | st.just(...)) if where else {})
    header, description = (changed, description) if way == "header" else (header, changed)
    try:
        return pack(header, description, buffer)
    except UnicodeEncodeError:
        return content


def load_or_refuse(path, content):
    """A ValueError, or a whole model: nothing else may come of a file."""
    path.write_bytes(content)
    try:
        model = fastnet.load(path)
    except ValueError:
        return False
    if isinstance(model, (Classifier, Regressor)):
        assert len(model.network.layers) >= 1
        model = model.network
    assert type(model) in (fastnet.Sequential, fastnet.TwoLayerNet)
    if model.params:
        x = np.ones((2, model.params[0].shape[0]))
        with np.errstate(all="ignore"):
            assert model.predict(x).shape == (2, model.params[-2].shape[1])
    return True


@given(st.data())
def test_mutants(content, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutant"
    load_or_refuse(path, data.draw(mutants(content)))


@pytest.mark.long
@settings(max_examples=120_000)
@given(st.data())
def test_many_mutants(content, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutant"
    load_or_refuse(path, data.draw(mutants(content)))
