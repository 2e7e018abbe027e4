"""The table of what was tried to break fastnet, on small suites made for it."""

import textwrap
from pathlib import Path

import pytest

from benchmarks import hostile

MARKED = "before\n<!-- hostile: begin -->\nold\n<!-- hostile: end -->\nafter\n"
SUITE = {
    "tests/test_calls.py": """
        import pytest

        @pytest.mark.parametrize("n", [300, 700])
        def test_random(n, record_property):
            record_property("tried", n)

        def test_once():
            pass

        @pytest.mark.long
        def test_more(record_property):
            record_property("tried", 10_000)
    """,
    "tests/test_hosts.py": """
        import pytest

        class TestThreads:
            def test_threads(self, record_property):
                record_property("tried", 64)

        class TestThreadsElsewhere:
            def test_fork(self, record_property):
                record_property("tried", 3)

            def test_on_another_system(self, record_property):
                record_property("tried", 5)
                pytest.skip("not here")

        @pytest.mark.long
        @pytest.mark.parametrize("what", ["threads-1", "forks-1", "forks-2"])
        def test_long(what, record_property):
            record_property("tried", 1000)
    """,
}
POINTS = {
    "Calls": ("tests/test_calls.py",),
    "Threads": ("tests/test_hosts.py::TestThreads", "tests/test_hosts.py::test_long[threads"),
    "Forks": ("tests/test_hosts.py",),
}


def rows_of(text):
    """Below the header of the only table."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]


@pytest.fixture
def run(tmp_path, capfd):
    """Write a suite and run it: exit code, rows of the table, the file that it is written to."""

    def run(suite, *arguments, points=POINTS):
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long\naddopts = -m 'not long'\n")
        (tmp_path / "SECURITY.md").write_text(MARKED)
        (tmp_path / "tests").mkdir()
        for path, text in suite.items():
            (tmp_path / path).write_text(textwrap.dedent(text))
        argv = [*arguments, "--write", str(tmp_path / "SECURITY.md")]
        code = hostile.main(argv, points=points, root=tmp_path)
        text = (tmp_path / "SECURITY.md").read_text()
        rows = rows_of(text)
        assert text.startswith("before\n<!-- hostile: begin -->\n| what | tests | tried | outcome |\n")
        assert text.endswith("\n<!-- hostile: end -->\nafter\n")
        assert text.split("hostile: begin -->\n")[1].split("\n<!--")[0] in capfd.readouterr().out
        return code, rows, text

    return run


def test_all_holds(run):
    code, rows, text = run(SUITE)
    assert code == 0
    assert rows == [
        ["Calls", "3", "1,001", "held"],
        ["Threads", "1", "64", "held"],
        ["Forks", "1", "3", "held, 1 skipped"],
    ]
    assert "1,068 tried in all" in text


def test_long(run):
    code, rows, _ = run(SUITE, "--long")
    assert code == 0
    assert rows == [
        ["Calls", "4", "11,001", "held"],
        ["Threads", "2", "1,064", "held"],
        ["Forks", "3", "2,003", "held, 1 skipped"],
    ]


def test_failures_are_in_the_table(run):
    broken = SUITE["tests/test_calls.py"].replace('("tried", n)', '("tried", n)\n            assert n < 500')
    code, rows, _ = run({**SUITE, "tests/test_calls.py": broken})
    assert code == 1
    assert rows[0] == ["Calls", "3", "1,001", "**1 failed**: tests.test_calls.test_random[700]"]
    assert rows[1][-1] == "held"


def test_a_fixture_that_fails_is_a_failure(run):
    broken = """
        import pytest

        @pytest.fixture
        def model():
            raise OSError

        def test_calls(model):
            pass
    """
    code, rows, _ = run({**SUITE, "tests/test_calls.py": broken})
    assert code == 1
    assert rows[0][-1] == "**1 failed**: tests.test_calls.test_calls"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("import pytest\ndef test_it(): pytest.skip('not here')", ["0", "0", "**not tried**, 1 skipped"]),
        ("import pytest\n@pytest.mark.long\ndef test_it(): pass", ["0", "0", "**not tried**"]),
    ],
)
def test_what_was_not_tried_does_not_hold(run, text, row):
    code, rows, _ = run({**SUITE, "tests/test_calls.py": text})
    assert code == 1
    assert rows[0] == ["Calls", *row]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("import fastnet.elsewhere", "exit code 2"),
    ],
)
def test_no_result_is_no_table(run, text, message, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run({**SUITE, "tests/test_calls.py": text})
    assert (tmp_path / "SECURITY.md").read_text() == MARKED


def test_every_test_is_in_a_row(run):
    with pytest.raises(SystemExit, match=r"tests.test_hosts.TestThreadsElsewhere.test_fork is in no row"):
        run(SUITE, points={**POINTS, "Forks": ("tests/test_hosts.py::TestForks",)})


def test_a_file_that_is_not_there(run):
    with pytest.raises(SystemExit, match=r"there is no tests/test_gone\.py"):
        run(SUITE, points={**POINTS, "Gone": ("tests/test_gone.py::test_it",)})


def test_a_file_without_markers_fails_before_any_test(tmp_path, monkeypatch):
    monkeypatch.setattr(hostile, "run_tests", lambda *_: pytest.fail("ran"))
    (tmp_path / "SECURITY.md").write_text("no markers")
    with pytest.raises(ValueError, match="hostile: begin"):
        hostile.main(["--write", str(tmp_path / "SECURITY.md")])


def test_every_test_that_counts_is_in_a_row():
    """Files whose tests say how much they have tried, and the rows."""
    files = set(Path(__file__).parent.glob("test_*.py")) - {Path(__file__)}
    counting = {path.name for path in files if "record_property" in path.read_text()}
    named = {Path(place.partition("::")[0]).name for places in hostile.POINTS.values() for place in places}
    assert counting <= named


def test_some_rows_again(run, tmp_path):
    """Of a file with all rows, those named are replaced; their tests' files are run, the others not."""
    broken = SUITE["tests/test_calls.py"].replace('("tried", n)', '("tried", n)\n            assert n < 500')
    run({**SUITE, "tests/test_calls.py": broken})
    (tmp_path / "tests" / "test_hosts.py").unlink()
    (tmp_path / "tests" / "test_calls.py").write_text(textwrap.dedent(SUITE["tests/test_calls.py"]))
    arguments = ["--only", "Call", "--write", str(tmp_path / "SECURITY.md")]
    assert hostile.main(arguments, points=POINTS, root=tmp_path) == 0
    text = (tmp_path / "SECURITY.md").read_text()
    rows = rows_of(text)
    assert rows == [
        ["Calls", "3", "1,001", "held"],
        ["Threads", "1", "64", "held"],
        ["Forks", "1", "3", "held, 1 skipped"],
    ]
    assert "1,068 tried in all" in text


def test_some_rows_of_a_file_without_the_others(run):
    with pytest.raises(SystemExit, match="has no row yet of Threads, Forks"):
        run(SUITE, "--only", "Calls")


def test_rows_that_are_not_there(run):
    with pytest.raises(SystemExit, match="no row has any of Nothing"):
        run(SUITE, "--only", "Nothing")
