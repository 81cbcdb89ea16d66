"""Fine-tuning in plain PyTorch: the model is a module in a loop of one's own.

    python examples/finetune_pytorch.py FOLDER --model runs/mine --out mine-tuned [--epochs 10]

FOLDER has a folder of sounds for each class; every fifth sound is tested on, the others are trained on.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

import atst
from atst.sound import audio
from atst.sound.find import find_audio

SECONDS = 3.0


class Sounds(Dataset[tuple[Tensor, int]]):
    """The first seconds of each file, at 16 kHz and padded to one length, and its class."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(recording.path for recording in find_audio([folder]).recordings)
        self.classes = sorted({path.parent.name for path in self.paths})

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        waveform = torch.from_numpy(audio.read(self.paths[index], duration=SECONDS))
        missing = round(SECONDS * audio.SAMPLE_RATE) - len(waveform)
        label = self.classes.index(self.paths[index].parent.name)
        return nn.functional.pad(waveform, (0, missing)), label


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--model", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--epochs", type=int, default=10)
options = parser.parse_args()

torch.manual_seed(0)
sounds = Sounds(options.folder)
train = DataLoader(Subset(sounds, [i for i in range(len(sounds)) if i % 5]), batch_size=16, shuffle=True)
test = DataLoader(Subset(sounds, range(0, len(sounds), 5)), batch_size=16)

model = atst.load(options.model)
if not isinstance(model, atst.AudioModel):
    parser.error(f"{options.model} is no encoder: nothing in it can be trained.")
width = model.embedding_size
network = nn.Sequential(model, nn.BatchNorm1d(width, affine=False), nn.Linear(width, len(sounds.classes)))
optimiser = torch.optim.AdamW(network.parameters(), lr=3e-4)
for epoch in range(options.epochs):
    network.train()
    for waveforms, labels in train:
        loss = nn.functional.cross_entropy(network(waveforms), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        hits = torch.cat([network(waveforms).argmax(1) == labels for waveforms, labels in test])
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {hits.float().mean().item():.3f}")

model.config.training |= {"fine-tuned on": str(options.folder)}
model.save(options.out)
