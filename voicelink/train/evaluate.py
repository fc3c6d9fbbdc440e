"""Objective quality of a model on a folder of reference speech, beside other codecs' audio where that lies there too.

Conditions are the vocoder alone on uncoded mels, each asked bitrate, and the other audio files in the items' folders.
Decoded files may be kept, so that other tools can score them. No measure is right about neural codecs by itself:
`experiments.metrics` says what each one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from voicelink.audio.files import AUDIO_SUFFIXES, read_audio, write_audio
from voicelink.codec.api import Codec
from voicelink.codec.stream import Encoder
from voicelink.errors import AudioError, ConfigError, first_line
from voicelink.experiments import metrics
from voicelink.train.prepare import find_audio
from voicelink.train.progress import Progress
from voicelink.units import FRAME_SAMPLES, MAX_BITS_PER_FRAME, SAMPLE_RATE_HZ, bits_per_frame

UNCODED = "uncoded"
#: In the order of the table. Those whose package is missing are left out, and that is said.
METRICS = (
    "pesq_wb",
    "estoi",
    "visqol",
    "dnsmos",
    "speaker_similarity",
    "f0_rmse_semitones",
    "voicing_accuracy",
)
#: Mean and 95 % confidence half-width of every metric over the items of one condition (`NAME` and `NAME_ci95`; None for
#: one item), `condition`, `source` (None: all items), `bitrate_bps` (0: uncoded; None: another codec), `items`, and
#: `mel_db` of our conditions.
Row = dict[str, float | str | None]
Scores = dict[str, float]


def evaluate(
    codec: Codec,
    folder: Path,
    bitrates: list[int],
    out: Path | None = None,
    names: Sequence[str] | None = None,
    rounds: int | None = None,
    seconds: float | None = None,
    by_source: bool = False,
) -> list[Row]:
    """Score `codec`, and other codecs' audio, on every reference under `folder` by the metrics `names`.

    By default those of METRICS whose packages are installed.

    `folder` holds audio files, or one folder an item with a `ref.*` in it; what else lies in all of those is a
    condition too. Our decoded audio goes to `out`/CONDITION/ITEM.wav. `rounds` of the encoder search, by default the
    model's. Of each file the first `seconds` are used, by default all. With `by_source`, the rows of all items are
    followed by those of each folder right below `folder`, whose `source` is its name. Raises AudioError where there
    are no items, one cannot be scored, or a bitrate is below the model's least.
    """
    names = usable(METRICS)[0] if names is None else names
    items = find_items(folder)
    conditions = {UNCODED: None, **{f"{rate}bps": bits_per_frame(rate) for rate in bitrates}}
    for bits in filter(None, conditions.values()):
        rounds = codec.encoder(bits=bits, rounds=rounds).rounds  # refuses what the model was not trained for
    peers = find_peers(items)
    progress = Progress(len(items) * (len(conditions) + len(peers)), "scores")
    scores: dict[str, list[Scores]] = {name: [] for name in (*conditions, *peers)}
    for item, path in items.items():
        speech, rate = _beginning(path, seconds)
        for name, bits in conditions.items():
            decoded, error_db = decode_condition(codec, speech, rate, bits, rounds or 0)
            _keep(out, name, item, decoded)
            scores[name].append({**_scored(path, names, speech, rate, decoded, SAMPLE_RATE_HZ), "mel_db": error_db})
            progress.step(f"{item} {name}")
        for name, files in peers.items():
            scores[name].append(_scored(path, names, speech, rate, *_beginning(files[item], seconds)))
            progress.step(f"{item} {name}")
    sources: list[tuple[str | None, list[int]]] = [(None, list(range(len(items))))]
    if by_source:
        sources += list(by_folder(items).items())
    return [
        _row(name, conditions.get(name), name in peers, [found[i] for i in chosen], source)
        for source, chosen in sources
        for name, found in scores.items()
    ]


def by_folder(items: Iterable[str]) -> dict[str | None, list[int]]:
    """Folder right below the references' -> which of the items lie there; `.` for those that lie in none."""
    found: dict[str | None, list[int]] = {}
    for i, item in enumerate(items):
        parts = Path(item).parts
        found.setdefault(parts[0] if len(parts) > 1 else ".", []).append(i)
    return found


def usable(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which of the metrics can be had here, and a line for each that cannot."""
    found, missing = [], []
    for name in names:
        try:
            metrics.available([name])
        except ConfigError as error:
            missing.append(first_line(error, 200))
        else:
            found.append(name)
    return found, missing


def find_items(folder: Path) -> dict[str, Path]:
    """Name -> reference file, sorted. A file's name is its path below `folder`, without the suffix."""
    nested = {p.parent.name: p for p in sorted(folder.glob("*/ref.*")) if p.suffix.lower() in AUDIO_SUFFIXES}
    flat = {str(p.relative_to(folder).with_suffix("")): p for p in find_audio(folder)}
    items = nested or flat
    if not items:
        raise AudioError(f"{folder}: no reference audio found; expected ITEM/ref.flac or audio files")
    return items


def find_peers(items: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """Other codecs' audio beside the references: condition -> item -> file, for what every item's folder has."""
    beside = {
        item: {p.stem: p for p in sorted(path.parent.iterdir()) if p.suffix.lower() in AUDIO_SUFFIXES and p != path}
        for item, path in items.items()
        if path.stem == "ref"
    }
    if len(beside) < len(items):
        return {}
    common = set.intersection(*(set(files) for files in beside.values()))
    return {name: {item: files[name] for item, files in beside.items()} for name in sorted(common)}


def decode_condition(
    codec: Codec, speech: NDArray[np.float32], rate: int, bits: int | None, rounds: int = 0
) -> tuple[NDArray[np.float32], float]:
    """Decoded speech at 22 050 Hz and the coder's mean absolute log-mel error, dB; bits None: vocoder on true mels."""
    probe = _MelProbe(codec)
    asked, effort = (bits, rounds) if bits else (MAX_BITS_PER_FRAME, 0)
    encoder = Encoder(probe, rate, asked, effort, compensates=codec.compensates)
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
        self.vocoder_state, self.vocoder_step = codec.engine.vocoder_state, codec.engine.vocoder_step

    def encode_step(self, mel, sent, state, rounds=0):
        """See `codec.engine.Engine`."""
        code, decoded, state = self.engine.encode_step(mel, sent, state, rounds)
        self.true.append(mel)
        self.coded.append(decoded)
        return code, decoded, state


def _keep(out: Path | None, condition: str, item: str, decoded: NDArray[np.float32]) -> None:
    if out is not None:
        target = out / condition / f"{item}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_audio(target, decoded, SAMPLE_RATE_HZ)


def _beginning(path: Path, seconds: float | None) -> tuple[NDArray[np.float32], int]:
    speech, rate = read_audio(path)
    return (speech if seconds is None else speech[: round(seconds * rate)]), rate


def _scored(
    path: Path, names: Sequence[str], speech: NDArray[np.float32], rate: int, decoded: NDArray[np.float32], heard: int
) -> Scores:
    """Metrics from sample 0 on. An item without PESQ or ESTOI is refused; pitch measures may be NaN."""
    found = metrics.score(names, speech, rate, decoded, heard)
    failed = [name for name in ("pesq_wb", "estoi") if np.isnan(found.get(name, 0.0))]
    if failed:
        raise AudioError(f"{path}: cannot be scored by {' and '.join(failed)}; is there half a second of speech?")
    return found


def _row(name: str, bits: int | None, peer: bool, scores: list[Scores], source: str | None) -> Row:
    rate = None if peer else (bits or 0) * SAMPLE_RATE_HZ / FRAME_SAMPLES
    row: Row = {"condition": name, "source": source, "bitrate_bps": rate, "items": len(scores)}
    for metric in scores[0]:
        values = np.array([found[metric] for found in scores])
        values = values[~np.isnan(values)]
        count = len(values)
        row[metric] = float(values.mean()) if count else None
        spread = float(student_t.ppf(0.975, count - 1) * values.std(ddof=1) / sqrt(count)) if count > 1 else None
        row[f"{metric}_ci95"] = spread
    return row
