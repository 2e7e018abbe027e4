"""Single layers: activations, the affine map, and the two fused.

Importing this module fails if fastnet has a public layer or network that no suite times.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

import fastnet
from benchmarks import few_if_one_round
from benchmarks.common import ACTIVATIONS, DTYPES, LAYERS, Problem, Suite, draw, twin
from benchmarks.network import MODELS
from benchmarks.trainers import TASKS
from fastnet import reference


def activation_problem(activation: str, before: Any, x: np.ndarray) -> Problem:
    """An activation of an array like the one that a network would give it: what the Affine returns."""
    layer = ACTIVATIONS[activation]()
    return Problem([layer], before.forward(x), layer.forward, twin(layer).forward)


def affine_problem(affine: Any, x: np.ndarray) -> Problem:
    return Problem([affine], x, affine.forward, twin(affine).forward)


def fused_problem(affine: Any, x: np.ndarray) -> Problem:
    """The fused layer, beside the reference's two."""
    layer = reference.Sigmoid()
    fused = fastnet.AffineSigmoid(*affine.params)
    return Problem([affine, layer], x, lambda x: layer.forward(affine.forward(x)), fused.forward)


#: Public class -> what makes its problem from an Affine of the reference and an input.
PROBLEMS: dict[str, Callable[[Any, np.ndarray], Problem]] = {
    "Sigmoid": partial(activation_problem, "sigmoid"),
    "Affine": affine_problem,
    "AffineSigmoid": fused_problem,
    "Tanh": partial(activation_problem, "tanh"),
    "ReLU": partial(activation_problem, "relu"),
    "Softmax": partial(activation_problem, "softmax"),
}


class Forward(Suite):
    """Every layer on its own, at the shapes of the table, in both dtypes."""

    params = (list(PROBLEMS), few_if_one_round(LAYERS), DTYPES)
    param_names = ("layer", "problem", "dtype")

    def build(self, layer: str, problem: str, dtype: str) -> Problem:
        (affine,), x = draw(problem, LAYERS[problem], dtype, self.max_size)
        return PROBLEMS[layer](affine, x)


def require_benchmarks(benchmarked: Iterable[str]) -> None:
    """Raise ImportError if a public class of fastnet that computes something is not among ``benchmarked``."""
    public = {name: getattr(fastnet, name) for name in fastnet.__all__}
    computing = {
        name
        for name, value in public.items()
        if inspect.isclass(value) and (hasattr(value, "forward") or hasattr(value, "predict"))
    }
    if missing := sorted(computing - set(benchmarked)):
        raise ImportError(
            f"no benchmark of {', '.join(missing)}: add to kernels.PROBLEMS, network.MODELS or trainers.TASKS"
        )


require_benchmarks([*PROBLEMS, *MODELS, *(task.loss for task in TASKS.values())])
