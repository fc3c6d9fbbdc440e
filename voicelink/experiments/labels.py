"""What the columns of a sweep's table are called on axes and in captions."""

from __future__ import annotations

from typing import Any, Final

LABELS: Final = {
    "estoi": "ESTOI", "pesq_wb": "PESQ-WB, MOS-LQO", "visqol": "ViSQOL, MOS-LQO", "plcmos": "PLCMOS v2",
    "dnsmos": "DNSMOS overall", "speaker_similarity": "speaker similarity, cosine", "word_accuracy": "word accuracy",
    "log_mel_db": "log-mel error, dB", "f0_rmse_semitones": "pitch error, semitones", "voicing_accuracy":
    "voicing accuracy", "frame_loss": "frames concealed, share", "late_loss": "frames late, share",
    "packet_loss": "packets lost, share", "wire_kbps": "on the wire, kbps", "buffer_mean_ms": "jitter buffer, mean, ms",
    "mouth_to_ear_p50_ms": "mouth to ear, median, ms", "mouth_to_ear_p95_ms": "mouth to ear, 95th percentile, ms",
    "interruption_ms": "interruptions of 150 ms or more, ms in all", "convergence_s": "delay converged after, s",
    "loss": "packet loss asked for, share", "burst": "mean burst, packets", "jitter_ms": "jitter, ms",
    "rate_kbps": "bottleneck, kbps", "bitrate_bps": "codec bitrate, bit/s", "frames_per_packet": "frames a packet",
    "redundancy": "redundant frames a packet", "drift_ppm": "clock drift, ppm", "codec": "codec",
    "jitter_model": "jitter model",
}  # fmt: skip
NETWORK: Final = (
    *("frame_loss", "late_loss", "wire_kbps", "mouth_to_ear_p50_ms", "mouth_to_ear_p95_ms", "buffer_mean_ms"),
    *("interruption_ms", "convergence_s"),
)


def label(name: str) -> str:
    """A column's name as an axis shows it."""
    return LABELS.get(name, name)


def named(key: str, value: Any) -> str:
    """One setting with its value, as a legend shows it; codecs are named alone."""
    return str(value) if key == "codec" else f"{label(key)} {short(value)}"


def short(value: Any) -> str:
    """A value for a tick or a legend."""
    return f"{value:g}" if isinstance(value, float) else str(value)
