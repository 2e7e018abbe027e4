"""``fastnet convert``: a model from one file format to another."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fastnet.commands.errors import CommandError
from fastnet.commands.models import add_dtype, check_suffix, load_model, network_of, save_model
from fastnet.commands.output import atomic

DESCRIPTION = """\
Convert a model between .onnx and .safetensors, each recognised by its name. OUT appears when it is complete,
and after an error it is as it was. With --dtype the weights are rounded, or widened, on the way. Of a
classifier an .onnx holds the network, without the names of its classes; a note on stderr says so.
"""


def add_to(commands: Any) -> None:
    """Add the sub-command to argparse's sub-parsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "convert", help="convert a model between .onnx and .safetensors", description=DESCRIPTION
    )
    parser.add_argument("source", type=Path, metavar="IN", help="a .safetensors or .onnx file")
    parser.add_argument(
        "target", type=Path, metavar="OUT", help="a .safetensors or .onnx file; replaced if it is there"
    )
    add_dtype(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Read, then write beside the target, then put it in place."""
    source, target = arguments.source, arguments.target
    check_suffix(target)
    if target.is_dir():
        raise CommandError(f"{target}: is a directory")
    if not target.parent.is_dir():
        raise CommandError(f"{target.parent}: no such directory")
    model = load_model(source, arguments.dtype)
    if target.suffix.lower() == ".onnx" and network_of(model) is not model:
        print(f"fastnet: {target}: the network alone, without names of classes and features", file=sys.stderr)
        model = network_of(model)
    with atomic(target) as beside:
        save_model(model, beside)
