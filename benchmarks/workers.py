"""Libraries in processes of their own, timed in turns.

Many libraries let their threads wait busily after a call. In one process, or left alone, those threads
would take the next library's core. So each has a process, and all but the one whose turn it is are stopped
(SIGSTOP; where the system has no such signal, they just wait). A turn opens with calls that are not timed:
threads are awake and caches filled, as for anybody who calls again and again.

A worker, ``python -m benchmarks.workers NAME THREADS``, answers each line of JSON with another.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import benchmarks
from benchmarks.processes import environment
from fastnet.timing import Timing, Turn, interleave


class WorkerError(Exception):
    """What a library had to say instead of an answer."""


class Worker:
    """One library in a process of its own, which is started when it is first needed, and again if it dies."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        self.threads = threads
        self.process: subprocess.Popen[str] | None = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.workers", self.library, str(self.threads)],
            env=environment(**{benchmarks.COUNT_VARIABLE: str(self.threads)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _signal(self, name: str) -> None:
        if self.process is not None and self.process.poll() is None and hasattr(signal, name):
            self.process.send_signal(getattr(signal, name))

    def ask(self, request: str, **arguments: Any) -> Any:
        """Let the worker run until it has answered."""
        if self.process is None:
            self.process = self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._signal("SIGCONT")
        try:
            try:
                self.process.stdin.write(json.dumps([request, arguments]) + "\n")
                self.process.stdin.flush()
                answer = self.process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                code = self.process.wait()
                self.close()
                raise WorkerError(f"the process ended with code {code}")
        finally:
            self._signal("SIGSTOP")
        answer = json.loads(answer)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def prepare(self, label: str, dtype: str, **options: Any) -> None:
        """Build a network, verify its answer, find out how many calls make a turn."""
        self.ask("prepare", label=label, dtype=dtype, **options)

    def turn(self) -> float:
        """Nanoseconds a call."""
        return float(self.ask("turn"))

    def blas(self) -> str:
        """The BLAS libraries that the process has loaded, with the kernels they chose."""
        return str(self.ask("blas"))

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()  # a stopped process heeds no other signal
            self.process.communicate()
            self.process = None


@contextmanager
def working(libraries: Iterable[str], threads: int) -> Iterator[dict[str, Worker]]:
    """Workers by the names of their libraries; their processes end with the block."""
    workers = {name: Worker(name, threads) for name in libraries}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def compare(
    workers: Mapping[str, Worker], label: str, dtype: str, rounds: int, **options: Any
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Time the libraries that can answer, in rounds; and name those that cannot, with the reason.

    The first worker is the baseline of the ratios; it has to answer, and right: WorkerError if not.
    """
    ready, failed = {}, {}
    for name, worker in workers.items():
        try:
            worker.prepare(label, dtype, **options)
            ready[name] = worker
        except WorkerError as error:
            if not ready:
                raise
            failed[name] = str(error)
    return interleave({name: worker.turn for name, worker in ready.items()}, rounds), failed


class _Server:
    """The other side: what a worker does for each request."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        self.threads = threads
        self.timed: Turn | None = None

    def prepare(
        self,
        label: str,
        dtype: str,
        max_size: int | None = None,
        min_time: float = 0.005,
        training: bool = False,
    ) -> None:
        from benchmarks import estimators, libraries, trainers
        from benchmarks.common import network_problem

        call: Any
        if training:
            call = trainers.prepared(self.library, label, dtype, self.threads, max_size)
        elif label in estimators.ESTIMATORS:
            call = estimators.prepared(self.library, label, dtype, self.threads, max_size)
        else:
            problem = network_problem(label, dtype, max_size=max_size)
            call = libraries.prepared(self.library, problem, self.threads)
        self.timed = Turn(call, min_time)

    def turn(self) -> float:
        assert self.timed is not None, "prepare comes first"
        for _ in range(1 + self.timed.loops // 4):
            self.timed.call()
        gc.disable()
        try:
            return self.timed()
        finally:
            gc.enable()

    def blas(self) -> str:
        import numpy  # noqa: F401 - so that its BLAS is there to be found
        from threadpoolctl import threadpool_info

        found = [info for info in threadpool_info() if info["user_api"] == "blas"]
        return ", ".join(
            f"{info['internal_api']} {info['version']} ({info.get('architecture', 'unknown')} kernels, "
            f"{info['num_threads']} thread(s))"
            for info in found
        )


def serve(library: str, threads: int) -> None:
    """Answer requests until there are no more. What a library prints goes to the standard error stream."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = _Server(library, threads)
    for line in sys.stdin:
        request, arguments = json.loads(line)
        try:
            answer = {"result": getattr(server, request)(**arguments)}
        except Exception as error:  # whatever another library raises
            answer = {"error": f"{type(error).__name__}: {textwrap.shorten(str(error), 200)}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
