"""Models on the hub: a small server answers the calls that the installed `huggingface_hub` makes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import Hub

import atst
from atst.errors import ModelError, UsageError
from atst.model import hub
from atst.model.classifier import Classifier, Head

pytest.importorskip("huggingface_hub")
from huggingface_hub import constants


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def online(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """This process's `huggingface_hub` set up as by HF_ENDPOINT, HF_HOME, HF_TOKEN: it reads them once."""
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its own transfer protocol is beyond a test
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    monkeypatch.chdir(tmp_path)
    return server


@pytest.mark.parametrize("way", ["apart", "in the commit"])
def test_a_pushed_model_is_loaded_by_its_id(online: Hub, capsys, monkeypatch, way: str) -> None:
    if way == "in the commit":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
        online.large = ".none"
    atst.push("random:nano", "someone/birds", private=True, message="First birds")
    assert capsys.readouterr().out.strip() == f"{online.address}/someone/birds"
    assert online.private == {"someone/birds": True}
    assert online.messages == ["First birds"]
    assert bool(online.blobs) == (way == "apart")
    model = atst.load("someone/birds")
    assert model.name == "someone/birds"
    assert model.fingerprint == atst.load("random:nano").fingerprint


def test_the_card_has_the_facts_of_the_run_and_how_to_load(online: Hub, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = atst.load("random:nano")
    model.config.training = {"steps": 700, "recipe": {"size": "nano"}}
    model.save(run / "model")
    (run / "metrics.csv").write_text("step,loss,watch\n1,3.5,0.1\n700,1.25,\n")
    atst.push(run, "someone/birds")
    card = online.commits["someone/birds"]["main"]["README.md"].decode()
    assert card.startswith("---\nlibrary_name: atst\n")
    for fact in ('atst.load("someone/birds")', "- steps: 700", "- loss: 1.25", "- watch: 0.1"):
        assert fact in card


def test_a_classifier_goes_along(online: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "finetuned"
    head = Head([(torch.ones(2, 256), torch.zeros(2))])
    features = {"layers": 1, "pooling": "mean", "clip_seconds": None}
    made = Classifier(atst.load("random:nano"), head, ["a", "b"], False, features)
    made.save(folder / "model", "made up", "nothing")
    results = {"task": "made up", "protocol": "own", "metric": "accuracy", "value": 0.5, "ci": [0.4, 0.6]}
    (folder / "results.json").write_text(json.dumps(results))
    atst.push(folder, "someone/calls")
    assert atst.load_classifier("someone/calls").labels == ["a", "b"]
    assert "- value: 0.5" in online.commits["someone/calls"]["main"]["README.md"].decode()


def test_an_older_revision_can_be_asked_for(online: Hub) -> None:
    atst.push("random:nano", "someone/birds")
    first = next(name for name in online.commits["someone/birds"] if name != "main")
    atst.push(model_of_seed(1), "someone/birds")
    newest, oldest = atst.load("someone/birds"), atst.load("someone/birds", revision=first)
    assert newest.fingerprint != oldest.fingerprint == atst.load("random:nano").fingerprint
    assert atst.load(f"someone/birds@{first}").fingerprint == oldest.fingerprint
    with pytest.raises(ModelError, match="no revision 'v9'"):
        atst.load("someone/birds", revision="v9")
    with pytest.raises(UsageError, match="revision='v9' goes with user/name"):
        atst.load("random:nano", revision="v9")


def model_of_seed(seed: int) -> str:
    atst.load("random:nano", seed=seed).save(f"seed{seed}")
    return f"seed{seed}"


def test_offline_the_cache_is_taken(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    atst.push("random:nano", "someone/birds")
    fingerprint = atst.load("someone/birds").fingerprint
    online.paths.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert atst.load("someone/birds").fingerprint == fingerprint
    with pytest.raises(ModelError, match="cache does not have this model"):
        atst.load("someone/else")
    assert online.paths == []


def test_without_a_network_the_cache_is_taken(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    atst.push("random:nano", "someone/birds")
    atst.load("someone/birds")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert atst.load("someone/birds").depth == 4
    with pytest.raises(ModelError, match="cannot be reached"):
        atst.load("someone/else")


def test_what_could_run_is_never_fetched(online: Hub) -> None:
    atst.push("random:nano", "someone/birds")
    more = {"model.py": b"print()", "pytorch_model.bin": b"", "weights.ckpt": b"", "big.wav": b"RIFF"}
    online.commit("someone/birds", more)
    kept = {path.name for path in hub.fetch("someone/birds").iterdir()}
    assert kept == {"config.json", "model.safetensors", "README.md"}


def test_what_is_no_model_of_this_library_is_said(online: Hub) -> None:
    online.commit("someone/text", {"README.md": b"Nothing here."})
    with pytest.raises(ModelError, match=r"someone/text: .*no config.json"):
        atst.load("someone/text")
    online.commit("someone/text", {"config.json": b'{"model_type": "bert"}'})
    with pytest.raises(ModelError, match="cannot be used as a model's config"):
        atst.load("someone/text")


def test_weights_that_do_not_fit_are_refused_as_from_any_folder(online: Hub) -> None:
    atst.push("random:nano", "someone/birds")
    online.commit("someone/birds", {"model.safetensors": b"\xff" * 64})
    with pytest.raises(ModelError, match="cannot be loaded"):
        atst.load("someone/birds")


def test_a_model_that_is_not_there_is_one_line_that_names_both_places(online: Hub) -> None:
    with pytest.raises(ModelError, match="no such file or folder here, and no such model on the") as caught:
        atst.load("someone/nothing")
    assert "\n" not in str(caught.value)


def test_pushing_without_a_login_says_how(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    with pytest.raises(ModelError, match="hf auth login"):
        atst.push("random:nano", "someone/birds")


@pytest.mark.parametrize("repo", ["birds", "a/b/c", "someone/birds@v1", "some one/birds", "-a/b", "../a"])
def test_what_is_no_id_is_not_pushed_to(online: Hub, repo: str) -> None:
    with pytest.raises(UsageError, match="USER/NAME"):
        atst.push("random:nano", repo)
    assert online.paths == []


def test_baselines_have_nothing_to_push() -> None:
    with pytest.raises(UsageError, match="logmel has no weights"):
        atst.push("logmel", "someone/birds")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "runs",
            "./runs/mine",
            "../runs/mine",
            "~/runs",
            "/runs/mine",
            "runs/mine/model",
            "a/b.ckpt",
            "a//b",
        ),
        *("runs\\mine", "a /b", "a/", "/b", "here/mine", "a/b.onnx", "a/.b", "a/b\n", "ä/b"),
    ],
)
def test_what_looks_like_a_path_is_never_looked_for_on_the_hub(
    online: Hub, tmp_path: Path, name: str
) -> None:
    (tmp_path / "here").mkdir()
    assert not hub.is_id(name)
    with pytest.raises(ModelError):
        atst.load(name)
    with pytest.raises(ModelError):
        atst.load_classifier(name)
    assert online.paths == []


@pytest.mark.parametrize("name", ["user/name", "a/b", "Some-One/my.model_2", "user/name@v1.0"])
def test_ids_are_told_from_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.is_id(name)
    Path(name).parent.mkdir()
    assert not hub.is_id(name)


def test_without_the_library_the_error_names_the_extra(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"runz/mine: no such .* pip install \"atst-audio\[hub\]\""):
        atst.load("runz/mine")


@pytest.mark.full
def test_the_command_line_reads_the_environment(server: Hub, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_x"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "atst", "push", "random:nano", "someone/birds"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"{server.address}/someone/birds"), done.stderr
    assert set(server.commits["someone/birds"]["main"]) == {"config.json", "model.safetensors", "README.md"}
    loading = "import atst; print(atst.load('someone/birds').fingerprint)"
    for offline in "01":
        environment["HF_HUB_OFFLINE"] = offline
        loaded = subprocess.check_output(
            [sys.executable, "-c", loading], env=environment, cwd=tmp_path, text=True
        )
        assert loaded.strip() == atst.load("random:nano").fingerprint
