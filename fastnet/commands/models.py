"""Model files, by the suffix of their names, and what commands ask of a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastnet
from fastnet.commands.errors import CommandError, about

READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": lambda path: fastnet.load(path),
    ".onnx": lambda path: fastnet.from_onnx(path),
}
WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".safetensors": lambda model, path: fastnet.save(model, path),
    ".onnx": lambda model, path: fastnet.to_onnx(model, path),
}
#: what a file that is no model, or one that fastnet cannot run, is refused with
_REFUSALS = (ValueError, TypeError, NotImplementedError, ImportError)
DTYPES = ("float32", "float64")


def check_suffix(path: Path) -> None:
    """Raise unless the name says which kind of model file this is."""
    if path.suffix.lower() not in READERS:
        raise CommandError(f"{path}: a model's name must end in {' or '.join(READERS)}")


def load_model(path: Path, dtype: str | None = None) -> Any:
    """Read a model; with `dtype`, its weights are converted."""
    check_suffix(path)
    path.open("rb").close()  # an OSError that names the file, whichever library reads it
    try:
        model = READERS[path.suffix.lower()](path)
    except _REFUSALS as error:
        raise about(path, error) from error
    if not _weights(network_of(model)):
        raise CommandError(f"{path}: a model without weights")
    if dtype is not None:
        for layer in network_of(model).layers:
            layer.params[:] = [np.asarray(param, dtype) for param in layer.params]
    return model


def save_model(model: Any, path: Path) -> None:
    """Write a model in the format that the name asks for."""
    try:
        WRITERS[path.suffix.lower()](model, path)
    except _REFUSALS as error:
        raise about(path, error) from error


def network_of(model: Any) -> Any:
    """The network in a classifier or a regressor; a network itself."""
    return getattr(model, "network", model)


def _weights(network: Any) -> list[Any]:
    return [layer.params for layer in network.layers if len(layer.params) == 2]


def fan_in(network: Any) -> int:
    """How many columns it takes; activations change no widths."""
    return int(np.shape(_weights(network)[0][0])[0])


def fan_out(network: Any) -> int:
    """How many columns it gives."""
    return int(np.shape(_weights(network)[-1][0])[1])


def dtype_of(network: Any) -> np.dtype[Any]:
    """The dtype of the weights, the widest if they differ."""
    return np.result_type(*(param.dtype for pair in _weights(network) for param in pair))


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """The option --dtype."""
    parser.add_argument(
        "--dtype", choices=DTYPES, help="convert the weights to this type (default: as they are in MODEL)"
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option --threads."""
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="how many threads may compute; results do not depend on it (default: FASTNET_NUM_THREADS, "
        "else all CPUs that the process may run on)",
    )


def positive(text: str) -> int:
    """A whole number from 1 up, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, not {text!r}")
    return number
