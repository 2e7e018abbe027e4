"""ONNX models with every operator that `from_onnx` reads, for tests that damage or hand-craft them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)


def weights(dtype: str = "float32", **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: RNG.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def node(operator: str, inputs: str, output: str, domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), output.split(), domain=domain, **attributes)


def model(
    nodes: list[Any],
    constants: dict[str, np.ndarray],
    shape: tuple[Any, ...] = ("n", 4),
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
    **settings: Any,
) -> Any:
    """A model of one input x; its initializers may be tensors already."""
    tensors = [
        a if isinstance(a, TensorProto) else numpy_helper.from_array(a, n) for n, a in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, None)) for name in outputs],
        tensors,
    )
    opsets = [
        helper.make_opsetid("", opset),
        helper.make_opsetid("ai.onnx.ml", 1),
        helper.make_opsetid("own", 1),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **settings)


def models() -> Iterator[Any]:
    W = weights(W=(4, 3), b=(3,), V=(3, 2), c=(1, 2))
    yield model(
        [
            node("Sub", "x mean", "a"),
            node("Div", "a spread", "d"),
            node("MatMul", "d W", "h"),
            node("Add", "h b", "i"),
            node("Relu", "i", "j"),
            node("Gemm", "j V c", "k", alpha=0.5, beta=2.0),
            node("Softmax", "k", "y", axis=-1),
        ],
        W | {"mean": np.ones(4, "f4"), "spread": np.full(4, 2, "f4")},
    )
    yield model(
        [
            node("Constant", "", "one", value_float=1.0),
            node("Constant", "", "shape", value_ints=[0, -1]),
            node("Constant", "", "B", value=numpy_helper.from_array(W["W"].T.copy())),
            node("Scaler", "x", "s", domain="ai.onnx.ml", offset=[0.5], scale=[2.0]),
            node("Cast", "s", "t", to=TensorProto.FLOAT),
            node("Reshape", "t shape", "u"),
            node("Identity", "b", "same"),
            node("Gemm", "u B same", "v", transB=1),
            node("Tanh", "v", "w"),
            node("Transpose", "V", "VT", perm=[1, 0]),
            node("Gemm", "w VT", "y", transB=1),
        ],
        W,
    )
    yield model(
        [
            node("Flatten", "x", "f", axis=1),
            node("Mul", "f two", "m"),
            node("Gemm", "m U", "z"),
            node("Sigmoid", "z", "y"),
        ],
        weights(U=(6, 2)) | {"two": np.full((), 2, "f4")},
        shape=("n", 2, 3),
    )
    typed = helper.make_tensor("W", TensorProto.FLOAT, (4, 3), W["W"].ravel().tolist())
    yield model([node("MatMul", "x W", "y")], {"W": typed})
    wide = numpy_helper.from_array(W["W"].astype("f8"), "D")
    yield model([node("Cast", "D", "E", to=TensorProto.FLOAT), node("MatMul", "x E", "y")], {"D": wide})
    yield classifier(node("ZipMap", "probabilities", "map", domain="ai.onnx.ml", classlabels_int64s=[3, 5]))
    yield classifier(
        node("ZipMap", "probabilities", "map", domain="ai.onnx.ml", classlabels_strings=["3", "5"]), text=True
    )
    yield classifier()


def classifier(*behind: Any, text: bool = False) -> Any:
    """Two classes as skl2onnx writes them."""
    labels = np.array([b"3", b"5"], object) if text else np.array([3, 5])
    constants = weights(W=(4, 1), b=(1,)) | {"one": np.ones(1, "f4"), "classes": labels}
    nodes = [
        node("Gemm", "x W b", "h"),
        node("Sigmoid", "h", "p"),
        node("Sub", "one p", "q"),
        node("Concat", "q p", "probabilities", axis=1),
        node("ArgMax", "probabilities", "k", axis=1),
        node("ArrayFeatureExtractor", "classes k", "label", domain="ai.onnx.ml"),
        *behind,
    ]
    return model(nodes, constants, outputs=("label", "map" if behind else "probabilities"))
