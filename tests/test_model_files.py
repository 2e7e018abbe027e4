"""Files made to do harm: a ValueError comes of them, or a model; never a signal, much memory or much time."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import fastnet
from benchmarks.processes import environment, printed
from fastnet.estimators import Classifier

pytest.importorskip("safetensors")
onnx = pytest.importorskip("onnx")

from tests import mutation, onnx_models  # noqa: E402
from tests.onnx_models import model, node, weights  # noqa: E402

AFFINE = {"class": "Sequential", "layers": [{"class": "Affine"}]}
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper


# mutants, in a process of their own


def mutated(name, count, seed, progress, code="0"):
    """What ``tests.mutation`` found in so many cases; a test fails with the number of the case."""
    command = ["import sys", f"sys.argv[1:] = {[name, str(count), str(seed), '--progress', str(progress)]}"]
    command += ["from tests import mutation", code, "mutation.main()"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", "\n".join(command)],
        env=environment(OPENBLAS_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=300 + count // 50,
    )
    case = progress.read_text().strip() if progress.exists() else "before the first"
    if done.returncode < 0:
        pytest.fail(f"case {case}: {signal.Signals(-done.returncode).name}\n{done.stderr}")
    if done.returncode > 0:
        pytest.fail(f"case {case}: {done.stderr}")
    found = json.loads(done.stdout)
    assert found["tried"] == count
    assert found["read"] > count // 100, "hardly any mutant is a model"
    assert found["refused"] > count // 2, "hardly any mutant is refused"
    return found


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("safetensors", 4000),
        ("onnx", 2000),
        pytest.param("safetensors", 1_000_000, marks=pytest.mark.long),
        pytest.param("onnx", 200_000, marks=pytest.mark.long),
    ],
)
def test_mutants(name, count, tmp_path, record_property):
    found = mutated(name, count, 1, tmp_path / "case")
    record_property("tried", found["tried"])


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        ("raise KeyError(path)", "case 3: .*KeyError"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "case 3: SIGSEGV"),
        ("while True: pass", "case 3: SIGPROF"),
        ("np.ones(mutation.MEMORY)", "case 3: .*(MemoryError|SIGPROF)"),
        ("warnings.warn('a warning')", "case 3: .*UserWarning"),
    ],
)
def test_harm_is_seen(harm, text, tmp_path):
    """A reader that does something else in the fourth case."""
    code = f"""
import os, signal, warnings
import numpy as np
plain, calls = mutation.FORMATS["safetensors"], []
def read(path):
    calls.append(path)
    if len(calls) == len(seeds) + 4:
        {harm}
    return plain[2](path)
seeds = plain[0](mutation.Path({str(tmp_path)!r}))
mutation.SECONDS = 0.5
mutation.FORMATS["safetensors"] = (lambda folder: seeds, plain[1], read)
"""
    with pytest.raises(pytest.fail.Exception, match=f"(?s){text}"):
        mutated("safetensors", 10, 1, tmp_path / "case", code)


def test_mutants_are_the_same_each_time(tmp_path):
    for name, (seeds, _, _) in mutation.FORMATS.items():
        made = seeds(tmp_path)
        again = [mutation.mutant(name, made, 1, case) for case in range(200)]
        assert again == [mutation.mutant(name, made, 1, case) for case in range(200)]
        assert len(set(again)) > 150


def test_fields_of_onnx_files(tmp_path):
    """The mutator finds them: what a field is replaced by is read, and the lengths around it are right."""
    content = onnx_models.classifier().SerializeToString()
    places = list(mutation._fields(content, 0, len(content)))
    assert len(places) > 100
    at, begin, end = next(p for p in places if content[p[1] + 1 : p[2]] == b"probabilities")
    new = content[at:begin] + b"\x05other"
    changed = onnx.load_model_from_string(mutation._replaced(content, at, end, new, places))
    names = {name for n in changed.graph.node for name in (*n.input, *n.output)}
    names |= {o.name for o in changed.graph.output}
    assert "other" in names


# safetensors


def tensor(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def packed(header=None, buffer=b"", text=None, description=None, size=None):
    """A file of this header, or of this text in its place; the metadata are those of one affine layer."""
    if text is None:
        described = json.dumps({"format": 1, "model": AFFINE} if description is None else description)
        text = json.dumps({**(header or {}), "__metadata__": {"fastnet": described}}).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + buffer


ONE = {"0.W": tensor("F64", [1, 1], 0, 8), "0.b": tensor("F64", [1], 8, 16)}
DESCRIBED = json.dumps({"format": 1, "model": AFFINE})


def metadata(text):
    return packed(text=json.dumps({"__metadata__": {"fastnet": text}}).encode())


HEADERS = {
    **{
        f"length {n}": packed(ONE, bytes(16), size=n)
        for n in (0, 1, 7, 17, 10**6, 1 << 31, 1 << 63, (1 << 64) - 1)
    },
    **{
        f"{rows} x {columns}": packed(
            {"0.W": tensor("F64", [rows, columns], 0, 0), "0.b": tensor("F64", [0], 0, 0)}
        )
        for n in (1 << 31, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64)
        for rows, columns in ((n, n), (0, n), (n, 1))
    },
    "product that overflows to 8": packed(
        {"0.W": tensor("F64", [(1 << 61) + 1, 8], 0, 64), "0.b": tensor("F64", [8], 64, 128)}, bytes(128)
    ),
    "overlapping": packed({"0.W": tensor("F64", [1, 1], 0, 8), "0.b": tensor("F64", [1], 0, 8)}, bytes(8)),
    "apart": packed({"0.W": tensor("F64", [1, 1], 0, 8), "0.b": tensor("F64", [1], 16, 24)}, bytes(24)),
    "beyond": packed({"0.W": tensor("F64", [1, 1], 0, 8), "0.b": tensor("F64", [1], 8, 16)}, bytes(15)),
    "before": packed({"0.W": tensor("F64", [1, 1], -8, 0), "0.b": tensor("F64", [1], 0, 8)}, bytes(8)),
    "backwards": packed({"0.W": tensor("F64", [1, 1], 8, 0), "0.b": tensor("F64", [1], 8, 16)}, bytes(16)),
    "offsets beyond 64 bits": packed(ONE | {"0.b": tensor("F64", [1], 8, 10**30)}, bytes(16)),
    "an offset that is infinite": packed(text=json.dumps(ONE).replace("16]", "1e999]").encode()),
    "an offset that is not a number": packed(text=json.dumps(ONE).replace("16]", "NaN]").encode()),
    "offsets in words": packed(ONE | {"0.b": tensor("F64", [1], "8", "16")}, bytes(16)),
    "no offsets": packed(ONE | {"0.b": {"dtype": "F64", "shape": [1]}}, bytes(16)),
    "many dimensions": packed(ONE | {"0.W": tensor("F64", [1] * 1000, 0, 8)}, bytes(16)),
    "a shape of fractions": packed(ONE | {"0.W": tensor("F64", [1.5, 1], 0, 8)}, bytes(16)),
    "metadata twice": packed(text=b'{"__metadata__":{"fastnet":"1"},"__metadata__":{"fastnet":"2"}}'),
    "metadata that are no text": packed(text=b'{"__metadata__":{"fastnet":{"format":1}}}'),
    "metadata that are none": packed(text=b'{"__metadata__":null}'),
    "no UTF-8": packed(text=b'{"__metadata__":{"fastnet":"\xff\xfe"}}'),
    "deep arrays": packed(text=b"[" * 200_000),
    "deep objects": packed(text=b'{"a":' * 200_000),
    "deep metadata": metadata("[" * 200_000),
    "deep description": metadata('{"format":1,"model":' * 100_000),
    "deep networks": metadata(
        '{"format":1,"model":' + '{"class":"Sequential","layers":[' * 20_000 + "]}" * 20_000 + "}"
    ),
    "deep class": metadata('{"format":1,"model":{"class":' + "[" * 900 + "]" * 900 + "}}"),
    "a huge number": metadata('{"format":1' + "0" * 5000 + "}"),
    "not a number": metadata('{"format":NaN,"model":1}'),
    "infinite": metadata('{"format":1e999,"model":1}'),
    "a format in a fraction": metadata(DESCRIBED.replace("1", "1.0", 1)),
    "one layer more": metadata(DESCRIBED.replace("]", ",{}]")),
    "one label of many letters": packed(
        {"0.W": tensor("F32", [0, 20_000], 0, 0), "0.b": tensor("F32", [20_000], 0, 80_000)},
        bytes(80_000),
        description={
            "format": 1,
            "model": {
                "class": "Classifier",
                "network": AFFINE,
                "feature_names": None,
                "multilabel": False,
                "classes": {"str": ["a" * 20_000] + [""] * 19_999},
            },
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_lie(kind, tmp_path, record_property):
    path = tmp_path / "net"
    path.write_bytes(HEADERS[kind])
    before = time.process_time()
    with pytest.raises(ValueError, match=r"\w") as caught:
        fastnet.load(path)
    assert type(caught.value) is ValueError
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - before < 5
    record_property("tried", 1)


def test_names_that_are_twice_there(tmp_path):
    """The last one counts, as JSON has it, with the library and with the header read here."""
    path = tmp_path / "net"
    text = json.dumps({"__metadata__": {"fastnet": DESCRIBED}})[:-1] + ","
    first, last = ('"0.W":' + json.dumps(tensor("F64", [1, 1], *at)) for at in ((8, 16), (0, 8)))
    bias = '"0.b":' + json.dumps(tensor("F64", [1], 8, 16))
    path.write_bytes(
        packed(text=f"{text}{first},{last},{bias}}}".encode(), buffer=np.array([2.0, 3.0]).tobytes())
    )
    assert fastnet.load(path).predict(np.array([10.0])).tolist() == [23.0]


def test_a_wide_layer_of_nothing(tmp_path):
    """Shapes of no numbers are read; they take no memory."""
    path = tmp_path / "net"
    path.write_bytes(
        packed({"0.W": tensor("F64", [0, 1 << 40], 0, 0), "0.b": tensor("F64", [1], 0, 8)}, bytes(8))
    )
    assert fastnet.load(path).params[0].shape == (0, 1 << 40)


def test_a_file_cut_short_while_it_is_read(tmp_path):
    """By another process, at any point: a ValueError, where a mapped file would end this one by SIGBUS."""
    code = f"""
import os
import numpy as np
import fastnet
from fastnet.formats import saving

path = {str(tmp_path / "net")!r}
whole = fastnet.Sequential([fastnet.Affine(np.ones((500, 500)), np.ones(500))])
refused = 0
for function in ("_read", "_description", "_tensor", "build"):
    for size in (0, 4, 100, 4096, 1_000_000):
        fastnet.save(whole, path)
        plain = getattr(saving, function)
        def cut(*arguments):
            os.truncate(path, size)
            return plain(*arguments)
        setattr(saving, function, cut)
        try:
            assert fastnet.load(path).predict(np.ones((1, 500))).max() == 501
        except ValueError:
            refused += 1
        setattr(saving, function, plain)
print(refused)
"""
    assert int(printed(code)) == 5


def test_a_file_of_nothing_takes_no_memory(tmp_path):
    """As large as it says it is, but empty on disk."""
    path = tmp_path / "net"
    path.write_bytes(packed(ONE, bytes(16)))
    os.truncate(path, 1 << 40)
    with pytest.raises(ValueError, match="not fully covered"):
        fastnet.load(path)


def test_strings_that_save_refuses(tmp_path):
    labels = np.array(["a" * 20_000] + [""] * 19_999, object)
    network = fastnet.Sequential([fastnet.Affine(np.ones((0, 20_000)), np.ones(20_000))])
    classifier = Classifier(network, labels)
    fastnet.save(classifier, tmp_path / "net")  # each as wide as it is
    assert fastnet.load(tmp_path / "net").classes_.tolist() == labels.tolist()


# ONNX


def raw(name, dims, content=b"", kind=TensorProto.FLOAT):
    made = TensorProto(name=name, data_type=kind, raw_data=content)
    made.dims.extend(dims)
    return made


def weighted(*nodes, **constants):
    """A model of these nodes, with weights W of shape (4, 3)."""
    return model(list(nodes), weights(W=(4, 3)) | constants)


def changed(made, change):
    change(made)
    return made


def relu_of_its_own():
    function = helper.make_function(
        "", "Relu", ["a"], ["b"], [node("Tanh", "a", "b")], [helper.make_opsetid("", 17)]
    )
    return model([node("Gemm", "x W", "h"), node("Relu", "h", "y")], weights(W=(4, 3)), functions=[function])


def constant_of(**fields):
    made = helper.make_node("Constant", [], ["c"])
    attribute = made.attribute.add(name="value", type=fields.pop("type"))
    for name, value in fields.items():
        (getattr(attribute, name).CopyFrom if name == "t" else getattr(attribute, name).extend)(value)
    return weighted(made, node("Gemm", "x c", "y"))


def external(location="/etc/passwd"):
    made = raw("W", [4, 3])
    onnx.external_data_helper.set_external_data(made, location)
    made.data_location = TensorProto.EXTERNAL
    return made


def nested(depth):
    graph = helper.make_graph([], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["z"], then_branch=graph)], "g", [], [])
    return weighted(node("Gemm", "x W", "y"), *graph.node)


def spoil(graph, field):
    """Give something a name that is no UTF-8, which protobuf lets pass in a file."""
    node = graph.node[3]
    target, name = {
        "inputs": (graph.input[0], "name"),
        "outputs": (graph.output[0], "name"),
        "weights": (graph.initializer[0], "name"),
        "nodes": (node, "name"),
        "operands": (node, "input"),
        "results": (node, "output"),
        "attributes": (node.attribute[0], "name"),
        "operators": (node, "op_type"),
    }[field]
    content = target.SerializeToString()
    if name in ("input", "output"):
        old = getattr(target, name)[0].encode()
    else:
        old = getattr(target, name).encode()
        if not old:
            target.name = "named"
            content, old = target.SerializeToString(), b"named"
    target.ParseFromString(
        content.replace(bytes([len(old)]) + old, bytes([len(old)]) + b"\xff" * len(old), 1)
    )


FIELDS = ["inputs", "outputs", "weights", "nodes", "operands", "results", "attributes", "operators"]
BIG = np.ones((300, 300), "f4")
GRAPHS = {
    **{
        f"{kind} {rows} x {columns}": lambda rows=rows, columns=columns, inputs=inputs, rest=rest: model(
            [node("Gemm", inputs, "y")], {"W": raw("W", [rows, columns]), **rest}
        )
        for n in ((1 << 21), (1 << 33), (1 << 40), (1 << 62), (1 << 63) - 1)
        for rows, columns in ((0, n), (n, n), (n, 1))
        for kind, inputs, rest in (("alone", "x W", {}), ("with a scalar", "x W b", {"b": np.ones((), "f4")}))
    },
    "negative dimensions": lambda: model([node("Gemm", "x W", "y")], {"W": raw("W", [-2, -2], bytes(16))}),
    "cycle": lambda: weighted(node("Relu", "y", "h"), node("Gemm", "h W", "y")),
    "itself": lambda: weighted(node("Relu", "y", "y")),
    "missing input": lambda: weighted(node("Gemm", "nothing W", "y")),
    "missing operand": lambda: weighted(helper.make_node("Gemm", ["x", ""], ["y"])),
    "no operator": lambda: weighted(node("", "x", "y")),
    "no inputs": lambda: weighted(node("Foo", "", "y", "own")),
    "a scalar as shape": lambda: weighted(
        node("Reshape", "x s", "r"), node("Gemm", "r W", "y"), s=np.array(3)
    ),
    "an operator of its own": relu_of_its_own,
    "constants for nothing": lambda: model(
        [*[node("Cast", "B", f"c{i}", to=11) for i in range(3000)],
         node("Sum", "x " + " ".join(f"c{i}" for i in range(3000)), "y")], {"B": BIG}, ("n", 300)
    ),
    "the same weights again and again": lambda: model(
        [node("MatMul", "x B", "h0"), *[node("MatMul", f"h{i} B", f"h{i + 1}") for i in range(3000)],
         node("Relu", "h3000", "y")], {"B": BIG}, ("n", 300)
    ),
    "a long row of casts": lambda: weighted(
        node("Cast", "W", "c0", to=11),
        *[node("Cast", f"c{i}", f"c{i + 1}", to=11 - i % 2 * 10) for i in range(150)],
        node("Gemm", "x c150", "y"),
    ),
    "a constant without value": lambda: weighted(node("Constant", "", "c"), node("Gemm", "x c", "y")),
    "a constant of text": lambda: weighted(
        node("Constant", "", "c", value_strings=["a" * 50_000] + [""] * 50_000), node("Gemm", "x c", "y")
    ),
    "a constant of several tensors": lambda: constant_of(
        type=onnx.AttributeProto.TENSORS, tensors=[external()]
    ),
    "a constant in another file": lambda: constant_of(type=onnx.AttributeProto.TENSOR, t=external()),
    "weights in another file": lambda: model([node("Gemm", "x W", "y")], {"W": external()}),
    "axes twice": lambda: weighted(node("Transpose", "W", "c", perm=[0, 0]), node("Gemm", "x c", "y")),
    "huge axes": lambda: weighted(node("Transpose", "W", "c", perm=[1 << 62, 0]), node("Gemm", "x c", "y")),
    "an unknown type": lambda: weighted(node("Cast", "W", "c", to=99), node("Gemm", "x c", "y")),
    "text as a number": lambda: weighted(
        node("Cast", "s", "c", to=1), node("Gemm", "x c", "y"), s=np.array([[b"a"]], object)
    ),
    "complex as real": lambda: weighted(
        node("Cast", "z", "c", to=1), node("Gemm", "x c", "y"), z=np.ones((4, 3), "c8")
    ),
    "division by zero": lambda: weighted(
        node("Div", "x z", "d"), node("Gemm", "d W", "y"), z=np.zeros(4, "f4")
    ),
    "scaling by infinity": lambda: weighted(
        node("Sub", "x z", "a"), node("Mul", "a z", "d"), node("Gemm", "d W", "y"), z=np.full(4, np.inf, "f4")
    ),
    "nested graphs": lambda: nested(20),
    "classes of nothing": lambda: onnx_models.classifier(
        node("ZipMap", "probabilities", "map", domain="ai.onnx.ml")
    ),
    "classes no text": lambda: onnx_models.classifier(
        node("ZipMap", "probabilities", "map", domain="ai.onnx.ml", classlabels_strings=[b"\xff", b"a"])
    ),
    "classes of many letters": lambda: onnx_models.classifier(
        node(
            "ZipMap", "probabilities", "map", "ai.onnx.ml",
            classlabels_strings=["a" * 30_000] + [""] * 30_000,
        )
    ),
    "classes that are fractions": lambda: changed(
        onnx_models.classifier(),
        lambda m: m.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.ones(2, "f4"), "classes")),
    ),
    "too many classes": lambda: changed(
        onnx_models.classifier(),
        lambda m: m.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.arange(9), "classes")),
    ),
    "an operator set of the far future": lambda: changed(
        weighted(node("Gemm", "x W", "y")), lambda m: setattr(m.opset_import[0], "version", 1 << 62)
    ),
    "a version of the far future": lambda: changed(
        weighted(node("Gemm", "x W", "y")), lambda m: setattr(m, "ir_version", 1 << 62)
    ),
    **{
        f"{field} that are no UTF-8": lambda field=field: changed(
            onnx_models.classifier(), lambda m: spoil(m.graph, field)
        )
        for field in FIELDS
    },
    "nothing": onnx.ModelProto,
}  # fmt: skip


@pytest.mark.parametrize("kind", GRAPHS)
def test_graphs_that_harm(kind, tmp_path, record_property):
    """From the file and as an object, within a few MB of Python's own memory."""
    made = GRAPHS[kind]()
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    before = time.process_time()
    for source in (path, made):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match=r"\w") as caught:
                fastnet.from_onnx(source)
        assert isinstance(caught.value, ValueError)
    assert time.process_time() - before < 10
    record_property("tried", 2)


def test_nodes_without_outputs_beside_a_classifier():
    made = onnx_models.classifier()
    made.graph.node.insert(0, node("Foo", "x", "", "own"))
    assert fastnet.from_onnx(made).classes_.tolist() == [3, 5]


def test_weights_beyond_their_type():
    """What overflows is infinite, as in ONNX Runtime, and nothing is warned of."""
    for made in (
        weighted(node("Gemm", "x big", "y", alpha=3e38), big=np.full((4, 3), 10, "f4")),
        weighted(node("Cast", "big", "c", to=1), node("Gemm", "x c", "y"), big=np.full((4, 3), 1e300)),
    ):
        assert np.isinf(fastnet.from_onnx(made).params[0]).all()


LOCATIONS = ["/etc/passwd", "../weights", "sub/../../weights", "link", "link-to-folder/weights", "/dev/zero"]
LOCATIONS += ["zero", "pipe", ".", "", "sub", "x" * 5000, "nul\0nul", "missing"]


@pytest.mark.parametrize("second", [None, "inside"])
@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_outside_of_the_folder(location, second, tmp_path, record_property):
    """Nor by a second location in the same tensor, whichever the library takes; nor from a pipe."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "weights").write_bytes(bytes(48))
    (folder / "inside").write_bytes(bytes(48))
    (folder / "link").symlink_to(tmp_path / "weights")
    (folder / "link-to-folder").symlink_to(tmp_path)
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    orders = [[location]] if second is None else [[location, second], [second, location]]
    for order in orders:
        made = TensorProto(
            name="W", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=[4, 3]
        )
        for value in order:
            made.external_data.add(key="location", value=value)
        made.external_data.add(key="length", value="48")
        (folder / "net.onnx").write_bytes(model([node("Gemm", "x W", "y")], {"W": made}).SerializeToString())
        if second and location in (".", "", "sub", "x" * 5000, "nul\0nul", "missing", "pipe"):
            continue  # inside the folder, if anywhere: the other one may be read
        with pytest.raises(ValueError, match=r"outside|cannot be read|null"):
            fastnet.from_onnx(folder / "net.onnx")
    record_property("tried", len(orders))


# state dictionaries


class Tensor:
    """What might be taken for a tensor."""

    def __init__(self, gives):
        self.gives = gives

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        if isinstance(self.gives, BaseException):
            raise self.gives
        return self.gives


@pytest.mark.parametrize(
    ("state", "activations", "error"),
    [
        (None, "relu", TypeError), ([], "relu", TypeError), ({3: np.ones((3, 2))}, "relu", TypeError),
        ({}, "relu", ValueError), ({"0.weight": np.ones((3, 2))}, None, TypeError),
        ({"0.weight": np.ones((3, 2))}, [[]], ValueError),
        ({"0.weight": np.ones((3, 2))}, [None], ValueError),
        ({"0.weight": np.ones((3, 2))}, {"relu"}, TypeError),
        ({"0.weight": np.ones((3, 2))}, ["tan"], ValueError),
        ({"0.weight": [[1.0]]}, [], ValueError), ({"0.weight": [[1.0]]}, "relu", ValueError),
        ({"0.weight": None}, "relu", ValueError), ({"0.weight": Tensor(None)}, "relu", ValueError),
        ({"0.weight": Tensor([[1.0]])}, "relu", ValueError),
        ({"0.weight": Tensor(KeyError())}, "relu", ValueError),
        ({"0.weight": np.ones(3)}, "relu", ValueError),
        ({"0.weight": np.ones((3, 2), complex)}, "relu", ValueError),
        ({"0.weight": np.ones((3, 2), object)}, "relu", ValueError),
        ({"0.weight": np.broadcast_to(np.float32(1), (1 << 40, 0))}, "relu", ValueError),
        ({"0.weight": np.ones((3, 2)), "0.bias": np.ones(4)}, "relu", ValueError),
        ({"0.weight": np.ones((3, 2)), "1.weight": np.ones((3, 2))}, "relu", ValueError),
        ({"0.bias": np.ones(3)}, "relu", ValueError), ({"weight.": np.ones((3, 2))}, "relu", ValueError),
        ({"9" * 5000 + ".weight": np.ones((1, 1)), "1.weight": np.ones((1, 1))}, "relu", ValueError),
    ],
)  # fmt: skip
def test_hostile_state_dictionaries(state, activations, error, record_property):
    with pytest.raises(error, match=r"\w") as caught:
        fastnet.from_state_dict(state, activations)
    assert type(caught.value) is error
    record_property("tried", 1)


def test_random_mutator_is_seeded():
    assert mutation._damaged(random.Random(1), b"abcdef" * 9, b"xyz") == mutation._damaged(
        random.Random(1), b"abcdef" * 9, b"xyz"
    )
