import os
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import pytorch_lightning
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import atst
from atst.errors import ModelError, UsageError
from atst.model import official, untrusted
from atst.model.audio_model import AudioModel
from atst.model.official_tensors import HEADS, encoder_shapes, head_shapes
from golden import recipes
from golden.numbers import (
    arrays,
    encoder_state,
    lightning_checkpoint,
    lightning_state,
    nano_state,
    older_checkpoint,
    table,
)

PLACE = st.floats(0, 1, exclude_max=True)

Edit = Callable[[dict[str, Any]], None]


def written(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def nano_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = lightning_checkpoint(nano_state(), train_len=9.0, max_steps=39100, data_path="somewhere")
    return written(tmp_path_factory.mktemp("nano") / "nano.ckpt", content)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = lightning_checkpoint(lightning_state(), **table("state_dict_small")["hyper_parameters"])
    return written(tmp_path_factory.mktemp("small") / "small.ckpt", content)


def test_lightning_checkpoint_embeds_like_the_reference(small_file: Path) -> None:
    model = atst.load(small_file)
    assert (model.config.size, model.config.segment_seconds) == ("small", 9.0)
    assert model.config.training["max_steps"] == 39100
    assert not any("path" in key for key in model.config.training)
    for key, value in model.encoder.state_dict().items():
        torch.testing.assert_close(value, encoder_state()[key], rtol=0, atol=0)
    clips = [torch.from_numpy(recipes.mel_noise(s, n)) for s, n in [(311, 1201), (312, 1001)]]
    expected = arrays("encoder_small")["chunk901_n1_avg"][:2]
    np.testing.assert_allclose(model.embed_logmels(clips, pooling="published"), expected, rtol=0, atol=1e-4)


def test_both_networks_for_further_training(small_file: Path) -> None:
    checkpoint = official.read(small_file)
    for network, state in (("teacher", checkpoint.teacher), ("student", checkpoint.student)):
        names = {key.split(".")[0] for key in state}
        assert names == {"encoder", *HEADS[network]}
        theirs = lightning_state()[f"model.{network}.projector.1.running_var"]
        torch.testing.assert_close(state["projector.1.running_var"], theirs)
    assert checkpoint.hyper_parameters["ema"] == 0.99


@pytest.mark.parametrize("size", ["small", "base"])
def test_expected_names_and_shapes_are_the_authors(size: str) -> None:
    expected = {}
    for network, heads in HEADS.items():
        shapes = encoder_shapes(size)
        for head in heads:
            width = shapes["encoder.norm.weight"][0] if head == "projector" else 256
            shapes |= head_shapes(head, width)
        expected |= {f"model.{network}.{key}": list(shape) for key, shape in shapes.items()}
    assert expected == {key: shape for key, shape, _ in table(f"state_dict_{size}")["state_dict"]}


@pytest.mark.parametrize("network", ["teacher", "student"])
def test_each_network_can_be_taken(nano_file: Path, network: str) -> None:
    model = official.load(nano_file, network)
    expected = nano_state()[f"model.{network}.encoder.blocks.3.mlp.fc2.weight"]
    torch.testing.assert_close(model.encoder.state_dict()["blocks.3.mlp.fc2.weight"], expected)
    with pytest.raises(UsageError, match="teacher"):
        official.load(nano_file, "both")


def test_older_form(tmp_path: Path) -> None:
    content = older_checkpoint(nano_state(), arch="ast", anchor_len=[8.0, 6.0], output=PosixPath("a/b"))
    path = written(tmp_path / "old.pth", content)
    for network in ("teacher", "student"):
        model = official.load(path, network)
        expected = nano_state()[f"model.{network}.encoder.cls_token"]
        torch.testing.assert_close(model.encoder.state_dict()["cls_token"], expected)
    assert (model.config.size, model.config.segment_seconds) == ("nano", 8.0)
    with pytest.raises(ModelError, match="no projector"):
        official.read(path)


def test_older_form_with_more_than_the_encoder_is_warned_of_and_with_less_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = older_checkpoint(nano_state(), anchor_len=6.0)
    content["teacher"]["backbone.extra.weight"] = torch.zeros(3)
    model = official.load(written(tmp_path / "more.pth", content))
    expected = nano_state()["model.teacher.encoder.cls_token"]
    torch.testing.assert_close(model.encoder.state_dict()["cls_token"], expected)
    [line] = capsys.readouterr().err.splitlines()
    assert "warning: " in line
    assert line.endswith("tensors of the teacher that are not ATST's are left out: encoder.extra.weight")
    del content["teacher"]["backbone.norm.bias"]
    with pytest.raises(ModelError, match=r"missing: encoder\.norm\.bias"):
        official.load(written(tmp_path / "less.pth", content))


@pytest.mark.parametrize(("hyper_parameters", "seconds"), [({}, 6.0), ({"train_len": 9}, 9.0)])
def test_segment_length(tmp_path: Path, hyper_parameters: dict[str, Any], seconds: float) -> None:
    path = written(tmp_path / "a.ckpt", lightning_checkpoint(nano_state(), **hyper_parameters))
    assert official.load(path).config.segment_seconds == seconds
    bare = written(tmp_path / "bare.ckpt", {"state_dict": nano_state()})
    assert official.load(bare).config.segment_seconds == 6.0


@pytest.mark.parametrize("seconds", [12.0, 0.0, -1, float("nan"), "six", [6.0], None])
def test_impossible_segment_length(tmp_path: Path, seconds: Any) -> None:
    path = written(tmp_path / "a.ckpt", lightning_checkpoint(nano_state(), train_len=seconds))
    with pytest.raises(ModelError, match="segment_seconds"):
        official.load(path)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in nano_state().items()}
    model = official.load(written(tmp_path / "half.ckpt", lightning_checkpoint(state)))
    assert {value.dtype for value in model.encoder.state_dict().values()} == {torch.float32}


def _misshape(state: dict[str, Any]) -> None:
    state["model.teacher.encoder.norm.weight"] = torch.zeros(3)


def _not_a_tensor(state: dict[str, Any]) -> None:
    state["model.teacher.encoder.norm.weight"] = 3


def _non_finite(state: dict[str, Any]) -> None:
    state["model.teacher.encoder.norm.weight"] = torch.full((128,), torch.nan)


def _incomplete_head(state: dict[str, Any]) -> None:
    state["model.student.predictor.1.weight"] = torch.zeros(4096)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("model.teacher.encoder.norm.bias"), "missing: encoder.norm.bias"),
        (lambda s: [s.pop(k) for k in list(s) if ".blocks.2." in k], "missing: .* and 6 more"),
        (lambda s: s.update({"model.teacher.encoder.extra": torch.zeros(1)}), "unexpected: encoder.extra"),
        (lambda s: s.update({"optimizer": torch.zeros(1)}), "unexpected tensors: optimizer"),
        (_misshape, r"misshapen: encoder.norm.weight \(3,\) float32 instead of \(128,\)"),
        (_not_a_tensor, "missing: encoder.norm.weight"),
        (_non_finite, "non-finite weights: encoder.norm.weight"),
        (_incomplete_head, "student .*missing: predictor"),
        (lambda s: s.update({k: v.long() for k, v in s.items() if "norm.bias" in k}), "int64"),
        (lambda s: s.update({k: v.to_sparse() for k, v in s.items() if "norm.bias" in k}), "norm.bias"),
    ],
)
def test_wrong_tensors_are_listed_by_name(tmp_path: Path, edit: Edit, message: str) -> None:
    state = nano_state()
    edit(state)
    path = written(tmp_path / "wrong.ckpt", lightning_checkpoint(state))
    with pytest.raises(ModelError, match=message) as caught:
        official.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"features.0.weight": torch.zeros(2), "fc.0.weight": torch.zeros(2)}, "BYOL-A"),
        ({"model": {"patch_embed.proj.weight": torch.zeros(2)}, "cfg": {"a": 1}}, "another method"),
        ({"state_dict": {"module.v.cls_token": torch.zeros(1, 1, 384)}}, "another method"),
        ({"teacher": {"module.backbone.cls_token": torch.zeros(1, 1, 384)}, "args": {}}, "another method"),
        ({"teacher": {}, "student": {}}, "another method"),
        ({"state_dict": {}}, "another method"),
        ({"state_dict": {5: torch.zeros(1)}}, "another method"),
        ({"two\nlines": torch.zeros(1), "x" * 10_000: torch.zeros(1)}, "another method"),
        ({1: 2}, "another method"),
        ([1, 2], "another method"),
        (torch.zeros(3), "another method"),
    ],
)
def test_checkpoints_of_other_methods_are_recognised(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        official.load(written(tmp_path / "foreign.ckpt", content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_frame_level_atst_is_read_if_it_is_complete(tmp_path: Path) -> None:
    state = {k.replace("encoder.norm.", "encoder.norm_frame."): v for k, v in nano_state().items()}
    with pytest.raises(ModelError, match=r"unexpected: encoder\.cls_token"):
        official.load(written(tmp_path / "mixed.ckpt", lightning_checkpoint(state)))
    frame = {k: v for k, v in state.items() if "cls_token" not in k}
    model = official.load(written(tmp_path / "frame.ckpt", lightning_checkpoint(frame, anchor_len=10.0)))
    assert (model.config.stem, model.config.chunk_frames) == ("frame", 1001)
    vector = model.embed(np.zeros(170000, np.float32), sample_rate=16000)
    assert vector.shape == (model.embedding_size,) == (128,)
    model.save(tmp_path / "model")
    again = atst.load(tmp_path / "model").embed(np.zeros(170000, np.float32), sample_rate=16000)
    np.testing.assert_array_equal(again, vector)
    with pytest.raises(ModelError, match="only encoders with a CLS token"):
        official.save(model, tmp_path / "back.ckpt")


class Malicious:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["top", "hyper_parameters", "callbacks", "tensor"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, place: str) -> None:
    attack = Malicious(f"touch {tmp_path / 'executed'}")
    content: Any = lightning_checkpoint(nano_state())
    if place == "top":
        content = attack
    elif place == "tensor":
        content["state_dict"]["model.teacher.encoder.norm.weight"] = attack
    else:
        content[place] = {"a": attack}
    path = written(tmp_path / "bad.ckpt", content)
    with pytest.raises(ModelError, match=r"refused.*system.*none was run") as caught:
        official.load(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_unknown_classes_are_refused_and_known_leftovers_are_not(tmp_path: Path) -> None:
    known = lightning_checkpoint(
        nano_state(), path=PosixPath("/a/b"), score=np.float64(1.5), kind=np.dtype("f4")
    )
    known["callbacks"] = {pytorch_lightning.callbacks.ModelCheckpoint: {"best": 1}}
    assert official.load(written(tmp_path / "known.ckpt", known)).config.size == "nano"
    strange = lightning_checkpoint(nano_state(), thing=random.Random(0))
    with pytest.raises(ModelError, match=r"refused.*random\.Random"):
        official.load(written(tmp_path / "strange.ckpt", strange))


def _no_zip(path: Path, whole: bytes) -> None:
    path.write_bytes(whole[: len(whole) // 2])


def _empty(path: Path, whole: bytes) -> None:
    path.write_bytes(b"")


def _text(path: Path, whole: bytes) -> None:
    path.write_text("epoch,loss\n1,2\n" * 100)


def _noise(path: Path, whole: bytes) -> None:
    path.write_bytes(random.Random(0).randbytes(10_000))


def _other_zip(path: Path, whole: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def _broken_pickle(path: Path, whole: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}q\x00X\xff\xff")
        archive.writestr("a/version", "3\n")


def _old_format(path: Path, whole: bytes) -> None:
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("spoil", [_no_zip, _empty, _text, _noise, _other_zip, _broken_pickle, _old_format])
def test_damaged_files_give_one_clear_line(
    nano_file: Path, tmp_path: Path, spoil: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / "spoilt.ckpt"
    spoil(path, nano_file.read_bytes())
    with pytest.raises(ModelError, match="not a PyTorch checkpoint") as caught:
        official.load(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.ckpt", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            official.load(path)


def test_compressed_archives_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x00" * 100_000_000)
    assert path.stat().st_size < 200_000
    with pytest.raises(ModelError, match="compressed"):
        official.load(path)


def test_archives_that_claim_more_than_they_hold_are_refused(nano_file: Path, tmp_path: Path) -> None:
    """The same stored bytes listed twice in the directory: overlapping entries."""
    path = tmp_path / "overlap.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data/0", b"\x00" * 1_000_000)
        for i in range(1, 9):
            again = zipfile.ZipInfo(f"a/data/{i}")
            first = archive.infolist()[0]
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.file_size = again.compress_size = first.file_size
            archive.filelist.append(again)
        archive.writestr("a/data.pkl", b"\x80\x02N.")
    with pytest.raises(ModelError, match="more bytes than the file has"):
        official.load(path)


def test_oversized_files_and_pickles_are_refused(
    nano_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrusted, "LARGEST_PICKLE", 100)
    with pytest.raises(ModelError, match="beside the tensors"):
        official.load(nano_file)
    monkeypatch.setattr(untrusted, "LARGEST_FILE", 1000)
    with pytest.raises(ModelError, match="at most 1000"):
        official.load(nano_file)


def test_a_tensor_that_claims_more_than_its_bytes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ckpt", {"state_dict": {"x": torch.arange(4.0)}})
    forged = tmp_path / "forged.ckpt"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(forged, "w") as archive:
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith("data.pkl"):
                assert b"K\x04\x85" in content
                content = content.replace(b"K\x04", b"J\x00\x00\x00\x10")  # 4 becomes 2 ** 28
            archive.writestr(name, content)
    with pytest.raises(ModelError, match="damaged"):
        official.load(forged)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PLACE, st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
def test_flipped_bytes_never_do_worse_than_a_clear_error(
    nano_file: Path, tmp_path: Path, flips: list[tuple[float, int]], in_the_pickle: bool
) -> None:
    content = bytearray(nano_file.read_bytes())
    reach = 20_000 if in_the_pickle else len(content)
    for where, value in flips:
        content[int(where * reach)] = value
    path = tmp_path / "flipped.ckpt"
    path.write_bytes(content)
    message, weights = "", []
    try:
        weights = list(official.load(path).encoder.state_dict().values())
    except ModelError as error:
        message = str(error)
    assert "\n" not in message
    assert all(value.isfinite().all() for value in weights)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[AudioModel, Path]:
    model = atst.load("random:small", seed=3)
    model.config.training["ema"] = 0.999
    path = tmp_path_factory.mktemp("ours") / "ours.ckpt"
    official.save(model, path)
    return model, path


def test_our_model_in_the_authors_form_and_back(ours: tuple[AudioModel, Path]) -> None:
    model, path = ours
    content = torch.load(path, weights_only=True, mmap=True)
    description = table("state_dict_small")
    assert set(content) == set(description["checkpoint_top_level"])
    tensors = {k: (list(v.shape), str(v.dtype)) for k, v in content["state_dict"].items()}
    assert tensors == {k: (s, f"torch.{d}") for k, s, d in description["state_dict"]}
    hyper_parameters = content["hyper_parameters"]
    assert set(hyper_parameters) <= set(description["hyper_parameters"])
    assert (hyper_parameters["arch"], hyper_parameters["train_len"], hyper_parameters["ema"]) == (
        "small",
        6.0,
        0.999,
    )
    for network in ("teacher", "student"):
        assert official.load(path, network).fingerprint == model.fingerprint
    assert official.read(path).size == "small"


class Tree(nn.Module):
    """Modules and parameters named as the authors' are, whatever they compute."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name in sorted({key.split(".")[0] for key in state}):
            inside = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
            if inside:
                self.add_module(name, Tree(inside))
            else:
                self.register_buffer(name, torch.zeros_like(state[name]))


class AuthorsLike(pytorch_lightning.LightningModule):
    def __init__(
        self, arch: str, learning_rate: float, warmup_steps: int, max_steps: int, ema: float, **kwargs: Any
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        state = lightning_state(arch)
        self.model = Tree({key.removeprefix("model."): value for key, value in state.items()})


def test_lightning_loads_what_we_write(ours: tuple[AudioModel, Path]) -> None:
    model, path = ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="The loaded checkpoint was produced with Lightning")
        loaded = AuthorsLike.load_from_checkpoint(path, map_location="cpu")
    assert loaded.hparams["train_len"] == 6.0
    weight = loaded.state_dict()["model.teacher.encoder.blocks.11.attn.qkv.weight"]
    torch.testing.assert_close(weight, model.encoder.state_dict()["blocks.11.attn.qkv.weight"])


def test_sizes_that_the_authors_lack_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="small and base, not 'nano'"):
        official.save(atst.load("random:nano"), tmp_path / "nano.ckpt")
    assert list(tmp_path.iterdir()) == []
