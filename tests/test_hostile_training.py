"""Nothing that a caller passes to training crashes the process, hangs it, or half-updates a parameter."""

import os

import pytest

from tests.isolation import tried

pytestmark = pytest.mark.skipif(os.name != "posix", reason="tells signals by the exit code")

#: group of tests/hostile_training.py -> examples in a normal run, and in a long one
EXAMPLES = {"steps": (250, 6000), "fits": (250, 6000), "overlaps": (150, 3000)}


def test_hostile(record_property):
    groups = [f"{name}:{few}" for name, (few, _) in EXAMPLES.items()]
    count = tried("tests.hostile_training", *groups, timeout=600)
    record_property("tried", count)
    assert count >= 500


@pytest.mark.long
@pytest.mark.parametrize("group", EXAMPLES)
def test_hostile_many_times(group, record_property):
    """Together more than 10,000 examples."""
    many = EXAMPLES[group][1]
    count = tried("tests.hostile_training", f"{group}:{many}", timeout=7200)
    record_property("tried", count)
    assert count >= many
