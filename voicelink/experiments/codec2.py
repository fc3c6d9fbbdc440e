"""Codec2 (D. Rowe, "Techniques for Harmonic Sinusoidal Coding", 1997; github.com/drowe67/codec2), through pycodec2.

It has no concealment of its own. As radio modems that use it do, a lost frame repeats the last one; after two
repetitions silence follows, since a frame repeated for longer is a buzz.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.experiments.models import require

RATE_HZ: Final = 8_000
#: Bit/s -> (ms a frame, bytes a frame), best first.
MODES: Final = {
    3200: (20, 8), 2400: (20, 6), 1600: (40, 8), 1400: (40, 7), 1300: (40, 7), 1200: (40, 6), 700: (40, 4)
}  # fmt: skip
#: By how many samples decoded speech is late: where ESTOI against the input is highest.
DELAY_SAMPLES: Final = dict.fromkeys(MODES, 140) | {700: 230}
#: How often a lost frame is stood in for by the last one.
REPETITIONS: Final = 2


def code(speech: NDArray[np.float32], mode: int) -> list[bytes]:
    """Frames of one signal, float32 [samples] at 8 kHz; the end filled up with silence."""
    codec = _codec(mode)
    step = codec.samples_per_frame()
    count = -(-len(speech) // step)
    padded = np.zeros(count * step, np.float32)
    padded[: len(speech)] = speech
    pcm = np.clip(np.round(padded * 32767), -32768, 32767).astype(np.int16)
    return [codec.encode(np.ascontiguousarray(block)) for block in pcm.reshape(count, step)]


def decode(frames: Sequence[bytes | None], mode: int) -> NDArray[np.float32]:
    """Speech at 8 kHz from frames, None for one that is not there; by a process of its own (see `codec2_decode`)."""
    size, last, missing = MODES[mode][1], None, 0
    data = bytearray()
    for frame in frames:
        missing = 0 if frame is not None else missing + 1
        last = frame if frame is not None else last
        heard = last is not None and missing <= REPETITIONS
        data += bytes([heard]) + (last if heard and last is not None else bytes(size))
    command = [sys.executable, str(Path(__file__).with_name("codec2_decode.py")), str(mode)]
    done = subprocess.run(command, input=bytes(data), capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"codec2_decode failed: {done.stderr.decode(errors='replace').strip().splitlines()[-1:]}")
    return np.frombuffer(done.stdout, np.int16).astype(np.float32) / np.float32(32768)


def _codec(mode: int) -> Any:
    require("of codec codec2", "pycodec2", "pip install 'voicelink[peers]'")
    import pycodec2  # noqa: PLC0415

    return pycodec2.Codec2(mode)
