"""Nothing that a caller passes crashes the process, hangs it, or is answered wrongly or by half."""

import os

import pytest

from tests.isolation import tried

pytestmark = pytest.mark.skipif(os.name != "posix", reason="tells signals by the exit code")

#: group of tests/hostile.py -> examples in a normal run, and in a long one
EXAMPLES = {
    "calls": (150, 6000),
    "outs": (150, 2000),
    "poisoned_outs": (80, 2000),
    "estimators": (60, 1000),
    "changes": (30, 600),  # of up to six steps, with a call after each
}


def test_hostile(record_property):
    groups = [f"{name}:{few}" for name, (few, _) in EXAMPLES.items()]
    count = tried("tests.hostile", *groups, timeout=600)
    record_property("tried", count)
    assert count >= 500


@pytest.mark.long
@pytest.mark.parametrize("group", EXAMPLES)
def test_hostile_many_times(group, record_property):
    """Together more than 10,000 examples."""
    many = EXAMPLES[group][1]
    count = tried("tests.hostile", f"{group}:{many}", timeout=7200)
    record_property("tried", count)
    assert count >= many
