"""``from_onnx`` and ``to_onnx``: ONNX Runtime's numbers from exporters' models, or a refusal by name."""

import copy
import io
import itertools
import logging
import os
import warnings
from contextlib import suppress

import numpy as np
import pytest

import fastnet
from tests.models import ARCHITECTURES, BY_LABEL, DTYPES, close

onnx = pytest.importorskip("onnx")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper
ReferenceEvaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator

KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
RNG = np.random.default_rng(0)


def arrays(dtype="float32", **shapes):
    return {name: RNG.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def make(nodes, weights, shape=("n", 4), dtype="float32", opset=17, outputs=("y",), inputs=("x",)):
    """A model of these nodes, given as (operator, inputs, output, attributes)."""
    made = [
        helper.make_node(operator, into.split(), [out], domain=settings.pop("domain", ""), **settings)
        for operator, into, out, settings in ((o, i, out, dict(s)) for o, i, out, s in nodes)
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info(name, KINDS[dtype], shape) for name in inputs],
        [helper.make_tensor_value_info(name, KINDS[dtype], [None] * len(shape)) for name in outputs],
        [numpy_helper.from_array(a, name) for name, a in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def runtime(model, x):
    """All outputs that ONNX Runtime computes."""
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {session.get_inputs()[0].name: x})


def same_numbers(model, x, x_fast=None):
    """fastnet's reading of the model beside onnx's own evaluator."""
    net = fastnet.from_onnx(model)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    close(net.predict(x if x_fast is None else x_fast), want, str(x.dtype))
    return net


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [None, (), (1,), (3,), (1, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(None, None), (0.5, 1.0), (1.0, -2.0), (0.3, 0.0)])
def test_gemm(dtype, shape, trans_b, alpha, beta):
    """In all forms: alpha, beta, transB, and C of any shape that is one row, or none."""
    weights = arrays(dtype, B=(3, 4) if trans_b else (4, 3), **({} if shape is None else {"C": shape}))
    settings = {k: v for k, v in (("alpha", alpha), ("beta", beta), ("transB", trans_b)) if v is not None}
    model = make([("Gemm", " ".join(["x", *weights]), "y", settings)], weights, dtype=dtype)
    same_numbers(model, arrays(dtype, x=(9, 4))["x"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (), (1,)], ids=str)
def test_matmul_and_add(dtype, first, shape):
    """With the bias on either side, or none; two biases one after the other."""
    weights = arrays(dtype, W=(4, 3), b=shape, c=(1, 3))
    add = ("Add", "h b" if first else "b h", "y", {})
    x = arrays(dtype, x=(9, 4))["x"]
    same_numbers(make([("MatMul", "x W", "h", {}), add], weights, dtype=dtype), x)
    same_numbers(make([("MatMul", "x W", "y", {})], weights, dtype=dtype), x)
    twice = [("MatMul", "x W", "h", {}), ("Add", "h b", "k", {}), ("Add", "c k", "y", {})]
    assert len(same_numbers(make(twice, weights, dtype=dtype), x).layers) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operator", ["Sigmoid", "Tanh", "Relu", "Identity", "Softmax", "Flatten"])
def test_operators(dtype, operator):
    weights = arrays(dtype, W=(4, 3), b=(3,))
    nodes = [("Gemm", "x W b", "h", {}), (operator, "h", "k", {}), ("Gemm", "k V", "y", {})]
    weights |= arrays(dtype, V=(3, 2))
    net = same_numbers(make(nodes, weights, dtype=dtype), 3 * arrays(dtype, x=(9, 4))["x"])
    assert len(net.layers) == (2 if operator in ("Identity", "Flatten") else 3)


@pytest.mark.parametrize(
    ("opset", "axis", "supported"),
    [(11, None, True), (11, 1, True), (11, 0, False), (12, -1, True), (13, None, True), (17, 1, True),
     (17, -1, True), (17, 0, False), (17, -2, False)],
)  # fmt: skip
def test_axis_of_softmax(opset, axis, supported):
    settings = {} if axis is None else {"axis": axis}
    nodes = [("Gemm", "x W b", "h", {}), ("Softmax", "h", "y", settings)]
    model = make(nodes, arrays(W=(4, 3), b=(3,)), opset=opset)
    if supported:
        same_numbers(model, arrays(x=(5, 4))["x"])
    else:
        with pytest.raises(ValueError, match=f"Softmax.*axis={axis}"):
            fastnet.from_onnx(model)


def test_axis_of_softmax_over_more_than_rows():
    """Three dimensions: MatMul keeps them, and the last axis is number 2."""
    weights, x = arrays(W=(4, 3)), arrays(x=(5, 6, 4))["x"]
    for axis, opset, supported in [(2, 17, True), (1, 17, False), (1, 11, False)]:
        nodes = [("MatMul", "x W", "h", {}), ("Softmax", "h", "y", {"axis": axis})]
        model = make(nodes, weights, ("n", 6, 4), opset=opset)
        if supported:
            same_numbers(model, x)
        else:
            with pytest.raises(ValueError, match="axis=1 of 3"):
                fastnet.from_onnx(model)


@pytest.mark.parametrize(
    "front", [("Flatten", "x", {}), ("Reshape", "x two", {}), ("Reshape", "x keep", {})], ids=lambda f: f[1]
)
def test_images_in_front(front):
    weights = arrays(W=(6, 3), b=(3,)) | {"two": np.array([-1, 6]), "keep": np.array([0, -1])}
    model = make([(*front[:2], "h", front[2]), ("Gemm", "h W b", "y", {})], weights, ("n", 2, 3))
    x = arrays(x=(5, 2, 3))["x"]
    same_numbers(model, x, x.reshape(5, 6))


def test_constants_of_all_kinds():
    """Made by nodes: Constant, Identity, Transpose, Cast."""
    weights = arrays(W=(3, 4), b=(3,)) | {"V": RNG.standard_normal((3, 1))}
    nodes = [
        ("Constant", "", "half", {"value_float": 0.5}),
        ("Constant", "", "row", {"value_floats": [1.0, 2.0, 3.0]}),
        ("Constant", "", "c", {"value": numpy_helper.from_array(weights["b"], "c")}),
        ("Transpose", "W", "Wt", {"perm": [1, 0]}),
        ("Identity", "Wt", "Wi", {}),
        ("Cast", "V", "Vf", {"to": TensorProto.FLOAT}),
        ("MatMul", "x Wi", "h", {}),
        ("Add", "h half", "h2", {}),
        ("Add", "row h2", "h3", {}),
        ("Add", "h3 c", "h4", {}),
        ("Gemm", "h4 Vf", "y", {}),
    ]
    same_numbers(make(nodes, weights), arrays(x=(5, 4))["x"])


@pytest.mark.parametrize(
    "nodes",
    [
        [("Sub", "x a", "s", {}), ("Div", "s b", "t", {})],
        [("Sub", "a x", "s", {}), ("Mul", "b s", "t", {})],
        [("Mul", "x b", "s", {}), ("Add", "a s", "t", {})],
        [("Scaler", "x", "t", {"domain": "ai.onnx.ml", "offset": [1.0] * 4, "scale": [0.5, 2.0, 1.0, 3.0]})],
        [("Scaler", "x", "t", {"domain": "ai.onnx.ml", "offset": [1.0], "scale": [0.5]})],
    ],
    ids=lambda nodes: "-".join(node[0] for node in nodes),
)
def test_scaling_in_front(nodes):
    weights = arrays(W=(4, 3), c=(3,), a=(4,)) | {"b": np.array([[1, 2, 3, 0.5]], "float32")}
    model = make([*nodes, ("Gemm", "t W c", "y", {})], weights)
    assert len(same_numbers(model, arrays(x=(5, 4))["x"]).layers) == 1


def test_scaling_that_would_lose_precision():
    weights = arrays(W=(4, 3)) | {"a": np.full(4, 1e6, "float32")}
    with pytest.raises(ValueError, match="subtract that mean first"):
        fastnet.from_onnx(make([("Sub", "x a", "s", {}), ("MatMul", "s W", "y", {})], weights))


W = {"W": np.ones((4, 4), "float32"), "b": np.ones(4, "float32"), "M": np.ones((5, 4), "float32")}
W |= {"column": np.ones((4, 1), "float32"), "c": np.ones(3, "float32")}
REFUSED = {
    "unknown": ([("LeakyRelu", "x", "y", {})], "LeakyRelu"),
    "log softmax": ([("LogSoftmax", "x", "y", {})], "LogSoftmax"),
    "convolution": ([("Relu", "x", "h", {}), ("Clip", "h", "y", {})], "Clip"),
    "transA": ([("Gemm", "x W", "y", {"transA": 1})], "Gemm.*transA"),
    "data on the right": ([("Gemm", "W x", "y", {})], "Gemm.*first operand"),
    "data on MatMul's right": ([("MatMul", "W x", "y", {})], "MatMul.*first operand"),
    "a bias for each row": ([("Gemm", "x W M", "y", {})], r"Gemm.*\(5, 4\)"),
    "a residual": ([("MatMul", "x W", "h", {}), ("Add", "h x", "y", {})], "Add.*joins 2"),
    "two branches": ([("Relu", "x", "h", {}), ("Mul", "h x", "y", {})], "Mul.*joins 2"),
    "its own square": ([("Mul", "x x", "y", {})], "Mul.*joins 2"),
    "Mul behind a layer": ([("MatMul", "x W", "h", {}), ("Mul", "h b", "y", {})], "Mul.*before the first"),
    "Add behind a function": ([("Relu", "x", "h", {}), ("Add", "h b", "y", {})], "Add.*as the bias"),
    "scaling a function": ([("Mul", "x b", "h", {}), ("Relu", "h", "y", {})], "Relu.*scaling"),
    "a scale for each row": (
        [("Mul", "x column", "h", {}), ("MatMul", "h W", "y", {})],
        r"Mul.*\(4, 1\)",
    ),
    "a scale of another width": ([("Mul", "x c", "h", {}), ("MatMul", "h W", "y", {})], "of 3 features"),
    "a shift of another width": ([("Add", "x c", "h", {}), ("MatMul", "h W", "y", {})], "of 3 features"),
    "scaling nothing": ([("Mul", "x b", "y", {})], "no layer behind"),
    "a constant divided": ([("Div", "b x", "y", {})], "Div.*divides"),
    "another Flatten": ([("Flatten", "x", "y", {"axis": 0})], "Flatten"),
    "a dropped precision": (
        [("MatMul", "x W", "h", {}), ("Cast", "h", "y", {"to": TensorProto.DOUBLE})],
        "Cast.*float64",
    ),
    "integers": ([("MatMul", "x W", "h", {}), ("Cast", "h", "y", {"to": TensorProto.INT64})], "Cast.*int64"),
    "nothing but constants": ([("Add", "W b", "y", {})], "joins 0"),
    "widths": ([("MatMul", "x W", "h", {}), ("MatMul", "h M", "y", {})], "fan_in 5"),
    "a vector": ([("MatMul", "x b", "y", {})], r"MatMul.*\(4,\)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind):
    nodes, text = REFUSED[kind]
    with pytest.raises(ValueError, match=text):
        fastnet.from_onnx(make(nodes, W))


def test_refused_models():
    relu = [("Relu", "x", "y", {})]
    with pytest.raises(ValueError, match="2 inputs"):
        fastnet.from_onnx(make(relu, {}, inputs=("x", "z")))
    with pytest.raises(ValueError, match="several outputs"):
        fastnet.from_onnx(make([*relu, ("Tanh", "x", "z", {})], {}, outputs=("y", "z")))
    with pytest.raises(ValueError, match="operator set 6"):
        fastnet.from_onnx(make(relu, {}, opset=6))
    with pytest.raises(ValueError, match="float16"):
        fastnet.from_onnx(make([("MatMul", "x W", "y", {})], {"W": np.ones((4, 4), "float16")}))
    with pytest.raises(ValueError, match="not valid"):
        fastnet.from_onnx(make([("Relu", "unheard", "y", {})], {}))
    reshape = [("Reshape", "x s", "h", {}), ("MatMul", "h W", "y", {})]
    with pytest.raises(ValueError, match=r"shape \[2, 2\]"):
        fastnet.from_onnx(make(reshape, {"s": np.array([2, 2]), "W": np.ones((2, 2), "float32")}))
    for value in (None, 5, np.ones(3), b"bytes"):
        with pytest.raises(TypeError, match=type(value).__name__):
            fastnet.from_onnx(value)


# files


def test_files_that_are_none(tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(FileNotFoundError):
        fastnet.from_onnx(path)
    fastnet.to_onnx(BY_LABEL["deep"].build("float32"), path)
    whole = path.read_bytes()
    for content in (b"", b"no protobuf at all", whole[:100], whole[:-1], whole[:-50], b"\xff" * 1000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"no ONNX model|not valid|fit its shape"):
            fastnet.from_onnx(path)
    for at in range(0, len(whole), 17):  # whatever comes of it, no other exception
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with suppress(ValueError):
            fastnet.from_onnx(str(path))


def external(tmp_path, location):
    """A model whose weights are said to be at `location`."""
    model = make([("Gemm", "x W b", "y", {})], arrays(W=(4, 3), b=(3,)))
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    onnx.save(
        copy.deepcopy(model),
        folder / "net.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    (tmp_path / "weights").write_bytes((folder / "weights").read_bytes())
    stored = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in stored.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "net.onnx").write_bytes(stored.SerializeToString())
    return model, stored, folder / "net.onnx"


def test_weights_in_a_file_beside(tmp_path, monkeypatch):
    model, stored, path = external(tmp_path, "weights")
    x = arrays(x=(5, 4))["x"]
    want = fastnet.from_onnx(model).predict(x)
    np.testing.assert_array_equal(fastnet.from_onnx(path).predict(x), want)
    monkeypatch.chdir(path.parent)
    np.testing.assert_array_equal(fastnet.from_onnx("net.onnx").predict(x), want)
    with pytest.raises(ValueError, match="pass its path"):
        fastnet.from_onnx(stored)
    (path.parent / "weights").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"weights|W"):
        fastnet.from_onnx(path)
    (path.parent / "weights").unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        fastnet.from_onnx(path)


@pytest.mark.parametrize("location", ["../weights", "ABSOLUTE", "sub/../../weights", "", "link"])
def test_weights_elsewhere(tmp_path, location):
    """Paths that leave the folder, also through a symbolic link, are not followed."""
    outside = tmp_path / "weights"
    path = external(tmp_path, str(outside) if location == "ABSOLUTE" else location)[2]
    if location == "link":
        (path.parent / "link").symlink_to(outside)
    with pytest.raises(ValueError, match="outside of the model's folder" if location else "cannot be read"):
        fastnet.from_onnx(path)


# what exporters write


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def exported(torch, module, x, dynamo, **kwargs):
    """The model that PyTorch's exporter writes."""
    names = {"input_names": ["x"], "output_names": ["y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not dynamo:
            file = io.BytesIO()
            torch.onnx.export(
                module, (x,), file, dynamo=False, dynamic_axes={"x": {0: "n"}}, **names, **kwargs
            )
            return onnx.load_from_string(file.getvalue())
        pytest.importorskip("onnxscript")
        logging.disable(logging.WARNING)
        try:
            dynamic = ({0: torch.export.Dim("n")},)
            program = torch.onnx.export(
                module, (x,), dynamo=True, dynamic_shapes=dynamic, verbose=False, **names
            )
        finally:
            logging.disable(logging.NOTSET)
        return program.model_proto


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", ["sigmoid", "relu-softmax", "deep", "one output"])
def test_modules_of_pytorch(torch, label, dtype, dynamo):
    from tests.test_from_torch import module_of

    architecture = BY_LABEL[label]
    x = architecture.x(dtype)
    model = exported(torch, module_of(torch, architecture, dtype).eval(), torch.from_numpy(x[:2]), dynamo)
    net = fastnet.from_onnx(model)
    close(net.predict(x), runtime(model, x)[0], dtype)
    close(net.predict(x), architecture.build(dtype).predict(x), dtype)


@pytest.mark.parametrize(
    "settings", [{}, {"opset_version": 11, "do_constant_folding": False}, "dynamo"], ids=str
)
def test_more_of_pytorch(torch, settings):
    nn = torch.nn
    module = nn.Sequential(
        *(nn.Flatten(), nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Dropout(), nn.Identity()),
        *(nn.Linear(5, 3), nn.Softmax(dim=1)),
    ).eval()
    x = np.random.default_rng(0).standard_normal((20, 2, 3)).astype("float32")
    dynamo = settings == "dynamo"
    model = exported(torch, module, torch.from_numpy(x[:2]), dynamo, **({} if dynamo else settings))
    close(fastnet.from_onnx(model).predict(x.reshape(20, -1)), runtime(model, x)[0], "float32")


@pytest.fixture(scope="module")
def converted():
    """What skl2onnx makes of an estimator fitted on iris with labels or targets y, and iris itself."""
    pytest.importorskip("sklearn")
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)

    def convert(estimator, target, dtype, zipmap=False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(x, target(y))
            classifies = hasattr(estimator, "classes_")
            options = {"options": {"zipmap": zipmap}} if classifies else {}
            return skl2onnx.to_onnx(estimator, x[:1].astype(dtype), **options), estimator, x.astype(dtype)

    return convert


def perceptron(kind, **kwargs):
    from sklearn import neural_network

    return getattr(neural_network, kind)(hidden_layer_sizes=(7, 5), max_iter=100, random_state=0, **kwargs)


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("labels", ["three", "two", "strings", "two strings"])
def test_classifiers_of_skl2onnx(converted, labels, activation, zipmap):
    """Labels and probabilities as ONNX Runtime gives them, and as the estimator does."""
    words = np.array(["setosa", "versicolor", "gräsig"])
    target = {
        "three": lambda y: y + 5,
        "two": lambda y: np.minimum(y, 1) - 3,
        "strings": lambda y: words[y],
        "two strings": lambda y: words[np.minimum(y, 1)],
    }[labels]
    for dtype in DTYPES[: 1 if zipmap else 2]:  # ONNX Runtime has no ZipMap in float64
        model, estimator, x = converted(
            perceptron("MLPClassifier", activation=activation), target, dtype, zipmap
        )
        net = fastnet.from_onnx(model)
        got_labels, probabilities = runtime(model, x)
        np.testing.assert_array_equal(net.predict(x), got_labels)
        np.testing.assert_array_equal(net.classes_, estimator.classes_)
        if zipmap:
            probabilities = np.array(
                [[row[c] for c in net.classes_.tolist()] for row in probabilities], dtype
            )
        close(net.predict_proba(x), probabilities, dtype)
        np.testing.assert_array_equal(net.predict(x), estimator.predict(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_regressors_and_scalers_of_skl2onnx(converted, dtype):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    for scaler in (StandardScaler(), MinMaxScaler(), StandardScaler(with_mean=False)):
        model, _, x = converted(make_pipeline(scaler, perceptron("MLPRegressor")), lambda y: y, dtype)
        got, want = fastnet.from_onnx(model).predict(x), runtime(model, x)[0]
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-4 if dtype == "float32" else 1e-6, atol=1e-5)


def test_refused_ends_of_skl2onnx(converted):
    from sklearn.linear_model import LogisticRegression

    several = converted(perceptron("MLPClassifier"), lambda y: np.c_[y > 0, y > 1], "float32")[0]
    with pytest.raises(ValueError, match=r"Binarizer.*several labels"):
        fastnet.from_onnx(several)
    columns = converted(perceptron("MLPClassifier"), lambda y: y, "float32", "columns")[0]
    with pytest.raises(ValueError, match="'zipmap': False"):
        fastnet.from_onnx(columns)
    other = converted(LogisticRegression(), lambda y: y, "float32")[0]
    with pytest.raises(ValueError, match=r"LinearClassifier|several outputs"):
        fastnet.from_onnx(other)
    two = converted(perceptron("MLPRegressor"), lambda y: np.c_[y, y], "float32")[0]
    with pytest.raises(ValueError, match=r"Reshape.*rows of 2 features"):
        fastnet.from_onnx(two)


# to_onnx


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.label)
def test_written_and_run(architecture, dtype, tmp_path):
    """ONNX Runtime's results are ours within rounding; read again, they are the same bits."""
    net, x, path = architecture.build(dtype), architecture.x(dtype), tmp_path / "net.onnx"
    assert fastnet.to_onnx(net, path) is None
    assert os.listdir(tmp_path) == ["net.onnx"]
    model = onnx.load(path)
    close(net.predict(x), runtime(model, x)[0], dtype)
    again = fastnet.from_onnx(path)
    np.testing.assert_array_equal(again.predict(x), net.predict(x), strict=True)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in net.layers]


def test_written_in_any_form(tmp_path):
    """Nested, fused by hand, biases as rows and scalars, weights strided and byte-swapped."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(s) for s in [(8, 10), (5, 5), (5, 3)])
    net = fastnet.Sequential([
        fastnet.Tanh(),
        fastnet.AffineSigmoid(a[::2, ::2], np.ones((1, 5))),
        fastnet.Sequential([fastnet.Affine(b.T.astype(">f8"), np.array(0.5)), fastnet.ReLU()]),
        fastnet.Affine(c, np.array([[0.25]])),
    ])  # fmt: skip
    x = rng.standard_normal((9, 4))
    fastnet.to_onnx(net, tmp_path / "net.onnx")
    close(net.predict(x), runtime(onnx.load(tmp_path / "net.onnx"), x)[0], "float64")
    two = fastnet.TwoLayerNet(4, 5, 3)
    fastnet.to_onnx(two, str(tmp_path / "net.onnx"))
    close(two.predict(x), runtime(onnx.load(tmp_path / "net.onnx"), x)[0], "float64")


def test_refused_to_write(tmp_path):
    class Own(fastnet.Affine):
        pass

    class Other:
        def forward(self, x):
            return x

    f32, f64, ints = np.ones((3, 3), "float32"), np.ones((3, 3)), np.ones((3, 3), int)
    replaced = fastnet.Affine(f64, f64[0])
    replaced.forward = lambda x: x
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")
    for layers, text in [
        ([Own(f64, f64[0])], "Own"),
        ([Other()], "Other"),
        ([replaced], "replaced"),
        ([fastnet.Sequential([Other()])], "Other"),
        ([fastnet.ReLU()], "without weights"),
        ([], "without weights"),
        ([fastnet.Affine(f64, f64[0]), fastnet.Affine(f32, f32[0])], "float32, float64"),
        ([fastnet.Affine(ints, ints[0])], "int64"),
        ([fastnet.Affine(f64, f64[0]), fastnet.Affine(np.ones((4, 2)), np.ones(2))], "fan_in 4"),
        ([fastnet.Affine(f64, f64)], "no affine layer's"),
        ([fastnet.Affine(f64, 0.5)], "float, no array"),
        ([fastnet.Affine(f64.tolist(), f64[0])], "list, no array"),
    ]:
        with pytest.raises(ValueError, match=text):
            fastnet.to_onnx(fastnet.Sequential(layers), path)
    for value in (None, fastnet.Affine(f64, f64[0])):
        with pytest.raises(TypeError, match=type(value).__name__):
            fastnet.to_onnx(value, path)
    huge = np.broadcast_to(np.float32(1), (2**15, 2**15))
    with pytest.raises(ValueError, match="2 GiB"):
        fastnet.to_onnx(fastnet.Sequential([fastnet.Affine(huge, huge[0])]), path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_nodes_of_any_order_of_width():
    """The walk follows names, not the order in the file: dead ends beside the path do no harm."""
    weights = arrays(W=(4, 3), V=(4, 2))
    nodes = [("MatMul", "x V", "dead", {}), ("Erf", "dead", "end", {}), ("MatMul", "x W", "y", {})]
    same_numbers(make(nodes, weights), arrays(x=(5, 4))["x"])


def classifier_of(*behind, opset=17):
    """Two classes, and what is behind the sigmoid."""
    weights = arrays(W=(4, 1), b=(1,)) | {"one": np.ones(1, "float32"), "classes": np.array([3, 5])}
    nodes = [
        ("Gemm", "x W b", "h", {}),
        ("Sigmoid", "h", "p", {}),
        ("Sub", "one p", "q", {}),
        *behind,
        ("ArrayFeatureExtractor", "classes k", "l", {"domain": "ai.onnx.ml"}),
    ]
    return make(nodes, weights, outputs=("l", "probabilities"), opset=opset)


def test_ends_of_classifiers():
    """Identities on the way; the two classes in the other order, or twice the same, are no such end."""
    argmax = ("ArgMax", "probabilities", "k", {"axis": 1})
    identities = ("Identity", "c", "i", {}), ("Identity", "i", "probabilities", {})
    net = fastnet.from_onnx(classifier_of(("Concat", "q p", "c", {"axis": 1}), *identities, argmax))
    assert net.classes_.tolist() == [3, 5]
    assert net.predict_proba(np.ones((6, 4), "float32")).shape == (6, 2)
    for concat in ("p q", "p p", "q q", "q p p"):
        with pytest.raises(ValueError, match=r"Concat.*two classes"):
            fastnet.from_onnx(classifier_of(("Concat", concat, "probabilities", {"axis": 1}), argmax))
    whole = ("Concat", "q p", "probabilities", {"axis": 1})
    for settings in ({"axis": 0}, {"axis": 1, "select_last_index": 1}):
        with pytest.raises(ValueError, match="ArgMax"):
            fastnet.from_onnx(classifier_of(whole, ("ArgMax", "probabilities", "k", settings)))
    with pytest.raises(ValueError, match="not supported behind"):
        fastnet.from_onnx(classifier_of(whole, argmax, ("Erf", "p", "e", {})))


def test_too_long_a_row_of_constants():
    names = [f"c{i}" for i in range(5000)]
    nodes = [("Identity", a, b, {}) for a, b in itertools.pairwise(["W", *names])]
    with pytest.raises(ValueError, match="too long a row"):
        fastnet.from_onnx(make([*nodes, ("MatMul", "x c4999", "y", {})], W))


def test_chains_of_functions():
    """Every pair of functions one after the other."""
    for pair in itertools.product(["Sigmoid", "Tanh", "Relu", "Softmax"], repeat=2):
        nodes = [("Gemm", "x W b", "h", {}), (pair[0], "h", "k", {}), (pair[1], "k", "y", {})]
        same_numbers(make(nodes, arrays(W=(4, 3), b=(3,))), arrays(x=(5, 4))["x"])
