"""Sound for traces: what an end heard, by the real codec, many calls side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.frame import Frame
from voicelink.sim.trace import CONCEAL, PLAY, SKIP, STRETCH, Trace
from voicelink.units import FRAME_SAMPLES

if TYPE_CHECKING:
    from voicelink.codec.api import Codec

SECOND: Final = 1


def render(
    traces: Sequence[Trace], clip: NDArray[np.float32], codec: Codec, listener: int = SECOND
) -> list[NDArray[np.float32]]:
    """What end `listener` heard in each of `traces`, float32 [256 n] at 22 050 Hz, n the loudspeaker's slots.

    `clip`: what the other end's microphone took from its start, float32 [m] in +-1 at 22 050 Hz; silence follows it.
    It is coded once for each course of bitrates among the traces.
    """
    coded: dict[bytes, list[Frame]] = {}
    heard = []
    for trace in traces:
        bits = trace.ends[1 - listener].sent_bits
        frames = coded.setdefault(bits.tobytes(), []) or encode(clip, bits, codec)
        coded[bits.tobytes()] = frames
        heard.append(_play(trace, frames, codec, listener))
    return heard


def encode(clip: NDArray[np.float32], bits: NDArray[np.uint8], codec: Codec) -> list[Frame]:
    """`clip`, and silence after it, as len(bits) frames, frame t of bits[t]."""
    samples = np.zeros((len(bits) + 2) * FRAME_SAMPLES, np.float32)
    samples[: min(len(clip), len(samples))] = clip[: len(samples)]
    encoder = codec.encoder(bits=int(bits[0]) if len(bits) else 32)
    frames: list[Frame] = []
    for block in samples.reshape(-1, FRAME_SAMPLES):
        if len(frames) < len(bits):
            encoder.bits = int(bits[len(frames)])
        frames += encoder.push(block)
    return frames


def _play(trace: Trace, frames: list[Frame], codec: Codec, listener: int) -> NDArray[np.float32]:
    end, decoder = trace.ends[listener], codec.decoder()
    blocks = []
    for kind, index, bits in zip(end.kind.tolist(), end.index.tolist(), end.bits.tolist(), strict=True):
        before = decoder.state
        if kind in (PLAY, SKIP):
            block = decoder.play(frames[index].truncated(bits))
        elif kind in (CONCEAL, STRETCH):
            block = decoder.conceal()
        else:
            block = np.zeros(FRAME_SAMPLES, np.float32)
        if kind == SKIP:
            decoder.state = decoder.state._replace(vocoder=before.vocoder)
            continue
        if kind == STRETCH:
            decoder.state = before._replace(vocoder=decoder.state.vocoder)
        blocks.append(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
