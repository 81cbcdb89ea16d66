"""`atst export`: an ONNX file gives PyTorch's rows, without PyTorch."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import atst
import atst.hear
import atst.onnx
from atst.corpus.synthetic import SyntheticCorpus
from atst.model import export as exporting
from atst.model.frontend import FrontEnd
from atst.model.onnx_graph import MatrixFrontEnd

RATE = 16000
noise = np.random.default_rng(0)
SHORT = [noise.normal(0, 0.1, int(s * RATE)).astype(np.float32) for s in (0.005, 1.0, 6.02, 9.02, 9.04)]
LONG = noise.normal(0, 0.1, int(63.3 * RATE)).astype(np.float32)

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
"""


def run(code: str, blocked: tuple[str, ...], *arguments: object) -> str:
    """Run Python code in another process that cannot import `blocked`."""
    program = BLOCKED.format(blocked=blocked) + code
    return subprocess.check_output([sys.executable, "-c", program, *map(str, arguments)], text=True)


def whitened():
    model = atst.load("random:conv-nano")
    sounds = SyntheticCorpus(64, 2.0)
    model.whiten([FrontEnd()(torch.from_numpy(sounds.read(i))[None])[0] for i in range(64)])
    return model


MODELS = {
    "patches": (lambda: atst.load("random:nano"), {}),
    "published": (lambda: atst.load("random:nano"), {"pooling": "published", "layers": 2}),
    "patches-statistics": (
        lambda: atst.load("random:nano"),
        {"pooling": "statistics", "levels": "all", "layers": 2},
    ),
    "conv": (lambda: atst.load("random:conv-nano"), {}),
    "whitened": (whitened, {}),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if name in ("patches", "whitened") else pytest.mark.full)
        for name in MODELS
    ],
)
def exported(request, tmp_path_factory):
    """A model, the options that it was exported with, and what was written."""
    make, how = MODELS[request.param]
    model, path = make(), tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    return model, how, exporting.export(model, path, SHORT[1:2], **how)


def test_clips_and_frames_are_those_of_pytorch(exported):
    model, how, written = exported
    other = atst.onnx.load(written.path)
    np.testing.assert_allclose(
        other.embed(SHORT, sample_rate=RATE),
        model.embed(SHORT, sample_rate=RATE, **how),
        atol=1e-3,
        rtol=1e-4,
    )
    levels = {key: value for key, value in how.items() if key != "pooling"}
    for sound in (*SHORT, LONG):
        times, frames = other.embed_frames(sound, sample_rate=RATE)
        expected = model.embed_frames(sound, sample_rate=RATE, **levels)
        np.testing.assert_allclose(times, expected[0], atol=1e-9)
        np.testing.assert_allclose(frames, expected[1], atol=1e-4)


def test_windows_of_a_long_recording_are_merged_as_by_pytorch(exported):
    model, how, written = exported
    vector = atst.onnx.load(written.path).embed(LONG, sample_rate=RATE)
    np.testing.assert_allclose(vector, model.embed(LONG, sample_rate=RATE, **how), atol=1e-3, rtol=1e-4)


def test_batches_of_equally_long_clips(exported):
    _, _, written = exported
    session = onnxruntime.InferenceSession(written.path)
    both = noise.normal(0, 0.1, (3, 100_000)).astype(np.float32)
    batch = session.run(["embedding", "frames"], {"waveform": both})
    for row, sound in enumerate(both):
        alone = session.run(["embedding", "frames"], {"waveform": sound[None]})
        np.testing.assert_allclose(batch[0][row], alone[0][0], atol=1e-4)
        np.testing.assert_allclose(batch[1][row], alone[1][0], atol=1e-4)


def test_only_what_is_asked_for_is_computed(exported):
    _, _, written = exported
    session = onnxruntime.InferenceSession(written.path)
    flags = [flag.name for flag in session.get_overridable_initializers()]
    outputs = [output.name for output in session.get_outputs()]
    assert flags == ["with_clips", "with_frames", "with_whitening"][: 3 if "statistics" in outputs else 2]
    for wanted in flags:
        inputs = {flag: np.array(flag == wanted) for flag in flags}
        found = session.run(outputs, {"waveform": SHORT[1][None], **inputs})
        for name, value in zip(outputs, found, strict=True):
            group = {"frames": "with_frames", "whitening": "with_whitening"}.get(
                name.split("_")[0], "with_clips"
            )
            assert (value.size > 0) == (group == wanted), name


@pytest.mark.parametrize("exported", ["patches", "whitened"], indirect=True)
def test_rows_may_share_a_library(exported, tmp_path):
    model, how, written = exported
    soundfile.write(tmp_path / "a.wav", SHORT[1], RATE)
    model.save(tmp_path / "model")
    for name, source in (("torch", tmp_path / "model"), ("onnx", written.path)):
        for frames in (False, True):
            asked = how if not frames else {key: value for key, value in how.items() if key != "pooling"}
            out = tmp_path / f"{frames}" / f"{name}.parquet"
            atst.embed([tmp_path / "a.wav"], model=source, out=out, frames=frames, **asked)
    assert len(atst.Library(tmp_path / "False")) == 2
    assert len(atst.Library(tmp_path / "True")) == 2 * len(model.embed_frames(SHORT[1], sample_rate=RATE)[0])


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    return exporting.export(
        atst.load("random:nano"), tmp_path_factory.mktemp("nano") / "nano.onnx", SHORT[1:2]
    )


def test_commands_and_functions_need_no_pytorch(nano, tmp_path):
    soundfile.write(tmp_path / "a.wav", LONG, RATE)
    out = tmp_path / "a.parquet"
    code = """
import atst, atst.onnx
_, model, sound, out = sys.argv
atst.embed([sound], model=model, out=out, quiet=True)
print(atst.onnx.load(model).embed(sound).sum())
"""
    run(code, ("torch",), nano.path, tmp_path / "a.wav", out)
    table = pq.read_table(out)
    model = atst.load("random:nano")
    sound = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    expected = [model.embed(part, sample_rate=RATE) for part in (sound[: 60 * RATE], sound[60 * RATE :])]
    np.testing.assert_allclose(np.stack(table["embedding"].to_numpy()), expected, atol=1e-4)
    assert table["start"].to_pylist() == [0, 60]
    about = json.loads(table.schema.metadata[b"atst"])
    assert about["fingerprint"] == model.fingerprint
    assert (about["layers"], about["pooling"], about["levels"]) == (1, "mean", "blocks")


def alone(python: Path | str, program: Path, sound: Path, out: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.check_call([python, program, sound, "--out", out], env=environment)


def test_the_program_beside_the_model_gives_the_same_rows(nano, tmp_path):
    sound, out = tmp_path / "a.flac", tmp_path / "a.npz"
    stereo = noise.normal(0, 0.1, (44100 * 62, 2)).clip(-1, 1)
    soundfile.write(sound, stereo, 44100)
    code = """
import runpy
program, *sys.argv = sys.argv[1], *sys.argv[1:]
runpy.run_path(program, run_name="__main__")
"""
    run(code, ("torch", "atst"), nano.program, sound, "--out", out)
    atst.embed([sound], model="random:nano", out=tmp_path / "b.npz")
    with np.load(out) as rows, np.load(tmp_path / "b.npz") as expected:
        assert rows["start"].tolist() == [0, 60]
        np.testing.assert_allclose(rows["end"], expected["end"])
        np.testing.assert_allclose(rows["embedding"], expected["embedding"], atol=1e-3)


@pytest.mark.full
def test_the_program_runs_in_an_environment_of_its_four_packages(nano, tmp_path):
    subprocess.check_call([sys.executable, "-m", "venv", tmp_path / "venv"])
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "onnxruntime", "soundfile", "soxr", "numpy"]
    if subprocess.run(install, capture_output=True).returncode:
        pytest.skip("no package index to install from")
    soundfile.write(tmp_path / "a.wav", SHORT[1], RATE, subtype="FLOAT")
    alone(python, nano.program, tmp_path / "a.wav", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as rows:
        expected = atst.load("random:nano").embed(SHORT[1], sample_rate=RATE)
        np.testing.assert_allclose(rows["embedding"][0], expected, atol=1e-4)


def test_int8_is_smaller_near_and_another_model(nano, tmp_path):
    model = atst.load("random:nano")
    small = exporting.export(model, tmp_path / "int8.onnx", SHORT[1:3], int8=True)
    assert small.bytes < 0.5 * nano.bytes
    assert 0.99 < small.cosine < 0.9999999
    assert atst.onnx.load(small.path).fingerprint == f"{model.fingerprint}-int8"


def test_an_export_that_differs_is_refused(tmp_path, monkeypatch):
    model = atst.load("random:nano")
    monkeypatch.setattr("atst.model.onnx_graph.normalise", lambda decibel: decibel / 60)
    with pytest.raises(atst.ModelError, match="not written"):
        exporting.export(model, tmp_path / "a.onnx", SHORT[1:2])
    assert list(tmp_path.iterdir()) == []


def changed(path: Path, out: Path, about: dict[str, str]) -> Path:
    proto = onnx.load(path)
    onnx.helper.set_model_props(proto, about)
    out.write_bytes(atst.onnx.sealed(proto.SerializeToString()))
    return out


def test_files_that_are_no_exported_models(nano, tmp_path):
    text, cut, flipped = (tmp_path / f"{name}.onnx" for name in ("text", "cut", "flipped"))
    text.write_text("no model")
    good = nano.path.read_bytes()
    cut.write_bytes(good[:-1])
    flipped.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    foreign = onnx.load(nano.path)
    onnx.helper.set_model_props(foreign, {})
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for path, words in (
        (text, "not an ONNX file as `atst export` wrote it"),
        (cut, "not an ONNX file as `atst export` wrote it"),
        (flipped, "not an ONNX file as `atst export` wrote it"),
        (tmp_path / "foreign.onnx", "not an ONNX file as `atst export` wrote it"),
        (tmp_path / "missing.onnx", "no such file"),
        (changed(nano.path, tmp_path / "a.onnx", {}), "its metadata 'atst' cannot be read"),
        (
            changed(nano.path, tmp_path / "b.onnx", {"atst": '{"format_version": 99}'}),
            "format version 99; this release of atst reads 1",
        ),
        (
            changed(nano.path, tmp_path / "c.onnx", {"atst": '{"format_version": 1}'}),
            "damaged: cls, count, depth, fingerprint",
        ),
        (changed(nano.path, tmp_path / "d.onnx", {"atst": "[" * 100_000}), "cannot be read"),
    ):
        with pytest.raises(atst.ModelError) as error:
            atst.load(path)
        assert words in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture
def tones(tmp_path) -> Path:
    """A task of two classes, high and low tones."""
    seconds = np.arange(RATE) / RATE
    rows = ["path,label,split"]
    for number in range(12):
        label = ("high", "low")[number % 2]
        tone = np.sin(2 * np.pi * (2000 if label == "high" else 300) * seconds)
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * tone + noise.normal(0, 0.05, RATE), RATE)
        rows.append(f"{number}.wav,{label},{'test' if number > 7 else 'train'}")
    (tmp_path / "meta.csv").write_text("\n".join(rows))
    return tmp_path / "meta.csv"


@pytest.mark.parametrize(
    "exported", ["patches", pytest.param("whitened", marks=pytest.mark.full)], indirect=True
)
def test_a_probe_by_the_read_out_of_the_file(exported, tones, tmp_path):
    model, _, written = exported
    results = atst.probe(tones, model=written.path, protocol="simple", out=tmp_path / "probe", quiet=True)
    assert results.value == 1
    own = model.options()
    assert (results.layers, results.pooling) == (own["layers"], own["pooling"])
    written.path.rename(tmp_path / "elsewhere.onnx")
    try:
        atst.predict([tones.with_name("0.wav")], model=tmp_path / "probe", out=tmp_path / "rows.csv")
    finally:
        (tmp_path / "elsewhere.onnx").rename(written.path)
    assert "high" in (tmp_path / "rows.csv").read_text().splitlines()[1]


@pytest.mark.full
def test_what_needs_pytorch_says_so(nano, tones, tmp_path):
    path, sound = nano.path, tones.with_name("0.wav")
    for call, words in (
        (lambda: atst.finetune(tones, model=path, out=tmp_path / "a"), "has no weights to train"),
        (lambda: atst.pretrain([sound], init=path, recipe="nano", out=tmp_path / "b"), "not an encoder"),
        (lambda: atst.push(path, "user/name"), "has no weights to push"),
        (lambda: atst.export(path, out=tmp_path / "c.onnx"), "only encoders can be exported"),
        (lambda: atst.embed([sound], model=path, attention=tmp_path / "d.html"), "no CLS token in PyTorch"),
        (lambda: atst.convert(path, out=tmp_path / "e"), "nano.onnx"),
        (lambda: atst.hear.load_model(path), "need an encoder in PyTorch"),
        (lambda: atst.probe(tones, model=path, pooling="published"), "has only one read-out"),
    ):
        with pytest.raises(atst.AtstError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


def test_what_cannot_be_meant(nano, tmp_path):
    model = atst.load(nano.path)
    with pytest.raises(atst.UsageError, match="exported with layers 1; export it anew with --layers 2"):
        model.embed(SHORT[1], sample_rate=RATE, layers=2)
    with pytest.raises(atst.UsageError, match="--device cuda"):
        atst.onnx.load(nano.path, "cuda")
    with pytest.raises(atst.UsageError, match="only encoders can be exported"):
        atst.export("logmel", out=tmp_path / "a.onnx")
    with pytest.raises(atst.UsageError, match=r"must be a file whose name ends in \.onnx"):
        atst.export("random:nano", out=tmp_path / "a.bin")
    (tmp_path / "embed_a.py").write_text("print('mine')")
    with pytest.raises(atst.UsageError, match="in the way"):
        atst.export("random:nano", out=tmp_path / "a.onnx")


def test_the_front_end_as_matrix_products():
    for samples in (1, 513, 700, 16001):
        waveform = torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
        torch.testing.assert_close(MatrixFrontEnd()(waveform), FrontEnd()(waveform), atol=1e-5, rtol=0)


def test_nothing_else_is_needed_to_import_the_program(nano):
    spec = importlib.util.spec_from_file_location("program", nano.program)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert nano.path == program.MODEL
