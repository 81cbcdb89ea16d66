"""Arrays, tensors and cells of audio columns: every form that is meant, and the others refused by name."""

import io

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

import atst
from atst.errors import AtstError, AudioError, UsageError
from atst.sound import audio
from atst.sound.clips import as_clips, cell_waveform, waveform

RATE = 16000
TONE = (0.4 * np.sin(np.arange(4000) * 0.3)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        (TONE.astype(np.float64), 1e-7),
        (TONE.astype(np.float16), 1e-3),
        ((TONE * 2**15).astype(np.int16), 1e-4),
        ((TONE * 2.0**31).astype(np.int32), 1e-6),
        ((TONE * 128 + 128).astype(np.uint8), 1e-2),
        (torch.from_numpy(TONE), 0),
        (torch.from_numpy(TONE).bfloat16(), 1e-2),
        (torch.from_numpy(TONE * 2**15).short(), 1e-4),
    ],
)
def test_types_of_samples_with_a_known_scale(samples, tolerance):
    found = waveform(samples, RATE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, TONE, atol=tolerance)


@pytest.mark.parametrize(
    "samples",
    [
        (TONE * 2**15).astype(np.int64),
        (TONE * 2**15 + 2**15).astype(np.uint16),
        (TONE * 100).astype(np.int8),
        TONE > 0,
        TONE.astype(np.complex64),
        TONE.astype(object),
        TONE.astype(str),
    ],
    ids=lambda samples: str(samples.dtype),
)
def test_other_types_are_refused_saying_what_to_pass(samples):
    with pytest.raises(AudioError, match="pass floats from -1 to 1, int16, int32 or uint8") as error:
        waveform(samples, RATE)
    assert str(samples.dtype) in str(error.value)
    with pytest.raises(AudioError, match="have no known scale"):
        audio.to_mono_16k(samples, RATE)


@pytest.mark.parametrize(
    "rate", ["16000", "16 kHz", b"16000", None, True, [16000], float("nan"), 22050.5, -1, 0]
)
def test_rates_that_are_none(rate):
    with pytest.raises(AtstError, match=r"sample.rate"):
        waveform(TONE, rate)


@pytest.mark.parametrize("rate", [16000.0, np.int64(16000), np.float32(16000), torch.tensor(16000)])
def test_rates_of_any_number_type(rate):
    np.testing.assert_array_equal(waveform(TONE, rate), TONE)


@given(st.integers(1, 600), st.integers(1, 20))
def test_channels_are_not_taken_for_clips(rows, columns):
    sound = np.zeros((rows, columns), np.float32)
    if columns <= 8 and rows >= 513:
        with pytest.raises(
            UsageError, match=r"x\.T for each channel as a clip, or x\.mean\(1\) for their mix"
        ):
            as_clips(sound)
    else:
        single, clips = as_clips(torch.from_numpy(sound))
        assert (single, len(clips)) == (False, rows)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        ([], "an empty list"),
        ((), "an empty list"),
        (np.zeros((0, 16000)), "no clips"),
        (np.zeros((2, 3, 4)), r"must be \(N,\) or \(B, N\), not \(2, 3, 4\)"),
        ([0.1, 0.2], "cannot embed a list as it is"),
        (3, "cannot embed a int as it is"),
        (b"RIFF", "cannot embed a bytes as it is"),
        (None, "cannot embed a NoneType"),
        (
            [np.zeros((16000, 2))],
            r"not \(16000, 2\)\. For its channels as clips give list\(x\.T\), .* x\.mean\(1\)",
        ),
        ([np.zeros(0)], "no samples"),
        ([[]], "no samples"),
        ([["a"]], "pass floats"),
        ({}, "not nothing"),
        ({"samples": TONE}, "has 'array' and 'sampling_rate', not samples"),
        ({"array": TONE}, "sample rate must be a number of Hz, not None"),
        ({"array": TONE, "sampling_rate": "16000"}, "sample rate must be a number of Hz, not '16000'"),
    ],
)
@pytest.mark.parametrize("name", ["random:nano", "logmel"])
def test_what_cannot_be_embedded_is_refused_in_one_line(sound, message, name):
    with pytest.raises(AtstError, match=message) as error:
        atst.load(name).embed(sound, sample_rate=RATE)
    assert "\n" not in str(error.value)


class Decoder:
    """What an audio column gives where `datasets` decodes: the interface of torchcodec."""

    def __init__(self, samples, rate):
        self.data, self.sample_rate = torch.from_numpy(samples), rate

    def get_all_samples(self):
        return self


def wav(samples):
    stream = io.BytesIO()
    soundfile.write(stream, samples, RATE, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def test_cells_of_a_hugging_face_column_are_taken_as_they_are(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE, RATE, subtype="FLOAT")
    stereo = np.stack([TONE, TONE])
    cells = [
        {"array": TONE, "sampling_rate": RATE, "path": None},
        {"array": TONE.tolist(), "sampling_rate": RATE},
        {"array": stereo, "sampling_rate": RATE},
        {"array": stereo.T, "sampling_rate": RATE},
        {"bytes": wav(TONE), "path": "a.wav"},
        {"bytes": None, "path": str(tmp_path / "a.wav")},
        Decoder(stereo, RATE),
    ]
    for cell in cells:
        np.testing.assert_allclose(cell_waveform(cell), TONE, atol=1e-6)
    assert len(cell_waveform({"array": TONE, "sampling_rate": 8000})) == 8000
    model = atst.load("random:nano")
    expected = model.embed(TONE, sample_rate=RATE)
    np.testing.assert_allclose(model.embed(cells[0]), expected, atol=1e-5)
    together = model.embed([*cells, TONE], sample_rate=RATE)
    np.testing.assert_allclose(together, np.broadcast_to(expected, together.shape), atol=1e-5)
    times, frames = model.embed_frames(cells[-1])
    assert len(times) == len(frames) > 0
    assert atst.load("logmel").embed(cells[0]).shape == (128,)
