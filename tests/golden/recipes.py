"""Recipes that regenerate every input and every weight used by the golden files.
numpy only; written for this project (nothing here comes from the official code)."""

import zlib

import numpy as np

SR = 16000
SCALE = 0.05


def fill(key, shape, salt=""):
    """Deterministic float32 values for one state-dict entry."""
    rng = np.random.default_rng(zlib.crc32((salt + key).encode()))
    return rng.standard_normal(shape).astype(np.float32) * np.float32(SCALE)


def fill_value(key, shape, salt=""):
    """fill() with the rules for norm weights and BatchNorm buffers. `key` is the full
    Lightning checkpoint key, e.g. model.teacher.encoder.blocks.0.norm1.weight"""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    w = fill(key, shape, salt)
    if key.endswith("running_var"):
        return np.float32(1) + np.abs(w)
    if key.endswith(
        (
            "norm.weight",
            "norm1.weight",
            "norm2.weight",
            "norm_frame.weight",
            "projector.1.weight",
            "predictor.1.weight",
        )
    ):
        return np.float32(1) + w
    return w


def mel_noise(seed, frames, bins=64):
    """A stand-in for a normalised log-mel clip, float32 [bins, frames]."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((bins, frames)).astype(np.float32) * np.float32(0.35) - np.float32(0.2)


def mel_smooth(seed, frames, bins=64):
    """A smooth stand-in (sum of 6 plane waves), float32 [bins, frames], within about +-1."""
    rng = np.random.default_rng(seed)
    f = np.arange(bins)[:, None] / bins
    t = np.arange(frames)[None, :] / 100.0
    x = np.zeros((bins, frames))
    for _ in range(6):
        a, fy, ft, ph = rng.uniform([0.05, 0.0, 0.1, 0.0], [0.3, 4.0, 5.0, 2 * np.pi])
        x += a * np.cos(2 * np.pi * (fy * f + ft * t) + ph)
    return (x - 0.2).astype(np.float32)


def padded_mels(seeds, lengths, frames):
    """[B,1,64,frames] float32: clip b is mel_noise(seeds[b], lengths[b]), zero-padded at the end."""
    out = np.zeros((len(lengths), 1, 64, frames), dtype=np.float32)
    for b, (s, n) in enumerate(zip(seeds, lengths, strict=True)):
        out[b, 0, :, :n] = mel_noise(s, n)
    return out


def waveform(name):
    """float32 mono at 16 kHz, shape [samples]; computed in float64, rounded once at the end."""
    if name == "noise_bursts_1s":  # half-on half-off gate, 4 per second
        n = 16000
        t = np.arange(n) / SR
        x = np.random.default_rng(101).standard_normal(n) * 0.1 * ((t * 4) % 1 < 0.5)
    elif name == "chirp_6s":  # linear chirp 50 Hz -> 7900 Hz
        n = 96000
        t = np.arange(n) / SR
        x = 0.5 * np.sin(2 * np.pi * (50 * t + (7900 - 50) / 12 * t * t))
    elif name == "mixed_6013ms":  # noise floor, a 1 kHz tone from 2 s to 4 s, a burst at 5 s
        n = 96208
        t = np.arange(n) / SR
        x = np.random.default_rng(102).standard_normal(n) * 0.02
        x = x + 0.3 * np.sin(2 * np.pi * 1000 * t) * ((t >= 2) & (t < 4))
        x = x + np.random.default_rng(103).standard_normal(n) * 0.5 * ((t >= 5) & (t < 5.05))
    elif name == "click_400ms":  # one sample of 1.0
        x = np.zeros(6400)
        x[3200] = 1.0
    elif name == "silence_1s":
        x = np.zeros(16000)
    elif name == "quiet_tone_1s":  # 440 Hz at 1e-7: part of it falls under the power floor
        x = 1e-7 * np.sin(2 * np.pi * 440 * np.arange(16000) / SR)
    elif name == "loud_quiet_12s":  # 3 s loud, 6 s at 1e-5, 3 s of zeros: the 80 dB clamp bites
        n = 192000
        t = np.arange(n) / SR
        x = np.random.default_rng(104).standard_normal(n)
        x = x * np.where(t < 3, 0.5, np.where(t < 9, 1e-5, 0.0))
    elif name == "long_13500ms":  # longer than 12 s: centre crop
        n = 216000
        t = np.arange(n) / SR
        x = 0.3 * np.sin(2 * np.pi * (200 + 300 * np.floor(t)) * t)
        x = x + np.random.default_rng(105).standard_normal(n) * 0.01
    elif name == "clip_14700ms":  # longer than two 601-frame chunks
        n = 235200
        t = np.arange(n) / SR
        x = np.random.default_rng(205).standard_normal(n) * 0.1 * (0.2 + np.abs(np.sin(2 * np.pi * 0.35 * t)))
        x = x + 0.2 * np.sin(2 * np.pi * (150 + 90 * t) * t)
    else:
        raise KeyError(name)
    return np.asarray(x).astype(np.float32)


WAVEFORMS = [
    "noise_bursts_1s",
    "chirp_6s",
    "mixed_6013ms",
    "click_400ms",
    "silence_1s",
    "quiet_tone_1s",
    "loud_quiet_12s",
    "long_13500ms",
]
