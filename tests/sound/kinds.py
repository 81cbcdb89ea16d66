"""Every kind of file, container x codec, that the wheels can write: the test matrix and docs/formats.md."""

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import boxes
import numpy as np
import soundfile

RATES = (8000, 16000, 22050, 44100, 48000)
STANDARD = (44100, 48000)
OPUS = (8000, 16000, 48000)
MPEG2 = (16000, 22050, 44100, 48000)


@dataclass(frozen=True)
class Kind:
    """A container with a codec: how to write it, and what may differ in a stretch."""

    ending: str
    codec: str  # libsndfile's subtype (capitals) or FFmpeg's encoder
    container: str  # libsndfile's format (capitals) or FFmpeg's muxer
    rates: tuple[int, ...] = RATES
    copy_from: tuple[str, str] | None = None  # the kind (container, codec) whose packets are copied
    change: Callable[[bytes], bytes] | None = None  # what other programs do differently

    @property
    def name(self) -> str:
        return f"{self.container}-{self.codec}" + (f"-{self.change.__name__}" if self.change else "")


def _many(container: str, ending: str, codecs: str, rates: tuple[int, ...] = RATES) -> list[Kind]:
    return [Kind(ending, codec, container, rates) for codec in codecs.split()]


def gaps(content: bytes) -> bytes:
    """Matroska with the stamps of a browser's recorder: late now and then, and later after each pause."""
    result = io.BytesIO()
    with av.open(io.BytesIO(content)) as old, av.open(result, "w", format="webm") as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for number, packet in enumerate(old.demux(old.streams.audio[0])):
            if packet.dts is not None:
                late = number % 3 + (3000 if number > 200 else 0) + (80 if number > 400 else 0)  # ms
                packet.pts = packet.dts = packet.pts + late
                packet.stream = stream
                new.mux(packet)
    return result.getvalue()


PCM = "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE ULAW ALAW"
KINDS = {
    kind.name: kind
    for kind in [
        *_many("WAV", "wav", f"PCM_U8 {PCM} IMA_ADPCM MS_ADPCM GSM610 G721_32 NMS_ADPCM_16 NMS_ADPCM_32"),
        *_many("WAVEX", "wav", f"PCM_U8 {PCM}"),
        *_many("RF64", "rf64", f"PCM_U8 {PCM}"),
        *_many("W64", "w64", f"PCM_U8 {PCM} IMA_ADPCM MS_ADPCM GSM610"),
        *_many("AIFF", "aiff", f"PCM_S8 PCM_U8 {PCM} IMA_ADPCM GSM610"),
        *_many("AU", "au", f"PCM_S8 {PCM} G721_32 G723_24"),
        *_many("CAF", "caf", f"PCM_S8 {PCM} ALAC_16 ALAC_24"),
        *_many("FLAC", "flac", "PCM_S8 PCM_16 PCM_24"),
        *_many("OGG", "ogg", "VORBIS"),
        *_many("OGG", "opus", "OPUS", OPUS),
        *_many("MP3", "mp3", "MPEG_LAYER_III"),
        *_many("VOC", "voc", "PCM_16 ULAW"),
        *_many("VOC", "voc", "PCM_U8", (8000,)),  # its header has few rates
        *_many("NIST", "sph", "PCM_16 ULAW"),
        *_many("IRCAM", "sf", "PCM_16 FLOAT"),
        *_many("SVX", "svx", "PCM_16"),
        *_many("PAF", "paf", "PCM_16"),
        *_many("mp3", "mp3", "libmp3lame"),
        *_many("mp2", "mp2", "mp2", MPEG2),
        *_many("mp4", "m4a", "aac alac flac"),
        *_many("mp4", "mp4", "libmp3lame", MPEG2),
        *_many("mp4", "mp4", "ac3 eac3", STANDARD),
        *_many("mp4", "mp4", "libopus", OPUS),
        *_many("mov", "mov", "pcm_s16le pcm_s24be pcm_f32le pcm_mulaw adpcm_ima_qt alac aac"),
        *_many("3gp", "3gp", "libopencore_amrnb", (8000,)),
        *_many("3g2", "3g2", "aac"),
        *_many("adts", "aac", "aac"),
        *_many("latm", "loas", "aac"),
        *_many("matroska", "mka", "aac flac pcm_s16le pcm_f32le libmp3lame wavpack tta alac"),
        *_many("matroska", "mka", "mp2", MPEG2),
        *_many("matroska", "mka", "ac3 eac3", STANDARD),
        *_many("webm", "webm", "libopus", OPUS),
        *_many("ogg", "oga", "flac"),
        *_many("ogg", "opus", "libopus", OPUS),
        *_many("wav", "wav", "adpcm_ima_wav adpcm_ms adpcm_yamaha libmp3lame"),
        *_many("wav", "wav", "g726", (8000,)),
        *_many("wav", "wav", "g722", (16000,)),
        *_many("wav", "wav", "mp2", MPEG2),
        *_many("wav", "wav", "ac3", STANDARD),
        *_many("asf", "wma", "wmav1 wmav2 pcm_s16le libmp3lame"),
        *_many("avi", "avi", "libmp3lame pcm_s16le aac adpcm_ms"),
        *_many("avi", "avi", "mp2", MPEG2),
        *_many("avi", "avi", "ac3", STANDARD),
        *_many("flv", "flv", "aac"),
        *_many("flv", "flv", "libmp3lame adpcm_swf", (22050, 44100)),
        *_many("flv", "flv", "nellymoser", (8000, 22050, 44100)),
        *_many("mpegts", "ts", "aac libmp3lame"),
        *_many("mpegts", "ts", "mp2", MPEG2),
        *_many("mpegts", "ts", "ac3 eac3", STANDARD),
        *_many("mpegts", "ts", "libopus", OPUS),
        *_many("mpeg", "mpg", "mp2", MPEG2),
        *_many("mpeg", "mpg", "libmp3lame"),
        *_many("mpeg", "mpg", "ac3", STANDARD),
        *_many("ac3", "ac3", "ac3", STANDARD),
        *_many("eac3", "eac3", "eac3", STANDARD),
        *_many("wv", "wv", "wavpack"),
        *_many("tta", "tta", "tta"),
        *_many("flac", "flac", "flac"),
        *_many("aiff", "aif", "adpcm_ima_qt"),
        *_many("caf", "caf", "alac adpcm_ima_qt libmp3lame"),
        *_many("w64", "w64", "libmp3lame", OPUS),
        *_many("amr", "amr", "libopencore_amrnb", (8000,)),
        Kind("webm", "vorbis", "webm", RATES, ("OGG", "VORBIS")),
        Kind("mka", "vorbis", "matroska", RATES, ("OGG", "VORBIS")),
        Kind("m4a", "aac-copied", "mp4", RATES, ("matroska", "aac")),
        Kind("gsm", "gsm", "gsm", (8000,)),
        *[Kind("m4a", "aac", "mp4", (16000, 44100), change=writer) for writer in boxes.WRITERS],
        Kind("webm", "libopus", "webm", (48000,), change=gaps),
    ]
}


def sweep(rate: int, seconds: float) -> np.ndarray:
    """A tone that rises steadily, so that every place sounds different, (N,)."""
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * (200 + 1000 / max(seconds, 1) * time) * time)).astype(np.float32)


def write(path: Path, kind: Kind, rate: int, samples: np.ndarray, channels: int = 1) -> Path:
    """The samples (N,), the same in each channel, as a file of this kind."""
    if kind.copy_from:
        first = KINDS["-".join(kind.copy_from)]
        with tempfile.TemporaryDirectory() as folder:
            source = write(Path(folder) / f"first.{first.ending}", first, rate, samples, channels)
            copy(source, path, kind.container)
    elif kind.codec == "gsm":  # the frames of a GSM file without its header
        raw = io.BytesIO()
        with soundfile.SoundFile(raw, "w", rate, 1, "GSM610", format="RAW") as file:
            file.write(samples)
        path.write_bytes(raw.getvalue())
    elif kind.container.isupper():
        subtype, form = kind.codec, kind.container
        with soundfile.SoundFile(path, "w", rate, channels, subtype, format=form) as file:
            for begin in range(0, len(samples), rate):  # libsndfile crashes when given much Vorbis at once
                file.write(np.repeat(samples[begin : begin + rate, None], channels, axis=1))
    else:
        encode(path, kind.container, kind.codec, rate, samples, channels)
    if kind.change:
        path.write_bytes(kind.change(path.read_bytes()))
    return path


def encode(path: Path, muxer: str, codec: str, rate: int, samples: np.ndarray, channels: int = 1) -> None:
    """By FFmpeg. Without noise substitution in AAC, which is random in the decoder."""
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.options = {"aac_pns": "0"} if codec == "aac" else {}
        if codec.startswith("wma"):
            stream.bit_rate = 64000
        form = stream.codec_context.format.name
        values = {
            "s16": lambda: (samples * 32767).astype(np.int16),
            "s32": lambda: (samples * 0x7FFFFF00).astype(np.int32),
            "u8": lambda: (samples * 127 + 128).astype(np.uint8),
            "flt": lambda: samples,
            "dbl": lambda: samples.astype(np.float64),
        }[form.removesuffix("p")]()
        for begin in range(0, len(values), 4096):
            part = np.repeat(values[begin : begin + 4096, None], channels, axis=1)
            part = part.T if form.endswith("p") else part.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), form, layout)
            frame.sample_rate, frame.pts = rate, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def copy(source: Path, path: Path, muxer: str) -> None:
    """The packets of a file in another container."""
    with av.open(str(source)) as old, av.open(str(path), "w", format=muxer) as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
