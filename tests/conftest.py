import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings

from atst.sound import isolated, messages

os.environ.setdefault(
    "HF_HUB_OFFLINE", "1"
)  # before anything imports huggingface_hub: a test never calls the hub
settings.register_profile("atst", deadline=None)  # a machine may have much else to do
settings.load_profile("atst")
torch.set_num_threads(1)  # small tensors: more threads only get in each other's way


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real audio: ATST_TEST_DATA, else `shared/data` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ATST_TEST_DATA") or beside)
    if not (folder / "pretrain" / "manifest.csv").is_file():
        pytest.skip(f"no real audio at {folder} (set ATST_TEST_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests leave the user's own cache alone."""
    os.environ["ATST_CACHE"] = str(tmp_path_factory.mktemp("cache"))


STUB = """
import os, time
from atst.sound import audio
opened = audio.opened

class MadeUp(BaseException):
    pass

def odd(path, **how):
    name = os.path.basename(path)
    if "ends" in name:
        os._exit(3)
    if "hangs" in name:
        time.sleep(1000)
    if "raises" in name:
        raise MadeUp("made up,\\nfor a test")
    if "once" in name and not os.path.exists(path + ".tried"):
        open(path + ".tried", "w").close()
        os._exit(3)
    return opened(path, **how)

audio.opened = odd
"""


@pytest.fixture
def odd_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Three recordings that the decoder of the decoding processes fails on, each in its way: it ends the
    process, hangs, or raises what nobody expects.
    """
    start = isolated.START
    monkeypatch.setattr(
        isolated, "START", start.replace("from atst.sound.decoding", STUB + "from atst.sound.decoding")
    )
    monkeypatch.setattr(messages, "SECONDS", 1.5)
    monkeypatch.delattr(isolated._threads, "decoder", raising=False)
    folder = tmp_path / "odd"
    folder.mkdir()
    paths = [folder / f"{name}.wav" for name in ("ends", "hangs", "raises")]
    for path in paths:
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    return paths
