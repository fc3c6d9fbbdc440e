"""A folder of any audio -> one memory map that the training loops read.

The prepared folder holds

* `audio.i16`: int16 samples at 22 050 Hz, all files one after another, each starting on a frame border;
* `f0.f32`: fundamental frequency in Hz (0 = unvoiced) at every sample 256 j, see `f0`;
* `index.json`: per file its source, speaker, first frame, frames, real band, and split.

It is written file by file and may be interrupted: a second run goes on after the last file in the index, which is
brought up to date every few seconds and at the end, however that comes.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict, dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.files import AUDIO_SUFFIXES, read_audio
from voicelink.audio.resampler import resample
from voicelink.errors import AudioError
from voicelink.train.f0 import f0_track
from voicelink.train.progress import Progress
from voicelink.units import FRAME_SAMPLES, SAMPLE_RATE_HZ

PEAK = 0.95
INDEX_EVERY_S = 5.0


@dataclass(frozen=True)
class Clip:
    """One prepared file: `frames` codec frames from frame `start` of the memory map."""

    path: str
    source: str
    speaker: str
    start: int
    frames: int
    band_hz: float
    split: str


def prepare(
    folders: list[Path],
    out: Path,
    *,
    dev_speakers: float = 0.0,
    bands: dict[str, float] | None = None,
    workers: int = 1,
) -> list[Clip]:
    """Prepare every audio file under `folders` into `out`.

    A file's source is its folder below the given one, its speaker the file's stem. `dev_speakers` is the
    share of speakers (chosen by a hash of the name, so the same in every run) marked `dev`. `bands` gives a
    source's real band in Hz where the estimate is to be overruled. Raises AudioError where there is
    nothing to read, a file cannot be decoded, or `out` cannot be written; what is done by then is kept.
    """
    files = [(folder, path) for folder in folders for path in find_audio(folder)]
    if not files:
        raise AudioError(f"no audio files under {', '.join(map(str, folders))}; expected {sorted(AUDIO_SUFFIXES)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _prepare(files, out, dev_speakers, bands or {}, workers)
    except OSError as error:
        raise AudioError(f"{out}: cannot be written ({error.strerror or error})") from error


def _prepare(
    files: list[tuple[Path, Path]], out: Path, dev_speakers: float, bands: dict[str, float], workers: int
) -> list[Clip]:
    clips = load_index(out) if (out / "index.json").exists() else []
    done = {clip.path for clip in clips}
    todo = [(folder, path) for folder, path in files if str(path) not in done]
    frames = sum(clip.frames for clip in clips)
    progress = Progress(len(files), "files", done=len(files) - len(todo))
    with (
        _AppendAt(out / "audio.i16", frames * FRAME_SAMPLES * 2) as audio_file,
        _AppendAt(out / "f0.f32", frames * 4) as f0_file,
        _IndexFile(out, clips) as index,
        Pool(workers, initializer=_leave_interrupts_to_the_parent) as pool,
    ):
        for (folder, path), (audio, f0) in zip(todo, pool.imap(_analyse, [p for _, p in todo]), strict=True):
            for made, file in ((audio, audio_file), (f0, f0_file)):
                made.tofile(file)
                file.flush()
            source = path.parent.name if path.parent != folder else folder.name
            band = bands.get(source) or estimate_band_hz(audio)
            split = "dev" if _unit_hash(path.stem) < dev_speakers else "train"
            clips.append(Clip(str(path), source, path.stem, frames, len(f0), band, split))
            frames += len(f0)
            index.update()
            progress.step(f"{source}/{path.stem} {len(f0) * FRAME_SAMPLES / SAMPLE_RATE_HZ:.0f} s, band {band:.0f} Hz")
    return clips


def find_audio(folder: Path) -> list[Path]:
    """Audio files under `folder`, sorted, so that two runs see the same order."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())


def load_index(folder: Path) -> list[Clip]:
    """Clips of a prepared folder. Raises AudioError if it is not one."""
    try:
        return [Clip(**row) for row in json.loads((folder / "index.json").read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise AudioError(f"{folder}: not a prepared folder ({error}); run `voicelink train prepare` first") from error


def read_mono(path: Path) -> NDArray[np.float32]:
    """First channel of `path` at the codec rate, peak-normalised, float32 [samples]. Raises AudioError."""
    audio, rate = read_audio(path)
    speech = resample(audio, rate, SAMPLE_RATE_HZ)
    peak = float(np.abs(speech).max(initial=0.0))
    return (speech * (PEAK / peak) if peak > 0 else speech).astype(np.float32)


def estimate_band_hz(audio: NDArray[np.int16]) -> float:
    """Highest frequency that carries speech, in Hz, from the 99.5 % loudest-frame spectrum.

    Codecs and resamplers leave a cliff where the band ends: the estimate is the upper edge of the highest
    200 Hz band within 60 dB of the strongest. Silence, and less than a frame of sound, tell nothing: half the rate.
    """
    if len(audio) < 1024 or not audio.any():
        return SAMPLE_RATE_HZ / 2
    frames = audio[: len(audio) // 1024 * 1024].reshape(-1, 1024).astype(np.float32)
    power = np.abs(np.fft.rfft(frames[:40_000] * np.hanning(1024), axis=1)) ** 2
    top = np.quantile(power, 0.995, axis=0)
    width = SAMPLE_RATE_HZ / 1024
    per_band = max(1, round(200 / width))
    bands = top[: len(top) // per_band * per_band].reshape(-1, per_band).mean(axis=1)
    alive = np.flatnonzero(bands > bands.max() * 1e-6)
    return float(min(SAMPLE_RATE_HZ / 2, (alive[-1] + 1) * per_band * width))


def _analyse(path: Path) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    speech = read_mono(path)
    speech = speech[: len(speech) // FRAME_SAMPLES * FRAME_SAMPLES]
    return np.round(speech * 32767).astype(np.int16), f0_track(speech)


class _AppendAt:
    """Open for appending at exactly `size` bytes: what an interrupted run left behind it is dropped."""

    def __init__(self, path: Path, size: int) -> None:
        path.touch()
        self.file = path.open("r+b")
        self.file.truncate(size)
        self.file.seek(size)

    def __enter__(self):
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()


class _IndexFile:
    """`index.json` of a growing list of clips, written now and then and at the end."""

    def __init__(self, out: Path, clips: list[Clip]) -> None:
        self.out, self.clips = out, clips
        self.written_s = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def update(self) -> None:
        """Write if it is time to."""
        if time.monotonic() - self.written_s > INDEX_EVERY_S:
            self._write()

    def _write(self) -> None:
        temporary = self.out / "index.json.tmp"
        temporary.write_text(json.dumps([asdict(clip) for clip in self.clips], indent=1))
        temporary.replace(self.out / "index.json")
        self.written_s = time.monotonic()


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches the whole process group; the parent ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _unit_hash(name: str) -> float:
    import hashlib  # noqa: PLC0415

    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
