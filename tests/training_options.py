"""Arguments of `fit` for hostile tests: by name, made of a pair of a network and its twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastnet
from fastnet import reference


class Derived(fastnet.SGD):
    """Not an optimiser that `fit` knows."""


def changed(make: Callable[[], Any], **attributes: Any) -> Callable[[Any], Any]:
    def build(_: Any) -> Any:
        optimizer = make()
        for name, value in attributes.items():
            setattr(optimizer, name, value)
        return optimizer

    return build


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


def replaced(net: Any, _: Any) -> None:
    for layer in net.layers:
        layer.params = [np.zeros((2, 2)) for _ in layer.params]


def turned(net: Any, _: Any) -> None:
    W = net.layers[0].params[0]
    W.shape = W.shape[::-1]


def resized(net: Any, _: Any) -> None:
    net.layers[0].params[0].resize(1)


def emptied(net: Any, optimizer: Any) -> None:
    for name in ("m", "v"):
        if getattr(optimizer, name, None):
            getattr(optimizer, name).clear()
            setattr(optimizer, name, 3)


def again(net: Any, optimizer: Any) -> None:
    width, fan_out = len(net.layers[0].params[0]), net.layers[-1].params[0].shape[1]
    fastnet.fit(net, np.ones((3, width), "f4"), np.ones((3, fan_out), "f4"), 1, 2, optimizer, net.loss_layer)


def set_rate(value: Any) -> Callable[..., Any]:
    return lambda net, optimizer: setattr(optimizer, "lr", value)


#: what is no plain int, by argument
COUNTS: dict[str, Any] = {
    "0": 0, "-1": -1, "-huge": -(2**70), "None": None, "float": 2.0, "text": "2", "array": np.array([2]),
    "complex": 2j, "list": [2],
}  # fmt: skip

OPTIONS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "epochs": {
        "2": lambda pair: 2, "1": lambda pair: 1, "numpy": lambda pair: np.int8(3),
        **{name: lambda pair, value=value: value for name, value in COUNTS.items()},
    },
    "batch_size": {
        "7": lambda pair: 7, "1": lambda pair: 1, "numpy": lambda pair: np.uint8(32),
        "large": lambda pair: 2**70, "True": lambda pair: True,
        **{name: lambda pair, value=value: value for name, value in COUNTS.items()},
    },
    "optimizer": {
        "SGD": lambda pair: fastnet.SGD(0.1), "class": lambda pair: fastnet.SGD, "name": lambda pair: "SGD",
        "of the reference": lambda pair: reference.SGD(), "derived": lambda pair: Derived(),
        "None": lambda pair: None, "text": lambda pair: "sgd", "a loss": lambda pair: fastnet.SGD,
        "lr: text": lambda pair: fastnet.SGD("fast"), "lr: None": lambda pair: fastnet.Adam(None),
        "lr: array": lambda pair: fastnet.Momentum(np.ones(3)), "lr: 1j": lambda pair: fastnet.Adam(1j),
        "lr: nan": lambda pair: fastnet.SGD(np.nan), "lr: huge": lambda pair: fastnet.SGD(1e300),
        "beta1: 1": lambda pair: fastnet.Adam(beta1=1.0), "beta2: 2": lambda pair: fastnet.Adam(beta2=2.0),
        "iter: -1": changed(fastnet.Adam, iter=-1), "iter: None": changed(fastnet.Adam, iter=None),
        "iter: huge": changed(fastnet.Adam, iter=2**70), "iter: text": changed(fastnet.Adam, iter="1"),
        "v: number": changed(fastnet.Momentum, v=3), "v: empty": changed(fastnet.Momentum, v=[]),
        "v: Nones": changed(fastnet.Momentum, v=[None] * 4),
        "m: other": changed(fastnet.Adam, m=[np.ones(3)] * 4),
        "v: parameters": lambda pair: changed(
            fastnet.Momentum, v=[p for layer in pair.nets[0].layers for p in layer.params]
        )(pair),
    },
    "loss": {
        "instance": lambda pair: getattr(fastnet, pair.loss)(),
        "class": lambda pair: getattr(fastnet, pair.loss),
        "name": lambda pair: pair.loss, "other": lambda pair: fastnet.MeanSquaredError,
        "of the reference": lambda pair: reference.SoftmaxWithLoss(), "number": lambda pair: 3,
        "text": lambda pair: "loss", "optimizer": lambda pair: fastnet.SGD,
    },
    "seed": {
        "0": lambda pair: 0, "negative": lambda pair: -1, "float": lambda pair: 0.5, "text": lambda pair: "0",
        "generator": lambda pair: np.random.default_rng(1), "object": lambda pair: object(),
    },
    "shuffle": {
        "False": lambda pair: False, "None": lambda pair: None, "array": lambda pair: np.ones(3),
        "raises": lambda pair: type("Truth", (), {"__bool__": raising(ValueError("neither"))})(),
    },
    "validation": {
        "pair": lambda pair: (pair.x, pair.t), "list": lambda pair: [pair.x, pair.t],
        "one": lambda pair: (pair.x,),
        "three": lambda pair: (pair.x, pair.t, pair.t), "number": lambda pair: 3, "text": lambda pair: "xt",
        "narrow": lambda pair: (pair.x[:, 1:], pair.t), "no rows": lambda pair: (pair.x[:0], pair.t[:0]),
        "fewer rows": lambda pair: (pair.x, pair.t[1:]), "nan": lambda pair: (pair.x * np.nan, pair.t),
        "swapped": lambda pair: (pair.t, pair.x), "Nones": lambda pair: (None, None),
    },
    "callback": {
        "stops": lambda pair: lambda net, optimizer: True, "number": lambda pair: 3,
        "array": lambda pair: lambda net, optimizer: np.ones(2),
        "ValueError": lambda pair: raising(ValueError("as if")),
        "KeyError": lambda pair: raising(KeyError("as if")),
        "layers cleared": lambda pair: lambda net, optimizer: net.layers.clear(),
        "params replaced": lambda pair: replaced, "turned": lambda pair: turned,
        "resized": lambda pair: resized,
        "nan": lambda pair: lambda net, optimizer: net.layers[0].params[0].fill(np.nan),
        "state emptied": lambda pair: emptied, "trains": lambda pair: again,
        "lr: text": lambda pair: set_rate("fast"), "lr: nan": lambda pair: set_rate(np.nan),
        "iter": lambda pair: lambda net, optimizer: setattr(optimizer, "iter", None),
        "t changed": lambda pair: lambda net, optimizer: np.copyto(pair.given, 1000),
        "history": lambda pair: lambda net, optimizer: None,
    },
}  # fmt: skip
#: those with which a loop in the reference does the same
PLAIN = {
    "2",
    "1",
    "7",
    "numpy",
    "large",
    "True",
    "SGD",
    "class",
    "name",
    "instance",
    "0",
    "pair",
    "list",
    "history",
}
