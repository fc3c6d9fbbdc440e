"""Signals for tests: something like speech, and the bundled clip."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

from voicelink.audio.files import read_audio

RATE_HZ = 22_050


def speech_like(seconds: float, seed: int = 7) -> np.ndarray:
    """Harmonics of a gliding pitch in syllables of varied strength, with some noise; float32, peak 0.5."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    pitch = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 0.7 * t) + 0.1 * np.sin(2 * np.pi * 1.9 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    voice = sum(np.sin(k * phase + k) / k for k in range(1, 25))
    knots = rng.uniform(0.02, 1.0, round(seconds * 8) + 2)
    envelope = np.interp(t * 8, np.arange(len(knots)), knots) ** 2
    signal = envelope * (voice + 0.3 * rng.standard_normal(n))
    return (0.5 * signal / np.abs(signal).max()).astype(np.float32)


def bundled_clip(name: str = "english.flac") -> tuple[np.ndarray, int]:
    """A real clip and its rate."""
    with as_file(files("voicelink_client") / "clips" / name) as path:
        return read_audio(path)
