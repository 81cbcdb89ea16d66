"""Embeddings as a step of scikit-learn's pipelines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from atst.errors import UsageError
from atst.hear import DEFAULT_MODEL
from atst.model import embedder
from atst.model.frontend import SAMPLE_RATE
from atst.model.load import load


class Embedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turns sounds into the vectors of `model.embed`; nothing is learned from those that it is fitted on.

    Sounds are a list (array, column) of paths, a list of arrays `(N,)`, or an array `(n_sounds, N)`;
    features come out as float32 `(n_sounds, D)`, named `embedder0` and so on.

    Args:
        model: what `atst.load` takes, or a loaded model.
        layers: as in `embed`; None for what the model does by itself.
        pooling: likewise.
        sample_rate: of arrays, in Hz.
        device: where to compute, for a model that is loaded here.
        batch_size: sounds embedded at a time.

    Raises `UsageError` and `ModelError` in `fit`, `AudioError` for what cannot be read, as `embed` does.
    """

    def __init__(
        self,
        model: str | Path | embedder.Embedder = DEFAULT_MODEL,
        *,
        layers: int | None = None,
        pooling: str | None = None,
        sample_rate: int | None = None,
        device: str = "cpu",
        batch_size: int = 32,
    ) -> None:
        self.model = model
        self.layers = layers
        self.pooling = pooling
        self.sample_rate = sample_rate
        self.device = device
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the model; the sounds are looked at, not embedded."""
        sounds(X)
        self.model_ = load(self.model, self.device) if isinstance(self.model, str | Path) else self.model
        self._n_features_out = self._embed([np.zeros(SAMPLE_RATE, np.float32)], SAMPLE_RATE).shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embed sounds."""
        check_is_fitted(self)
        return self._embed(sounds(X), self.sample_rate)

    def _embed(self, clips: Sequence[Any], sample_rate: int | None) -> NDArray[np.float32]:
        asked = {"layers": self.layers, "pooling": self.pooling}
        how: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return self.model_.embed(clips, sample_rate=sample_rate, batch_size=self.batch_size, **how)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def sounds(X: Any) -> list[Any]:
    """The sounds in what scikit-learn hands over: paths, or arrays. Raises `ValueError` or `UsageError`."""
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(values, np.ndarray) and values.dtype.kind in "OU":
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]  # a table's single column, of paths
        values = values.tolist() if values.ndim == 1 else values
    if isinstance(values, str | Path):
        raise UsageError(f"give a list of paths, not one path ({values}).")
    if isinstance(values, list | tuple) and values and all(map(_is_sound, values)):
        return list(values)
    return list(check_array(X, dtype="numeric", ensure_all_finite=True, estimator="Embedder"))


def _is_sound(value: Any) -> bool:
    return isinstance(value, str | Path) or (isinstance(value, np.ndarray) and value.ndim == 1)
