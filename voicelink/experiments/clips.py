"""The speech of a sweep: bundled clips by name, or audio files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.files import AUDIO_SUFFIXES, read_audio
from voicelink.audio.repeat import fill
from voicelink.audio.resampler import resample
from voicelink.errors import AudioError, ConfigError
from voicelink.units import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Clip:
    """One utterance: `speech` is float32 [samples] at 22 050 Hz, `sha256` that of its samples."""

    name: str
    speech: NDArray[np.float32]
    sha256: str

    def said(self, seconds: float) -> NDArray[np.float32]:
        """What a microphone takes in a call of `seconds`: the clip, repeated with pauses; float32 at 22 050 Hz."""
        return fill(self.speech, round(seconds * SAMPLE_RATE_HZ))


def bundled() -> dict[str, Path]:
    """The clips that come with the program, by name: those of the call application and two of our own."""
    folders = (files("voicelink_client") / "clips", files("voicelink.experiments") / "clips")
    found = [Path(str(file)) for folder in folders for file in folder.iterdir() if file.name.endswith(".flac")]
    return {path.stem: path for path in sorted(found, key=lambda path: path.name)}


def load_clips(names: Sequence[str], folder: Path, source: str) -> list[Clip]:
    """Bundled clips by name and audio files by path, a relative one looked for in `folder`.

    Raises ConfigError for one that is neither, or two of one name, and AudioError for a file that cannot be read.
    """
    clips = [_load(_find(name, folder, source)) for name in names]
    names_used = [clip.name for clip in clips]
    twice = next((name for name in names_used if names_used.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{source}: two clips are called {twice}; rename a file")
    return clips


def _find(name: str, folder: Path, source: str) -> Path:
    known = bundled()
    if name in known:
        return known[name]
    path = folder / name
    if path.is_file():
        return path
    if path.suffix.lower() in AUDIO_SUFFIXES or "/" in name:
        raise ConfigError(f"{source}: clip {path}: no such file")
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}, or give an audio file"
    raise ConfigError(f"{source}: clip {name} is unknown; {hint}")


def _load(path: Path) -> Clip:
    speech, rate_hz = read_audio(path)
    if not speech.any():
        raise AudioError(f"{path}: is silent; a clip needs speech")
    speech = resample(speech, rate_hz, SAMPLE_RATE_HZ)
    return Clip(path.stem, speech, hashlib.sha256(speech.astype("<f4").tobytes()).hexdigest())
