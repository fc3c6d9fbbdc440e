"""One signal coded at several courses of bitrates side by side: what streaming encoders would give, faster.

For experiments, where the same speech is sent in many ways. The front end runs once, and the coder's steps of all
courses run together where the engine batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.bits import UNSENT, sent_mask
from voicelink.codec.compensation import Compensation, share
from voicelink.codec.descriptions import second_code
from voicelink.codec.engine import Array
from voicelink.codec.mel import INPUT_SCALE, PAD_LEFT, log_mel_frame
from voicelink.codec.stream import CALL_SEARCH_ROUNDS
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, WINDOW_SAMPLES

if TYPE_CHECKING:
    from voicelink.codec.api import Codec


class Codes(NamedTuple):
    """Codes of T frames, float32 [T, 64]: 0, 1, or 0.5 for bits that are not sent."""

    first: Array
    second: Array | None = None
    """Their second descriptions, where such were made."""


def encode_courses(
    codec: Codec,
    speech: NDArray[np.float32],
    courses: Sequence[NDArray[np.uint8]],
    rounds: int = CALL_SEARCH_ROUNDS,
    *,
    twice: bool = False,
) -> list[Codes]:
    """Codes of `speech`, float32 [n] at 22 050 Hz with silence after it, for each course.

    A course holds the bits of each frame, uint8 [T]; 0 where none is coded, and the coder stands still. `twice`: with
    second descriptions, where there are `rounds` of search.
    """
    if not courses:
        return []
    if not codec.engine.batches and len(courses) > 1:
        return [encode_courses(codec, speech, [course], rounds, twice=twice)[0] for course in courses]
    longest = max(len(course) for course in courses)
    wanted = np.ones((len(courses), longest), np.uint8)
    for row, course in zip(wanted, courses, strict=True):
        row[: len(course)] = course
    masks = np.stack([sent_mask(bits) for bits in range(MAX_BITS_PER_FRAME + 1)])
    shares = np.array([share(bits) for bits in range(MAX_BITS_PER_FRAME + 1)], np.float32)
    codes = np.full((1 + bool(twice and rounds), longest, len(courses), MAX_BITS_PER_FRAME), UNSENT, np.float32)
    state = np.repeat(codec.engine.coder_state(), len(courses), axis=0)
    compensation = Compensation(codec.engine) if rounds and codec.compensates else None
    for t, window in enumerate(windows(speech, longest)):
        frame = log_mel_frame(window)
        mel = np.repeat(frame[None], len(courses), axis=0)
        if compensation is not None:
            mel = mel + shares[wanted[:, t], None] * compensation.step(frame, window)
        sent = masks[wanted[:, t]]
        talks = wanted[:, t, None] > 0
        if not talks.any():
            continue
        code, decoded, after = codec.engine.encode_step(mel, sent, state, rounds)
        made = [code]
        if len(codes) > 1:
            made.append(second_code(codec.engine, mel, decoded, sent, state, rounds))
        state = np.where(talks, after, state)
        codes[:, t] = np.where(sent > 0, np.stack(made) > 0.5, np.float32(UNSENT))
    return [Codes(*np.ascontiguousarray(codes[:, : len(course), i])) for i, course in enumerate(courses)]


def windows(speech: NDArray[np.float32], frames: int) -> list[NDArray[np.float32]]:
    """Scaled windows of the front end, one a frame, as a streaming encoder cuts them from `speech` and silence."""
    samples = np.zeros((frames + 2) * FRAME_SAMPLES, np.float32)
    samples[: min(len(speech), len(samples))] = speech[: len(samples)]
    scaled = samples * np.float32(INPUT_SCALE)
    padded = np.concatenate([scaled[PAD_LEFT:0:-1], scaled])
    return [padded[t * FRAME_SAMPLES : t * FRAME_SAMPLES + WINDOW_SAMPLES] for t in range(frames)]
