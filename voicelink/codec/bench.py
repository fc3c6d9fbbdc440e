"""Speed of the codec on this machine: milliseconds a frame of each part, and the real-time factor of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from voicelink.codec.api import EngineName, load_codec
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, SAMPLE_RATE_HZ

FRAME_MS = 1000 * FRAME_SAMPLES / SAMPLE_RATE_HZ


def bench_codec(
    model: str | Path | None = None, engine: EngineName = "auto", seconds: float = 5.0
) -> dict[str, float | str]:
    """Time each part on noise-like speech, on one thread; medians of single frames.

    Keys: `engine`, `model`, `search_rounds` (of the encoder), `encoder_ms_per_frame` (mel and search included),
    `decoder_ms_per_frame` (BVRNN only), `vocoder_ms_per_frame`, `duplex_rtf` (all three against the frame's 11.6 ms)
    and `streams_per_core`.
    """
    codec = load_codec(model, engine, threads=1)
    frames = max(20, int(seconds / 3 * SAMPLE_RATE_HZ / FRAME_SAMPLES))
    speech = np.random.default_rng(0).standard_normal((frames + 10, FRAME_SAMPLES)).astype(np.float32) * 0.05
    encoder = codec.encoder(bits=MAX_BITS_PER_FRAME)
    encoder_ms = _median_ms(lambda i: encoder.push(speech[i]), frames)
    code = np.random.default_rng(1).integers(0, 2, (1, MAX_BITS_PER_FRAME)).astype(np.float32)
    state = codec.engine.coder_state()
    decoder_ms = _median_ms(lambda i: codec.engine.decode_step(code, state), frames)
    mel, vocoder_state = codec.engine.decode_step(code, state)[0], codec.vocoder.initial_state()
    vocoder_ms = _median_ms(lambda i: codec.vocoder.step(mel, vocoder_state), frames)
    duplex = (encoder_ms + decoder_ms + vocoder_ms) / FRAME_MS
    return {
        "engine": codec.engine.name,
        "model": codec.model_id,
        "search_rounds": encoder.rounds,
        "encoder_ms_per_frame": round(encoder_ms, 3),
        "decoder_ms_per_frame": round(decoder_ms, 3),
        "vocoder_ms_per_frame": round(vocoder_ms, 3),
        "duplex_rtf": round(duplex, 4),
        "streams_per_core": int(1 / duplex),
    }


def _median_ms(step: Callable[[int], object], count: int) -> float:
    for i in range(10):
        step(i)
    times = []
    for i in range(10, count + 10):
        started = time.perf_counter()
        step(i)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
