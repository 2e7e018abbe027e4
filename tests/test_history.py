"""Which commits a history is made of, what asv is asked for, and a suite that copes with old versions."""

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import benchmarks
from benchmarks import common, control, history, kernels, network
from fastnet import reference

IDENTITY = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(root, *arguments):
    env = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", "-C", root, *arguments], env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(root, path, text):
    """Write a file and commit it; the commit."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    git(root, "add", path)
    git(root, "commit", "-m", text)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    """A package, kernels from a branch, other files; and the commits that make its history."""
    git(tmp_path, "init", "-b", "main")
    commit(tmp_path, "fastnet/network.py", "before any kernel")
    git(tmp_path, "checkout", "-b", "side")
    commit(tmp_path, "fastnet/kernels/tile.py", "on a branch")
    commit(tmp_path, "fastnet/kernels/tile.py", "better, on a branch")
    git(tmp_path, "checkout", "main")
    commit(tmp_path, "README.md", "meanwhile")
    git(tmp_path, "merge", "--no-ff", "side", "-m", "the kernels")
    commits = [git(tmp_path, "rev-parse", "HEAD"), commit(tmp_path, "fastnet/kernels/sweep.py", "another")]
    commit(tmp_path, "README.md", "words")
    commits.append(commit(tmp_path, "fastnet/network.py", "no kernel, but of the package"))
    return tmp_path, commits


def test_commits_since_the_first_kernel(repository):
    root, commits = repository
    assert history.since_first_kernel("main", root) == commits


def test_no_kernels(tmp_path):
    git(tmp_path, "init", "-b", "main")
    commit(tmp_path, "fastnet/network.py", "no kernel")
    with pytest.raises(history.NoHistory, match="no commit of main adds fastnet/kernels"):
        history.since_first_kernel("main", tmp_path)


def test_no_repository_and_no_branch(repository, tmp_path_factory):
    with pytest.raises(history.NoHistory, match="not a git repository"):
        history.since_first_kernel("main", tmp_path_factory.mktemp("empty"))
    with pytest.raises(history.NoHistory, match="elsewhere"):
        history.since_first_kernel("elsewhere", repository[0])


def test_a_shallow_clone_is_told_what_it_lacks(repository, tmp_path_factory):
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "clone", "--depth", "1", f"file://{repository[0]}", ".")
    with pytest.raises(history.NoHistory, match="unshallow"):
        history.since_first_kernel("main", clone)


@pytest.mark.parametrize(
    ("count", "expected"), [(2, "ak"), (3, "afk"), (4, "adhk"), (6, "acegik"), (11, "abcdefghijk")]
)
def test_spread(count, expected):
    assert "".join(history.spread("abcdefghijk", count)) == expected


@pytest.mark.parametrize("count", [2, 3, 7])
def test_spread_has_no_more_than_there_are(count):
    assert history.spread(["a", "b"], count) == ["a", "b"]
    assert history.spread(["a"], count) == ["a"]
    for length in range(count, 40):
        assert len(set(history.spread(range(length), count))) == count


@pytest.mark.parametrize(
    "argv", [["--commits", "1"], ["--commits", "many"], ["--list", "--publish"], ["everything"]]
)
def test_arguments(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        history.parse(argv)
    assert "error: " in capsys.readouterr().err


@pytest.fixture
def calls(monkeypatch, repository, tmp_path):
    """What asv is called with, in the small repository, by a computer that asv does not know."""
    pytest.importorskip("asv")
    root, _ = repository
    (root / "asv.conf.json").write_text((history.ROOT / "asv.conf.json").read_text())
    found, codes = [], {}

    def asv(*arguments, text=""):
        found.append((arguments, text))
        return codes.get(arguments[0], 0)

    monkeypatch.setattr(history, "ROOT", root)
    monkeypatch.setattr(history, "asv", asv)
    monkeypatch.setattr(history.since_first_kernel, "__defaults__", (root,))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return found, codes


def test_one_command_measures_and_publishes(calls, repository, capsys):
    found, codes = calls
    codes["run"] = 2  # some benchmark failed: its pages are of use all the same
    assert history.main(["--commits", "2"]) == 2
    (machine, _), (run, hashes), (publish, _) = found
    assert machine == ("machine", "--yes")
    assert run[0] == "run"
    assert run[-1] == "HASHFILE:-"
    assert set(history.SUITE) <= set(run)
    assert hashes.splitlines() == [repository[1][-1], repository[1][0]], "the newest first"
    assert publish[0] == "publish"
    page = history.ROOT / ".asv" / "html" / "index.html"
    assert f"pages: {page}" in capsys.readouterr().out


def test_publish_alone_and_its_failure(calls, capsys):
    found, codes = calls
    codes["publish"] = 1
    assert history.main(["--publish"]) == 1
    assert [arguments[0] for arguments, _ in found] == ["publish"]
    assert "pages" not in capsys.readouterr().out


def test_list(calls, repository, capsys):
    assert history.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == repository[1]
    assert calls[0] == []


def test_the_suite_names_benchmarks_that_there_are():
    names = ["network.Predict.track_time_ratio(1)", "control.Control.time_matmul_exp(1)"]
    assert network.Predict.track_time_ratio
    assert control.Control.time_matmul_exp
    for pattern, name in zip(history.SUITE, names, strict=True):
        assert re.search(pattern, name)


# Old versions


def test_a_layer_that_an_old_version_lacks_is_left_out(monkeypatch):
    """``NotImplementedError`` in ``setup`` is how asv is told."""
    old = types.SimpleNamespace(**{n: c for n, c in vars(reference).items() if n not in ("Tanh", "Softmax")})
    monkeypatch.setattr(common, "reference", old)
    activations = common.Activations(sigmoid="Sigmoid", tanh="Tanh", softmax="Softmax")
    assert dict(activations) == {"sigmoid": reference.Sigmoid}
    monkeypatch.setattr(common, "ACTIVATIONS", activations)
    monkeypatch.setattr(kernels, "ACTIVATIONS", activations)
    common.network_problem("2-4-3 x 10", "float32").verify()
    with pytest.raises(NotImplementedError, match="tanh"):
        common.network_problem("30-100-2 x 1 tanh", "float32", max_size=3)
    with pytest.raises(NotImplementedError, match="softmax"):
        kernels.Forward().setup("Softmax", "2-4 x 1", "float32")


def test_under_asv_each_commit_has_a_cache_of_its_own(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(benchmarks.__file__).parents[1])}
    code = "import benchmarks, numba; print(numba.config.CACHE_DIR)"
    for commit in ("one", "two"):
        asv = {"ASV_ENV_DIR": str(tmp_path), "ASV_COMMIT": commit}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**env, **asv}, check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == str(tmp_path / "numba" / commit)
