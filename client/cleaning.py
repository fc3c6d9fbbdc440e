"""What the microphone hears, without the echo of the loudspeaker and without noise, at an even level.

The work is done by WebRTC's audio processing module (AEC3, noise suppressor, AGC2), in the binding of the package
pywebrtc-audio. It takes blocks of 10 ms, here at 32 kHz, the least of its rates
that holds all the codec hears.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.resampler import StreamResampler
from voicelink.errors import AudioError
from voicelink.units import SAMPLE_RATE_HZ

RATE_HZ: Final = 32_000
BLOCK_SAMPLES: Final = RATE_HZ // 100
#: What was played waits for the microphone's block of the same time; more than this apart, one of them stood still.
MAX_APART_SAMPLES: Final = RATE_HZ // 10
#: 0 mild, 1 moderate, 2 strong, 3 strongest.
NOISE_LEVEL: Final = 1


class Cleaner:
    """One call's processing. `played` and `said` are called on one thread. Raises AudioError without the package."""

    def __init__(self, *, echo: bool, noise: bool, gain: bool) -> None:
        self._module: Any = _load()(
            sample_rate=RATE_HZ,
            echo_cancellation=echo,
            noise_suppression=noise,
            auto_gain_control=gain,
            high_pass_filter=True,
            ns_level=NOISE_LEVEL,
        )
        self._echo = echo
        self._to_module = StreamResampler(SAMPLE_RATE_HZ, RATE_HZ)
        self._begun = False
        self._near, self._far = np.zeros(0, np.float32), np.zeros(0, np.float32)

    def played(self, block: NDArray[np.float32]) -> None:
        """What the loudspeaker is given, float32 [n] at 22 050 Hz."""
        if self._echo:
            far = np.concatenate((self._far, self._to_module.push(block)))
            self._far = far[-MAX_APART_SAMPLES:]

    def said(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """The microphone's float32 [n] at 32 kHz, cleaned: blocks of 10 ms, 8 ms late (with noise suppression 14).

        Where each block given is 10 ms long, it comes back at once: the first is filled up for that.
        """
        if not self._begun and len(block):
            self._begun = True
            self._near = np.zeros(-len(block) % BLOCK_SAMPLES, np.float32)
        self._near = np.concatenate((self._near, block))
        done = [self._clean() for _ in range(len(self._near) // BLOCK_SAMPLES)]
        return np.concatenate(done) if done else np.zeros(0, np.float32)

    def _clean(self) -> NDArray[np.float32]:
        near, self._near = self._near[:BLOCK_SAMPLES], self._near[BLOCK_SAMPLES:]
        if not self._echo:
            return np.asarray(self._module.process(near), np.float32)
        far, self._far = self._far[:BLOCK_SAMPLES], self._far[BLOCK_SAMPLES:]
        far = np.pad(far, (0, BLOCK_SAMPLES - len(far)))
        return np.asarray(self._module.process(near, far), np.float32)


def _load() -> Any:
    try:
        from pywebrtc_audio import AudioProcessor  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise AudioError(
            "--echo-cancel, --noise-suppression and --gain need pywebrtc-audio: pip install 'voicelink[call]'; "
            "or switch them off"
        ) from error
    return AudioProcessor
