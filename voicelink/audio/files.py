"""Audio files: read whole to one channel of float32, write as 16-bit WAV or FLAC.

Reading goes through libsndfile (WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF ...), block by block, so that no
header can make us allocate more than the file really holds.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voicelink.audio.wav import WavWriter, to_int16
from voicelink.errors import AudioError
from voicelink.units import MAX_RATE_HZ, MIN_RATE_HZ

BLOCK_SAMPLES: Final = 1 << 18
#: Suffixes of the files that soundfile is asked to read.
AUDIO_SUFFIXES: Final = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"})

#: Suffixes of the files that can be written.
WRITTEN_SUFFIXES: Final = (".wav", ".flac")

#: A file may be compressed a thousandfold; what it becomes in memory (2 GiB here) must be bounded.
MAX_SAMPLES: Final = 1 << 29

_log = logging.getLogger(__name__)


def read_audio(path: Path) -> tuple[NDArray[np.float32], int]:
    """First channel of an audio file, float32 [samples] at +-1 full scale, and its rate in Hz.

    A warning is logged where further channels are left out. Raises AudioError for a file that is missing,
    not audio, empty, at a rate outside 4..768 kHz, or with samples that are not numbers.
    """
    _check_readable(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            speech = _first_channel(file)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        reason = _reason(error)
        raise AudioError(f"{path}: cannot be read as audio ({reason}); use WAV, FLAC, Ogg or Opus") from error
    _check(path, speech, rate)
    if channels > 1:
        _log.warning("%s: using the first of %d channels", path, channels)
    return speech, rate


def write_audio(path: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    """Write float32 [samples] as a mono 16-bit WAV or FLAC, as its suffix says, clipped at full scale.

    Written under a temporary name beside `path` and renamed, so that `path` is never half a file. Raises
    AudioError where it cannot be written or has another suffix.
    """
    require_writable(path)
    require_audio_name(path)
    if path.suffix.lower() == ".flac":
        write_bytes(path, _flac(path, samples, rate_hz))
        return

    def write(temporary: Path) -> None:
        writer = WavWriter(temporary, rate_hz)
        try:
            writer.write(samples)
        finally:
            writer.close()

    _write_whole(path, write)


def require_audio_name(path: Path) -> None:
    """Raise AudioError where the suffix of `path` is not that of a file that can be written."""
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        known = " or ".join(WRITTEN_SUFFIXES)
        raise AudioError(f"{path}: cannot be written as audio of that name; let it end in {known}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file under a temporary name and rename it. Raises AudioError where that fails."""
    _write_whole(path, lambda temporary: temporary.write_bytes(data))


def require_writable(path: Path, source: Path | None = None) -> None:
    """Raise AudioError where `path` cannot become a file, or is `source` itself: before any work is spent on it."""
    try:
        if source is not None and path.exists() and path.samefile(source):
            raise AudioError(f"{path}: is the input itself; give another name for the output")
        if path.exists() and not path.is_file():
            raise AudioError(f"{path}: cannot be written (not a regular file); give the name of a file")
        if not path.parent.is_dir():
            raise AudioError(f"{path}: cannot be written (no folder {path.parent}); make it first")
    except OSError as error:
        raise _unwritable(path, error) from error


def _flac(path: Path, samples: NDArray[np.float32], rate_hz: int) -> bytes:
    held = io.BytesIO()
    try:
        soundfile.write(held, to_int16(samples), rate_hz, subtype="PCM_16", format="FLAC")
    except soundfile.LibsndfileError as error:  # it has no rates above 655 kHz
        raise AudioError(f"{path}: cannot be written at {rate_hz} Hz as FLAC ({_reason(error)}); use .wav") from error
    return held.getvalue()


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then rename it. Leaves nothing behind where that fails."""
    require_writable(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> AudioError:
    return AudioError(f"{path}: cannot be written ({error.strerror or error})")


def _check_readable(path: Path) -> None:
    try:
        if not path.exists():
            raise AudioError(f"{path}: no such file")
        if not path.is_file():
            raise AudioError(f"{path}: not a file; an audio file (WAV, FLAC, Ogg, Opus ...) is needed")
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty (0 bytes)")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error


def _first_channel(file: soundfile.SoundFile) -> NDArray[np.float32]:
    """Read block by block: what the header says of the length may be false, and a small file may hold days."""
    blocks, samples = [], 0
    frames = max(1, BLOCK_SAMPLES // file.channels)
    if file.frames > 0:
        frames = min(frames, file.frames)
    while len(block := file.read(frames, dtype="float32", always_2d=True)):
        samples += len(block)
        if samples > MAX_SAMPLES:
            raise AudioError(f"{file.name}: more than {MAX_SAMPLES} samples (3 hours at 48 kHz); cut it into parts")
        blocks.append(block[:, 0].copy())
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _check(path: Path, speech: NDArray[np.float32], rate: int) -> None:
    if not len(speech):
        raise AudioError(f"{path}: holds no samples")
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise AudioError(f"{path}: sample rate {rate} Hz is outside {MIN_RATE_HZ}..{MAX_RATE_HZ} Hz")
    bad = np.flatnonzero(~np.isfinite(speech))
    if len(bad):
        raise AudioError(f"{path}: {len(bad)} samples are not numbers (NaN or infinite), first at {bad[0]}")


def _reason(error: Exception) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return str(error.error_string).strip().rstrip(".")
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "raw samples without a header"
