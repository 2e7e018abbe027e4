"""What a release has to agree on: one version, one range of versions, documents that name what there is."""

import importlib.util
import re
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import fastnet
from fastnet import cli
from fastnet.formats import scaling

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCUMENTS = sorted(path.name for path in ROOT.glob("*.md"))
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def version_in(pattern, name):
    return re.findall(pattern, text(name), re.MULTILINE)


def test_the_version_is_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fastnet._version.__version__"}
    source = Path(fastnet.__file__).with_name("_version.py").read_text()
    assert source == f'__version__ = "{fastnet.__version__}"\n'


def test_everything_that_tells_the_version_agrees(capsys):
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+|\.dev\d+)?", fastnet.__version__)
    assert metadata.version("fastnet") == fastnet.__version__
    newest, *older = version_in(r"^## (.*)$", "CHANGELOG.md")
    assert re.fullmatch(rf"{re.escape(fastnet.__version__)} \((unreleased|\d{{4}}-\d\d-\d\d)\)", newest)
    assert not [heading for heading in older if "unreleased" in heading]
    assert cli.main(["info"]) in (0, None)
    assert f" fastnet {fastnet.__version__}, Python " in capsys.readouterr().out


def test_the_range_of_versions_is_the_same_everywhere():
    project = PROJECT["project"]
    numpy, numba = (re.fullmatch(r"\w+>=([\d.]+)", wanted)[1] for wanted in project["dependencies"])
    assert project["requires-python"] == f">={PYTHONS[0]}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"
    words = " ".join(text("README.md").split())
    assert f"64-bit CPython {PYTHONS[0]} to {PYTHONS[-1]}" in words
    assert f"NumPy {numpy} or later and Numba {numba} or later" in words


def test_the_readme_has_the_tolerance_of_folding():
    words = " ".join(text("README.md").split())
    found = re.search(r"sums may move by (\S+) \(float64\) or (\S+) \(float32\) of their size", words)
    assert found
    names = map(np.dtype, ("float64", "float32"))
    assert [float(number) for number in found.groups()] == [scaling.TOLERANCE[name] for name in names]


def test_every_extra_is_in_the_readme():
    rows = version_in(r"^\| `(\w+)` \| .* \| .* \|$", "README.md")
    assert rows == list(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    """Files that a document links to, and headings of a document."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text(name)):
        path, _, heading = target.partition("#")
        places = (ROOT, Path(fastnet.__file__).parents[1])  # an installed package is elsewhere
        assert not path or any((place / path).exists() for place in places), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", text(path or name), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings]
            assert heading in anchors, target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_of_the_documents_exist(name):
    """``python -m benchmarks.NAME`` and the like are modules, ``tests/NAME.py`` and the like are files."""
    for module in re.findall(r"python (?:-P )?-m ((?:benchmarks|fastnet|tests)(?:\.\w+)*)", text(name)):
        found = importlib.util.find_spec(module)
        assert found, module
        assert not found.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__"), module
    for path in re.findall(r"`((?:benchmarks|tests)/\w+\.\w+)`", text(name)):
        assert (ROOT / path).is_file(), path
