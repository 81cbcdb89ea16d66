"""Whatever a file holds that users give or a disk has damaged, what is raised is one of our own errors."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import atst
import atst.onnx
from atst.errors import AtstError, ModelError
from atst.library.embedding_file import EmbeddingFile
from atst.pretraining import recipe as pretraining
from atst.sound.find import find_audio
from atst.sound.packed import open_packed
from atst.tasks.tables import read_task
from atst.training.checkpoints import read_state

EXAMPLES = int(os.environ.get("ATST_FUZZ_EXAMPLES", "15"))  # of each test
ODD = (
    b"",
    b"\0",
    b"\xff",
    b"\xff\xfe",
    b'"',
    b"[" * 5000,
    b"{" * 5000,
    b"- " * 3000,
    b"nan",
    b"-1",
    b"\n",
    b",",
)
ODD += (
    b"9" * 400,
    b"1e999",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\xef\xbb\xbf",
    b"/" * 5000,
    b"!!python/x ",
    b"&a *a",
)
PLACES = st.one_of(st.integers(0, 400), st.integers(-400, -1), st.integers(0, 1 << 16))
CHANGES = st.lists(st.tuples(PLACES, st.integers(0, 12), st.sampled_from(ODD)), min_size=1, max_size=4)
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def changed(good: bytes, changes) -> bytes:
    data = bytearray(good)
    for at, length, odd in changes:
        at = at % (len(data) + 1)
        data[at : at + length] = odd
    return bytes(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the formats' own writers write."""
    folder = tmp_path_factory.mktemp("made")
    soundfile.write(folder / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    for suffix in ("parquet", "npz"):
        atst.embed([folder / "a.wav"], model="logmel", out=folder / f"x.{suffix}", quiet=True)
    atst.pack([folder / "a.wav"], out=folder / "corpus", quiet=True)
    atst.load("random:conv-nano").save(folder / "model")
    return folder


MANIFESTS = {
    "csv": b"path,start,end\na.wav,0,1\na.wav,0.5,\n",
    "jsonl": b'{"path": "a.wav", "start": 0, "x": [1, "b"]}\n"a.wav"\n',
    "txt": b"a.wav\nb.wav\n",
}


@pytest.mark.parametrize("kind", MANIFESTS)
@given(changes=CHANGES)
@FUZZ
def test_manifests(made, kind, changes):
    path = made / f"m.{kind}"
    path.write_bytes(changed(MANIFESTS[kind], changes))
    with suppress(AtstError):
        find_audio([path], columns=True)


@given(changes=CHANGES)
@FUZZ
def test_tables_of_labels(made, changes):
    path = made / "meta.csv"
    rows = (
        b"path,label,split,start,end\n"
        + b"a.wav,x,train,0,0.3\na.wav,y,test,0.5,0.9\na.wav,x,valid,0.3,0.4\n"
    )
    path.write_bytes(changed(rows, changes))
    with suppress(AtstError):
        read_task(path)


@given(changes=CHANGES)
@FUZZ
def test_recipes(made, changes):
    path = made / "r.yaml"
    path.write_bytes(
        changed(b"base: nano\nmax_steps: 100\nlearning_rate: 1e-3\nweight_decay: [0.1, 0.2]\n", changes)
    )
    with suppress(AtstError):
        pretraining.resolve(path)


def test_a_recipe_that_is_its_own_base(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(f"base: {path}\n")
    with pytest.raises(AtstError, match="base"):
        pretraining.resolve(path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@given(changes=CHANGES)
@FUZZ
def test_model_folders(made, name, changes):
    good = made / "model"
    folder = made / "damaged"
    shutil.copytree(good, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(changed((good / name).read_bytes(), changes))
    with suppress(AtstError):
        atst.load(folder)


CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        key: st.one_of(
            st.none(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({"a": 1})
        )
        for key in ("size", "segment_seconds", "training", "format_version", "stem", "readout", "other")
    },
)


@given(values=CONFIGS)
@FUZZ
def test_values_of_a_models_config(made, values):
    folder = made / "config"
    shutil.copytree(made / "model", folder, dirs_exist_ok=True)
    good = json.loads((made / "model" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(good | values))
    with suppress(AtstError):
        model = atst.load(folder)
        model.embed(np.ones(8000, np.float32), sample_rate=16000)


def exported(about: str) -> bytes:
    """A file as `atst export` writes it, but the embedding is the mean sample and each sample a frame."""
    make, values = onnx.helper, [("waveform", 2), ("embedding", 2), ("frames", 3), ("count", 2)]
    value = {name: make.make_tensor_value_info(name, 1, [None] * rank) for name, rank in values}
    graph = make.make_graph(
        [
            make.make_node("ReduceMean", ["waveform"], ["embedding"], axes=[1]),
            make.make_node("Unsqueeze", ["waveform", "last"], ["frames"]),
            make.make_node("ReduceSum", ["waveform", "first"], ["count"]),
        ],
        "graph",
        [value.pop("waveform")],
        list(value.values()),
        [make.make_tensor("last", 7, [1], [-1]), make.make_tensor("first", 7, [1], [1])],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    make.set_model_props(model, {atst.onnx.KEY: about})
    return atst.onnx.sealed(model.SerializeToString())


ABOUT = {
    "format_version": 1,
    "fingerprint": "0123456789abcdef",
    "precision": "float32",
    "depth": 1,
    "cls": True,
    "readout": {"layers": 1, "pooling": "mean", "levels": "blocks"},
    "frames": {"layers": 1, "pooling": "statistics", "levels": "blocks"},
    "first_seconds": 0.0,
    "token_seconds": 0.04,
    "least_variance": 1e-8,
}
READOUTS = [{"pooling": 1}, {"levels": None}, {"layers": "1"}, {"other": 1}]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([[], {"a": 1}, *(ABOUT["readout"] | change for change in READOUTS)]),
)


def test_an_onnx_file_that_nothing_has_changed(made):
    (made / "good.onnx").write_bytes(exported(json.dumps(ABOUT)))
    atst.embed([made / "a.wav"], model=made / "good.onnx", out=made / "b.parquet", quiet=True)


@given(changes=CHANGES, flip=st.booleans(), end=st.integers(1, 3000))
@FUZZ
def test_onnx_files(made, changes, flip, end):
    good, path = exported(json.dumps(ABOUT)), made / "damaged.onnx"
    data = bytearray(good if flip else good[:-end])
    if flip:
        data[end % len(data)] ^= 1 << end % 8
    for damaged in (bytes(data), changed(good, changes)):
        path.write_bytes(damaged)
        if damaged == good:
            continue
        with pytest.raises(ModelError, match="as `atst export` wrote it"):
            atst.onnx.load(path)
        with pytest.raises(ModelError, match="as `atst export` wrote it"):
            atst.embed([made / "a.wav"], model=path, out=made / "b.parquet", quiet=True)


@given(changes=st.one_of(CHANGES, st.dictionaries(st.sampled_from([*ABOUT, "x"]), VALUES, min_size=1)))
@FUZZ
def test_metadata_of_onnx_files(made, changes):
    path, good = made / "other.onnx", json.dumps(ABOUT)
    text = json.dumps(ABOUT | changes) if isinstance(changes, dict) else changed(good.encode(), changes)
    path.write_bytes(exported(text if isinstance(text, str) else text.decode("utf-8", "replace")))
    with suppress(AtstError):
        model = atst.onnx.load(path)
        model.embed(np.ones(61 * 16000, np.float32), sample_rate=16000)
        model.embed_frames(made / "a.wav")
        atst.embed([made / "a.wav"], model=path, out=made / "b.parquet", quiet=True)


@given(changes=CHANGES)
@FUZZ
def test_checkpoints(made, changes):
    import torch

    good, path = made / "good.ckpt", made / "damaged.ckpt"
    if not good.exists():
        torch.save({"atst": {"step": 3, "conditions": {}}, "state_dict": {"a": torch.ones(9)}}, good)
    path.write_bytes(changed(good.read_bytes(), changes))
    with suppress(AtstError):
        read_state(path)
    with suppress(AtstError):
        atst.load(path)


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
@given(changes=CHANGES)
@FUZZ
def test_files_of_embeddings(made, suffix, changes):
    path = made / f"damaged.{suffix}"
    path.write_bytes(changed((made / f"x.{suffix}").read_bytes(), changes))
    with suppress(AtstError):
        file = EmbeddingFile(path)
        for group in range(file.groups):
            file.features(group)
        file.column("path")


@given(changes=CHANGES)
@FUZZ
def test_the_index_of_a_packed_corpus(made, changes):
    folder = made / "damaged-corpus"
    shutil.copytree(made / "corpus", folder, dirs_exist_ok=True)
    index: Path = folder / "index.parquet"
    index.write_bytes(changed((made / "corpus" / "index.parquet").read_bytes(), changes))
    with suppress(AtstError):
        if (corpus := open_packed(folder)) is not None:
            for row in range(len(corpus)):
                corpus.waveform(row)


def test_a_table_of_labels_with_a_name_that_is_too_long(tmp_path):
    path = tmp_path / "meta.csv"
    path.write_text(f"path,label\n{'a' * 400}.wav,x\nb.wav,y\n")
    with pytest.raises(AtstError, match="2 of 2 files are missing"):
        read_task(path)
