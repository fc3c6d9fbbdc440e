"""Time, frame and sample arithmetic. Integers only, units in every name.

Three times are never mixed: `now_ns` (a driver's monotonic clock), media time (frames or samples
at the codec rate) and the wall clock (logs only).
"""

from __future__ import annotations

from typing import Final

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000

SAMPLE_RATE_HZ: Final = 22_050
FRAME_SAMPLES: Final = 256
#: Sample rates of audio files, and of streams into the encoder.
MIN_RATE_HZ: Final = 4_000
MAX_RATE_HZ: Final = 768_000
WINDOW_SAMPLES: Final = 1024
MAX_BITS_PER_FRAME: Final = 64

#: Frame t covers samples 256t-256 .. 256t+767, and samples 256t .. 256t+255 are final after it.
ALGORITHMIC_LATENCY_SAMPLES: Final = WINDOW_SAMPLES - FRAME_SAMPLES

#: Parts of a frame in which the lag counts by which what is heard lies behind the newest decoded frame.
LAG_STEPS: Final = 20
#: Frames back from which one that comes late still heals the decoder's state.
HEAL_FRAMES: Final = 32

#: IPv4 (20 bytes) and UDP (8 bytes) headers, counted in every on-wire rate.
IP_UDP_HEADER_BYTES: Final = 28


def frames_to_ns(frames: int) -> int:
    """Duration of `frames` codec frames in nanoseconds, rounded down.

    Computed from the frame count as a whole, so that a sum of frames never drifts.
    """
    return frames * FRAME_SAMPLES * NS_PER_S // SAMPLE_RATE_HZ


def samples_to_ns(samples: int) -> int:
    """Duration of `samples` samples at 22 050 Hz in nanoseconds, rounded down."""
    return samples * NS_PER_S // SAMPLE_RATE_HZ


def ns_to_frames(duration_ns: int) -> int:
    """Whole codec frames that fit in `duration_ns` nanoseconds."""
    return duration_ns * SAMPLE_RATE_HZ // (FRAME_SAMPLES * NS_PER_S)


def bits_per_frame(bitrate_bps: int) -> int:
    """Bits a frame nearest to `bitrate_bps`, clamped to 1..64 (86 bps to 5.51 kbps)."""
    bits = (2 * bitrate_bps * FRAME_SAMPLES + SAMPLE_RATE_HZ) // (2 * SAMPLE_RATE_HZ)
    return max(1, min(MAX_BITS_PER_FRAME, bits))


def bitrate_bps(bits: int) -> int:
    """Codec bitrate of `bits` bits a frame, in bits a second, rounded to the nearest integer."""
    return (2 * bits * SAMPLE_RATE_HZ + FRAME_SAMPLES) // (2 * FRAME_SAMPLES)


def earliest(*due_ns: int | None) -> int | None:
    """The first of some deadlines, each of which may be None; None where all are."""
    first = None
    for at_ns in due_ns:
        if at_ns is not None and (first is None or at_ns < first):
            first = at_ns
    return first
