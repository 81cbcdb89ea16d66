"""The registered tasks, one line each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """What is known of a data set before its files are there."""

    about: str
    folder: str  # under ATST_DATA
    table: str  # the metadata file within the folder
    source: str
    rates: tuple[float, ...] | None = None  # the paper's grid, where the paper has the task


ESC10 = "ESC-10, K. J. Piczak 2015, https://github.com/karolpiczak/ESC-50"
FSDD = "Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset"
GMNOTES = "notes rendered from the FluidR3 General MIDI sound font"

KNOWN: dict[str, Known] = {
    "esc10": Known("10 environmental sounds, 5 folds", "esc10", "meta.csv", ESC10),
    "fsdd": Known("10 spoken digits", "fsdd", "meta.csv", FSDD),
    "fsdd-speaker": Known("6 speakers of the spoken digits", "fsdd", "meta_speaker.csv", FSDD),
    "gmnotes": Known("11 instrument families, programs unseen in training", "gmnotes", "meta.csv", GMNOTES),
    "gmnotes-pitch": Known(
        "12 pitch classes of instrument notes", "gmnotes", "meta_pitch_class.csv", GMNOTES
    ),
}
