"""``from_sklearn``: the same labels and numbers as the estimator's own, or a refusal by name."""

import copy
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import fastnet
from tests.models import DTYPES, close

pytest.importorskip("sklearn")

from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler

ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
METHODS = ["predict", "predict_proba", "predict_log_proba"]


def fit(model, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps: it need not converge
        return model.fit(x, y)


def classifier(**kwargs):
    return MLPClassifier(**{"hidden_layer_sizes": (16, 8), "max_iter": 40, "random_state": 0, **kwargs})


def regressor(**kwargs):
    return MLPRegressor(**{"hidden_layer_sizes": (16, 8), "max_iter": 40, "random_state": 0, **kwargs})


def same_numbers(estimator, x, *methods):
    """What every method returns: labels equal, probabilities and targets close, -inf in the same places."""
    model = fastnet.from_sklearn(estimator)
    for method in methods:
        with np.errstate(all="ignore"):
            want = getattr(estimator, method)(x)
        got = getattr(model, method)(x)
        if method == "predict" and hasattr(estimator, "classes_"):
            np.testing.assert_array_equal(got, want, strict=True)
        elif method == "predict_log_proba":
            with np.errstate(all="ignore"):
                # relative errors of a probability are absolute ones of its logarithm
                rtol = 1e-4 if want.dtype == "float32" else 1e-8
                np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)
            assert got.dtype == want.dtype
        else:
            close(got, want, str(want.dtype))
    return model


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data", ["iris", "wine", "breast_cancer", "digits"])
def test_labels_of_the_bundled_data(data, dtype, activation):
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    x = x.astype(dtype)
    estimator = fit(classifier(activation=activation), x / np.abs(x).max(axis=0, initial=1), y)
    assert estimator.coefs_[0].dtype == dtype
    x = x / np.abs(x).max(axis=0, initial=1)
    model = same_numbers(estimator, x, *METHODS)
    np.testing.assert_array_equal(model.classes_, estimator.classes_, strict=True)
    assert model.n_features_in_ == estimator.n_features_in_ == x.shape[1]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_targets_of_diabetes(dtype, activation):
    x, y = datasets.load_diabetes(return_X_y=True)
    x, y = x.astype(dtype), y.astype(dtype)
    same_numbers(fit(regressor(activation=activation), x, y), x, "predict")
    same_numbers(fit(regressor(activation=activation), x, np.c_[y, -y, y**0.5]), x, "predict")
    same_numbers(fit(regressor(activation=activation), x, y[:, np.newaxis]), x, "predict")


@pytest.mark.parametrize("x_dtype", [*DTYPES, "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_input_dtype(dtype, x_dtype):
    """NumPy's promotion of input and weights, on both sides."""
    x, y = datasets.load_iris(return_X_y=True)
    estimator = fit(classifier(), x.astype(dtype), y)
    tests = x.astype(x_dtype)
    want, got = estimator.predict_proba(tests), fastnet.from_sklearn(estimator).predict_proba(tests)
    assert got.dtype == want.dtype
    coarse = "float32" if "float32" in (dtype, x_dtype) or x_dtype == "float16" else str(want.dtype)
    np.testing.assert_allclose(got, want, rtol=1e-4 if coarse == "float32" else 1e-11, atol=1e-6)


LABELS = {
    "two numbers": lambda y: np.minimum(y, 1),
    "two strings": lambda y: np.array(["no", "yes, indeed"])[np.minimum(y, 1)],
    "strings": lambda y: np.array(["a", "bc", "def"])[y],
    "objects": lambda y: np.array(["a", "bc", "def"], dtype=object)[y],
    "floats": lambda y: y * 2.0,
    "booleans": lambda y: y > 0,
    "negative": lambda y: -y,
    "one class": lambda y: np.zeros_like(y) + 5,
    "a column": lambda y: y[:, np.newaxis],
    "several labels": lambda y: np.c_[y > 0, y == 1, y < 5].astype(int),
    "many labels": lambda y: np.eye(3, dtype=int)[y],
}


@pytest.mark.parametrize("kind", LABELS)
def test_kinds_of_labels(kind):
    x, y = datasets.load_iris(return_X_y=True)
    estimator = fit(classifier(max_iter=150), x, LABELS[kind](y))
    model = same_numbers(estimator, x, *METHODS)
    np.testing.assert_array_equal(model.classes_, estimator.classes_, strict=True)
    assert model.predict(x).ndim == (2 if "labels" in kind else 1)


def test_a_tie_goes_the_same_way():
    """Probabilities of exactly a half, and of classes that are equally likely."""
    x, y = datasets.load_iris(return_X_y=True)
    for labels in (y, np.minimum(y, 1), np.c_[y > 0, y > 1].astype(int)):
        estimator = fit(classifier(), x, labels)
        for weights in (*estimator.coefs_, *estimator.intercepts_):
            weights[...] = 0
        same_numbers(estimator, x, *METHODS)


@pytest.mark.parametrize(
    "scalers",
    [[StandardScaler], [MinMaxScaler], [MinMaxScaler, StandardScaler]],
    ids=["standard", "min-max", "both"],
)
@pytest.mark.parametrize("data", ["iris", "wine", "breast_cancer", "digits"])
def test_pipelines(data, scalers):
    x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
    estimator = fit(make_pipeline(*[scaler() for scaler in scalers], classifier()), x, y)
    model = fastnet.from_sklearn(estimator)
    np.testing.assert_array_equal(model.predict(x), estimator.predict(x), strict=True)
    np.testing.assert_allclose(model.predict_proba(x), estimator.predict_proba(x), rtol=1e-9, atol=1e-11)
    assert model.n_features_in_ == x.shape[1]
    assert len(model.network.layers) == 6, "the scaling has become a layer of its own"


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        StandardScaler(with_mean=False, with_std=False),
        MinMaxScaler(feature_range=(-3, 2)),
        "passthrough",
        make_pipeline(StandardScaler(), MinMaxScaler()),
    ],
    ids=str,
)
def test_settings_of_scalers(scaler):
    x, y = datasets.load_diabetes(return_X_y=True)
    estimator = fit(make_pipeline(copy.deepcopy(scaler), regressor()), x + 1, y)
    np.testing.assert_allclose(
        fastnet.from_sklearn(estimator).predict(x + 1), estimator.predict(x + 1), rtol=1e-11
    )


def test_pipeline_in_float32():
    x, y = datasets.load_wine(return_X_y=True)
    x = x.astype("float32")
    estimator = fit(make_pipeline(StandardScaler(), classifier(max_iter=200)), x, y)
    assert estimator[-1].coefs_[0].dtype == "float32"
    model = fastnet.from_sklearn(estimator)
    assert model.predict_proba(x).dtype == "float32"
    np.testing.assert_array_equal(model.predict(x), estimator.predict(x))
    np.testing.assert_allclose(model.predict_proba(x), estimator.predict_proba(x), atol=2e-5)


@pytest.mark.parametrize(("dtype", "offset", "folds"), [
    ("float32", 10, True), ("float32", 1000, False), ("float64", 1000, True), ("float64", 1e7, False),
])  # fmt: skip
@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler])
def test_folding_is_exact_or_refused(scaler, dtype, offset, folds):
    """Against the scaled sums in long double: the error of folding is what the tolerance says, or less."""
    from fastnet.formats.scaling import TOLERANCE

    rng = np.random.default_rng(0)
    x = (rng.standard_normal((2000, 9)) + offset).astype(dtype)
    estimator = fit(make_pipeline(scaler(), regressor(hidden_layer_sizes=())), x, x[:, 0])
    W, b = estimator[-1].coefs_[0], estimator[-1].intercepts_[0]
    assert W.dtype == dtype
    if not folds:
        with pytest.raises(ValueError, match="vary little beside their mean"):
            fastnet.from_sklearn(estimator)
        return
    model = fastnet.from_sklearn(estimator)
    wide = x.astype(np.longdouble)
    if scaler is StandardScaler:
        scaled = (wide - estimator[0].mean_.astype(np.longdouble)) / estimator[0].scale_
    else:
        scaled = wide * estimator[0].scale_.astype(np.longdouble) + estimator[0].min_
    exact = (scaled @ W.astype(np.longdouble) + b)[:, 0]
    reach = (np.maximum(np.abs(scaled), 1) @ np.abs(W) + np.abs(b))[:, 0]
    error = np.max(np.abs(model.predict(x) - exact) / reach)
    assert error <= TOLERANCE[np.dtype(dtype)], error


def test_folding_that_overflows():
    from fastnet.formats.scaling import Scaling

    W, b = np.ones((2, 3), "float32"), np.ones(3, "float32")
    for factor in (1e39, np.inf, np.nan):
        with pytest.raises(ValueError, match="beyond float32"):
            Scaling.of([1.0, factor], 0.0).fold(W, b, "the scaling")


def test_the_tolerance_is_reached():
    """The bound on folding's error is no more than some thirty times too careful."""
    from fastnet.formats.scaling import Scaling

    mean, W = 35.0, np.array([[0.7]], "float32")
    x = (np.random.default_rng(0).standard_normal((4000, 1)) + mean).astype("float32")
    scaling = Scaling.of(1.0, -mean)
    folded, b = scaling.fold(W, np.zeros(1, "float32"), "scaling")
    off = np.max(np.abs(x @ folded + b - (x.astype(np.float64) - mean) @ W) / W)
    assert scaling.error(W, W.dtype) / 30 < off < scaling.error(W, W.dtype)


REFUSED = {
    "a forest": (lambda: RandomForestClassifier(2), TypeError, "RandomForestClassifier"),
    "a step": (
        lambda: make_pipeline(PolynomialFeatures(), classifier()),
        TypeError,
        "PolynomialFeatures",
    ),
    "a step too late": (lambda: make_pipeline(StandardScaler()), TypeError, "StandardScaler"),
    "clipping": (lambda: make_pipeline(MinMaxScaler(clip=True), classifier()), ValueError, "clip=True"),
    "a search": (lambda: GridSearchCV(classifier(), {"alpha": [1]}, cv=2), TypeError, "best_estimator_"),
    "poisson": (lambda: regressor(loss="poisson"), ValueError, "poisson"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind):
    build, error, text = REFUSED[kind]
    x, y = datasets.load_iris(return_X_y=True)
    with pytest.raises(error, match=text):
        fastnet.from_sklearn(fit(build(), x, y))


def test_poisson_as_the_refusal_says():
    x, y = datasets.load_iris(return_X_y=True)
    estimator = fit(regressor(loss="poisson"), x, y)
    other = copy.copy(estimator)
    other.out_activation_ = "identity"
    np.testing.assert_allclose(
        np.exp(fastnet.from_sklearn(other).predict(x)), estimator.predict(x), rtol=1e-10
    )


def test_refused_unfitted_and_foreign():
    class Own(MLPClassifier):
        """May predict in a way of its own."""

    x, y = datasets.load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="not fitted"):
        fastnet.from_sklearn(classifier())
    with pytest.raises(ValueError, match="StandardScaler is not fitted"):
        fastnet.from_sklearn(make_pipeline(StandardScaler(), fit(classifier(), x, y)))
    with pytest.raises(TypeError, match="Own"):
        fastnet.from_sklearn(fit(Own(max_iter=2), x, y))
    for value in (None, 5, np.ones(3), SimpleNamespace(coefs_=[])):
        with pytest.raises(TypeError, match=type(value).__name__):
            fastnet.from_sklearn(value)


@pytest.fixture(scope="module")
def iris():
    x, y = datasets.load_iris(return_X_y=True)
    estimator = fit(classifier(), x, y)
    return x, y, estimator, fastnet.from_sklearn(estimator)


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (0, 3), (4,), (), (2, 5, 4)], ids=str)
def test_feature_count(iris, shape):
    for model in (iris[3], fastnet.from_sklearn(fit(regressor(), iris[0], iris[1]))):
        for method in METHODS:
            if hasattr(model, method):
                with pytest.raises(ValueError, match=r"4 features|expects 4|not \(rows, 4\)") as caught:
                    getattr(model, method)(np.ones(shape))
                assert not shape or str(shape[1 if len(shape) == 2 else 0]) in str(caught.value)


def test_input_that_is_no_table_of_numbers(iris):
    from scipy import sparse

    model = iris[3]
    for value, text in [
        (np.full((2, 4), "a"), "<U1"),
        (np.ones((2, 4), complex), "complex"),
        (np.ones((2, 4), "M8[s]"), "datetime"),
        (sparse.csr_array(np.ones((2, 4))), "toarray"),
        ([["a", 1, 2, 3]], "<U"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.predict(value)
    np.testing.assert_array_equal(model.predict(iris[0].tolist()), iris[2].predict(iris[0]))
    np.testing.assert_array_equal(model.predict(iris[0].astype(object)), iris[2].predict(iris[0]))
    assert model.predict(np.empty((0, 4))).shape == (0,)


def test_nan_has_no_label(iris):
    x, _, _, model = iris
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        model.predict(bad)
    assert np.isnan(model.predict_proba(bad)).any(axis=1).nonzero()[0].tolist() == [3]


def test_names_of_columns(iris):
    class Frame:
        def __init__(self, values, columns):
            self.values, self.columns = values, columns

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.values, dtype)

    x, _, estimator, _ = iris
    estimator = copy.deepcopy(estimator)
    estimator.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
    model = fastnet.from_sklearn(estimator)
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(model.predict(Frame(x, ["a", "b", "c", "d"])), model.predict(x))
    with pytest.raises(ValueError, match="columns"):
        model.predict(Frame(x, ["b", "a", "c", "d"]))


def test_a_later_fit_changes_nothing(iris):
    x, y, _, _ = iris
    estimator = fit(classifier(warm_start=True), x, y)
    model = fastnet.from_sklearn(estimator)
    before = model.predict_proba(x)
    for weights in (*estimator.coefs_, *estimator.intercepts_):
        weights *= 2
    np.testing.assert_array_equal(model.predict_proba(x), before)


def test_out(iris):
    x, y, _, model = iris
    want = model.predict_proba(x)
    out = np.empty_like(want)
    assert model.predict_proba(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    binary = fastnet.from_sklearn(fit(classifier(), x, y > 0))
    out = np.empty((2, len(x))).T
    assert binary.predict_proba(x, out=out) is out
    np.testing.assert_array_equal(out, binary.predict_proba(x))
    single = fastnet.from_sklearn(fit(regressor(), x, y))
    out = np.empty(2 * len(x))[::2]
    assert single.predict(x, out=out) is out
    np.testing.assert_array_equal(out, single.predict(x))
    for method, bad, error in [
        (binary.predict_proba, np.empty((9, 2)), ValueError),
        (binary.predict_proba, np.empty((len(x), 2), "float32"), TypeError),
        (binary.predict_proba, [1], TypeError),
        (single.predict, np.empty((len(x), 1)), ValueError),
        (single.predict, np.empty(len(x), "float32"), TypeError),
        (single.predict, [1], TypeError),
    ]:
        with pytest.raises(error, match="out"):
            method(x, out=bad)


def test_scikit_learn_is_not_imported():
    """Its estimators bring their classes along; fastnet asks for nothing."""
    code = (
        "import sys, types, numpy as np, fastnet\n"
        "made = type('MLPRegressor', (), {'__module__': 'sklearn.neural_network'})()\n"
        "vars(made).update(coefs_=[np.ones((2, 1))], intercepts_=[np.ones(1)], activation='relu',\n"
        "                  out_activation_='identity', n_outputs_=1)\n"
        "print(fastnet.from_sklearn(made).predict([[1, 2]])[0], 'sklearn' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4.0", "False"]


def test_integers_beyond_any_float_are_refused():
    """As scikit-learn refuses them: a ValueError, not an OverflowError."""
    model = fastnet.estimators.Regressor(fastnet.Sequential([fastnet.Affine(np.ones((2, 1)), np.zeros(1))]))
    with pytest.raises(ValueError, match=r"\(1, 2\).*beyond float64"):
        model.predict([[10**400, 1]])
