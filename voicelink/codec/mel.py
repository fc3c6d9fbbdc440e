"""Log-mel front end of the codec, in numpy.

Frame t covers samples 256t-256 .. 256t+767: Hann window of 1024, hop 256, magnitude
sqrt(re^2 + im^2 + 1e-9), Slaney mel filter bank of 80 bands over 0..8000 Hz, natural log of max(mel, 1e-5).
Constants and conventions are those of Stahl, Windtner and Sontacchi, IEEE Access 12 (2024),
doi 10.1109/ACCESS.2024.3482359; the filter bank is that of Slaney's Auditory Toolbox (1998), librosa's default.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES

N_MELS: Final = 80
MAX_HZ: Final = 8000.0
FLOOR: Final = 1e-5
MAGNITUDE_EPS: Final = 1e-9
#: Signals are scaled by this before analysis and by its inverse after synthesis (-10 dB).
INPUT_SCALE: Final = 10.0 ** (-10.0 / 20.0)
PAD_LEFT: Final = 256
PAD_RIGHT: Final = 512

_F_SP = 200.0 / 3.0
_MIN_LOG_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney mel scale: linear below 1 kHz, logarithmic above."""
    log_part = _MIN_LOG_HZ / _F_SP + np.log(np.maximum(hz, _MIN_LOG_HZ) / _MIN_LOG_HZ) / _LOG_STEP
    return np.where(hz < _MIN_LOG_HZ, hz / _F_SP, log_part)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `hz_to_mel`."""
    min_log_mel = _MIN_LOG_HZ / _F_SP
    log_part = _MIN_LOG_HZ * np.exp(_LOG_STEP * (np.maximum(mel, min_log_mel) - min_log_mel))
    return np.where(mel < min_log_mel, mel * _F_SP, log_part)


def mel_filter_bank(
    n_fft: int = WINDOW_SAMPLES, n_mels: int = N_MELS, max_hz: float = MAX_HZ, rate_hz: int = SAMPLE_RATE_HZ
) -> NDArray[np.float32]:
    """Triangular filters of unit area (Slaney norm), float32 [n_mels, n_fft // 2 + 1]."""
    bin_hz = np.linspace(0.0, rate_hz / 2, n_fft // 2 + 1)
    edges_hz = mel_edges_hz(n_mels, max_hz)
    rising = (bin_hz - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    falling = (edges_hz[2:, None] - bin_hz) / np.diff(edges_hz)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]).astype(np.float32)


def mel_edges_hz(n_mels: int = N_MELS, max_hz: float = MAX_HZ) -> NDArray[np.float64]:
    """Where the triangles begin, peak and end, [n_mels + 2]: filter i peaks at edge i + 1."""
    return mel_to_hz(np.linspace(0.0, float(hz_to_mel(np.array(max_hz))), n_mels + 2))


def band_shares(
    low_hz: NDArray[np.float64], high_hz: NDArray[np.float64], n_fft: int, rate_hz: int = SAMPLE_RATE_HZ
) -> NDArray[np.float64]:
    """Which part of each bin's width lies in a band, [n_fft // 2 + 1, bands], for bands from `low_hz` to `high_hz`."""
    bin_hz = rate_hz / n_fft
    edge_hz = (np.arange(n_fft // 2 + 1) - 0.5)[:, None] * bin_hz
    shared_hz = np.minimum(edge_hz + bin_hz, high_hz) - np.maximum(edge_hz, low_hz)
    shares: NDArray[np.float64] = np.clip(shared_hz, 0, None) / bin_hz
    return shares


_WINDOW = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)).astype(np.float32)
_BANK_T = np.ascontiguousarray(mel_filter_bank().T)


def log_mel_frame(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel spectrum, float32 [80], of one window of already scaled samples, float32 [1024].

    One frame at a time on purpose: a batched product may differ in the last bit, and streaming must equal
    offline bit for bit.
    """
    spectrum = np.fft.rfft(window * _WINDOW)
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + MAGNITUDE_EPS).astype(np.float32)
    mel: NDArray[np.float32] = np.log(np.maximum(magnitude @ _BANK_T, np.float32(FLOOR)))
    return mel


def log_mel(speech: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-mel spectrogram, float32 [T, 80], of a whole signal, float32 [n]; T = floor(n / 256).

    Edges are padded by reflection, 256 samples left and 512 right, as the reference does offline. Raises
    ValueError for fewer than 513 samples, which cannot be reflected.
    """
    if len(speech) <= PAD_RIGHT:
        raise ValueError(f"{len(speech)} samples are too few to reflect; at least {PAD_RIGHT + 1} are needed")
    scaled = np.pad(speech * np.float32(INPUT_SCALE), (PAD_LEFT, PAD_RIGHT), mode="reflect")
    frames = len(speech) // FRAME_SAMPLES
    windows = (scaled[FRAME_SAMPLES * t : FRAME_SAMPLES * t + WINDOW_SAMPLES] for t in range(frames))
    return np.stack([log_mel_frame(window) for window in windows])
