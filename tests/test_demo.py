"""The digits network, the helper that times, and the command line."""

import doctest
import gc
import io
import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet import __version__, cli, demo, digits, timing
from fastnet.digits import train
from tests.golden import digest

DIGITS = Path(digits.__file__).parent
ROOT = DIGITS.parents[1]
COMMAND = [sys.executable, "-m", "fastnet"]


# The digits network


def test_accuracy():
    network, images, labels = digits.load()
    assert (network.predict(images).argmax(axis=1) == labels).mean() >= 0.95


def test_readme_names_the_accuracy():
    network, images, labels = digits.load()
    right = (network.predict(images).argmax(axis=1) == labels).sum()
    assert f"{right} of the {len(images)} held-out images" in (DIGITS / "README.md").read_text()


def test_file_is_small():
    assert (DIGITS / "digits.npz").stat().st_size < 100_000


def test_shapes_and_values():
    network, images, labels = digits.load()
    assert [p.shape for p in network.params] == [(64, 32), (32,), (32, 10), (10,)]
    assert images.shape == (400, 64)
    assert images.dtype == np.uint8
    assert labels.shape == (400,)
    assert labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert set(labels) == set(range(10))


def test_float32_holds_the_same_weights():
    for single, double in zip(
        digits.load(np.float32).network.params, digits.load().network.params, strict=True
    ):
        assert single.dtype == np.float32
        assert double.dtype == np.float64
        np.testing.assert_array_equal(single, double)


def test_every_load_is_its_own():
    first = digits.load()
    for array in (*first.network.params, first.images, first.labels):
        array[...] = 1
    second = digits.load()
    for array in (*second.network.params, second.images, second.labels):
        assert (array != 1).any()


def test_example_of_load():
    failed, tried = doctest.testmod(digits)
    assert tried > 0
    assert failed == 0


#: SHA-256 of the trained W1, b1, W2, b2, before they are rounded to the grid
TRAINED = [
    "cd63e7590b9044b93604b1f08b9ead6f6ce31bc4590f7ee94f4715f7f9ea12c5",
    "4b178008cf6c3121eb555a58357c337b4c69e57588920643fc57d05e5a0e667e",
    "23797daafca0b8ff6e606859ef38154dccb88c5968b14ca752669b534ccc5310",
    "c63fb798d7b799facdf8ca9d5da5720c0cf715921c8d909e0b43ebc18118d985",
]


def test_training_to_the_bit(monkeypatch):
    """At least 96 % of the held-out images, with the very weights."""
    pytest.importorskip("sklearn")
    trained, fit = [], train.fit

    def remember(*args):
        trained.extend(fit(*args))
        return trained

    monkeypatch.setattr(train, "fit", remember)
    arrays = train.make()
    W1, b1, W2, b2 = trained
    network = fastnet.Sequential([fastnet.Affine(W1, b1), fastnet.Sigmoid(), fastnet.Affine(W2, b2)])
    scores = network.predict(arrays["images"] / train.FULL)
    assert (scores.argmax(axis=1) == arrays["labels"]).mean() >= 0.96
    assert [digest(p) for p in trained] == TRAINED


def test_training_reproduces_the_shipped_file():
    pytest.importorskip("sklearn")
    made = train.make()
    with np.load(DIGITS / "digits.npz", allow_pickle=False) as shipped:
        assert set(shipped) == set(made)
        for name in shipped:
            assert shipped[name].dtype == made[name].dtype
            np.testing.assert_array_equal(shipped[name], made[name], err_msg=name)


def test_training_twice_writes_the_same_bytes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    written = []
    for name in ("one.npz", "two.npz"):
        monkeypatch.setattr(train, "FILE", tmp_path / name)
        train.main()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert capsys.readouterr().out.count("96.75% of 400 held-out images right") == 2


def test_held_out_images_were_not_trained_on(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    seen = []

    def fit(x, labels, rng, epochs):
        seen.append(x * train.FULL)
        return train.initial(rng, (64, train.HIDDEN, 10))

    monkeypatch.setattr(train, "fit", fit)
    held_out = train.make()["images"]
    both = np.concatenate([seen[0], held_out])
    everything = datasets.load_digits().data
    assert len(both) == len(everything)
    np.testing.assert_array_equal(*(rows[np.lexsort(rows.T)] for rows in (both, everything)))


# The helper that times


class Clock:
    """A clock that only moves when a callable says so."""

    def __init__(self, monkeypatch):
        self.now = 0
        monkeypatch.setattr(timing, "perf_counter_ns", lambda: self.now)

    def callable(self, *costs):
        """Take these nanoseconds in turn, the last one for ever."""
        left = itertools.chain(costs, itertools.repeat(costs[-1]))

        def call():
            self.now += next(left)

        return call


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_times_and_ratios(clock):
    times = timing.take_turns({"base": clock.callable(2_000), "slow": clock.callable(5_000)})
    assert list(times) == ["base", "slow"]
    assert times["base"] == pytest.approx((2e-6, 1.0))
    assert times["slow"] == pytest.approx((5e-6, 2.5))


def test_a_slow_first_call_does_not_count(clock):
    calls = 0
    tick = clock.callable(2_000_000_000, 1_000)

    def call():
        nonlocal calls
        calls += 1
        tick()

    times = timing.take_turns({"compiles": call}, rounds=3, min_time=0.005)
    assert times["compiles"].seconds == pytest.approx(1e-6)
    assert calls > 3 * 5_000  # every turn lasts 5 ms, although the first call alone did


@pytest.mark.parametrize("cost", [30, 700, 50_000, 80_000_000])
def test_a_turn_lasts_min_time(clock, monkeypatch, cost):
    loops = []
    original = timing._nanoseconds
    monkeypatch.setattr(timing, "_nanoseconds", lambda call, n: loops.append(n) or original(call, n))
    timing.take_turns({"it": clock.callable(cost)}, rounds=4, min_time=0.002)
    turns = loops[-4:]
    assert len(set(turns)) == 1
    assert turns[0] * cost >= 2_000_000
    assert turns[0] == 1 or turns[0] * cost < 10 * 2_000_000


def test_ratio_is_taken_within_a_round(clock):
    # Two calls each to find the loops; then the ratios are 3, 3 and 0.2, and the medians 10 and 20.
    base = clock.callable(1, 1, 10, 1, 100)
    other = clock.callable(1, 1, 30, 3, 20)
    times = timing.take_turns({"base": base, "other": other}, rounds=3, min_time=1e-9)
    assert times["other"] == pytest.approx((20e-9, 3))
    assert times["base"] == pytest.approx((10e-9, 1))


def test_the_order_turns_every_round(clock):
    order = []

    def named(name):
        return lambda: order.append(name)

    timing.take_turns({name: named(name) for name in "abc"}, rounds=3, min_time=1e-9)
    assert "".join(order[-9:]) == "abccbaabc"


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_collector_is_off_and_comes_back(clock, was_on):
    seen = []
    before = gc.isenabled()
    try:
        (gc.enable if was_on else gc.disable)()
        timing.take_turns({"it": lambda: seen.append(gc.isenabled())}, rounds=2, min_time=1e-9)
        assert gc.isenabled() is was_on
    finally:
        (gc.enable if before else gc.disable)()
    assert seen[-2:] == [False, False]


def test_garbage_collector_comes_back_after_an_error(clock):
    calls = itertools.count()

    def fail():
        if next(calls) == 4:  # two calls find the loops, so this is the third round
            raise ZeroDivisionError

    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        timing.take_turns({"it": fail}, rounds=5, min_time=1e-9)
    assert gc.isenabled()


def test_on_the_real_clock():
    # Sleep never ends early, and only a hundredfold delay, or a wrong unit, goes beyond the upper bound.
    times = timing.take_turns({"sleep": lambda: time.sleep(0.005)}, rounds=3, min_time=0.005)
    assert 0.005 <= times["sleep"].seconds < 0.5


# The demonstration and the command line


def run(*arguments, encoding="utf-8"):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=environment, capture_output=True, encoding=encoding, timeout=120
    )


@pytest.fixture(scope="module", params=["utf-8", "ascii"])
def shown(request):
    return request.param, run(encoding=request.param)


def test_runs_quietly_within_80_columns(shown):
    _, done = shown
    assert done.returncode == 0
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_pictures_suit_the_encoding(shown):
    encoding, done = shown
    glyphs, other = (demo.UNICODE, demo.ASCII) if encoding == "utf-8" else (demo.ASCII, demo.UNICODE)
    assert 2 * glyphs.shades[-1] in done.stdout
    assert 2 * other.shades[-1] not in done.stdout
    assert done.stdout.isascii() == (encoding == "ascii")


def test_says_what_it_found(shown):
    _, done = shown
    network, images, labels = digits.load()
    right = network.predict(images).argmax(axis=1) == labels
    assert done.stdout.startswith(f"fastnet {__version__}\n")
    assert f"{right.mean():.2%} ({right.sum()} right)" in done.stdout
    assert re.search(r"First call: [\d.]+ (ns|us|µs|ms|s),", done.stdout)
    assert "float64" in done.stdout


def test_differences_are_of_rounding(shown):
    _, done = shown
    found = re.findall(r"reference: (\S+) \(float64 ulp at (\S+): (\S+)\)", done.stdout)
    assert len(found) == 2  # the digits, and the book's example
    for difference, largest, spacing in found:
        assert float(difference) <= 64 * float(spacing)
        assert float(spacing) == pytest.approx(np.spacing(float(largest)), rel=0.05)


def test_table_of_times(shown):
    _, done = shown
    unit = r"[\d.]+ (?:ns|us|µs|ms|s)"
    rows = re.findall(rf"^ *([\d,]+) +{unit} +{unit} +(\d+\.\d\d)$", done.stdout, re.MULTILINE)
    assert [n for n, _ in rows] == ["1", "400", "100,000"]
    assert all(float(ratio) > 0 for _, ratio in rows)


def test_scores_of_the_book(shown):
    _, done = shown
    np.random.seed(0)
    x, W1, b1, W2, b2 = (np.random.randn(*s) for s in [(10, 2), (2, 4), (4,), (4, 3), (3,)])
    scores = 1 / (1 + np.exp(-(x @ W1 + b1))) @ W2 + b2
    printed = re.findall(r"^ +(-?\d\.\d{6}) +(-?\d\.\d{6}) +(-?\d\.\d{6})$", done.stdout, re.MULTILINE)
    np.testing.assert_allclose(np.array(printed, float), scores, rtol=0, atol=6e-7)


def open_pipes(command):
    """Start a process whose output is buffered, as it is in a user's pipe."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def test_reader_that_leaves_early():
    with open_pipes(COMMAND) as process:
        assert process.stdout.readline().startswith(b"fastnet ")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 0


def test_text_left_in_the_buffer_when_the_reader_leaves():
    # What a command has written but not flushed must not raise again when Python exits.
    code = """
import sys
from fastnet import cli, demo

def show(stream):
    print("first", file=stream, flush=True)
    sys.stdin.read()
    print("second", file=stream)
    raise BrokenPipeError

demo.show = show
sys.exit(cli.main([]))
"""
    with open_pipes([sys.executable, "-c", code]) as process:
        assert process.stdout.readline().strip() == b"first"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 0


def test_unknown_option():
    done = run("--unknown")
    assert done.returncode == 2
    assert "--unknown" in done.stderr
    assert done.stdout == ""


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fastnet {__version__}\n"


def test_main_shows_the_demo(monkeypatch, capsys):
    monkeypatch.setattr(demo, "show", lambda stream: print("shown", file=stream))
    assert cli.main([]) == 0
    assert capsys.readouterr().out == "shown\n"


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", demo.UNICODE), (None, demo.UNICODE), ("cp437", demo.UNICODE), ("latin-1", demo.ASCII)],
)
def test_glyphs_for(encoding, glyphs):
    assert demo.glyphs_for(encoding) is glyphs


def test_agreement_fits_a_line():
    line = demo.agreement(np.array([-12.5, 3.0]), np.array([-12.5 + 1.7763568394002505e-15, 3.0]))
    assert line == "Largest difference from the reference: 1.8e-15 (float64 ulp at 12.5: 1.8e-15)."
    assert len(line) <= 80


def test_a_picture_is_upright():
    image = np.zeros((8, 8), np.uint8)
    image[0, :] = 16  # the top row inked
    image[:, 1] = 8  # and a grey column on the left
    lines = list(demo.pictures(image.reshape(1, 64), demo.ASCII))
    assert lines == ["@@++" + 12 * "@", *7 * ["  ++" + 12 * " "]]


def test_two_pictures_stand_side_by_side():
    left, right = np.zeros(64, np.uint8), np.full(64, 16, np.uint8)
    assert list(demo.pictures(np.stack([left, right]), demo.ASCII)) == 8 * [16 * " " + 16 * "@"]


def test_the_highest_score_is_marked():
    lines = list(demo.score_table(np.array([[0.5, -2.0], [1.0, 3.0]]), demo.ASCII))
    assert [line.split() for line in lines] == [
        ["0", "0.500", "<", "0", "1.000"],
        ["1", "-2.000", "1", "3.000", "<"],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2e-9, "2 ns"),
        (9.994e-7, "999 ns"),
        (9.996e-7, "1 us"),
        (1.234e-3, "1.23 ms"),
        (0.9996, "1 s"),
        (12, "12 s"),
    ],
)
def test_duration(seconds, text):
    assert demo.duration(seconds, demo.ASCII) == text


def test_a_network_without_mistakes_shows_five(monkeypatch):
    network, images, _ = digits.load()
    perfect = digits.Digits(network, images, network.predict(images).argmax(axis=1).astype(np.uint8))
    monkeypatch.setattr(digits, "load", lambda: perfect)
    monkeypatch.setattr(
        demo, "take_turns", lambda calls, rounds: dict.fromkeys(calls, timing.Timing(1.0, 1.0))
    )
    stream = io.StringIO()
    demo.show(stream)
    assert "it gets all of them right" in stream.getvalue()
    assert "100.00% (400 right)" in stream.getvalue()
