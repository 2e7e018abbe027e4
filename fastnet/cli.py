"""The command line: ``fastnet``, or ``python -m fastnet``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from fastnet import __version__
from fastnet.commands import bench, convert, info, predict
from fastnet.commands.errors import CommandError, one_line

SIGNALLED = 128  # and the signal's number, as shells count
#: signals that end a command, from a batch system or a terminal that closes; not on every system
ENDING = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


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
        make no sense end in ``SystemExit`` with status 2, SIGTERM with 143, SIGHUP with 129.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _ended_by_signals():
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (``| head``). Python flushes once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("fastnet: interrupted", file=sys.stderr)
        return SIGNALLED + signal.SIGINT
    except (CommandError, OSError) as error:
        print(f"fastnet: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let signals raise SystemExit, so that a command can clean up; those that are ignored stay so."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(SIGNALLED + number)

    # Only the main thread may ask for it.
    mine = threading.current_thread() is threading.main_thread()
    caught = [n for n in ENDING if mine and signal.getsignal(n) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
