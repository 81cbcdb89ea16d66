"""HEAR's tasks from their archives on disk: what is there, and a model's results by HEAR's protocol.

    python benchmarks/hear.py FOLDER                              lists the tasks
    python benchmarks/hear.py FOLDER --model M --out OUT [--tasks NAME ...]

FOLDER holds what https://hearbenchmark.com/hear-tasks.html offers for download: archives (.tar.gz), or the
task folders that were in them (task_metadata.json, a .json and a folder of sound for each split). Archives
are unpacked into OUT/unpacked. Tasks with labels of whole clips are run, those with labels in time only
listed. The metric is accuracy, or mAP where clips have several labels; the list names HEAR's own.
"""

import argparse
import csv
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import atst
from atst.errors import AtstError
from atst.output.atomic import new_folder
from atst.output.text import print_table

RATES = ("16000", "22050", "32000", "44100", "48000")  # the first one that is there is read


@dataclass
class HearTask:
    """A task folder: each split's clips with their labels."""

    folder: Path
    about: dict
    splits: dict[str, dict[str, list]]

    @classmethod
    def read(cls, folder: Path) -> "HearTask":
        about = json.loads((folder / "task_metadata.json").read_text(encoding="utf-8"))
        names = about.get("splits") or ["train", "valid", "test"]
        splits = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in names}
        return cls(folder, about, splits)

    @property
    def sound(self) -> Path | None:
        return next((self.folder / rate for rate in RATES if (self.folder / rate).is_dir()), None)

    @property
    def why_not(self) -> str:
        """Why it cannot be run; empty if it can."""
        if self.about["embedding_type"] != "scene":
            return "labels have times; there is one prediction a clip here"
        return "" if self.sound else "no folder of sound"

    def row(self) -> list[str]:
        measured = ", ".join(self.about.get("evaluation", [])[:1])
        clips = sum(len(clips) for clips in self.splits.values())
        return [self.folder.name, str(clips), str(len(self.splits)), measured, self.why_not or "yes"]

    def table(self, path: Path) -> Path:
        """Write the task as a table of `atst probe`: a split a row, or a fold."""
        folds = set(self.splits) != {"train", "valid", "test"}
        many = self.about["prediction_type"] == "multilabel"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "labels" if many else "label", "fold" if folds else "split"])
            for number, (split, clips) in enumerate(self.splits.items()):
                for name, labels in clips.items():
                    file = (self.sound / split / name).resolve()
                    writer.writerow([file, ";".join(map(str, labels)), number if folds else split])
        return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tasks", nargs="*", default=[])
    options = parser.parse_args()
    if options.model and not options.out:
        parser.error("--model needs --out")
    archives = sorted(options.folder.rglob("*.tar.gz"))
    if options.out:
        unpack(archives, options.out / "unpacked")
    tasks = found(options.folder) + (found(options.out / "unpacked") if options.out else [])
    if not tasks:
        what = f"{len(archives)} archives (give --out to unpack them)" if archives else "nothing"
        raise SystemExit(f"{options.folder}: no task of HEAR; found {what}.")
    header = ["task", "clips", "splits", "HEAR's metric", "can be run"]
    print_table(header, [task.row() for task in tasks])
    if options.model:
        run(tasks, options)


def unpack(archives: list[Path], out: Path) -> None:
    for archive in archives:
        done = out / archive.name.removesuffix(".tar.gz")
        if not done.exists():
            with tarfile.open(archive) as tar, new_folder(done) as folder:
                tar.extractall(folder, filter="data")


def found(folder: Path) -> list[HearTask]:
    return [HearTask.read(path.parent) for path in sorted(folder.rglob("task_metadata.json"))]


def run(tasks: list[HearTask], options: argparse.Namespace) -> None:
    rows = []
    for task in tasks:
        name = task.folder.name
        if task.why_not or (options.tasks and name not in options.tasks):
            continue
        table = task.table(options.out / name / "meta.csv")
        try:
            result = atst.probe(table, model=options.model, protocol="hear", out=options.out / name / "probe")
        except AtstError as error:
            rows.append([name, "", "", str(error)])
            continue
        low, high = result.ci
        rows.append([name, result.metric, f"{result.value:.4f}", f"{low:.4f} to {high:.4f}"])
    print_table(["task", "metric", "value", "95% interval"], rows)


if __name__ == "__main__":
    main()
