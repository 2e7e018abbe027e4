"""A pendulum, swung up and held by a small network: stepped from Python, and from inside compiled code.

The motor is too weak to lift the pendulum at once; it has to swing to and fro. The network has learned this
from a rule, by least squares. One step is one row through the network, so the cost of a call is all there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from math import cos, pi, sin
from typing import Any

import numba
import numpy as np

import fastnet
from fastnet import reference
from fastnet.timing import take_turns

HIDDEN = 64
#: of the pendulum: 1 kg and 1 m, a motor of 2 Nm, as in Gymnasium's Pendulum-v1
GRAVITY, MOST_TORQUE, MOST_SPEED, SECONDS = 10.0, 2.0, 8.0, 0.05
#: hanging down, all but; 0 is upright
START = (3.1, 0.0)

predict, _ = fastnet.njit_predict(fastnet.TwoLayerNet(1, 1, 1))


def step(angle: float, speed: float, torque: float) -> tuple[float, float]:
    """The state one time step later."""
    torque = min(max(torque, -MOST_TORQUE), MOST_TORQUE)
    speed += (1.5 * GRAVITY * sin(angle) + 3.0 * torque) * SECONDS
    speed = min(max(speed, -MOST_SPEED), MOST_SPEED)
    return angle + speed * SECONDS, speed


compiled_step = numba.njit(step)


def rule(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The torque that the network is to learn, for rows of (cosine, sine, speed).

    Far from upright, push with the motion as long as energy is missing, against it if there is too much;
    close to it, as a spring and a damper would.
    """
    c, s, speed = x.T
    energy = speed**2 / 6 + GRAVITY / 2 * (c - 1)
    near = 1 / (1 + np.exp(-30 * (c - 0.9)))
    swing, hold = -MOST_TORQUE * np.tanh(5 * energy * speed), -(12 * s + 3 * speed)
    torque: np.ndarray[Any, Any] = np.clip((1 - near) * swing + near * hold, -MOST_TORQUE, MOST_TORQUE)
    return torque


def learn(seed: int = 2, examples: int = 6000) -> list[np.ndarray[Any, Any]]:
    """[W1, b1, W2, b2] of a tanh network: the hidden layer at random, the other by least squares."""
    rng = np.random.default_rng(seed)
    angle, speed = rng.uniform(-pi, pi, examples), rng.uniform(-MOST_SPEED, MOST_SPEED, examples)
    near = examples // 3
    angle[:near], speed[:near] = rng.normal(0, 0.4, near), rng.normal(0, 1, near)
    x = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
    W1, b1 = rng.standard_normal((3, HIDDEN)) * [[4], [4], [1]], 2 * rng.standard_normal(HIDDEN)
    hidden = np.column_stack([np.tanh(x @ W1 + b1), np.ones(examples)])
    solution = np.linalg.lstsq(hidden, rule(x), rcond=1e-6)[0]
    return [W1, b1, solution[:-1, None].copy(), solution[-1:].copy()]


def from_python(network: Callable[[Any], Any], x: Any, steps: int) -> float:
    """The cosine of the angle after so many steps; x is room for one row."""
    angle, speed = START
    for _ in range(steps):
        x[0], x[1], x[2] = cos(angle), sin(angle), speed
        angle, speed = step(angle, speed, float(network(x)[0]))
    return cos(angle)


def _from_compiled_code(params: Any, angle: float, speed: float, steps: int) -> float:
    """The same as one function, to be compiled."""
    x, torque = np.empty(3), np.empty(1)
    for _ in range(steps):
        x[0], x[1], x[2] = cos(angle), sin(angle), speed
        predict(x, params, torque)
        angle, speed = compiled_step(angle, speed, torque[0])
    return cos(angle)


from_compiled_code = numba.njit(nogil=True)(_from_compiled_code)


def ways(weights: list[np.ndarray[Any, Any]], steps: int) -> dict[str, Callable[[], float]]:
    """Name -> what steps the pendulum that way and returns the cosine at the end."""
    W1, b1, W2, b2 = weights
    layers: list[Any] = [reference.Affine(W1, b1), reference.Tanh(), reference.Affine(W2, b2)]

    def by_reference(x: Any) -> Any:
        for layer in layers:
            x = layer.forward(x)
        return x

    net = fastnet.Sequential([fastnet.Affine(W1, b1), fastnet.Tanh(), fastnet.Affine(W2, b2)])
    _, params = fastnet.njit_predict(net)
    found: dict[str, Callable[[], float]] = {"NumPy": partial(from_python, by_reference, np.empty(3), steps)}
    torch = torch_network(weights)
    if torch is not None:
        found["PyTorch"] = partial(from_python, *torch, steps)
    found["fastnet, from Python"] = partial(from_python, net.predict, np.empty(3), steps)
    found["fastnet, inside njit"] = partial(from_compiled_code, params, *START, steps)
    return found


def torch_network(weights: list[np.ndarray[Any, Any]]) -> tuple[Callable[[Any], Any], Any] | None:
    """The network of PyTorch and room for its row, where PyTorch is installed."""
    try:
        import torch
    except ImportError:
        return None
    W1, b1, W2, b2 = (torch.from_numpy(array) for array in weights)

    room = np.empty(3)
    x = torch.from_numpy(room)  # the same memory: quicker to write to as an array

    def network(_: Any) -> Any:
        with torch.inference_mode():
            return torch.addmv(b2, W2.T, torch.tanh(torch.addmv(b1, W1.T, x)))

    return network, room


def table(steps: int, rounds: int) -> Iterator[str]:
    """Lines of text: what a step takes each way, and where the pendulum ends up."""
    calls = ways(learn(), steps)
    ends = {name: call() for name, call in calls.items()}  # the first call may compile
    times = take_turns(calls, rounds=rounds, min_time=0)
    yield f"A pendulum and a 3-{HIDDEN}-1 tanh network, {steps} steps"
    yield f"{'':<22}{'us a step':>10}{'times':>8}{'cosine at the end':>20}"
    for name, timing in times.items():
        microseconds = 1e6 * timing.seconds / steps
        yield f"{name:<22}{microseconds:>10.3f}{1 / timing.ratio:>8.1f}{ends[name]:>20.6f}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m fastnet.examples.pendulum", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="time steps of 0.05 s (10000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed (5)")
    options = parser.parse_args(argv)
    if options.steps < 1 or options.rounds < 1:
        parser.error("steps and rounds must be at least 1")
    for line in table(options.steps, options.rounds):
        print(line)


if __name__ == "__main__":
    main()
