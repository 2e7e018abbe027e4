"""The command line: ``fastnet``, or ``python -m fastnet``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastnet import __version__, demo


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastnet",
        description="Show a trained network reading handwritten digits: its answers, how they agree with "
        "NumPy's, and the time both take.",
    )
    parser.add_argument("--version", action="version", version=f"fastnet {__version__}")
    parser.set_defaults(run=lambda arguments: demo.show(sys.stdout))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; those of the process unless given.

    Returns
    -------
    int
        The exit status, 0. Arguments that make no sense end in ``SystemExit`` with status 2.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (``| head``). Python flushes once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
