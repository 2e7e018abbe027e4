"""The libraries that are compared: each makes, from the same weights and rows, a callable that answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import Problem, rounding_error
from fastnet import reference

Predict = Callable[[], Any]
Pair = tuple[np.ndarray, np.ndarray]


class Activation(NamedTuple):
    """What the libraries call an activation."""

    torch: tuple[Any, ...]  # the class, and its arguments
    onnx: str
    jax: str
    sklearn: str | None  # behind the layers of an MLPRegressor but the last


#: Class of the reference -> its names elsewhere.
ACTIVATIONS: dict[type, Activation] = {
    reference.Sigmoid: Activation(("Sigmoid",), "Sigmoid", "sigmoid", "logistic"),
    reference.ReLU: Activation(("ReLU",), "Relu", "relu", "relu"),
    reference.Tanh: Activation(("Tanh",), "Tanh", "tanh", "tanh"),
    reference.Softmax: Activation(("Softmax", -1), "Softmax", "softmax", None),
}


class Network(NamedTuple):
    """What a library is given."""

    pairs: list[Pair]  # weights and bias of each layer
    activations: list[Activation | None]  # what follows each layer
    x: np.ndarray
    threads: int

    @classmethod
    def of(cls, problem: Problem, threads: int) -> Network:
        """The reference's layers, as pairs and what follows each."""
        pairs = [tuple(layer.params) for layer in problem.layers if layer.params]
        following = pairwise([*problem.layers, None])
        activations = [ACTIVATIONS.get(type(after)) for layer, after in following if layer.params]
        return cls(pairs, activations, problem.x, threads)


def _torch(net: Network) -> Predict:
    import torch

    torch.set_num_threads(net.threads)
    layers: list[Any] = []
    for (W, b), activation in zip(net.pairs, net.activations, strict=True):
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, net.x.dtype.name))
        linear.weight.data, linear.bias.data = torch.from_numpy(W.T.copy()), torch.from_numpy(b.copy())
        layers.append(linear)
        if activation:
            name, *arguments = activation.torch
            layers.append(getattr(torch.nn, name)(*arguments))
    model, rows = torch.nn.Sequential(*layers).eval(), torch.from_numpy(net.x)

    def predict() -> Any:
        with torch.inference_mode():
            return model(rows)

    return predict


def _onnx_model(net: Network) -> bytes:
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(net.x.dtype)
    nodes, weights, last = [], [], "x"
    for i, ((W, b), activation) in enumerate(zip(net.pairs, net.activations, strict=True)):
        weights += [numpy_helper.from_array(W, f"W{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [last := f"y{i}"]))
        if activation:
            nodes.append(helper.make_node(activation.onnx, [last], [last := f"h{i}"]))
    x = helper.make_tensor_value_info("x", kind, [None, net.pairs[0][0].shape[0]])
    y = helper.make_tensor_value_info(last, kind, [None, net.pairs[-1][0].shape[1]])
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def onnx_session(model: bytes, threads: int) -> Any:
    """An ONNX model, ready to run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnxruntime(net: Network) -> Predict:
    session = onnx_session(_onnx_model(net), net.threads)
    return lambda: session.run(None, {"x": net.x})[0]


def _openvino(net: Network) -> Predict:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_NUM_THREADS": net.threads, "PERFORMANCE_HINT": "LATENCY"}
    if net.x.dtype == np.float32:  # it may choose less, and has nothing more
        config["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(core.read_model(_onnx_model(net)), "CPU", config)
    request = compiled.create_infer_request()
    return lambda: request.infer({0: net.x}, share_inputs=True)[0]


def _jax(net: Network) -> Predict:
    import jax

    jax.config.update("jax_enable_x64", True)
    rows = jax.numpy.asarray(net.x)
    weights = [(jax.numpy.asarray(W), jax.numpy.asarray(b)) for W, b in net.pairs]
    activations = [getattr(jax.nn, found.jax) if found else lambda h: h for found in net.activations]

    @jax.jit
    def model(h: Any, weights: Any) -> Any:
        for (W, b), activation in zip(weights, activations, strict=True):
            h = activation(h @ W + b)
        return h

    return lambda: model(rows, weights).block_until_ready()


def _sklearn(net: Network) -> Predict:
    from sklearn.neural_network import MLPRegressor

    *between, last = net.activations
    if last:
        raise NotImplementedError("MLPRegressor has no activation behind its last layer")
    names = {activation.sklearn for activation in between if activation} or {"identity"}
    hidden = tuple(W.shape[1] for W, _ in net.pairs[:-1])
    fan_out, dtype = net.pairs[-1][0].shape[1], net.x.dtype
    model = MLPRegressor(hidden_layer_sizes=hidden, activation=names.pop(), max_iter=1, solver="sgd")
    few = np.random.default_rng(0).standard_normal((2, net.x.shape[1])).astype(dtype)
    model.partial_fit(few, np.zeros((2, fan_out), dtype).squeeze())
    model.coefs_, model.intercepts_ = [W for W, _ in net.pairs], [b for _, b in net.pairs]
    return lambda: model.predict(net.x)


#: Libraries beside NumPy and fastnet, by the names that they are installed under.
PEERS: dict[str, Callable[[Network], Predict]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "jax": _jax,
    "scikit-learn": _sklearn,
}


def prepared(library: str, problem: Problem, threads: int) -> Predict:
    """A callable of this library that answers the problem; raise unless the answer is right."""
    if library == "fastnet":
        problem.verify()
        return problem.fastnet
    if library == "numpy":
        return problem.reference
    return verified(problem, PEERS[library](Network.of(problem, threads)))


def verified(problem: Problem, predict: Predict) -> Predict:
    """Raise unless the answer is the reference's, within what rounding explains."""
    expected, got = problem.reference(), np.asarray(predict()).reshape(len(problem.x), -1)
    if got.dtype != expected.dtype:
        raise ArithmeticError(f"the answer is {got.dtype}, not {expected.dtype}")
    if not (abs(got - expected) <= 8 * rounding_error(problem.layers, problem.x)).all():
        raise ArithmeticError("the answer is further off than rounding explains")
    return predict
