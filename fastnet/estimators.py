"""Networks with the interface of fitted scikit-learn estimators: labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastnet.arguments import check_out
from fastnet.network import Sequential


class _Estimator:
    """A network that checks what it is fed."""

    def __init__(self, network: Sequential, feature_names: Iterable[str] | None) -> None:
        self.network = network
        if not network.params:
            raise ValueError("a network without weights has no number of features")
        self.n_features_in_ = int(network.params[0].shape[0])
        self._width = int(network.params[-2].shape[1])
        if feature_names is not None:
            names = np.array(list(feature_names), dtype=object)
            if names.shape != (self.n_features_in_,):
                raise ValueError(f"{len(names)} names for {self.n_features_in_} features")
            self.feature_names_in_ = names

    def _checked(self, x: Any) -> Any:
        """x as an array of shape (rows, n_features_in_)."""
        if type(x) is not np.ndarray:
            x = self._as_array(x)
        if x.ndim != 2:
            raise ValueError(
                f"x has shape {x.shape}, not (rows, {self.n_features_in_}); x[np.newaxis] is one row"
            )
        if x.shape[1] != self.n_features_in_:
            raise ValueError(f"x has {x.shape[1]} features, but the model expects {self.n_features_in_}")
        if x.dtype.kind not in "biuf":
            if x.dtype.kind != "O":
                raise ValueError(f"x of shape {x.shape} has dtype {x.dtype}, no real numbers")
            try:
                x = x.astype(np.float64)
            except OverflowError as error:
                raise ValueError(f"x of shape {x.shape} has integers beyond float64: {error}") from error
        return x

    def _as_array(self, x: Any) -> Any:
        if hasattr(x, "toarray"):
            raise ValueError(f"x is sparse ({type(x).__name__}); pass x.toarray()")
        columns, expected = getattr(x, "columns", None), getattr(self, "feature_names_in_", None)
        if columns is not None and expected is not None and list(columns) != list(expected):
            raise ValueError(f"x has the columns {list(columns)}, but the model expects {list(expected)}")
        return x if isinstance(x, np.memmap) else np.asarray(x)


class Regressor(_Estimator):
    """A network whose outputs are the targets.

    Parameters
    ----------
    network : Sequential
        From features to targets.
    feature_names : iterable of str, optional
        Names of the columns, where data frames are to be checked.

    Attributes
    ----------
    network : Sequential
        The network itself, for `explain` or `to_onnx`.
    n_features_in_ : int
        Width of x.
    feature_names_in_ : ndarray of str
        Only if they were given.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Affine, Sequential
    >>> from fastnet.estimators import Regressor
    >>> Regressor(Sequential([Affine(np.array([[2.0], [1.0]]), np.zeros(1))])).predict([[1, 2], [3, 4]])
    array([ 4., 10.])
    """

    def __init__(self, network: Sequential, feature_names: Iterable[str] | None = None) -> None:
        super().__init__(network, feature_names)

    def predict(self, x: Any, out: Any = None) -> Any:
        """Targets for every row.

        Parameters
        ----------
        x : array_like
            Of shape (rows, n_features_in_): real numbers, or a data frame of them.
        out : ndarray, optional
            Where to put the result: of the result's shape and dtype.

        Returns
        -------
        ndarray
            Of shape (rows,) for one target, else (rows, n_targets); NaN where x has NaN.

        Raises
        ------
        ValueError
            If x has another number of features or is no table of numbers; if `out` does not fit.
        TypeError
            If `out` is no array of the result's dtype.
        """
        x = self._checked(x)
        if self._width != 1:
            return self.network.predict(x, out)
        if out is None:
            return self.network.predict(x).reshape(-1)
        if isinstance(out, np.ndarray):
            if out.ndim != 1:
                raise ValueError(f"out has shape {out.shape}, but the result has shape {(len(x),)}")
            self.network.predict(x, out[:, np.newaxis])
            return out
        return self.network.predict(x, out)  # which says what is wrong with it


class Classifier(_Estimator):
    """A network whose outputs are probabilities: of each class, of the second of two, or of each label.

    Parameters
    ----------
    network : Sequential
        From features to probabilities: usually its last layer is a Softmax or a Sigmoid.
    classes : array_like
        A class for each output, or two for a single output.
    multilabel : bool
        Whether each output decides about a label of its own, so that a row may have several or none.
    feature_names : iterable of str, optional
        Names of the columns, where data frames are to be checked.

    Attributes
    ----------
    network : Sequential
        The network itself, for `explain` or `to_onnx`.
    classes_ : ndarray
        The classes, numbers or strings.
    multilabel : bool
        As given.
    n_features_in_ : int
        Width of x.
    feature_names_in_ : ndarray of str
        Only if they were given.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnet import Affine, Sequential, Sigmoid
    >>> from fastnet.estimators import Classifier
    >>> network = Sequential([Affine(np.array([[1.0]]), np.zeros(1)), Sigmoid()])
    >>> Classifier(network, ["down", "up"]).predict([[-3], [3]])
    array(['down', 'up'], dtype='<U4')
    """

    def __init__(
        self,
        network: Sequential,
        classes: Any,
        multilabel: bool = False,
        feature_names: Iterable[str] | None = None,
    ) -> None:
        super().__init__(network, feature_names)
        self.classes_ = np.array(classes)
        self.multilabel = bool(multilabel)
        allowed = (1, 2) if self._width == 1 and not multilabel else (self._width,)
        if self.classes_.ndim != 1 or len(self.classes_) not in allowed:
            raise ValueError(f"classes of shape {self.classes_.shape} for {self._width} outputs")

    def predict(self, x: Any) -> Any:
        """Labels of every row: the most probable class; of two classes, and of every label, what exceeds 0.5.

        Parameters
        ----------
        x : array_like
            Of shape (rows, n_features_in_): real numbers, or a data frame of them.

        Returns
        -------
        ndarray
            Of shape (rows,), with entries of `classes_`; for multilabel of shape (rows, n_labels), with
            entries 0 and 1.

        Raises
        ------
        ValueError
            If x has another number of features or is no table of numbers; if a row's probabilities are
            NaN, as x has NaN.
        """
        p = self.network.predict(self._checked(x))
        if p.size and np.isnan(p.min()):
            row = int(np.isnan(p).any(axis=1).argmax())
            raise ValueError(f"row {row} of x has NaN probabilities, so no label")
        if self.multilabel:
            return (p > 0.5).astype(np.intp)
        if self._width > 1:
            return self.classes_[p.argmax(axis=1)]
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(p))
        return self.classes_[(p[:, 0] > 0.5).astype(np.intp)]

    def predict_proba(self, x: Any, out: Any = None) -> Any:
        """Probability of every class.

        Parameters
        ----------
        x : array_like
            Of shape (rows, n_features_in_): real numbers, or a data frame of them.
        out : ndarray, optional
            Where to put the result: of the result's shape and dtype.

        Returns
        -------
        ndarray
            Of shape (rows, n_classes), columns in the order of `classes_`; NaN where x has NaN. Rows have
            sum 1, unless the labels are independent of each other (multilabel).

        Raises
        ------
        ValueError
            If x has another number of features or is no table of numbers; if `out` does not fit.
        TypeError
            If `out` is no array of the result's dtype.
        """
        x = self._checked(x)
        if self.multilabel or self._width > 1:
            return self.network.predict(x, out)
        p = self.network.predict(x)
        if out is None:
            out = plain = np.empty((len(p), 2), p.dtype)
        else:
            plain = check_out(out, (len(p), 2), p.dtype, [x])
        np.subtract(1, p[:, 0], out=plain[:, 0])
        plain[:, 1] = p[:, 0]
        return out

    def predict_log_proba(self, x: Any) -> Any:
        """Logarithm of the probability of every class.

        Parameters
        ----------
        x : array_like
            As `predict_proba` takes it.

        Returns
        -------
        ndarray
            ``np.log(predict_proba(x))``, -inf where a probability is 0. The logarithm is NumPy's: its last
            bit may differ from one CPU to another.

        Raises
        ------
        ValueError
            As `predict_proba` does.
        """
        p = self.predict_proba(x)
        with np.errstate(divide="ignore"):
            return np.log(p, out=p)
