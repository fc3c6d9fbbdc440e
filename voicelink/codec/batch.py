"""Decoding of many streams side by side: what streaming decoders would give, faster.

Every stream is a list of steps, as a call's playout makes them (`client/playout.py`): a frame played, concealed,
skipped or put in, or a pause. The coder runs frame by frame over all streams at once, then the vocoder over many frames
of all streams. Streams do not see each other. With an engine that does not batch, streams go one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.bits import UNSENT
from voicelink.codec.concealment import fade, initial_comfort, track_comfort
from voicelink.codec.engine import Array, Engine
from voicelink.codec.vocoder import Vocoder
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME

if TYPE_CHECKING:
    from voicelink.codec.api import Codec

#: Steps. PAUSE: silence, the decoder stands still; PLAY and CONCEAL as `Decoder`; INSERT: a concealed frame before the
#: vocoder while the coder stays where both ends have it; SKIP: the coder takes a frame, the vocoder does not, no sound.
PAUSE, PLAY, CONCEAL, INSERT, SKIP = range(5)
#: Frames that the vocoder takes at a time.
_CHUNK: Final = 16

#: Told after each step of work: how much of it is done, 0..1.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Stream:
    """One stream: n steps over frames given as codes."""

    steps: NDArray[np.uint8]
    """[n]; PAUSE, PLAY, CONCEAL, INSERT or SKIP."""
    frame: NDArray[np.int32]
    """[n]; row in `codes` of what is played or skipped, any number elsewhere."""
    bits: NDArray[np.uint8]
    """[n]; bits of it that came."""
    codes: Array
    """[frames, 64]; may be shared between streams."""


def decode_streams(codec: Codec, streams: Sequence[Stream], progress: Progress | None = None) -> list[Array]:
    """What each stream sounds like: float32 [256 m] at 22 050 Hz, m its steps without the skips.

    As `Decoder.play` and `Decoder.conceal` would give it, up to rounding in the last bits of a product.
    """
    if codec.engine.batches:
        return _decode(codec, streams, progress)
    heard = []
    for done, stream in enumerate(streams):
        heard += _decode(codec, [stream], _part(progress, done, len(streams)))
    return heard


def _decode(codec: Codec, streams: Sequence[Stream], progress: Progress | None) -> list[Array]:
    order = sorted(range(len(streams)), key=lambda i: -len(streams[i].steps))
    ordered = [streams[i] for i in order]
    mels, counts = _mels(codec.engine, ordered, _part(progress, 0, 2))
    sounds = _sounds(codec.vocoder, mels, counts, 1 if not codec.engine.batches else _CHUNK, _part(progress, 1, 2))
    heard: list[Array] = [np.zeros(0, np.float32)] * len(streams)
    for i, stream, sound in zip(order, ordered, sounds, strict=True):
        heard[i] = _placed(stream.steps, sound)
    return heard


def _mels(engine: Engine, streams: Sequence[Stream], progress: Progress) -> tuple[Array, list[int]]:
    """Log-mel frames that the vocoder is to make sound of, [B, T, 80], and how many each stream has.

    The streams go from the longest to the shortest, so that those still running are always the first ones.
    """
    sounding = [int(((s.steps != PAUSE) & (s.steps != SKIP)).sum()) for s in streams]
    comfort = np.repeat(initial_comfort(), len(streams), axis=0)
    mels = np.zeros((len(streams), max(sounding, default=0), comfort.shape[1]), np.float32)
    state = np.repeat(engine.coder_state(), len(streams), axis=0)
    concealed, at = np.zeros((len(streams), 1), np.int64), np.zeros(len(streams), np.int64)
    lengths = np.array([len(s.steps) for s in streams])
    for n in range(int(lengths.max(initial=0))):
        running = int((lengths > n).sum())
        steps = np.array([s.steps[n] for s in streams[:running]])
        came, missing = np.isin(steps, (PLAY, SKIP)), np.isin(steps, (CONCEAL, INSERT))
        code = _codes(streams[:running], n, came)
        if missing.any():
            code[missing] = engine.prior_step(state[:running][missing])
        mel, following = engine.decode_step(code, state[:running])
        guessed = fade(mel, comfort[:running], concealed[:running] + 1)
        tracked = track_comfort(comfort[:running], mel)
        kept = (steps == PAUSE) | (steps == INSERT)
        state = np.where(kept[:, None], state[:running], following)
        comfort = np.where(came[:, None], tracked, comfort[:running])
        concealed = np.where(came[:, None], 0, concealed[:running] + (steps == CONCEAL)[:, None])
        heard = np.flatnonzero((steps != PAUSE) & (steps != SKIP))
        mels[heard, at[heard]] = np.where(missing[:, None], guessed, mel)[heard]
        at[heard] += 1
        progress((n + 1) / lengths[0])
    return mels, sounding


def _codes(streams: Sequence[Stream], n: int, came: NDArray[np.bool_]) -> Array:
    """Code of each stream's step n, [B, 64]; unknown bits where no frame came."""
    codes = np.full((len(streams), MAX_BITS_PER_FRAME), UNSENT, np.float32)
    for i in np.flatnonzero(came).tolist():
        bits = int(streams[i].bits[n])
        codes[i, :bits] = streams[i].codes[streams[i].frame[n], :bits]
    return codes


def _sounds(vocoder: Vocoder, mels: Array, counts: Sequence[int], chunk: int, progress: Progress) -> list[Array]:
    """What the vocoder makes of the first `counts[i]` frames of each stream, float32 [256 counts[i]]."""
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    mels, lengths = mels[order], np.array([counts[i] for i in order])
    state = vocoder.initial_batch(len(counts))
    sounds = np.zeros((len(counts), mels.shape[1] * FRAME_SAMPLES), np.float32)
    for first in range(0, mels.shape[1], chunk):
        running = int((lengths > first).sum())
        made, state = vocoder.step_many(mels[:running, first : first + chunk], state.first(running))
        sounds[:running, first * FRAME_SAMPLES : first * FRAME_SAMPLES + made.shape[1]] = made
        progress(min(1.0, (first + chunk) / mels.shape[1]))
    back = np.argsort(order)
    return [sounds[back[i], : counts[i] * FRAME_SAMPLES] for i in range(len(counts))]


def _placed(steps: NDArray[np.uint8], sound: Array) -> Array:
    """Sound in its slots, silence in the pauses."""
    slots = steps[steps != SKIP]
    heard = np.zeros((len(slots), FRAME_SAMPLES), np.float32)
    heard[slots != PAUSE] = sound.reshape(-1, FRAME_SAMPLES)
    return heard.reshape(-1)


def _part(progress: Progress | None, number: int, of: int) -> Progress:
    """Reports part `number` of `of` equal parts."""
    return lambda share: progress((number + share) / of) if progress is not None else None
