"""Objective quality of a model on a folder of reference speech: PESQ-WB, ESTOI, log-mel error.

Conditions are the vocoder alone on uncoded mels and each asked bitrate. Decoded files are written beside the figures
so that other tools can score them. PESQ alone misleads for neural codecs: always read it beside ESTOI, and listen.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from math import gcd, log, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly
from scipy.stats import t as student_t

from voicelink.audio.files import AUDIO_SUFFIXES, read_audio, write_audio
from voicelink.codec.api import Codec
from voicelink.codec.stream import Encoder
from voicelink.errors import AudioError, first_line
from voicelink.train.prepare import find_audio
from voicelink.train.progress import Progress
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, SAMPLE_RATE_HZ, bits_per_frame

SCORE_RATE_HZ = 16_000
UNCODED = "uncoded"


@dataclass(frozen=True)
class Row:
    """Mean and 95 % confidence half-width (None for one item) over the items of one condition."""

    condition: str
    bitrate_bps: float
    items: int
    pesq_wb: float
    pesq_ci95: float | None
    estoi: float
    estoi_ci95: float | None
    mel_db: float


def evaluate(codec: Codec, folder: Path, bitrates: list[int], out: Path | None = None) -> list[dict[str, float | str]]:
    """Score `codec` on every reference under `folder`; decoded audio goes to `out`/CONDITION/ITEM.wav.

    `folder` holds audio files, or one folder an item with a `ref.*` in it. Raises AudioError where there are none,
    one cannot be scored, or a bitrate is below the model's least.
    """
    items = find_items(folder)
    conditions = [(UNCODED, None), *((f"{rate}bps", bits_per_frame(rate)) for rate in dict.fromkeys(bitrates))]
    for _, bits in conditions[1:]:
        codec.encoder(bits=bits)  # refuses what the model was not trained for
    progress = Progress(len(items) * len(conditions), "decodes")
    scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _ in conditions}
    for item, path in items.items():
        speech, rate = read_audio(path)
        for name, bits in conditions:
            decoded, error_db = decode_condition(codec, speech, rate, bits)
            if out is not None:
                target = out / name / f"{item}.wav"
                target.parent.mkdir(parents=True, exist_ok=True)
                write_audio(target, decoded, SAMPLE_RATE_HZ)
            scores[name].append((*_scored(path, speech, rate, decoded), error_db))
            progress.step(f"{item} {name}")
    return [asdict(_row(name, bits, scores[name])) for name, bits in conditions]


def find_items(folder: Path) -> dict[str, Path]:
    """Name -> reference file, sorted. A file's name is its path below `folder`, without the suffix."""
    nested = {p.parent.name: p for p in sorted(folder.glob("*/ref.*")) if p.suffix.lower() in AUDIO_SUFFIXES}
    flat = {str(p.relative_to(folder).with_suffix("")): p for p in find_audio(folder)}
    items = nested or flat
    if not items:
        raise AudioError(f"{folder}: no reference audio found; expected ITEM/ref.flac or audio files")
    return items


def decode_condition(
    codec: Codec, speech: NDArray[np.float32], rate: int, bits: int | None
) -> tuple[NDArray[np.float32], float]:
    """Decoded speech at 22 050 Hz and the mean absolute log-mel error in dB; bits None: vocoder on true mels."""
    probe = _MelProbe(codec)
    encoder = Encoder(probe, rate, bits or MAX_BITS_PER_FRAME)
    encoder.push(speech)
    encoder.flush()
    true, coded = np.concatenate(probe.true), np.concatenate(probe.coded)
    mels = true if bits is None else coded
    state, blocks = codec.vocoder.initial_state(), []
    for mel in mels:
        block, state = codec.vocoder.step(mel[None], state)
        blocks.append(block)
    length = round(len(speech) * SAMPLE_RATE_HZ / rate)
    return np.concatenate(blocks)[:length], float(np.abs(mels - true).mean()) * 20 / log(10)


class _MelProbe:
    """The codec's engine, keeping the mels before and after coding."""

    def __init__(self, codec: Codec) -> None:
        self.engine, self.true, self.coded = codec.engine, [], []
        self.coder_state = codec.engine.coder_state

    def encode_step(self, mel, sent, state, rounds=0):
        """See `codec.engine.Engine`."""
        code, decoded, state = self.engine.encode_step(mel, sent, state, rounds)
        self.true.append(mel)
        self.coded.append(decoded)
        return code, decoded, state


def score(reference: NDArray[np.float32], rate: int, decoded: NDArray[np.float32]) -> tuple[float, float]:
    """(PESQ-WB, ESTOI) at 16 kHz from sample 0 on: ITU-T P.862.2; Jensen and Taal 2016."""
    from pesq import pesq  # noqa: PLC0415
    from pystoi import stoi  # noqa: PLC0415

    a, b = _resampled(reference, rate), _resampled(decoded, SAMPLE_RATE_HZ)
    n = min(len(a), len(b))
    return float(pesq(SCORE_RATE_HZ, a[:n], b[:n], "wb")), float(stoi(a[:n], b[:n], SCORE_RATE_HZ, extended=True))


def _scored(path: Path, reference: NDArray[np.float32], rate: int, decoded: NDArray[np.float32]) -> tuple[float, float]:
    from pesq import PesqError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # pystoi's, where too little is left without the silence
            return score(reference, rate, decoded)
    except (PesqError, RuntimeWarning, ValueError) as error:
        raise AudioError(
            f"{path}: cannot be scored ({first_line(error)}); is there half a second of speech?"
        ) from error


def _resampled(audio: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    common = gcd(rate, SCORE_RATE_HZ)
    return resample_poly(audio.astype(np.float64), SCORE_RATE_HZ // common, rate // common)


def _row(name: str, bits: int | None, scores: list[tuple[float, float, float]]) -> Row:
    values = np.array(scores)
    half = [
        float(student_t.ppf(0.975, len(c) - 1) * c.std(ddof=1) / sqrt(len(c))) if len(c) > 1 else None for c in values.T
    ]
    rate = 0.0 if bits is None else bits * SAMPLE_RATE_HZ / FRAME_SAMPLES
    mean = values.mean(axis=0)
    return Row(name, rate, len(scores), float(mean[0]), half[0], float(mean[1]), half[1], float(mean[2]))
