"""The gate: its rule on samples whose truth is known, what it prints and how it ends; nothing is timed."""

from __future__ import annotations

import dis
import json
import math
import random
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import CodeType

import pytest

import fastnet
from benchmarks import common, gate, gate_proof, verdict, ways
from benchmarks.common import DTYPES
from fastnet.kernels import target
from fastnet.threads import limited

PLACES = [f"{way}, {dtype}" for way, dtype in product(ways.WAYS, DTYPES)]


def samples(
    seed: int, slower: dict[str, tuple[float, float]] | None = None, rounds: int = 12
) -> gate.Samples:
    """Samples with 2 % of noise and an outlier in each, some grown by factors of (ratio, seconds)."""
    draw = random.Random(seed)
    found: gate.Samples = {}
    for place in PLACES:
        factors = (slower or {}).get(place, (1.0, 1.0))
        found[place] = {}
        for figure, value, factor in zip(gate.FIGURES, (0.4, 3e-6), factors, strict=True):
            values = [value * factor * draw.lognormvariate(0, 0.02) for _ in range(rounds)]
            values[draw.randrange(rounds)] *= 1.5
            found[place][figure] = values
    return found


def slower(comparisons):
    return [c.name for c in comparisons if c.slower]


# The rule


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_equal_commits_raise_no_alarm_and_a_slower_kernel_is_named(seed):
    base = samples(seed)
    assert slower(gate.compare(base, samples(seed + 1))) == []
    grown = dict.fromkeys(["narrow, float32", "narrow, float64"], (1.15, 1.15))
    assert sorted(slower(gate.compare(base, samples(seed + 1, grown)))) == sorted(grown)


@pytest.mark.parametrize("factors", [(1.15, 1.0), (1.0, 1.15), (1.05, 1.05), (0.8, 0.8), (1.15, 1.05)])
def test_no_alarm_unless_both_figures_grow_enough(factors):
    assert slower(gate.compare(samples(0), samples(1, {"packed, float32": factors}))) == []


@pytest.mark.parametrize("noisy", gate.FIGURES)
def test_no_alarm_unless_both_figures_are_beyond_chance(noisy):
    steady, wild = [1.0 + i / 1000 for i in range(12)], [1.0 + i for i in range(12)]
    base = {"packed, float32": {figure: wild if figure == noisy else steady for figure in gate.FIGURES}}
    head = {place: {f: [1.2 * v for v in s] for f, s in figures.items()} for place, figures in base.items()}
    [found] = gate.compare(base, head)
    assert [found.growth(figure) for figure in gate.FIGURES] == pytest.approx([0.2, 0.2])
    assert not found.slower


def test_no_alarm_by_chance_alone():
    """Noise so large that medians differ by more than the threshold: the test keeps the level."""
    draw = random.Random(0)
    alarms = grown = 0
    for _ in range(100):
        base, head = (
            {p: {f: [draw.lognormvariate(0, 0.5) for _ in range(12)] for f in gate.FIGURES} for p in PLACES}
            for _ in range(2)
        )
        found = gate.compare(base, head)
        alarms += bool(slower(found))
        grown += any(min(map(c.growth, gate.FIGURES)) > verdict.THRESHOLD for c in found)
    assert grown > 90
    assert alarms <= 3  # at most 1 is expected


def test_the_level_is_shared_among_the_benchmarks():
    few = {"packed, float32": {"ratio": [1.0 + i for i in range(8)], "seconds": [1.0 + i for i in range(8)]}}
    more = {"packed, float32": {f: [v + 5.5 for v in s] for f, s in few["packed, float32"].items()}}
    [alone] = gate.compare(few, more)
    assert alone.slower
    assert 0.01 / 2 / 32 < alone.p < 0.01 / 2
    others = {f"{i}": {"ratio": [1.0] * 8, "seconds": [1.0] * 8} for i in range(31)}
    assert slower(gate.compare(few | others, more | others)) == []


def test_what_only_one_commit_has_is_not_compared():
    base = samples(0)
    del base["tanh, float64"]
    found = gate.compare(base, samples(1))
    assert len(found) == len(PLACES) - 1
    assert gate.compare({}, samples(1)) == []


def test_eight_rounds_are_enough_for_the_level():
    """Fewer could not reach it, however much slower a kernel got."""
    grown = {"packed, float32": (2.0, 2.0)}
    few, fewer = ([samples(0, rounds=n), samples(1, grown, rounds=n)] for n in (8, 6))
    assert slower(gate.compare(*few)) == list(grown)
    assert slower(gate.compare(*fewer)) == []


def test_noise_that_hides_growth_is_told():
    base = samples(0)
    assert gate.blind(base) == []
    for figure in gate.FIGURES:
        spread = [0.5 + i / 10 for i in range(12)]
        noisy = base | {"tanh, float32": base["tanh, float32"] | {figure: spread}}
        assert gate.blind(noisy) == ["tanh, float32"]


# What it prints


def test_report_gives_both_figures_of_what_got_slower():
    text = gate.report(gate.compare(samples(0), samples(1, {"narrow, float32": (1.2, 1.3)})), 12)
    [row] = [line for line in text.splitlines() if "float" in line]
    assert row.startswith("| narrow, float32 | ")
    assert "µs" in row
    duration, ratio = (float(cell.strip(" %+")) for cell in row.split("|") if "%" in cell)
    assert 25 < duration < 35
    assert 15 < ratio < 25
    verdict = f"1 of {len(PLACES)} benchmarks got slower, by more than 8% in ratio and in duration"
    assert verdict in text
    assert "12 processes" in text
    assert "false alarm at most 1%" in text


def test_report_of_nothing():
    found = gate.compare(samples(0), samples(1))
    assert gate.report(found, 12).startswith(f"0 of {len(PLACES)} benchmarks got slower")
    every = gate.report(found, 12, every=True)
    assert sum(line.startswith(tuple(f"| {p} |" for p in PLACES)) for line in every.splitlines()) == len(
        PLACES
    )


# The command


class Asv:
    """Stands in for asv: what each side's samples are, and what is wrong."""

    def __init__(self, monkeypatch):
        self.classes, self.failed, self.samples = [], {}, {"base": samples(0), "head": samples(1)}
        self.packages = {"base": {"numpy": "2.4"}, "head": {"numpy": "2.4"}}

        def run(side, benchmark_class, may_fail=False):
            assert may_fail == (benchmark_class == "Answers")
            self.classes.append((benchmark_class, side.name))
            return f"asv ran {benchmark_class}"

        monkeypatch.setattr(gate.Side, "__init__", self.side)
        monkeypatch.setattr(gate.Side, "run", run)
        monkeypatch.setattr(gate.Side, "failed", lambda side: self.failed.get(side.name, []))
        monkeypatch.setattr(gate.Side, "samples", lambda side: self.samples[side.name])
        monkeypatch.setattr(gate.Side, "requirements", lambda side: self.packages[side.name])
        monkeypatch.setattr(gate, "resolve", lambda revision: f"hash of {revision}")
        monkeypatch.setattr(gate, "prepare_asv", lambda: None)

    @staticmethod
    def side(side, name, commit, folder):
        side.name, side.commit, side.folder = name, commit, folder


@pytest.fixture
def asv(monkeypatch):
    return Asv(monkeypatch)


def test_answers_first_then_the_commits_take_turns(asv, capsys):
    assert gate.main(["main", "--rounds", "9"]) == gate.OK
    assert asv.classes[:2] == [("Answers", "base"), ("Answers", "head")]
    turns = [side for kind, side in asv.classes if kind == "Ways"]
    assert turns == [*["base", "head", "head", "base"] * 4, "base", "head"]
    assert capsys.readouterr().out.startswith("0 of")


def test_what_is_undecided_gets_as_many_processes_again(asv, capsys):
    """Three disturbed processes of the base hide what got slower; of twice as many they do not."""
    grown = {"packed, float64": (1.15, 1.15)}
    disturbed = samples(0)
    for values in disturbed["packed, float64"].values():
        values[:3] = [2 * value for value in values[:3]]
    more = samples(2), samples(3, grown)
    asv.samples = {"base": disturbed, "head": samples(1, grown)}
    [first] = [c for c in gate.compare(*asv.samples.values()) if c.undecided]
    assert (first.name, first.slower) == ("packed, float64", False)

    def looked(side, stored=gate.Side.samples):
        second = sum(kind == "Ways" for kind, _ in asv.classes) == 48
        found = stored(side)
        extra = more[side.name == "head"]
        return {p: {f: s + extra[p][f] * second for f, s in fs.items()} for p, fs in found.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate.Side, "samples", looked)
        assert gate.main(["main"]) == gate.SLOWER
    assert len(asv.classes) == 2 + 2 * 24
    out = capsys.readouterr().out
    assert f"1 of {len(PLACES)} benchmarks got slower" in out
    assert "24 processes" in out


def test_what_stays_undecided_is_shown(asv, capsys):
    for side, factor in (("base", 1.0), ("head", 1.2)):
        values = [factor * (1 + i) for i in range(12)]
        asv.samples[side]["packed, float64"] = dict.fromkeys(gate.FIGURES, values)
    assert gate.main(["main"]) == gate.OK
    out = capsys.readouterr().out
    assert "| packed, float64 |" in out
    assert "| perhaps |" in out
    assert f"0 of {len(PLACES)} benchmarks got slower" in out


def test_a_slower_kernel_is_named_and_the_exit_code_says_so(asv, tmp_path, capsys):
    asv.samples["head"] = samples(1, {"packed, float64": (1.15, 1.15)})
    record = tmp_path / "record.json"
    assert gate.main(["main", "topic", "--json", str(record)]) == gate.SLOWER == 1
    assert "| packed, float64 |" in capsys.readouterr().out
    found = json.loads(record.read_text())
    assert (found["base"], found["head"]) == ("hash of main", "hash of topic")
    assert found["slower"] == ["packed, float64"]
    assert slower(gate.compare(*found["samples"])) == found["slower"]


@pytest.mark.parametrize(
    ("noisy", "code"), [(len(PLACES) // 4, gate.OK), (len(PLACES) // 4 + 1, gate.UNUSABLE)]
)
def test_a_noisy_machine_is_no_pass(noisy, code, asv, tmp_path, capsys):
    spread = [0.5 + i / 10 for i in range(12)]
    for side in asv.samples.values():
        side.update({place: dict.fromkeys(gate.FIGURES, spread) for place in PLACES[:noisy]})
    record = tmp_path / "record.json"
    assert gate.main(["main", "--json", str(record)]) == code
    out, err = capsys.readouterr()
    assert "Too noisy to show 15% of growth: call, float32; " in out
    assert ("too noisy to tell" in err) == (code == gate.UNUSABLE)
    assert json.loads(record.read_text())["slower"] == []


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_wrong_answer_ends_it_before_anything_is_timed(asv, side, tmp_path, capsys):
    asv.failed[side] = ["narrow, float32"]
    record = tmp_path / "record.json"
    assert gate.main(["main", "--json", str(record)]) == gate.WRONG == 3
    assert {kind for kind, _ in asv.classes} == {"Answers"}
    out = capsys.readouterr().out
    assert f"Wrong answers, or none, of the {side}, hash of " in out
    assert out.endswith("narrow, float32\n")
    assert "asv ran Answers" in out
    assert not record.exists()


@pytest.mark.parametrize(
    ("code", "may_fail", "good"),
    [
        (0, False, True),
        (0, True, True),
        (2, True, True),
        (2, False, False),
        (1, True, False),
        (1, False, False),
    ],
)
def test_what_asv_cannot_run_is_an_error(code, may_fail, good, tmp_path, monkeypatch):
    """A failed round would leave fewer samples than the rule counts on."""
    seen = []

    def asv(*arguments, **variables):
        seen.append((arguments, variables))
        return subprocess.CompletedProcess([], code, stdout="what asv said")

    monkeypatch.setattr(gate, "asv", asv)
    monkeypatch.setattr(gate.Side, "config", lambda side: {})
    stale = tmp_path / "head" / "numba" / "cafe"
    stale.mkdir(parents=True)
    side = gate.Side("head", "beef", tmp_path)
    assert not stale.exists()
    if good:
        assert side.run("Ways", may_fail) == "what asv said"
    else:
        with pytest.raises(gate.GateError, match="could not run the head, beef:\nwhat asv said"):
            side.run("Ways", may_fail)
    [(arguments, variables)] = seen
    assert "beef^!" in arguments
    assert r"^ways\.Ways\." in arguments
    assert "--append-samples" in arguments
    assert variables == {"NUMBA_CACHE_DIR": str(tmp_path / "head" / "numba" / "beef")}


@pytest.mark.long
def test_asv_builds_both_commits_and_refuses_the_wrong_one(tmp_path, monkeypatch):
    """All of it but the timing, about a minute; the rest is ``python -m benchmarks.gate_proof``."""
    pytest.importorskip("asv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gate_proof.main(["--at-most", "1", "--folder", str(tmp_path / "proof")]) == 0
    [found] = json.loads((tmp_path / "proof" / "runs.json").read_text())
    assert found["exit"] == gate.WRONG
    assert found["said"][-1] == "narrow, float32; narrow, float64"


def test_answers_alone(asv, capsys):
    assert gate.main(["main", "--answers"]) == gate.OK
    assert {kind for kind, _ in asv.classes} == {"Answers"}
    assert capsys.readouterr().out == "The answers of both are right.\n"


def test_environments_have_to_be_the_same(asv, capsys):
    asv.packages["head"] = {"numpy": "2.5"}
    assert gate.main(["main"]) == gate.UNUSABLE
    assert "the environments differ in numpy: delete" in capsys.readouterr().err
    assert {kind for kind, _ in asv.classes} == {"Answers"}


def test_nothing_in_common(asv, capsys):
    asv.samples["base"] = {}
    assert gate.main(["main"]) == gate.UNUSABLE
    assert "no benchmark in common" in capsys.readouterr().err


@pytest.mark.parametrize("revision", ["no-such-branch", "", "--help", "HEAD:README.md", "0" * 40])
def test_an_unknown_commit_is_an_error(revision, tmp_path, monkeypatch, capsys):
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(gate, "ROOT", tmp_path)
    assert gate.main(["--", revision]) == gate.UNUSABLE == 2
    assert f"unknown commit: {revision!r}" in capsys.readouterr().err


def test_commits_are_resolved(tmp_path, monkeypatch):
    def git(*arguments):
        return gate_proof.git(*arguments, cwd=tmp_path)

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    git("tag", "--annotate", "v1", "--message", "a tag is not a commit")
    monkeypatch.setattr(gate, "ROOT", tmp_path)
    assert gate.resolve("HEAD") == gate.resolve("v1") == git("rev-parse", "HEAD")


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"], ["a", "--rounds", "7"], ["a", "--rounds", "x"]])
def test_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        gate.main(arguments)
    assert error.value.code == 2
    assert "usage: python -m benchmarks.gate" in capsys.readouterr().err


def test_labels_are_in_the_order_of_asv():
    params = [[repr(name) for name in ways.WAYS], [repr(dtype) for dtype in DTYPES]]
    assert gate.labels(params) == PLACES


# The suite


@pytest.fixture
def small(monkeypatch):
    for cls in (ways.Answers, ways.Ways):
        monkeypatch.setattr(cls, "max_size", 5)
    monkeypatch.setattr(ways.Ways, "timing", {"rounds": 1, "min_time": 0})
    monkeypatch.setattr(ways, "one_thread", lambda: None)


def test_every_way_is_verified_and_timed(small):
    errors, times = ways.Answers().setup_cache(), ways.Ways().setup_cache()
    assert list(errors) == list(times) == list(product(ways.WAYS, DTYPES))
    for place in times:
        assert 0 <= ways.Answers().track_error(errors, *place) <= 1
        for figure in (ways.Ways().track_time_ratio, ways.Ways().track_seconds):
            [value] = figure(times, *place)["samples"]
            assert math.isfinite(value)
            assert value > 0


def test_a_wrong_answer_fails_its_own_benchmark(small, monkeypatch):
    right = fastnet.Tanh.forward
    monkeypatch.setattr(fastnet.Tanh, "forward", lambda self, x, out=None: right(self, x, out) * 1.001)
    errors = ways.Answers().setup_cache()
    for way, dtype in errors:
        if way == "tanh":
            with pytest.raises(RuntimeError, match="WrongAnswer"):
                ways.Answers().track_error(errors, way, dtype)
        else:
            assert ways.Answers().track_error(errors, way, dtype) <= 1


def test_what_a_commit_lacks_is_left_out(small, monkeypatch):
    monkeypatch.setattr(fastnet, "__all__", [name for name in fastnet.__all__ if name != "Softmax"])
    errors, times = ways.Answers().setup_cache(), ways.Ways().setup_cache()
    lacking = {(way, dtype) for way in ("softmax", "samples in lanes, softmax") for dtype in DTYPES}
    assert set(product(ways.WAYS, DTYPES)) - set(times) == lacking
    for place in lacking:
        assert math.isnan(ways.Answers().track_error(errors, *place))
        assert math.isnan(ways.Ways().track_seconds(times, *place))
        assert math.isnan(ways.Ways().track_time_ratio(times, *place))


#: Way -> how ``explain`` describes it: what lies in the lanes, how weights are read.
DESCRIBED = {
    "one row": ("outputs", "in place"),
    "one row, streamed": ("outputs", "streamed"),
    "few rows": ("outputs", "in place"),
    "few rows, streamed": ("outputs", "streamed"),
    "in place": ("outputs", "in place"),
    "in place, sigmoid": ("outputs", "in place"),
    "packed": ("outputs", "packed"),
    "packed, transposed": ("outputs", "packed"),
    "few rows, transposed": ("outputs", "transposed"),
    "one row, across lines": ("outputs", "streamed" if target.SPLITS_COST else "in place"),
    "packed, across lines": ("outputs", "packed" if target.SPLITS_COST else "in place"),
    "narrow": ("outputs", "broadcast"),
    "samples in lanes": ("samples", "broadcast"),
    "samples in lanes, softmax": ("samples", "broadcast"),
}


@pytest.mark.parametrize(("way", "dtype"), [*product(DESCRIBED, DTYPES)])
def test_names_say_which_kernel_runs(way, dtype):
    problem = ways.way_problem(way, dtype)
    with limited(1):  # as they are timed
        [plan] = fastnet.explain(common.sequential(problem.layers), len(problem.x), dtype)
    orientation, weights = DESCRIBED[way]
    assert plan.orientation == f"{orientation} in lanes"
    assert set(plan.weights) == {weights}


# The proof


def names_read(code: CodeType) -> set[str]:
    """Global names that some code reads, functions in it and all: a name that is not local is one of them."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(names_read(c) for c in code.co_consts if isinstance(c, CodeType)))


@pytest.mark.parametrize(
    "edit", [*gate_proof.SLOWED.values(), gate_proof.WRONG], ids=[*gate_proof.SLOWED, "wrong"]
)
def test_the_edits_of_the_proof_fit_the_kernels(edit, tmp_path):
    """Whoever moves these lines has to move the edits, too."""
    path = tmp_path / edit.file
    path.parent.mkdir(parents=True)
    before = (Path(fastnet.__file__).parents[1] / edit.file).read_text(encoding="utf-8")
    path.write_text(before, encoding="utf-8")
    edit.apply(tmp_path)
    assert names_read(compile(path.read_text(encoding="utf-8"), edit.file, "exec")) <= names_read(
        compile(before, edit.file, "exec")
    )
    assert path.read_text(encoding="utf-8") != before
    with pytest.raises(ValueError, match="times, not once"):
        edit._replace(old="no such line").apply(tmp_path)


def test_slowed_kernels_are_ways():
    assert set(gate_proof.SLOWED) <= set(ways.WAYS)
    assert gate_proof.cases(10)[:11] == [gate_proof.WRONG_ANSWER, *[gate_proof.SAME] * 10]
    slowed = gate_proof.cases(10)[11:]
    assert len(slowed) == 10
    assert {case.removeprefix("slower: ") for case in slowed} == set(gate_proof.SLOWED)


def record(case: str, code: int, named: list[str] | None = None, growth: float = 0.15) -> dict:
    found = {"case": case, "exit": code, "seconds": 100.0}
    if named is None:
        return found
    return found | {"named": named, "growth": {p: dict.fromkeys(gate.FIGURES, growth) for p in PLACES}}


NARROW = ["narrow, float64", "narrow, float32"]
GOOD = [record("wrong answer", 3), record("same commit", 0, [], 0.01), record("slower: narrow", 1, NARROW)]


def test_summary_of_a_proof():
    text = gate_proof.summary([*GOOD, record("same commit", 0, [], 0.02), record("too noisy", 2, [])])
    assert "| 1 | refused: too noisy to tell |" in text
    assert "| a wrong answer, in narrow layers | 1 | refused in 1, before any timing |" in text
    alarm = "no alarm in 2; most growth of a benchmark in both figures +2.0%"
    assert f"| the same commit twice | 2 | {alarm} |" in text
    assert (
        "(+15.0% duration, +15.0% ratio) | 1 | `narrow` named, in both dtypes, and nothing else, in 1 |"
        in text
    )
    assert "A run took 100 s" in text


@pytest.mark.parametrize(
    "bad",
    [
        record("same commit", 1, ["narrow, float32"]),
        record("slower: narrow", 0, []),
        record("slower: narrow", 1, NARROW[:1]),
        record("slower: narrow", 1, [*NARROW, "packed, float32"]),
        record("slower: narrow", 1, ["packed, float32"]),
        record("wrong answer", 1, NARROW),
        record("wrong answer", 0, []),
    ],
    ids=lambda record: f"{record['case']}, {record['exit']}, {record.get('named')}",
)
def test_a_proof_that_fails_says_so(bad, tmp_path, monkeypatch, capsys):
    assert all(map(gate_proof.as_expected, GOOD))
    assert not gate_proof.as_expected(bad)
    left = [GOOD[0], GOOD[1], bad]
    monkeypatch.setattr(gate_proof, "clone", lambda folder: folder / "fastnet")
    monkeypatch.setattr(gate_proof, "run", lambda case, copy: left.pop(0))
    arguments = ["--runs", "1", "--folder", str(tmp_path)]
    assert gate_proof.main([*arguments, "--at-most", "2"]) == 0
    assert gate_proof.main(arguments) == 1
    assert left == []


def test_a_proof_goes_on_where_it_stopped(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(gate_proof, "clone", lambda folder: folder / "fastnet")
    monkeypatch.setattr(gate_proof, "run", lambda case, copy: ran.append(case) or record(case, 0, [], 0.0))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- gate: begin -->\n<!-- gate: end -->\n")
    arguments = ["--runs", "2", "--folder", str(tmp_path)]
    for _ in range(3):
        gate_proof.main([*arguments, "--at-most", "2", "--write", str(readme)])
    assert ran == gate_proof.cases(2)
    assert "| the same commit twice | 2 |" in readme.read_text()


def test_the_commands_say_what_they_do():
    for module in ("gate", "gate_proof"):
        command = [sys.executable, "-m", f"benchmarks.{module}", "--help"]
        done = subprocess.run(command, cwd=Path(gate.ROOT), check=True, capture_output=True, text=True)
        assert f"usage: python -m benchmarks.{module}" in done.stdout
