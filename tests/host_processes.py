"""Processes: ``python -m tests.host_processes SCENARIO LAYER COUNT`` prints how many it tried."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from tests.hosts import LARGE, SMALL, calls, is_only_printed, main, together

STARTS = ("fork", "forkserver", "spawn")


def ended(child: int, patience: float = 120) -> int:
    """The exit code of a child, negative for a signal; a child that hangs is ended, and an error."""
    limit = time.monotonic() + patience
    while time.monotonic() < limit:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGABRT)  # faulthandler says where
    os.waitpid(child, 0)
    raise AssertionError("a child hangs")


def forked(work: Callable[[], Any]) -> int:
    """Do it in a forked child, and return the exit code."""
    child = os.fork()
    if child:
        return ended(child)
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"in the child: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def check_all() -> int:
    """For children that have to compute even what is expected: every call on one thread, then on several."""
    for call in calls(SMALL + LARGE):
        call.check()
    return os.getpid()


def fork(count: int) -> int:
    """Children forked by the main thread after it has predicted; and their children."""
    mixed = calls(SMALL + LARGE)

    def work() -> None:
        for call in mixed:
            call.check()

    def work_and_fork() -> None:
        work()
        assert forked(work) == 0

    for i in range(count):
        work()
        assert forked(work_and_fork if i % 2 else work) == 0
    return count + count // 2


def fork_in_threads(count: int) -> int:
    """Threads that fork while others predict."""
    mixed, done = calls(SMALL + LARGE), threading.Event()

    def work() -> None:
        for call in mixed:
            call.check()

    def predict() -> None:
        while not done.is_set():
            work()

    def fork_all() -> None:
        for _ in range(count // 2):
            assert forked(work) == 0

    def fork_together() -> None:
        try:
            together([fork_all] * 2)
        finally:
            done.set()

    together([predict, predict, fork_together])
    return count // 2 * 2


def forks(count: int) -> int:
    """By the main thread, and by threads among others."""
    return fork(count) + fork_in_threads(count)


def fork_while_compiling(count: int) -> int:
    """A fork while another thread makes the first call: the child waits for nobody."""

    def first() -> None:
        calls(SMALL[:1] + LARGE[:1], dtypes=("float32",))

    def fork() -> None:
        for i in range(count):
            time.sleep(0.1 * i)
            assert forked(first) == 0

    together([first, fork])
    return count


def fork_while_importing(count: int) -> int:
    """A fork that waits for a thread which compiles and imports a module with hooks of its own: once."""
    from fastnet.kernels.lock import lock

    taken, waits = threading.Event(), threading.Event()

    def compiles() -> None:
        with lock:
            taken.set()
            waits.wait()
            time.sleep(0.2)
            from concurrent.futures import ThreadPoolExecutor  # noqa: F401, as SciPy does

    def fork() -> None:
        taken.wait()
        waits.set()
        assert forked(lambda: None) == 0

    together([compiles, fork])
    return 1


def workers(count: int) -> int:
    """multiprocessing.Pool and ProcessPoolExecutor, their processes started in each way."""
    check_all()
    pids = set()
    for start in STARTS:
        context = multiprocessing.get_context(start)
        with context.Pool(1) as pool:
            pids |= set(pool.starmap(check_all, [()] * count, chunksize=1))
        with ProcessPoolExecutor(1, context) as executor:
            pids |= {done.result() for done in [executor.submit(check_all) for _ in range(count)]}
    assert len(pids) == 2 * len(STARTS)
    return len(pids)


def interrupts(count: int) -> int:
    """SIGINT from another process, one or several, while it predicts: nothing hangs, nobody writes on."""
    large = calls([((64, 128, 10), 3000)], dtypes=("float32",))[0]
    mixed, out = calls(SMALL + LARGE), np.empty((3000, 10), np.float32)
    orders, acknowledged, hits, armed = os.pipe(), os.pipe(), 0, False

    def interrupt(_: int, frame: Any) -> None:
        if armed and not is_only_printed(frame):  # not in this test's own lines
            raise KeyboardInterrupt

    sender = os.fork()
    if not sender:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(orders[1])
        while order := os.read(orders[0], 1):
            time.sleep(np.random.default_rng(order[0]).uniform(0, 0.003))
            for _ in range(1 + order[0] % 4):
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(0.00005)
            os.write(acknowledged[1], b".")
        os._exit(0)
    signal.signal(signal.SIGINT, interrupt)
    os.set_blocking(acknowledged[0], False)

    def predict() -> None:  # the jump of a loop within `try` would not be covered by it, in some versions
        nonlocal armed
        armed = True
        large.check(out)
        armed = False

    for i in range(count):
        os.write(orders[1], bytes([i % 256]))
        while not _was_told(acknowledged[0]):
            try:
                predict()
            except KeyboardInterrupt:
                armed = False
                hits += 1
        out.fill(7)
        time.sleep(0.001)
        assert (out == 7).all(), "somebody writes to the result of a call that is over"
        mixed[i % len(mixed)].check()
    os.close(orders[1])
    assert ended(sender) == 0
    assert hits > count // 2, f"only {hits} interrupts"
    return hits


def _was_told(pipe: int) -> bool:
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False


def interrupted_compilation(count: int) -> int:
    """SIGINT while the first call compiles: the next one does."""
    hits = 0
    for i in range(count):
        timer = threading.Timer(0.5 + i, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            calls(SMALL[:1], dtypes=("float32",))
            timer.join()
            time.sleep(0.1)
        except KeyboardInterrupt:
            hits += 1
        timer.join()
    assert hits == count
    check_all()
    return hits


class _AtTheEnd:
    """Predicts when it is finalized, as late as the interpreter gets."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work

    def __del__(self) -> None:
        self.work()


def _end_by_exit(work: Callable[[], None], forever: Callable[[], None]) -> None:
    threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.003)
    sys.exit(0)


def _end_at_once(work: Callable[[], None], forever: Callable[[], None]) -> None:
    threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.003)
    os._exit(0)


def _end_of_main(work: Callable[[], None], forever: Callable[[], None]) -> None:
    for _ in range(3):
        threading.Thread(target=forever, daemon=True).start()


def _end_with_handler(work: Callable[[], None], forever: Callable[[], None]) -> None:
    atexit.register(work)


def _end_before_a_thread(work: Callable[[], None], forever: Callable[[], None]) -> None:
    threading.Thread(target=lambda: [work() for _ in range(3)]).start()


def _end_with_finalizer(work: Callable[[], None], forever: Callable[[], None]) -> None:
    sys.kept = _AtTheEnd(work)  # type: ignore[attr-defined]


def _end_by_interrupt(work: Callable[[], None], forever: Callable[[], None]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.005)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - its traceback is no failure
    forever()


ENDS = (
    _end_by_exit, _end_at_once, _end_of_main, _end_with_handler, _end_before_a_thread, _end_with_finalizer,
    _end_by_interrupt,
)  # fmt: skip


def ends(count: int) -> int:
    """Children that end in every way while they predict, or predict while they end."""
    mixed = calls(SMALL[:1] + LARGE)

    return end_in_every_way([call.check for call in mixed], count)


def end_in_every_way(checks: list[Callable[[], object]], count: int) -> int:
    """Children that end while a thread makes these checks, or that make them while they end."""

    def work() -> None:
        for check in checks:
            try:
                check()
            except Exception as error:
                os.write(2, f"at the end: {error!r}\n".encode())
                os._exit(1)

    def forever() -> None:
        while True:
            work()

    for end in ENDS:
        for _ in range(count):
            child = os.fork()
            if not child:  # `run` ends it outside of all that this process has yet to clean up
                raise _IsChild(end, work, forever)
            code, allowed = ended(child), -signal.SIGINT if end is _end_by_interrupt else 0
            assert code == allowed, f"{end.__name__}: {code}"
    return len(ENDS) * count


class _IsChild(BaseException):
    pass


def run(scenarios: dict[str, Callable[[int], int]]) -> None:
    """`main` for a program whose children may end in every way."""
    try:
        main(scenarios)
    except _IsChild as child:
        end_as, *arguments = child.args
    else:
        sys.exit(0)
    end_as(*arguments)


if __name__ == "__main__":
    scenarios = (
        forks, fork_while_compiling, fork_while_importing, workers, interrupts, interrupted_compilation, ends,
    )  # fmt: skip
    run({f.__name__: f for f in scenarios})
