"""One look for all figures, and each as PNG, SVG and the CSV of its numbers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from voicelink.experiments.store import csv_bytes

#: Okabe and Ito's colours, told apart by nearly everybody; with markers, by everybody.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
MARKERS: Final = "osD^vP*"
STYLE: Final[Any] = {
    "font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.titlesize": 10.5, "axes.titleweight": "bold", "legend.frameon": False, "svg.hashsalt": "voicelink",
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "figure.dpi": 100,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A finished figure: its name in file names, a caption, its three forms, and the part of the page it belongs to."""

    name: str
    caption: str
    section: str
    png: bytes
    svg: bytes
    csv: bytes


class Canvas:
    """A figure with one set of axes under the common style; `finish` makes the files."""

    def __init__(self, title: str, x: str, y: str, *, width: float = 5.6, height: float = 3.4, rows: int = 1) -> None:
        with mpl.rc_context(STYLE):
            self.figure = Figure(figsize=(width, height), layout="constrained")
            made = self.figure.subplots(rows, 1, sharex=rows > 1, squeeze=False)
        self.all: list[Axes] = list(made[:, 0])
        self.axes = self.all[0]
        self.axes.set_title(title, loc="left")
        self.all[-1].set_xlabel(x)
        self.axes.set_ylabel(y)

    def finish(self, name: str, caption: str, section: str, numbers: Sequence[dict[str, Any]]) -> Drawn:
        """The figure's files; `numbers` are what it shows, for its CSV."""
        images = {}
        with mpl.rc_context(STYLE):
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": "voicelink"})):
                data = io.BytesIO()
                self.figure.savefig(data, format=kind, dpi=160, metadata=metadata)
                images[kind] = data.getvalue()
        columns = list(dict.fromkeys(key for row in numbers for key in row))
        return Drawn(name, caption, section, images["png"], images["svg"], csv_bytes(numbers, columns))


def spectrogram_png(speech: NDArray[np.float32], rate_hz: int, top_hz: float = 8000.0) -> bytes:
    """A picture of speech: time across, 0 to `top_hz` up, 70 dB of level from dark to bright."""
    size, hop = 512, max(64, len(speech) // 640)
    padded = np.pad(speech, (0, size))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    level = 20 * np.log10(np.abs(np.fft.rfft(windows)).T + 1e-6)
    bins = min(len(level), round(top_hz / rate_hz * size) + 1)
    shown = np.full((round(top_hz / rate_hz * size) + 1, level.shape[1]), -70.0)
    shown[:bins] = level[:bins] - 30.0  # 0 dB: about a full-scale tone in speech's range
    colours = mpl.colormaps["magma"](np.clip((shown[::-1] + 70) / 70, 0, 1), bytes=True)
    data = io.BytesIO()
    mpl.image.imsave(data, np.ascontiguousarray(np.repeat(colours, 1, axis=0)), format="png", metadata={})
    return data.getvalue()
