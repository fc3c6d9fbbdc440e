"""Spectrograms of what was said and heard, as a PNG.

Drawn with matplotlib, not by hand: a picture for people needs axes, labels and a colour scale, and the
comparison of other experiments' plots needs matplotlib anyway. Its object interface is used, which needs no
display and keeps no global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.errors import AudioError
from voicelink.units import SAMPLE_RATE_HZ

WINDOW: Final = 512
HOP: Final = 128
RANGE_DB: Final = 70.0
TOP_HZ: Final = 8000.0


Sound = NDArray[np.float32]


@dataclass(frozen=True)
class Track:
    """A row: `samples` at 22 050 Hz, of which the first comes `offset_s` after time 0."""

    title: str
    samples: NDArray[np.float32]
    offset_s: float = 0.0


def spectrogram_db(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power in dB relative to the strongest point, -70..0, float32 [bins up to 8 kHz, frames]."""
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=1)
    power = np.abs(spectrum[:, : int(TOP_HZ * WINDOW / SAMPLE_RATE_HZ) + 1]) ** 2
    decibel = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-10), 10 ** (-RANGE_DB / 10)))
    return np.asarray(decibel.T, dtype=np.float32)


def draw(path: Path, title: str, tracks: Sequence[Track]) -> None:
    """Write the tracks' spectrograms below each other on one time axis. Raises AudioError."""
    figure_class = _figure_class()
    figure = figure_class(figsize=(12, 2.1 * len(tracks) + 0.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(tracks), 1, sharex=True, squeeze=False)[:, 0]
    for axis, track in zip(axes, tracks, strict=True):
        image = _row(axis, track)
    axes[-1].set_xlabel("time, s")
    figure.colorbar(image, ax=axes, label="dB of the strongest", pad=0.01)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({error.strerror or error})") from error


def _row(axis: Any, track: Track) -> Any:
    picture = spectrogram_db(track.samples)
    end_s = track.offset_s + len(track.samples) / SAMPLE_RATE_HZ
    axis.set_title(track.title, loc="left", fontsize="medium")
    axis.set_ylabel("kHz")
    return axis.imshow(
        picture,
        origin="lower",
        aspect="auto",
        extent=(track.offset_s, end_s, 0, TOP_HZ / 1000),
        vmin=-RANGE_DB,
        vmax=0,
        cmap="magma",
    )


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (slow to load)
    except ModuleNotFoundError as error:
        raise AudioError(f"the picture needs {error.name}; install it: pip install 'voicelink[call]'") from error
    return Figure
