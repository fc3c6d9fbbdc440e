"""What a model does outside clean speech without loss: lost frames, noise, levels, silence, two talkers, music.

Speech is that of the evaluation items; noise, silence and music are made here, the same in every run. All figures are
means over the items at 5.5 kbps.
"""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.files import read_audio
from voicelink.audio.resampler import resample
from voicelink.codec.api import Codec
from voicelink.codec.batch import CONCEAL, PLAY, Stream, decode_streams
from voicelink.codec.bits import unpack_code
from voicelink.codec.engine import Engine
from voicelink.experiments.metrics import estoi
from voicelink.train.evaluate import find_items
from voicelink.units import SAMPLE_RATE_HZ

Signal = NDArray[np.float32]
BITRATE_BPS = 5512
LOSS_RATES = (0.05, 0.1, 0.2)
NOISE_SNR_DB = 10.0
#: A decoder counts as back where its frame is this close to the lossless decoder's (mean over bands).
RECONVERGED_DB = 1.0


def robustness(codec: Codec, folder: Path) -> dict[str, float]:
    """Figures by name. `folder` as for `evaluate`.

    `estoi` (no loss); `estoi_fall_loss_5` .. `_20`: what random loss of single frames takes from it;
    `frames_to_reconverge`: median over losses of 10 %; `estoi_noisy_fan`: uncoded noisy speech against the clean, at
    10 dB; `estoi_extra_fan`: how much more such noise takes from coded speech than from uncoded; the same for babble;
    `estoi_quiet` (-40 dBFS), `estoi_clipped` (+3 dB over full scale), `estoi_two_talkers` against their own input;
    `silence_dbfs`: output for digital silence; `music_excess_db`: loudest 20 ms of the output over that of the input.
    """
    speech = [_at_codec_rate(path) for path in find_items(folder).values()]
    return {
        **_loss(codec, speech),
        **_noise(codec, speech),
        **_levels(codec, speech),
        "silence_dbfs": _db(np.abs(_coded(codec, np.zeros(3 * SAMPLE_RATE_HZ, np.float32))).max()),
        "music_excess_db": _excess_db(codec, _music()),
    }


def lost_frames(frames: int, rate: float, seed: int) -> NDArray[np.bool_]:
    """Independent losses, bool [frames]; the first ten frames always come."""
    lost = np.random.default_rng(seed).random(frames) < rate
    lost[:10] = False
    return lost


def frames_to_reconverge(engine: Engine, codes: Signal, lost: NDArray[np.bool_]) -> list[int]:
    """For each loss (a run of lost frames): frames until the decoded mel is back, cut at the next loss.

    codes [T, 64]; a loss whose next one comes before it is over counts with the frames it had.
    """
    states = [engine.coder_state(), engine.coder_state()]
    error_db = np.zeros(len(codes))
    for t, code in enumerate(codes):
        guess = engine.prior_step(states[1]) if lost[t] else code[None]
        (true, states[0]), (heard, states[1]) = (
            engine.decode_step(c, s) for c, s in zip((code[None], guess), states, strict=True)
        )
        error_db[t] = np.abs(true - heard).mean() * 20 / log(10)
    ends = [t for t in range(1, len(codes)) if lost[t - 1] and not lost[t]]
    found = []
    for end in ends:
        back = (error_db[end:] < RECONVERGED_DB) | lost[end:]
        found.append(int(back.argmax()) if back.any() else len(codes) - end)
    return found


def _loss(codec: Codec, speech: list[Signal]) -> dict[str, float]:
    coded = [codec.encode(s, SAMPLE_RATE_HZ, BITRATE_BPS) for s in speech]
    codes = [np.stack([unpack_code(frame) for frame in e.frames]) for e in coded]
    conditions = {0.0: [np.zeros(len(c), bool) for c in codes]}
    conditions |= {rate: [lost_frames(len(c), rate, i) for i, c in enumerate(codes)] for rate in LOSS_RATES}
    scores = {}
    for rate, patterns in conditions.items():
        streams = [
            Stream(
                np.where(lost, CONCEAL, PLAY).astype(np.uint8),
                np.arange(len(c), dtype=np.int32),
                np.full(len(c), c.shape[1], np.uint8),
                c,
            )
            for lost, c in zip(patterns, codes, strict=True)
        ]
        heard = decode_streams(codec, streams)
        scores[rate] = _mean(speech, heard)
    back = [
        n for c, lost in zip(codes, conditions[0.1], strict=True) for n in frames_to_reconverge(codec.engine, c, lost)
    ]
    falls = {f"estoi_fall_loss_{100 * rate:.0f}": scores[0.0] - scores[rate] for rate in LOSS_RATES}
    return {"estoi": scores[0.0], **falls, "frames_to_reconverge": float(np.median(back))}


def _noise(codec: Codec, speech: list[Signal]) -> dict[str, float]:
    """What noise takes from coded speech beside what it takes from uncoded speech."""
    clean = _mean(speech, [_coded(codec, s) for s in speech])
    found = {}
    for name, noises in (("fan", [_fan(len(s)) for s in speech]), ("babble", _babble(speech))):
        noisy = [s + n * (_rms(s) / _rms(n) * 10 ** (-NOISE_SNR_DB / 20)) for s, n in zip(speech, noises, strict=True)]
        before = _mean(speech, noisy)
        after = _mean(speech, [_coded(codec, n) for n in noisy])
        found[f"estoi_noisy_{name}"] = before
        found[f"estoi_extra_{name}"] = (clean - after) - (1 - before)
    return found


def _levels(codec: Codec, speech: list[Signal]) -> dict[str, float]:
    quiet = [s * (10 ** (-40 / 20) / _rms(s)) for s in speech]
    clipped = [np.clip(s * (10 ** (3 / 20) / np.abs(s).max()), -1, 1) for s in speech]
    pairs = zip(speech, [*speech[1:], speech[0]], strict=True)
    both = [a[: min(len(a), len(b))] + b[: min(len(a), len(b))] for a, b in pairs]
    return {
        f"estoi_{name}": _mean(given, [_coded(codec, s) for s in given])
        for name, given in (("quiet", quiet), ("clipped", clipped), ("two_talkers", both))
    }


def _fan(samples: int) -> Signal:
    """Brown-ish noise with the hum of blades."""
    rng, t = np.random.default_rng(1), np.arange(samples) / SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.maximum(hz, 60) ** 0.7, samples)
    hum = sum(np.sin(2 * np.pi * 118 * k * t) / k for k in range(1, 6))
    return (noise / noise.std() + 0.3 * hum).astype(np.float32)


def _babble(speech: list[Signal]) -> list[Signal]:
    """For each item the sum of four others."""
    made = []
    for i, s in enumerate(speech):
        others = [speech[(i + k) % len(speech)] for k in range(1, 5)]
        made.append(
            sum(np.resize(np.roll(o / _rms(o), 7_000 * k), len(s)) for k, o in enumerate(others)).astype(np.float32)
        )
    return made


def _music() -> Signal:
    """Four seconds of plucked chords."""
    t = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    chords = [(220, 277, 330), (196, 247, 294), (262, 330, 392), (147, 220, 370)]
    bars = [
        sum(np.sin(2 * np.pi * f * k * t) / k for f in chord for k in (1, 2, 3)) * np.exp(-3 * t) for chord in chords
    ]
    made = np.concatenate(bars)
    return (0.4 * made / np.abs(made).max()).astype(np.float32)


def _excess_db(codec: Codec, given: Signal) -> float:
    heard = _coded(codec, given)
    loudest = [_rms(s[: len(s) // 441 * 441].reshape(-1, 441), axis=1).max() for s in (given, heard)]
    return _db(loudest[1] / loudest[0])


def _coded(codec: Codec, speech: Signal) -> Signal:
    return codec.decode(codec.encode(speech, SAMPLE_RATE_HZ, BITRATE_BPS))


def _at_codec_rate(path: Path) -> Signal:
    audio, rate = read_audio(path)
    return resample(audio, rate, SAMPLE_RATE_HZ)


def _estoi(reference: Signal, heard: Signal) -> float:
    return estoi(reference, SAMPLE_RATE_HZ, heard, SAMPLE_RATE_HZ)


def _mean(references: list[Signal], heard: list[Signal]) -> float:
    """Mean ESTOI over the items."""
    return float(np.mean([_estoi(a, b) for a, b in zip(references, heard, strict=True)]))


def _rms(x: NDArray[np.floating], axis: int | None = None) -> NDArray[np.floating]:
    return np.sqrt(np.mean(np.square(x), axis=axis) + 1e-20)


def _db(ratio: float) -> float:
    return float(20 * np.log10(max(float(ratio), 1e-10)))
