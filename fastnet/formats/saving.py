"""fastnet's own files: safetensors, with a description of the layers, as JSON, in the metadata."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from fastnet.estimators import Classifier, Regressor
from fastnet.formats.description import DTYPES, Model, build, describe
from fastnet.formats.files import atomic_write
from fastnet.formats.parts import require
from fastnet.network import Sequential

#: the key in the file's metadata, and the number of what is written under it
_KEY, FORMAT = "fastnet", 1
#: what safetensors calls the dtypes that a file may hold, F64, I8, ..., and BOOL: little-endian
_TYPES = {
    "BOOL" if t.kind == "b" else f"{t.kind.upper()}{8 * t.itemsize}": t.newbyteorder("<") for t in DTYPES
}
#: what the library allows
_LONGEST_HEADER = 100_000_000


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to a file that `load` reads, in the safetensors format: numbers and text, no code.

    Parameters
    ----------
    model : Sequential, Classifier or Regressor
        Networks of fastnet's own layers, nested if need be, with weights in arrays of real numbers; or what
        `from_sklearn` returns. Attributes of your own are not kept.
    path : path
        Where to. The file is complete or not there: a failure leaves an older one as it was.

    Returns
    -------
    None
        Needs the extra ``safetensors``.

    Raises
    ------
    ValueError
        If a layer is not fastnet's own, or has a replaced ``forward``; if weights are no arrays, of a
        dtype that is no real number of up to 64 bits, or do not fit together; if classes are neither
        numbers nor strings.
    TypeError
        If the model is none.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import fastnet
    >>> net, x = fastnet.TwoLayerNet(2, 4, 3), np.ones((5, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.safetensors")
    ...     fastnet.save(net, path)
    ...     again = fastnet.load(path)
    >>> bool(np.all(again.predict(x) == net.predict(x)))
    True
    """
    if not isinstance(model, (Sequential, Classifier, Regressor)):
        raise TypeError(f"save takes a Sequential, Classifier or Regressor, not {type(model).__name__}")
    tensors: dict[str, Any] = {}
    try:
        description = json.dumps({"format": FORMAT, "model": describe(model, tensors)})
    except RecursionError:
        raise ValueError("networks nested too deeply, or in themselves") from None
    library = require("safetensors.numpy", "safetensors")
    content = library.save(tensors, metadata={_KEY: description})
    with atomic_write(path) as file:
        file.write(content)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `save` has written.

    Parameters
    ----------
    path : path
        Of the file. Nothing in it is executed.

    Returns
    -------
    Sequential, Classifier or Regressor
        What was saved, with weights of its own: the file may go.

    Raises
    ------
    ValueError
        If the file is no safetensors file, or is damaged; if it is not of fastnet, or of a later format; if
        tensors are missing, left over or do not fit the layers. The message says which.
    OSError
        If the file cannot be opened.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    `save` has one.
    """
    library = require("safetensors", "safetensors")
    name = os.fspath(path)
    header, content = _read(name)
    try:
        views = library.deserialize(content)  # checks all of it, the header too
        description = _description(header.get("__metadata__"))
        return build(description, {key: _tensor(key, view) for key, view in views})
    except library.SafetensorError as error:
        raise ValueError(f"{name!r} is no complete safetensors file: {error}") from error
    except RecursionError:
        raise ValueError(f"{name!r}: its description is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error


def _read(name: Any) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, empty if it is none, and as many bytes of the file as it tells of.

    Read, not mapped: a mapped file that another process cuts short meanwhile ends this one by SIGBUS. The
    library reads metadata from mapped files alone, so the header, which is JSON, is parsed here as well.
    """
    with open(name, "rb") as file:
        start = file.read(8)
        size = os.fstat(file.fileno()).st_size
        text = file.read(min(int.from_bytes(start, "little"), size, _LONGEST_HEADER))
        try:
            header = json.loads(text)
            ends = [view["data_offsets"][1] for key, view in header.items() if key != "__metadata__"]
            rest = int(min(max(ends, default=0), size)) + 1  # one byte too many is an error, and seen
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            header, rest = {}, 1  # the library says what is wrong with it
        return header, start + text + file.read(max(rest, 0))


def _description(metadata: dict[str, str] | None) -> Any:
    """What `save` put into the metadata, if the format is known."""
    text = (metadata or {}).get(_KEY)
    if text is None:
        raise ValueError(
            "a safetensors file, but none of fastnet.save; for weights of PyTorch there is from_state_dict"
        )
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"its description is no JSON: {error}") from error
    version = found.get("format") if isinstance(found, dict) else None
    if type(version) is not int or version != FORMAT:
        raise ValueError(f"format {version!r:.80}; this version of fastnet reads format {FORMAT}")
    if "model" not in found:
        raise ValueError("its description has no model")
    return found["model"]


def _tensor(key: str, view: dict[str, Any]) -> Any:
    dtype = view["dtype"]
    if dtype not in _TYPES:
        raise ValueError(f"tensor {key} of type {dtype}, which is no real number of up to 64 bits")
    return np.frombuffer(view["data"], _TYPES[dtype]).reshape(view["shape"]).copy()
