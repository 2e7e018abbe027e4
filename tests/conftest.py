"""Hypothesis draws the same examples in every run, and is never timed: the first call compiles."""

import gc
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fastnet",
    derandomize=True,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastnet")

# A shell that starts a run in the background has it ignore interrupts, which some tests wait for.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What has been imported by now stays: collections of garbage, of which tests make many, leave it out."""
    gc.collect()
    gc.freeze()
