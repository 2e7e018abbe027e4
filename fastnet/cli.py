"""The command line: ``fastnet``, or ``python -m fastnet``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from fastnet import __version__
from fastnet.commands import bench, convert, info, predict
from fastnet.commands.errors import CommandError, one_line

INTERRUPTED, TERMINATED = 128 + 2, 128 + 15  # as shells count signals


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastnet",
        description="Small neural networks on compiled kernels. Without a command: show a trained network "
        "reading handwritten digits, how its answers agree with NumPy's, and the time both take.",
        epilog="fastnet COMMAND --help says more about each.",
    )
    parser.add_argument("--version", action="version", version=f"fastnet {__version__}")
    parser.set_defaults(run=_demo)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (predict, bench, info, convert):
        command.add_to(commands)
    return parser


def _demo(arguments: argparse.Namespace) -> None:
    from fastnet import demo  # which imports Numba

    demo.show(sys.stdout)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; those of the process unless given.

    Returns
    -------
    int
        The exit status: 0; 1 after an error, told in one line on stderr; 130 if interrupted. Arguments that
        make no sense end in ``SystemExit`` with status 2, and SIGTERM with status 143.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _ended_by_sigterm():
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (``| head``). Python flushes once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("fastnet: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (CommandError, OSError) as error:
        print(f"fastnet: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that a command can clean up; only the main thread may ask for it."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
