"""What a list of recordings holds: each one decoded as a whole, and what they have in common."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from atst.errors import AudioError
from atst.sound.levels import HIGH
from atst.sound.messages import Request
from atst.sound.pool import Pool
from atst.sound.recording import Recording


@dataclass
class Surveyed:
    """A file, or why it cannot be read."""

    path: str
    seconds: float = 0.0
    sample_rate: int = 0  # Hz
    channels: int = 0
    format: str = ""  # the container's name
    codec: str = ""
    peak: float = 0.0
    high: float = 0.0  # share of the energy above 8 kHz
    silent: bool = False
    clipped: bool = False
    content: str = ""  # a hash of the samples: files with the same one hold the same
    remarks: list[str] = field(default_factory=list)  # what is missing of it
    reason: str = ""  # why it cannot be read


def survey(pool: Pool, recordings: Sequence[Recording], channel: int | None) -> Iterator[Surveyed]:
    """What is in each file; of a stretch in a manifest, in its whole file."""
    requests = (Request("survey", str(r.path), {"channel": channel}, r.stored) for r in recordings)
    for request, replies in pool.each(requests):
        found = Surveyed(request.path)
        try:
            for reply in replies:
                found = Surveyed(request.path, **reply.about, remarks=reply.remarks)
        except AudioError as error:
            found.reason = str(error).removeprefix(f"{request.path}: ")
        yield found


def rows(files: Sequence[Surveyed]) -> list[tuple[str, int, float]]:
    """The rows of the table: description, files, hours."""
    good = [file for file in files if not file.reason]
    groups: list[tuple[str, list[Surveyed]]] = [("read", good)]
    groups += _by(good, [f"{file.sample_rate} Hz" for file in good])
    groups += _by(good, [f"{file.channels} channel{'s' * (file.channels > 1)}" for file in good])
    groups += _by(good, [f"{file.format}, {file.codec}" for file in good])
    copies = Counter(file.content for file in good)
    notable = {
        "silent (peak below -80 dBFS)": [file for file in good if file.silent],
        "clipped": [file for file in good if file.clipped],
        "cut short or damaged": [file for file in good if file.remarks],
        "most of the energy above 8 kHz": [file for file in good if file.high > HIGH],
        "equal contents": [file for file in good if copies[file.content] > 1],
        "unreadable": [file for file in files if file.reason],
    }
    groups += notable.items()
    return [(name, len(group), sum(file.seconds for file in group) / 3600) for name, group in groups]


def _by(files: Sequence[Surveyed], names: Sequence[str]) -> list[tuple[str, list[Surveyed]]]:
    """The files of each name, the most frequent first."""
    return [
        (name, [file for file, its_name in zip(files, names, strict=True) if its_name == name])
        for name, _ in Counter(names).most_common()
    ]
