"""Models on the Hugging Face hub: fetched into its cache, and pushed. Needs the extra `hub`."""

import csv
import importlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atst.errors import AtstError, ModelError, UsageError
from atst.model.audio_model import AudioModel
from atst.model.folder import one_line

PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9_])?"
ID = re.compile(rf"({PART}/{PART})(?:@([\w.-]+))?", re.ASCII)
FILES = (".ckpt", ".pt", ".pth", ".onnx", ".safetensors", ".zip")  # a name with such an end is a file's
FETCHED = ["*.json", "*.safetensors", "README.md"]  # nothing that could run
CLASSIFIER = ("head.safetensors", "labels.json")
FRONT_MATTER = """---
library_name: atst
pipeline_tag: feature-extraction
tags:
- audio
- self-supervised
- atst
---

"""


def is_id(name: str) -> bool:
    """Whether `name` is a hub id: `user/name`, maybe with `@revision`, that does not look like a path.

    A path is what exists, what is in a folder that exists, and what ends as a file of weights does.
    """
    match = ID.fullmatch(name)
    if match is None or name.lower().endswith(FILES):
        return False
    return not (Path(name).exists() or Path(name).parent.exists())


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder, in the hub's cache, of the model with this id; what has changed since is downloaded.

    `revision` is a branch, tag or commit; so is what follows `@` in `name`. Without a network, or with
    HF_HUB_OFFLINE=1, what is in the cache is taken. Raises `ModelError` where there is none.
    """
    match = ID.fullmatch(name)
    if match is None:
        raise UsageError(f"'{name}' is not the id of a model on the hub: user/name, or user/name@revision.")
    repo, revision = match[1], revision or match[2]
    hub = _library(f"{repo}: no such file or folder here. To look for it on the Hugging Face hub", ModelError)
    with _explained(repo, revision):
        folder = Path(hub.snapshot_download(repo, revision=revision, allow_patterns=FETCHED, **_sender()))
    if not (folder / "config.json").is_file():
        raise ModelError(f"{repo}: is on the hub, but not as a model of this library (no config.json).")
    return folder


def push(model: AudioModel, source: Path, repo: str, *, private: bool, message: str | None) -> str:
    """Upload a model as a commit to `repo`, which is made if it is not there; returns its address.

    `source` is where the model was loaded from: what else is known of it goes along, the classifier of a
    probe or a fine-tuning, and a run's last figures in the card. Raises `ModelError` where the hub refuses.
    """
    match = ID.fullmatch(repo)
    if match is None or match[2]:
        raise UsageError(f"'{repo}' cannot be the name of a model on the hub: give USER/NAME.")
    hub = _library("pushing to the Hugging Face hub needs another package", UsageError)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        model.save(folder)
        (folder / "README.md").write_text(card((folder / "README.md").read_text(), repo, source))
        for name in CLASSIFIER:
            for path in (source / name, source / "model" / name):
                if path.is_file() and not (folder / name).exists():
                    shutil.copyfile(path, folder / name)
        with _explained(repo, None):
            api = hub.HfApi(**_sender())
            address = api.create_repo(repo, private=private or None, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message or "Upload an encoder")
    return str(address)


def card(text: str, repo: str, source: Path) -> str:
    """A model folder's card as the hub shows it, with the last figures of the run or probe it is from."""
    facts: dict[str, Any] = {}
    if (source / "metrics.csv").is_file():
        with (source / "metrics.csv").open(newline="", encoding="utf-8") as stream:
            facts |= {key: value for row in csv.DictReader(stream) for key, value in row.items() if value}
    if (source / "results.json").is_file():
        results = json.loads((source / "results.json").read_text(encoding="utf-8"))
        facts |= {
            key: results[key] for key in ("task", "protocol", "metric", "value", "ci") if key in results
        }
    lines = "".join(f"- {key}: {value}\n" for key, value in facts.items())
    text = text.replace('atst.load("this folder")', f'atst.load("{repo}")')
    return FRONT_MATTER + text + (f"\nLast figures:\n\n{lines}" if lines else "")


def _library(reason: str, kind: type[AtstError]) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise kind(f'{reason}: pip install "atst-audio[hub]".') from None


def _sender() -> dict[str, str]:
    from atst import __version__

    return {"library_name": "atst", "library_version": __version__}


@contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    """Turns what the hub and the network raise into a line."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"{repo}: no such file or folder here, and no such model on the Hugging Face hub that you may "
            "see. For a private one log in first: hf auth login."
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"{repo}: the model on the hub has no revision '{revision}'.") from None
    except errors.LocalEntryNotFoundError:
        raise ModelError(
            f"{repo}: no such file or folder here; the Hugging Face hub cannot be reached, and its cache "
            f"does not have this model{f' at revision {revision}' if revision else ''}."
        ) from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        login = " Log in first: hf auth login." if status in (401, 403) else ""
        raise ModelError(f"{repo}: refused by the Hugging Face hub: {one_line(error)}{login}") from None
    except (OSError, ValueError, errors.EntryNotFoundError) as error:
        raise ModelError(f"{repo}: {one_line(error)}") from None
