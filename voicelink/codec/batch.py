"""Decoding of many streams side by side: what streaming decoders would give, faster.

Every stream is a list of steps, as a call's playout makes them (`client/playout.py`). Each runs through the very text
that a call's decoder runs through (`decoding.py`); the coder's steps that the streams ask for are run together, then
the vocoder over many frames of all streams. Streams do not see each other. With an engine that does not batch, streams
go one after another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.codec import decoding
from voicelink.codec.bits import UNSENT
from voicelink.codec.concealment import expected_code
from voicelink.codec.decoding import CoderStep, Steps
from voicelink.codec.engine import Array, Engine
from voicelink.codec.mel import N_MELS
from voicelink.codec.vocoder import Vocoder
from voicelink.frame import BOTH_CAME, FIRST_CAME, SECOND_CAME
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME

if TYPE_CHECKING:
    from voicelink.codec.api import Codec

#: Steps. PAUSE: silence for half a slot, the decoder stands still; the others as the methods of `stream.Decoder`. SKIP
#: and HEAL make no sound and fill no slot.
PAUSE, PLAY, CONCEAL, STRETCH, SKIP, COMFORT, HEAL = range(7)
PAUSE_SAMPLES: Final = FRAME_SAMPLES // 2
#: Frames that the vocoder takes at a time.
_CHUNK: Final = 16

#: Told after each step of work: how much of it is done, 0..1.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Stream:
    """One stream: n steps over frames given as codes."""

    steps: NDArray[np.uint8]
    """[n]; numbers of steps."""
    frame: NDArray[np.int32]
    """[n]; index of the frame played, skipped, healed with, or in place of which there is comfort noise."""
    bits: NDArray[np.uint8]
    """[n]; bits of it that came."""
    codes: Array
    """[frames, 64]; of each frame. May be shared between streams."""
    lag: NDArray[np.uint8] | None = None
    """[n]; how far what is heard of a frame played lies before it; None for nowhere."""
    noise: Sequence[bytes] | None = None
    """[n]; what the sender told of its background, for steps of comfort noise; b"" for nothing; None for never."""
    second_codes: Array | None = None
    """[frames, 64]; second descriptions; None for none."""
    came: NDArray[np.uint8] | None = None
    """[n]; which descriptions of the frame came (`frame.py`); None for the first everywhere."""


def decode_streams(codec: Codec, streams: Sequence[Stream], progress: Progress | None = None) -> list[Array]:
    """What each stream sounds like, float32 at 22 050 Hz: 128 samples for a PAUSE, none for SKIP and HEAL, else 256.

    As `Decoder` would give it, up to rounding in the last bits of a product.
    """
    if codec.engine.batches:
        return _decode(codec, streams, progress)
    heard = []
    for done, stream in enumerate(streams):
        heard += _decode(codec, [stream], _part(progress, done, len(streams)))
    return heard


def _decode(codec: Codec, streams: Sequence[Stream], progress: Progress | None) -> list[Array]:
    if not streams:
        return []
    made = _mels(codec.engine, streams, _part(progress, 0, 2))
    counts = [len(mels) for mels in made]
    together = np.zeros((len(streams), max(counts), N_MELS), np.float32)
    for i, mels in enumerate(made):
        if mels:
            together[i, : len(mels)] = np.concatenate(mels)
    chunk = _CHUNK if codec.engine.batches else 1
    sounds = _sounds(codec.vocoder, together, counts, chunk, _part(progress, 1, 2))
    return [_placed(stream.steps, sound) for stream, sound in zip(streams, sounds, strict=True)]


def _mels(engine: Engine, streams: Sequence[Stream], progress: Progress) -> list[list[Array]]:
    """Log-mel frames [1, 80] that the vocoder is to make sound of, of each stream."""
    made: list[list[Array]] = [[] for _ in streams]
    running = [(_performed(engine, stream, mels), mels) for stream, mels in zip(streams, made, strict=True)]
    total = max(1, sum(int(_sounding(stream.steps).sum()) for stream in streams))
    asked: list[tuple[Steps[None], CoderStep]] = []
    for steps, _ in running:
        _go_on(steps, None, asked)
    while asked:
        ready, asked = asked, []
        for (steps, _), result in zip(ready, _run_together(engine, [step for _, step in ready]), strict=True):
            _go_on(steps, result, asked)
        progress(min(1.0, sum(map(len, made)) / total))
    return made


def _performed(engine: Engine, stream: Stream, mels: list[Array]) -> Steps[None]:
    """All steps of a stream; what is to be heard goes to `mels`."""
    state = decoding.initial(engine)
    lags = stream.lag if stream.lag is not None else np.zeros(len(stream.steps), np.uint8)
    noises = stream.noise if stream.noise is not None else [b""] * len(stream.steps)
    came, others = stream.came, stream.second_codes
    if came is None or others is None:
        came, others = np.full(len(stream.steps), FIRST_CAME, np.uint8), stream.codes
    columns = (stream.steps.tolist(), stream.frame.tolist(), stream.bits.tolist(), lags.tolist(), noises, came.tolist())
    for kind, index, bits, lag, noise, which in zip(*columns, strict=True):
        codes = others if which == SECOND_CAME else stream.codes
        if kind in (PLAY, SKIP):
            second = _code(others, index, bits) if kind == PLAY and which == BOTH_CAME else None
            mel, state = yield from decoding.play(state, index, _code(codes, index, bits), bits, lag, second)
        elif kind == CONCEAL:
            mel, state = yield from decoding.conceal(state)
        elif kind == STRETCH:
            mel, state = yield from decoding.stretch(state)
        elif kind == COMFORT:
            mel, state = yield from decoding.comfort_noise(state, index, noise)
        elif kind == HEAL and index < len(codes):
            state = decoding.heal(state, index, _code(codes, index, bits))
        if kind not in (PAUSE, SKIP, HEAL):
            mels.append(mel)


def _code(codes: Array, index: int, bits: int) -> Array:
    """The first `bits` of frame `index`, as [1, 64]."""
    code = np.full((1, MAX_BITS_PER_FRAME), UNSENT, np.float32)
    code[0, :bits] = codes[index, :bits]
    return code


def _go_on(steps: Steps[None], result: tuple[Array, Array] | None, asked: list[tuple[Steps[None], CoderStep]]) -> None:
    """Take a stream to the next step that it needs, or to its end."""
    with contextlib.suppress(StopIteration):
        asked.append((steps, next(steps) if result is None else steps.send(result)))


def _run_together(engine: Engine, steps: Sequence[CoderStep]) -> list[tuple[Array, Array]]:
    """One coder step of each stream."""
    state = np.concatenate([step.state for step in steps])
    code = np.zeros((len(steps), MAX_BITS_PER_FRAME), np.float32)
    for i, step in enumerate(steps):
        if step.code is not None:
            code[i] = step.code[0]
    guessed = [i for i, step in enumerate(steps) if step.code is None]
    if guessed:
        sent = np.concatenate([steps[i].sent for i in guessed])
        code[guessed] = expected_code(engine.prior_step(state[guessed]), sent)
    mel, following = engine.decode_step(code, state)
    return [(mel[i : i + 1], following[i : i + 1]) for i in range(len(steps))]


def _sounding(steps: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return ~np.isin(steps, (PAUSE, SKIP, HEAL))


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
    slots = steps[(steps != SKIP) & (steps != HEAL)]
    pauses = slots == PAUSE
    heard = np.zeros(int(np.where(pauses, PAUSE_SAMPLES, FRAME_SAMPLES).sum()), np.float32)
    heard[np.repeat(~pauses, np.where(pauses, PAUSE_SAMPLES, FRAME_SAMPLES))] = sound
    return heard


def _part(progress: Progress | None, number: int, of: int) -> Progress:
    """Reports part `number` of `of` equal parts."""
    return lambda share: progress((number + share) / of) if progress is not None else None
