"""``fastnet predict``: a model over a file of rows, in constant memory."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastnet
from fastnet.commands.answers import ANSWERS, NoLabel
from fastnet.commands.errors import CommandError
from fastnet.commands.models import add_dtype, add_threads, dtype_of, fan_in, fan_out, load_model, network_of
from fastnet.commands.output import check_target, results_to
from fastnet.commands.source import open_source

DESCRIPTION = """\
Run a model over the rows of a file. Rows are read, computed and written a block at a time: memory does not
grow with the file. OUTPUT appears when it is complete; after an error or an interrupt it is as it was.
"""
DETAILS = """\
INPUT is a two-dimensional .npy of real numbers, or a .csv: numbers separated by commas, a row a line; a first
line without a number is a heading, and skipped. Numbers are converted to the dtype of the weights.

OUTPUT is a .npy, or a .csv without a heading, its numbers in the fewest digits that read back the same:
  by default   what the model's last layer gives, a row of scores for each row of INPUT
  --proba      probabilities: the scores themselves if the last layer is a softmax or a sigmoid (a single
               sigmoid becomes two columns, 1 - p and p), else the softmax of the scores
  --labels     the class whose score is largest, as its number from 0 up or, if the model carries the names
               of its classes, by name; for a single sigmoid the second class if it is above 0.5

exit codes: 0 done, 1 something is wrong with a file or a model, 2 with the arguments, 130 interrupted
(Ctrl-C), 143 terminated, 129 hung up
"""


def add_to(commands: Any) -> None:
    """Add the sub-command to argparse's sub-parsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="run a model over the rows of a file",
        description=DESCRIPTION,
        epilog=DETAILS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .safetensors or .onnx file")
    parser.add_argument("input", type=Path, metavar="INPUT", help="rows to run it on, .npy or .csv")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUTPUT",
        required=True,
        help="where results go, .npy or .csv; replaced if it is there",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--proba", dest="answer", action="store_const", const="proba", help="write probabilities"
    )
    kind.add_argument("--labels", dest="answer", action="store_const", const="labels", help="write classes")
    add_dtype(parser)
    add_threads(parser)
    parser.set_defaults(run=run, answer="scores")


def run(arguments: argparse.Namespace) -> None:
    """Predict a block at a time."""
    source = open_source(arguments.input)
    check_target(arguments.output, arguments.input)
    model = load_model(arguments.model, arguments.dtype)
    network = network_of(model)
    dtype, width = dtype_of(network), fan_in(network)
    if source.width != width:
        raise CommandError(
            f"{arguments.input} has {source.width} columns, but {arguments.model} takes {width}"
        )
    if arguments.threads is not None:
        fastnet.set_num_threads(arguments.threads)
    answer = ANSWERS[arguments.answer](model)
    rows = max(source.block_bytes // (dtype.itemsize * (width + fan_out(network))), 1)
    with _progress(source.size) as advance, results_to(arguments.output) as writer:
        done = 0
        for block in source.blocks(rows, dtype):
            try:
                writer.write(answer(block.rows))
            except NoLabel as error:
                row = done + error.row
                raise CommandError(
                    f"{arguments.input}: row {row}, counted from 0, has scores that are NaN, and so no label"
                ) from None
            done += len(block.rows)
            advance(block.size)


@contextmanager
def _progress(size: int) -> Iterator[Callable[[int], object]]:
    """A function to be told of bytes done with, which draws a bar if stderr is a terminal and tqdm there."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:  # a bar is no part of the result
            pass
        else:
            with tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, delay=0.5) as bar:
                yield bar.update
            return
    yield lambda done: None
