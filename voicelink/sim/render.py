"""Sound for traces: what an end heard, by the real codec, many calls side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.sim.trace import CONCEAL, KINDS, PLAY, EndTrace, Trace
from voicelink.units import FRAME_SAMPLES, LAG_STEPS

if TYPE_CHECKING:
    from voicelink.codec.api import Codec
    from voicelink.codec.batch import Stream
    from voicelink.codec.courses import Codes

FIRST, SECOND = 0, 1
#: Decoded side by side; more streams gain little and take memory (0.4 MB a second each).
MAX_STREAMS: Final = 64


def render(
    traces: Sequence[Trace],
    clip: NDArray[np.float32],
    codec: Codec,
    listener: int = SECOND,
    progress: Callable[[float], None] | None = None,
    *,
    rounds: int = 0,
    coded: dict[bytes, Codes] | None = None,
) -> list[NDArray[np.float32]]:
    """What end `listener` heard in each of `traces`, float32 at 22 050 Hz, from the loudspeaker's start on.

    `clip` is what the other end's microphone took from its start, float32 [m] in +-1 at 22 050 Hz; silence follows it.
    Where frames were left out as silence (`dtx`), `simulate` should have been told of its pauses (`speech_of`).
    It is coded once for each course of bitrates among the traces; then all traces are decoded together, with the
    codec's own concealment. Fast with the engine "torch" (it batches), slow with "onnx" (one call after another).
    `progress` hears the share done, 0..1. `rounds` of the encoder search look for better codes (calls: `--search`).
    `coded` keeps codes from one rendering of the same clip, codec and rounds to the next.
    """
    from voicelink.codec.batch import decode_streams  # noqa: PLC0415 (brings the codec)
    from voicelink.codec.courses import encode_courses  # noqa: PLC0415

    heard: list[NDArray[np.float32]] = []
    coded = {} if coded is None else coded
    for first in range(0, len(traces), MAX_STREAMS):
        group = traces[first : first + MAX_STREAMS]
        courses = [_longest(traces, trace.ends[1 - listener].sent_bits, 1 - listener) for trace in group]
        twice = bool(rounds) and any(trace.ends[listener].came.any() for trace in group)
        keys = [bytes([twice]) + course.tobytes() for course in courses]
        new = {key: course for key, course in zip(keys, courses, strict=True) if key not in coded}
        coded |= dict(zip(new, encode_courses(codec, clip, list(new.values()), rounds, twice=twice), strict=True))
        streams = [_stream(trace.ends[listener], coded[key]) for trace, key in zip(group, keys, strict=True)]
        share = (first / len(traces), len(group) / len(traces))
        heard += decode_streams(codec, streams, _shifted(progress, *share))
    return heard


def speech_of(clip: NDArray[np.float32]) -> list[bytes]:
    """When somebody who says `clip` (as in `render`) talks, frame by frame, for `simulate`."""
    from voicelink.codec.courses import windows  # noqa: PLC0415 (brings the codec)
    from voicelink.codec.mel import log_mel_frame  # noqa: PLC0415
    from voicelink.codec.pauses import PauseDetector  # noqa: PLC0415

    detector, frames = PauseDetector(), len(clip) // FRAME_SAMPLES
    return [detector.noise if detector.step(log_mel_frame(window)) else b"" for window in windows(clip, frames)]


def aligned(
    end: EndTrace, said: NDArray[np.float32], heard: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What was said to `end` and what it heard of that, slot by slot, both float32 [n].

    Each slot that played or concealed frame t stands against samples 256 t .. 256 t + 255 of what was said (with a lag,
    against those so much before), so delay
    counts for nothing, and every loss, coding error and concealment does.
    """
    lag_samples = end.lag.astype(np.int64) * FRAME_SAMPLES // LAG_STEPS
    said_at, heard_at = end.index.astype(np.int64) * FRAME_SAMPLES - lag_samples, end.sample
    fits = np.isin(end.kind, (PLAY, CONCEAL)) & (said_at >= 0) & (said_at + FRAME_SAMPLES <= len(said))
    fits &= heard_at + FRAME_SAMPLES <= len(heard)
    within = np.arange(FRAME_SAMPLES)
    return said[said_at[fits, None] + within].reshape(-1), heard[heard_at[fits, None] + within].reshape(-1)


# ---- helpers -------------------------------------------------------------------------------------
def _longest(traces: Sequence[Trace], bits: NDArray[np.uint8], speaker: int) -> NDArray[np.uint8]:
    """The longest course of bits among the traces that begins with `bits`: coded once for all of them."""
    found = bits
    for trace in traces:
        other = trace.ends[speaker].sent_bits
        if len(other) > len(found) and np.array_equal(other[: len(bits)], bits):
            found = other
    return found


def _stream(end: EndTrace, codes: Codes) -> Stream:
    """An end's decisions as steps of a decoder. A frame that was never sent (a damaged index) is passed over."""
    from voicelink.codec import batch  # noqa: PLC0415 (brings the codec)

    steps = np.array([getattr(batch, _STEPS[kind]) for kind in KINDS], np.uint8)[end.kind]
    unknown = end.index >= len(codes.first)
    steps[unknown & (steps == batch.PLAY)] = batch.CONCEAL
    steps[unknown & (steps == batch.SKIP)] = batch.HEAL
    noises = _noises(end) if end.noise else None
    return batch.Stream(steps, end.index, end.bits, codes.first, end.lag, noises, codes.second, end.came)


def _noises(end: EndTrace) -> list[bytes]:
    """Of each row, what was known of the other end's background."""
    noises = [b""] * len(end.kind)
    for (row, noise), (until, _) in pairwise((*end.noise, (len(noises), b""))):
        noises[row:until] = [noise] * (until - row)
    return noises


def _shifted(progress: Callable[[float], None] | None, begin: float, share: float) -> Callable[[float], None] | None:
    return None if progress is None else lambda done: progress(begin + share * done)


#: What the decoder does for each kind of decision, as `client/playout.py`.
_STEPS: Final = {
    "wait": "PAUSE",
    "play": "PLAY",
    "conceal": "CONCEAL",
    "stretch": "STRETCH",
    "skip": "SKIP",
    "comfort": "COMFORT",
    "heal": "HEAL",
}
