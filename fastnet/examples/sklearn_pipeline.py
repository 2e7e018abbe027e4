"""Two scikit-learn pipelines replaced by fastnet: the same labels, sooner.

``python -m fastnet.examples.sklearn_pipeline`` fits a scaler and a network on scikit-learn's digits and on
its breast-cancer data, takes the fitted pipelines over with `fastnet.from_sklearn`, and compares labels and
time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fastnet
from fastnet.timing import take_turns

BATCHES = (1, 10_000)


class Comparison(NamedTuple):
    """One pipeline and its replacement, on one number of rows."""

    data: str
    rows: int
    #: of the labels of the held-out rows
    accuracy: float
    #: of a call of predict
    sklearn_seconds: float
    fastnet_seconds: float
    times_faster: float


def fit(data: str) -> tuple[Any, Any, Any]:
    """A fitted pipeline, and rows that it has not seen with their labels."""
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MinMaxScaler, StandardScaler
    except ImportError as error:
        raise ImportError(f'{error}: pip install "fastnet[examples]"') from error
    network = MLPClassifier(learning_rate_init=0.01, early_stopping=True, random_state=0)
    if data == "digits":
        bunch, scaler = datasets.load_digits(), MinMaxScaler()
        network.set_params(hidden_layer_sizes=(64,), activation="logistic")
    else:
        bunch, scaler = datasets.load_breast_cancer(), StandardScaler()
        network.set_params(hidden_layer_sizes=(30, 15), activation="relu")
    x, x_held_out, labels, held_out = train_test_split(
        bunch.data, bunch.target_names[bunch.target], random_state=0
    )
    return make_pipeline(scaler, network).fit(x, labels), x_held_out, held_out


def compare(data: str, batches: Sequence[int] = BATCHES) -> Iterator[Comparison]:
    """Fit, replace, check the labels and the probabilities, and time both.

    Raises
    ------
    RuntimeError
        If a label differs, or a probability by more than rounding.
    """
    pipeline, x, labels = fit(data)
    replacement: Any = fastnet.from_sklearn(pipeline)
    got = replacement.predict(x)
    if not np.array_equal(got, pipeline.predict(x)):
        raise RuntimeError(f"{data}: fastnet gives other labels than scikit-learn")
    if not np.allclose(replacement.predict_proba(x), pipeline.predict_proba(x), rtol=1e-9, atol=1e-12):
        raise RuntimeError(f"{data}: fastnet gives other probabilities than scikit-learn")
    accuracy = float((got == labels).mean())
    for rows in batches:
        some = np.resize(x, (rows, x.shape[1]))  # repeats them
        calls = {"fastnet": partial(replacement.predict, some), "sklearn": partial(pipeline.predict, some)}
        ours, theirs = take_turns(calls, rounds=5).values()
        yield Comparison(data, rows, accuracy, theirs.seconds, ours.seconds, theirs.ratio)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example from the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process unless given.
    """
    parser = argparse.ArgumentParser(prog="python -m fastnet.examples.sklearn_pipeline", description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES, help="rows (default: 1 10000)")
    arguments = parser.parse_args(argv)
    print(f"{'data':<16}{'accuracy':>10}{'rows':>8}{'scikit-learn':>16}{'fastnet':>12}{'times faster':>14}")
    for data in ("digits", "breast cancer"):
        for found in compare(data, arguments.batch):
            times = [f"{1e6 * s:,.1f} us" for s in (found.sklearn_seconds, found.fastnet_seconds)]
            print(
                f"{data:<16}{found.accuracy:>10.1%}{found.rows:>8,}{times[0]:>16}{times[1]:>12}"
                f"{found.times_faster:>14.1f}"
            )
    print("Labels equal scikit-learn's on all held-out rows.")


if __name__ == "__main__":
    main()
