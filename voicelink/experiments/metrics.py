"""Speech metrics: small functions from a reference and a decoded signal to one number.

Each takes (reference, its rate in Hz, decoded, its rate in Hz), float32 [samples] in +-1, and returns a float;
those without a reference take (decoded, rate). The two are compared from their first samples on: `score` aligns
first. A signal that cannot be scored (too short, silent) raises AudioError, a package that is missing ConfigError
with the command that installs it. Every package runs offline; models are loaded once a process.

No single one is right about neural codecs; see docs/experiments.md on what each of them hears.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from math import log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.resampler import resample
from voicelink.codec.mel import log_mel
from voicelink.errors import AudioError, ConfigError, first_line
from voicelink.experiments import models, pitch, words
from voicelink.experiments.alignment import align, apply
from voicelink.units import SAMPLE_RATE_HZ

Signal = NDArray[np.float32]
SCORE_RATE_HZ: Final = 16_000
LEAST_S: Final = 0.25


def estoi(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """Extended short-time objective intelligibility, about 0..1 (Jensen and Taal, IEEE/ACM TASLP 24(11), 2016)."""
    models.require("estoi", "pystoi", "pip install 'voicelink[call]'")
    from pystoi import stoi  # noqa: PLC0415

    a, b = _both(reference, reference_rate, decoded, decoded_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # pystoi's, where too little is left without the silence
        return _guarded("ESTOI", lambda: stoi(a, b, SCORE_RATE_HZ, extended=True))


def pesq_wb(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """PESQ wide band, MOS-LQO about 1..4.6 (ITU-T P.862.2)."""
    models.require("pesq_wb", "pesq")
    from pesq import pesq  # noqa: PLC0415

    a, b = _both(reference, reference_rate, decoded, decoded_rate)
    return _guarded("PESQ", lambda: pesq(SCORE_RATE_HZ, a, b, "wb"))


def visqol(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """ViSQOL v3 in speech mode, MOS-LQO 1..5 (Chinen et al., QoMEX 2020)."""
    api = models.visqol_api()
    a, b = _both(reference, reference_rate, decoded, decoded_rate)
    with np.errstate(all="ignore"):
        return _guarded(
            "ViSQOL",
            lambda: api.measure_from_arrays(a.astype(np.float64), b.astype(np.float64), SCORE_RATE_HZ).moslqo,
        )


def speaker_similarity(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """Cosine, up to 1, between the speaker vectors of both (Wan et al., ICASSP 2018; resemblyzer's weights)."""
    embed = models.speaker_encoder()
    a, b = _both(reference, reference_rate, decoded, decoded_rate)
    return float(np.dot(embed(a), embed(b)))


def word_accuracy(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """1 - word error rate of an offline recogniser, against what it hears in the reference; see `words`."""
    words.recogniser()
    return words.word_accuracy_16k(*_both(reference, reference_rate, decoded, decoded_rate))


def log_mel_db(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """Mean absolute difference of the log-mel spectrograms of the codec's front end, dB."""
    a = resample(reference, reference_rate, SAMPLE_RATE_HZ)
    b = resample(decoded, decoded_rate, SAMPLE_RATE_HZ)
    n = min(len(a), len(b))
    _require_length(n, SAMPLE_RATE_HZ)
    return float(np.abs(log_mel(a[:n]) - log_mel(b[:n])).mean()) * 20 / log(10)


def f0_rmse_semitones(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """Root mean square error of the pitch over frames voiced in both, semitones; NaN where there are none."""
    a, b = _both(reference, reference_rate, decoded, decoded_rate)
    return pitch.rmse_semitones(pitch.f0_track(a, SCORE_RATE_HZ), pitch.f0_track(b, SCORE_RATE_HZ))


def voicing_accuracy(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> float:
    """Share of 10 ms frames that are voiced in both or unvoiced in both, 0..1."""
    a, b = _both(reference, reference_rate, decoded, decoded_rate)
    return pitch.voicing_agreement(pitch.f0_track(a, SCORE_RATE_HZ), pitch.f0_track(b, SCORE_RATE_HZ))


def plcmos(decoded: Signal, rate: int) -> float:
    """PLCMOS v2, quality of packet-loss concealment, about 1..5, no reference (Diener et al., Interspeech 2023)."""
    return models.plcmos_score(_alone(decoded, rate))


def dnsmos(decoded: Signal, rate: int) -> float:
    """DNSMOS P.835 overall quality, about 1..5, no reference (Reddy, Gopal and Cutler, ICASSP 2022)."""
    return models.dnsmos_score(_alone(decoded, rate))


WITH_REFERENCE: Final[dict[str, Callable[[Signal, int, Signal, int], float]]] = {
    "estoi": estoi,
    "pesq_wb": pesq_wb,
    "visqol": visqol,
    "speaker_similarity": speaker_similarity,
    "word_accuracy": word_accuracy,
    "log_mel_db": log_mel_db,
    "f0_rmse_semitones": f0_rmse_semitones,
    "voicing_accuracy": voicing_accuracy,
}
ALONE: Final[dict[str, Callable[[Signal, int], float]]] = {"plcmos": plcmos, "dnsmos": dnsmos}
METRICS: Final = (*WITH_REFERENCE, *ALONE)


def score(
    names: Iterable[str],
    reference: Signal,
    reference_rate: int,
    decoded: Signal,
    decoded_rate: int,
    *,
    search: bool = False,
) -> dict[str, float]:
    """The named metrics of one pair; NaN for one that cannot be told of these signals.

    With `search` the decoded signal is aligned with the reference first (bounded, see `alignment`); without it
    both are compared from sample 0. Raises ConfigError for an unknown name or a missing package.
    """
    wanted = list(names)
    for name in wanted:
        if name not in METRICS:
            raise ConfigError(f"metric '{name}' is unknown; there are: {', '.join(METRICS)}")
    heard = decoded
    if search:
        decoded = resample(decoded, decoded_rate, reference_rate)
        decoded_rate = reference_rate
        reference, decoded = apply(align(reference, decoded, reference_rate), reference, decoded)
        heard = decoded
    return {name: _one(name, reference, reference_rate, decoded, decoded_rate, heard) for name in wanted}


def available(names: Iterable[str]) -> None:
    """Load what the named metrics need. Raises ConfigError with the command that installs what is missing."""
    tone = (0.1 * np.sin(2 * np.pi * 200 * np.arange(SCORE_RATE_HZ) / SCORE_RATE_HZ)).astype(np.float32)
    score(names, tone, SCORE_RATE_HZ, tone, SCORE_RATE_HZ)


def _one(name: str, reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int, heard: Signal) -> float:
    try:
        if name in ALONE:
            return ALONE[name](heard, decoded_rate)
        return WITH_REFERENCE[name](reference, reference_rate, decoded, decoded_rate)
    except AudioError:
        return float("nan")


def _both(reference: Signal, reference_rate: int, decoded: Signal, decoded_rate: int) -> tuple[Signal, Signal]:
    """Both at 16 kHz, of the shorter one's length. Raises AudioError where that is too short or nothing was said."""
    a, b = resample(reference, reference_rate, SCORE_RATE_HZ), resample(decoded, decoded_rate, SCORE_RATE_HZ)
    n = min(len(a), len(b))
    _require_length(n, SCORE_RATE_HZ)
    if not a[:n].any():
        raise AudioError("cannot score against a silent reference")
    return a[:n], b[:n]


def _alone(decoded: Signal, rate: int) -> Signal:
    """At 16 kHz and within full scale."""
    speech = resample(decoded, rate, SCORE_RATE_HZ)
    _require_length(len(speech), SCORE_RATE_HZ)
    return np.clip(speech, -1.0, 1.0)


def _require_length(samples: int, rate: int) -> None:
    if samples < LEAST_S * rate:
        raise AudioError(f"{samples / rate:.2f} s of speech is too short to score; give {LEAST_S} s or more")


def _guarded(metric: str, measure: Callable[[], Any]) -> float:
    """What `measure` returns; AudioError where the package says that these signals cannot be scored."""
    try:
        return float(measure())
    except (ValueError, ArithmeticError, IndexError, RuntimeError, RuntimeWarning) as error:
        reason = first_line(error)
        raise AudioError(f"{metric} cannot score this ({reason}); is there half a second of speech?") from error
