"""Trials in a process of their own, where a signal or a hang can be told from an exception.

The process keeps a note of what it is about to try, in memory that outlives it, so that whatever ends it is
reported with the trial that did it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NOTE_BYTES = 8192


class Notebook:
    """What a process is trying, and how often it has tried something."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _NOTE_BYTES)
        self.tried = 0

    def trying(self, trial: str) -> None:
        """Take a note of a trial: to be called right before it."""
        self.tried += 1
        text = trial.encode()[: _NOTE_BYTES - 1]
        self._memory[: len(text) + 1] = text + b"\0"

    def close(self) -> None:
        """Say how many trials there were. A process that ends without it has failed."""
        print(json.dumps({"tried": self.tried}), flush=True)


def _noted(path: Path) -> str:
    return path.read_bytes().partition(b"\0")[0].decode(errors="replace")


def tried(module: str, *arguments: str, timeout: float, **environment: str) -> int:
    """Run ``python -m module NOTEBOOK *arguments``: the number of trials; an AssertionError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.write_bytes(bytes(_NOTE_BYTES))
        command = [sys.executable, "-X", "faulthandler", "-W", "error", "-m", module, str(notes), *arguments]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            raise AssertionError(f"no end after {timeout} s, trying {_noted(notes)}\n{errors}") from None
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            raise AssertionError(f"{name} while trying {_noted(notes)}\n{errors}")
        if process.returncode:
            raise AssertionError(f"exit code {process.returncode}, trying {_noted(notes)}\n{out}\n{errors}")
    return int(json.loads(out.splitlines()[-1])["tried"])


@contextlib.contextmanager
def no_hang(seconds: float):
    """End the process, with the stack of every thread, if the block takes longer."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
