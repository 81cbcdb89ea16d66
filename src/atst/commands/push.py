"""`atst push`: a model goes to the Hugging Face hub."""

from pathlib import Path

from atst.commands._options import Flag
from atst.errors import UsageError
from atst.model import hub
from atst.model.audio_model import AudioModel
from atst.model.load import load


def push(model: str | Path, repo: str, /, *, private: Flag = False, message: str | None = None) -> str:
    """Upload a model to the Hugging Face hub; every `--model` then takes it by its id.

    For example:

        atst push runs/mine user/name --private

    A model that is already there gets a new commit. Uploaded are the encoder, its card with details of its
    training, and the classifier of a probe or a fine-tuning. Log in first with `hf auth login`, or set
    HF_TOKEN. Prints the address, and returns it.

    Args:
        model: A model folder, run folder, the folder of a probe or a fine-tuning, or an authors' .ckpt.
        repo: The model's id on the hub: USER/NAME.
        private: Make it private if it is not there yet.
        message: Of the commit.

    Raises:
        UsageError: the id is invalid, the model is a feature baseline, or `huggingface_hub` is not installed.
        ModelError: the model cannot be read, or the hub cannot be reached or refuses.
    """
    encoder = load(model)
    if not isinstance(encoder, AudioModel):
        raise UsageError(f"{model} has no weights to push; give a model folder, a run folder or a .ckpt.")
    address = hub.push(encoder, Path(model), repo, private=private, message=message)
    print(address)
    return address
