import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import atst
from atst.errors import AudioError, ModelError, UsageError
from atst.sklearn import Embedder

SAMPLES = "an array's columns are samples, not features: sounds of another length may follow"
EXPECTED = {
    "check_n_features_in": SAMPLES,
    "check_n_features_in_after_fitting": SAMPLES,
    "check_transformer_general": SAMPLES,
    "check_estimators_dtypes": "int64 samples are refused, for nothing says what full scale is",
    "check_methods_subset_invariance": "float32: equal within 1e-5, where it asks for 1e-7",
}


@parametrize_with_checks(
    [Embedder("random:nano", sample_rate=16000, layers=2)], expected_failed_checks=lambda _: EXPECTED
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> tuple[list[Path], list[str]]:
    """Twelve soft and loud noises."""
    folder, draws = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(12)]
    for i, path in enumerate(paths):
        soundfile.write(path, (0.5 if i % 2 else 0.001) * draws.standard_normal(4000 + 100 * i), 8000)
    return paths, ["loud" if i % 2 else "soft" for i in range(12)]


def test_a_pipeline_learns_from_paths(labelled):
    paths, labels = labelled
    pipeline = make_pipeline(Embedder("logmel"), StandardScaler(), LogisticRegression())
    assert pipeline.fit(paths[:8], labels[:8]).score(paths[8:], labels[8:]) == 1.0
    assert clone(pipeline).get_params()["embedder__model"] == "logmel"


def test_a_grid_search_tries_models_and_layers(labelled):
    paths, labels = labelled
    pipeline = make_pipeline(Embedder(), StandardScaler(), LogisticRegression())
    grid = {"embedder__model": ["random:nano"], "embedder__layers": [1, 4]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(np.array(paths), labels)
    assert search.best_estimator_[:-1].transform(paths[:1]).shape == (
        1,
        256 * search.best_params_["embedder__layers"],
    )


def test_paths_come_in_any_form(labelled):
    paths = labelled[0][:3]
    expected = atst.load("random:nano").embed(paths, layers=2)
    kinds = [list, tuple, np.array, lambda paths: [str(path) for path in paths]]
    try:
        import pandas
    except ImportError:
        pass
    else:
        kinds += [pandas.Series, pandas.DataFrame]
    for kind in kinds:
        vectors = Embedder("random:nano", layers=2).fit_transform(kind(paths))
        np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_arrays_of_one_length_or_several():
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 8000)).astype(np.float32)
    embedder = Embedder("random:nano", sample_rate=8000)
    together = embedder.fit_transform(noise)
    np.testing.assert_allclose(together, embedder.transform(list(noise)), atol=1e-6)
    unequal = embedder.transform([noise[0], noise[1, :5000]])
    np.testing.assert_allclose(unequal[0], together[0], atol=1e-5)
    assert together.dtype == np.float32


def test_a_loaded_model_is_taken_as_it_is(labelled):
    model = atst.load("random:nano", seed=5)
    embedder = clone(Embedder(model)).fit(labelled[0])
    np.testing.assert_array_equal(embedder.transform(labelled[0]), model.embed(labelled[0]))


def test_output_as_pandas_has_names(labelled):
    pandas = pytest.importorskip("pandas")
    table = Embedder("logmel").set_output(transform="pandas").fit_transform(labelled[0])
    assert isinstance(table, pandas.DataFrame)
    assert table.shape == (12, 128)
    assert list(table.columns[:2]) == ["embedder0", "embedder1"]


def test_a_fitted_embedder_can_be_pickled(labelled):
    embedder = Embedder("random:nano").fit(labelled[0])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(embedder)).transform(labelled[0]), embedder.transform(labelled[0])
    )


def test_an_option_reaches_the_model(labelled):
    with pytest.raises(UsageError, match="unknown pooling 'median'"):
        Embedder("random:nano", pooling="median").fit(labelled[0])
    with pytest.raises(UsageError, match="layers"):
        Embedder("random:nano", layers=9).fit(labelled[0])


def test_mistakes_are_named(tmp_path, labelled):
    with pytest.raises(ModelError, match="nothing"):
        Embedder("nothing").fit(labelled[0])
    with pytest.raises(UsageError, match="a list of paths"):
        Embedder("logmel").fit("dog.wav")
    embedder = Embedder("logmel").fit(labelled[0])
    with pytest.raises(AudioError, match=r"missing\.wav"):
        embedder.transform([tmp_path / "missing.wav"])
    with pytest.raises(UsageError, match="sample_rate"):
        embedder.transform(np.zeros((2, 4000), np.float32))
