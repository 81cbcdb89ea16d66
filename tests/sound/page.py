# ruff: noqa: E501
"""Writes docs/formats.md from the kinds of file that the test matrix holds.

python tests/sound/page.py
"""

import itertools
import tempfile
from pathlib import Path

from kinds import KINDS, Kind, sweep, write

from atst.sound.decoders import opened
from atst.sound.ffmpeg import Container

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
CONTAINERS = {
    "WAV": "WAV", "WAVEX": "WAV, extensible", "RF64": "RF64", "W64": "Wave64", "AIFF": "AIFF, AIFC", "AU": "AU",
    "CAF": "CAF", "FLAC": "FLAC", "OGG": "Ogg", "MP3": "MP3", "VOC": "VOC", "NIST": "NIST SPHERE", "SVX": "8SVX",
    "IRCAM": "IRCAM", "PAF": "PAF", "mp3": "MP3", "mp2": "MP2", "mp4": "MP4, M4A", "mov": "QuickTime",
    "3gp": "3GP", "3g2": "3G2", "adts": "AAC (ADTS)", "latm": "AAC (LOAS)", "matroska": "Matroska",
    "webm": "WebM", "ogg": "Ogg", "wav": "WAV", "asf": "WMA, ASF", "avi": "AVI", "flv": "FLV",
    "mpegts": "MPEG transport stream", "mpeg": "MPEG program stream", "ac3": "AC-3", "eac3": "E-AC-3",
    "wv": "WavPack", "tta": "TTA", "flac": "FLAC", "aiff": "AIFF, AIFC", "caf": "CAF", "w64": "Wave64",
    "amr": "AMR", "gsm": "GSM 6.10",
}  # fmt: skip
CODECS = {
    "aac": "AAC", "aac-copied": "AAC copied from Matroska", "ac3": "AC-3", "eac3": "E-AC-3", "alac": "ALAC",
    "ALAC_16": "ALAC", "ALAC_24": "ALAC", "libopus": "Opus", "OPUS": "Opus", "VORBIS": "Vorbis",
    "vorbis": "Vorbis", "flac": "FLAC", "libmp3lame": "MP3", "MPEG_LAYER_III": "MP3", "mp2": "MP2",
    "libopencore_amrnb": "AMR-NB", "gsm": "GSM 6.10", "GSM610": "GSM 6.10", "tta": "TTA", "wavpack": "WavPack",
    "IMA_ADPCM": "IMA ADPCM", "MS_ADPCM": "MS ADPCM", "adpcm_ima_wav": "IMA ADPCM", "adpcm_ms": "MS ADPCM",
    "adpcm_ima_qt": "IMA ADPCM", "adpcm_swf": "SWF ADPCM", "adpcm_yamaha": "Yamaha ADPCM", "g722": "G.722",
    "g726": "G.726", "G721_32": "G.721", "G723_24": "G.723", "nellymoser": "Nellymoser", "wmav1": "WMA 1",
    "wmav2": "WMA 2", "NMS_ADPCM_16": "NMS ADPCM", "NMS_ADPCM_32": "NMS ADPCM", "ULAW": "mu-law",
    "ALAW": "A-law", "pcm_mulaw": "mu-law", "FLOAT": "float", "DOUBLE": "float", "pcm_f32le": "float",
}  # fmt: skip

WRITERS = {"mp4": " with other programs' edit lists and stamps", "webm": " with gaps in its stamps"}


def page() -> str:
    """The text of docs/formats.md."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [row(Path(folder), kind) for kind in KINDS.values()]
    lines = []
    for (container, *rest), same in itertools.groupby(
        sorted(rows, key=lambda row: (row[0].lower(), row[2:], row[1].lower())),
        key=lambda row: (row[0], *row[2:]),
    ):
        codecs = list(dict.fromkeys(codec for _, codec, *_ in same))
        lines.append("| " + " | ".join([container, ", ".join(codecs), *rest]) + " |")
    return TEXT.replace("TABLE", "\n".join(lines))


def row(folder: Path, kind: Kind) -> tuple[str, str, str, str, str]:
    """Container, codec, library, how a stretch is found, what gives the length."""
    rate = kind.rates[-1]
    path = write(folder / f"sound.{kind.ending}", kind, rate, sweep(rate, 2.0))
    with opened(path) as source:
        library = "FFmpeg" if isinstance(source, Container) else "libsndfile"
        how = "sought" if source.exact else "from the start"
        codec = CODECS.get(kind.codec, "PCM" if kind.codec.lower().startswith("pcm") else kind.codec)
        if kind.change:
            codec += WRITERS[kind.container]
        return CONTAINERS[kind.container], codec, library, how, source.length()[1]


TEXT = """# Formats that are read

This page is written by `python tests/sound/page.py` from the kinds of file that the tests make; change it there.

Every sound becomes float32, 16 kHz, mono. A stretch of a file (a window, a view, a segment of a table) is equal,
within 1e-4 of full scale and with no sample in another place, to the same span of the whole file. The test
matrix shows it for each line below, at 8, 16, 22.05, 44.1 and 48 kHz where the codec allows: at the start, across
the first page, at 2 s, in the middle, across a whole minute, on the last page, beyond the end, and for windows
cut from one pass (`make test` runs a sample of it, `make test-full` all), with libsndfile 1.2.2 and FFmpeg 8.0
(soundfile 0.14, PyAV 18.1).

- *sought*: a stretch costs its own length, since the decoder begins near it, at a frame whose number is known.
- *from the start*: everything before a stretch is decoded, for time stamps and seeks of these kinds are not exact.
  Long recordings are read in one pass, so `embed` and `predict` lose nothing by it. Corpora for pre-training are
  best packed (`atst pack`, [packing](packing.md)) where the files are long. FLAC that was cut short, or does not
  count its samples, is read so too.
- *length from*: what tells the length before decoding: the header, the last page, the headers of all frames, or
  the time stamps of all packets. It is an estimate for the progress bar; what is read is what the decoder gives.

| container | codecs | read by | stretches | length from |
|---|---|---|---|---|
TABLE

IMA ADPCM in QuickTime is read at a fourteenth of WAV's speed: a minute at 44.1 kHz is 42,000 packets of 64 samples,
and Python's cost for each is what counts (62 s take 0.55 s of processor time, of which PyAV alone takes 0.14; in WAV
0.04 s, PCM 0.015 s). Convert long ones.

## Read, but in no line above

The libraries hold no encoder for these, so that no test file can be made: APE, AMR-WB, DTS, HE-AAC, Musepack,
Shorten, Speex, TAK, WMA Professional, Lossless and Voice. FFmpeg decodes them, from the start. DSD (`.dsf`,
`.dff`) is tested apart. A file's first sound track is taken. The content counts, not the name; only `.gsm` and `.shn`
need their names, since little in such a file says what it is.

## Refused

- Headerless samples (`.raw`, `.g722`, `.vox`): nothing says their rate and form. Text under the name of a sound.
- Sound tracks without a decoder: AC-4, MPEG-H, WAV of more than 32 bits that are not 64.
- Sample rates below 4 or above 768 kHz, among them DSD256 and beyond, which FFmpeg gives at 1411 kHz.
- Playlists and other files that name further files or addresses.
- MP4, QuickTime and CAF whose index is missing, as it stands at the end and the file was cut.

## Whole, cut and damaged files

- An impossible size in a header (WAV, AIFF, AU, CAF, Wave64: 0 with samples behind it, about 2 or 4 GiB
  in a smaller file, -1; FLAC: no samples, or more than the bytes can hold) means "to the end of the file". Chunks
  behind the samples are not samples. A second or more of zeros at the end of such a file is left out and named.
- A recording is *cut short* where its header counts more samples, frames or bytes than there are: more than 0.1 s
  and, by frames, more than two of them. Ogg is cut where its last page is. Formats without such a count (AAC, AC-3,
  AMR and GSM by themselves, MP3 without a count of its frames, MPEG streams, FLV) do not show it: half of such a file
  reads as a whole one. An incomplete last frame is not a sign, since a recorder that is stopped leaves one too.
- A frame that cannot be decoded is *damage* unless it is the last. What is read with `--partial` keeps what
  follows in its place: the frame, or the page or cluster that is missing, is silence of its length.
- Without `--partial` cut and damaged files are listed and skipped. Stretches show only the damage inside
  them: read whole files to be sure (`atst check`).
- The checksums of Ogg's pages and of the frames of FLAC files are compared. Whether a frame of PCM, ALAC, WavPack or
  of FLAC in Matroska and MP4 was changed in place, nothing tells.
- Ogg, FLAC and MP3 files that were joined end to end (`cat a.ogg b.ogg`, radio recorders) are read to the end of the
  last one. All must have one sample rate.

## What 16 kHz cannot hold

Nothing above 8 kHz is left after reading. That is most of the calls of bats, of many bush-crickets and other
insects, and the upper part of some birds' and dolphins' sounds; speech, music and most animals lose little.
Recordings of bats can be slowed down first (time expansion: say that 384 kHz is 38.4 kHz).
"""

if __name__ == "__main__":
    PAGE.write_text(page())
