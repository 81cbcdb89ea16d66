"""A classifier from a few labelled sounds: frozen embeddings and a logistic regression.

    python examples/few_labels.py FOLDER --model runs/mine [--shots 5]

FOLDER has a folder of sounds for each class. So many of each class are learned from, the others tested.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atst.sklearn import Embedder
from atst.sound.find import find_audio

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--model", required=True)
parser.add_argument("--shots", type=int, default=5)
options = parser.parse_args()

paths = np.array([str(recording.path) for recording in find_audio([options.folder]).recordings])
labels = np.array([Path(path).parent.name for path in paths])
draws = np.random.default_rng(0)
classes = np.unique(labels)
train = np.concatenate([draws.permutation(np.flatnonzero(labels == c))[: options.shots] for c in classes])
test = np.setdiff1d(np.arange(len(paths)), train)
if not len(test):
    parser.error(f"--shots {options.shots}: no sound is left to test on.")

classifier = make_pipeline(
    Embedder(options.model), StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
)
classifier.fit(paths[train], labels[train])
predicted = classifier.predict(paths[test])
print(
    f"{len(train)} sounds learned from, {len(test)} tested: accuracy {(predicted == labels[test]).mean():.3f}"
)
for path, guess in zip(paths[test][:10], predicted[:10], strict=True):
    print(f"{path}: {guess}")
