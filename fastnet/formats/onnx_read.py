"""ONNX models as networks: what the nodes on the path from input to output say, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnet.arguments import KERNEL_DTYPES
from fastnet.estimators import Classifier
from fastnet.formats.onnx_graph import Graph, load
from fastnet.formats.onnx_labels import find_labels
from fastnet.formats.parts import affine, check_widths
from fastnet.formats.scaling import Scaling
from fastnet.layers import Affine, ReLU, Sigmoid, Softmax, Tanh
from fastnet.network import Sequential

_FUNCTIONS: dict[str, type[Any]] = {"Sigmoid": Sigmoid, "Tanh": Tanh, "Relu": ReLU}


def from_onnx(model: str | os.PathLike[str] | Any) -> Sequential | Classifier:
    """An ONNX model that is a chain of dense layers.

    Parameters
    ----------
    model : path or onnx.ModelProto
        Of Gemm, MatMul and Add, Sigmoid, Tanh, Relu, Softmax, Identity, Flatten, Reshape (to rows and
        features), Cast and Constant; before the first layer also Scaler, Mul, Add, Sub and Div by constants,
        which are folded into it. As PyTorch and skl2onnx write them. Needs the extra ``onnx``.

    Returns
    -------
    Sequential or Classifier
        A classifier if the model puts out labels as skl2onnx writes them, with or without ZipMap: its
        ``predict`` is the output of labels, its ``predict_proba`` that of probabilities. Otherwise the
        network, whose input has the shape (rows, fan_in), also where the model begins with Flatten.

    Raises
    ------
    ValueError
        If the file is no valid ONNX model; if the model has several inputs or outputs, branches, an operator
        or a setting that is not supported (the message names it), or weights neither float32 nor float64; if
        weights in another file are not in the model's folder; if scaled features vary so little beside their
        mean that the folded weights would lose precision.
    TypeError
        If the argument is neither a path nor a model.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fastnet
    >>> net = fastnet.Sequential([fastnet.Affine(np.eye(2), np.zeros(2)), fastnet.Tanh()])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.onnx")
    ...     fastnet.to_onnx(net, path)
    ...     again = fastnet.from_onnx(path)
    >>> bool(np.all(again.predict(np.ones((1, 2))) == net.predict(np.ones((1, 2)))))
    True
    """
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused, or computed with as it is
            return _read(Graph(load(model)))
    except RecursionError:
        raise ValueError("an ONNX model with identities in too long a row") from None


def _read(graph: Graph) -> Sequential | Classifier:
    labels = find_labels(graph)
    if labels is not None:
        return Classifier(_Reader(graph).network(labels.probabilities), labels.classes)
    if len(graph.outputs) != 1:
        raise ValueError(f"an ONNX model with several outputs ({', '.join(graph.outputs)}), but no labels")
    return _Reader(graph).network(graph.outputs[0])


class _Reader:
    """Layers made of nodes, in the order of the path."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: list[Any] = []
        self.scaling: Scaling | None = None  # before the first layer
        self.casts: list[tuple[Any, np.dtype[Any]]] = []
        self.rank = None if graph.features is None else 1 + len(graph.features)

    def network(self, end: str) -> Sequential:
        for node, at in self.graph.path(end):
            read = _OPERATORS.get(self.graph.operator(node))
            if read is None:
                raise self.graph.refusal(node, "not supported")
            read(self, node, at)
        if self.scaling is not None:
            raise ValueError("an ONNX model that scales its input, with no layer behind it to fold that into")
        check_widths(self.layers)
        held = [layer.params[0].dtype for layer in self.layers if layer.params]
        if len(set(held)) > 1:
            raise ValueError(f"an ONNX model with weights of several types: {', '.join(map(str, held))}")
        for node, dtype in self.casts:
            if held and dtype != held[0]:
                raise self.graph.refusal(node, f"to {dtype} beside weights of dtype {held[0]}")
        return Sequential(self.layers)

    def weights(self, node: Any, name: str) -> Any:
        """A constant of real numbers that the kernels have."""
        array = self.graph.constant(name)
        if array is None:
            raise self.graph.refusal(node, "lacks an operand")
        if array.dtype not in KERNEL_DTYPES:
            raise self.graph.refusal(node, f"{name} of dtype {array.dtype}, neither float32 nor float64")
        return array

    def append(self, node: Any, W: Any, b: Any) -> None:
        """An affine layer, the scaling before it folded into it."""
        if W.ndim != 2:
            raise self.graph.refusal(node, f"weights of shape {W.shape} are no matrix")
        if self.scaling is not None:
            W, b = self.scaling.fold(W, np.zeros(W.shape[1], W.dtype) if b is None else b, "the scaling")
            self.scaling = None
        self.layers.append(affine(W, b, f"ONNX operator {node.op_type}"))

    def row(self, node: Any, array: Any, width: int) -> Any:
        """A constant that is added to every row alike, as an array of shape (width,)."""
        try:
            return np.broadcast_to(array, (1, width))[0]
        except ValueError:
            raise self.graph.refusal(
                node, f"a constant of shape {array.shape} is no row of {width} for all rows alike"
            ) from None

    def gemm(self, node: Any, at: int) -> None:
        """alpha * x @ B + beta * C."""
        settings = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **self.graph.attributes(node)}
        if at != 0:
            raise self.graph.refusal(node, "the input is not its first operand")
        if settings["transA"]:
            raise self.graph.refusal(node, "transA=1 takes samples in columns")
        W = self.weights(node, node.input[1])
        W = W.T if settings["transB"] else W
        if settings["alpha"] != 1:
            W = W * W.dtype.type(settings["alpha"])
        b = None
        if len(node.input) > 2 and node.input[2]:
            b = self.weights(node, node.input[2])
            b = self.row(
                node, b if settings["beta"] == 1 else b * b.dtype.type(settings["beta"]), W.shape[-1]
            )
        self.append(node, W, b)
        self.rank = 2

    def matmul(self, node: Any, at: int) -> None:
        if at != 0:
            raise self.graph.refusal(node, "the input is not its first operand")
        self.append(node, self.weights(node, node.input[1]), None)

    def add(self, node: Any, at: int) -> None:
        """The bias of a MatMul before it, or the shift of a scaling."""
        constant = self.weights(node, node.input[1 - at])
        if self.layers and type(self.layers[-1]) is Affine:
            b = self.layers[-1].params[1]
            b += self.row(node, constant, len(b))
        else:
            self.scale(node, 1.0, constant)

    def subtract(self, node: Any, at: int) -> None:
        constant = self.weights(node, node.input[1 - at])
        self.scale(node, *((1.0, -constant) if at == 0 else (-1.0, constant)))

    def multiply(self, node: Any, at: int) -> None:
        self.scale(node, self.weights(node, node.input[1 - at]), 0.0)

    def divide(self, node: Any, at: int) -> None:
        if at != 0:
            raise self.graph.refusal(node, "divides a constant by its input")
        self.scale(node, 1 / self.weights(node, node.input[1]).astype(np.float64), 0.0)

    def scaler(self, node: Any, at: int) -> None:
        """(x - offset) * scale, of the domain for classic machine learning."""
        settings = self.graph.attributes(node)
        offset = np.array(settings.get("offset", [0.0]), np.float64)
        scale = np.array(settings.get("scale", [1.0]), np.float64)
        self.scale(node, scale, -offset * scale)

    def scale(self, node: Any, factor: Any, shift: Any) -> None:
        if self.layers:
            raise self.graph.refusal(
                node, "supported only before the first layer, or Add as the bias of MatMul"
            )
        for a in map(np.asarray, (factor, shift)):
            if a.ndim > 2 or (a.ndim == 2 and len(a) != 1):
                raise self.graph.refusal(node, f"a constant of shape {a.shape} is no row for all rows alike")
        factor, shift = (
            a.reshape(-1) if a.size > 1 else a.reshape(()) for a in map(np.asarray, (factor, shift))
        )
        scaling = Scaling.of(factor, shift)
        self.scaling = scaling if self.scaling is None else self.scaling.then(scaling)

    def function(self, node: Any, at: int) -> None:
        if self.scaling is not None:
            raise self.graph.refusal(node, "follows a scaling, which only a layer can take in")
        self.layers.append(_FUNCTIONS[node.op_type]())

    def softmax(self, node: Any, at: int) -> None:
        """Over the last axis. Up to operator set 12 the axes from `axis` on are one, by default from 1 on."""
        axis = self.graph.attributes(node).get("axis", 1 if self.graph.opset < 13 else -1)
        if axis != -1 and axis != (self.rank or 2) - 1:
            raise self.graph.refusal(node, f"axis={axis} of {self.rank or 2} is not the last one")
        if self.scaling is not None:
            raise self.graph.refusal(node, "follows a scaling, which only a layer can take in")
        self.layers.append(Softmax())

    def cast(self, node: Any, at: int) -> None:
        dtype = self.graph.dtype(self.graph.attributes(node)["to"])
        if dtype not in KERNEL_DTYPES:
            raise self.graph.refusal(node, f"to {dtype}, neither float32 nor float64")
        self.casts.append((node, dtype))

    def flatten(self, node: Any, at: int) -> None:
        if self.graph.attributes(node).get("axis", 1) != 1:
            raise self.graph.refusal(node, "axes other than 1 do not keep the rows")
        self.rank = 2

    def reshape(self, node: Any, at: int) -> None:
        """To (rows, features) what has that many features already, or is the input."""
        shape = self.graph.constant(node.input[1]) if at == 0 else None
        held = [layer.params[0].shape[1] for layer in self.layers if layer.params][-1:]
        known = held or (self.graph.features or [None])
        whole = None if None in known else int(np.prod(np.array(known, object)))
        if shape is None or shape.shape != (2,) or whole is None or shape[1] not in (whole, -1):
            asked = "a computed shape" if shape is None else f"the shape {shape.tolist()}"
            raise self.graph.refusal(node, f"{asked} would not keep rows of {whole or 'unknown'} features")
        if shape[1] == -1 and shape[0] != 0:
            raise self.graph.refusal(node, f"the shape {shape.tolist()} fixes the number of rows")
        self.rank = 2

    def identity(self, node: Any, at: int) -> None:
        pass


_OPERATORS: dict[str, Callable[[_Reader, Any, int], None]] = {
    "Add": _Reader.add,
    "Cast": _Reader.cast,
    "Div": _Reader.divide,
    "Flatten": _Reader.flatten,
    "Gemm": _Reader.gemm,
    "Identity": _Reader.identity,
    "MatMul": _Reader.matmul,
    "Mul": _Reader.multiply,
    "Relu": _Reader.function,
    "Reshape": _Reader.reshape,
    "Sigmoid": _Reader.function,
    "Softmax": _Reader.softmax,
    "Sub": _Reader.subtract,
    "Tanh": _Reader.function,
    "ai.onnx.ml.Scaler": _Reader.scaler,
}
