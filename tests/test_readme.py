"""The examples of README.md that need other libraries: blocks that begin with ```python needs LIBRARY ..."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```python needs ([\w ]+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_there_are_examples():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("needs", "code"), BLOCKS, ids=[needs for needs, _ in BLOCKS])
def test_example(needs, code, tmp_path, monkeypatch):
    for library in needs.split():
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
