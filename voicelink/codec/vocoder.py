"""Mel frames -> samples: both vocoders behind one interface, state carried by the caller."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.engine import Array, Engine
from voicelink.codec.excitation import ExcitationState, FrameSpectrum, initial_excitation, synthesise
from voicelink.codec.mel import INPUT_SCALE
from voicelink.codec.model_folder import VOCODERS
from voicelink.errors import WeightsError


class VocoderState(NamedTuple):
    """Network state and, for the harmonic vocoder, the excitation's."""

    network: Array
    excitation: ExcitationState | None


class Vocoder(Protocol):
    """One log-mel frame in, 256 final samples out, no look-ahead."""

    def initial_state(self) -> VocoderState:
        """State before frame 0."""

    def step(self, mel: Array, state: VocoderState) -> tuple[NDArray[np.float32], VocoderState]:
        """mel [1, 80] -> samples float32 [256] at full scale +-1, next state. Writes nothing in place."""


class HarmonicRuntime:
    """Network by the engine, excitation and overlap-add in numpy."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def initial_state(self) -> VocoderState:
        """See `Vocoder`."""
        return VocoderState(self._engine.vocoder_state(), initial_excitation())

    def step(self, mel: Array, state: VocoderState) -> tuple[NDArray[np.float32], VocoderState]:
        """See `Vocoder`."""
        f0, voiced, harmonic, phase, noise, network = self._engine.vocoder_step(mel[None], state.network)
        spectrum = FrameSpectrum(float(f0[0, 0]), bool(voiced[0, 0] > 0), harmonic[0, 0], phase[0, 0], noise[0, 0])
        excitation = state.excitation or initial_excitation()
        samples, excitation = synthesise(spectrum, excitation)
        return samples / np.float32(INPUT_SCALE), VocoderState(network, excitation)


class BigVganRuntime:
    """The network makes the samples."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def initial_state(self) -> VocoderState:
        """See `Vocoder`."""
        return VocoderState(self._engine.vocoder_state(), None)

    def step(self, mel: Array, state: VocoderState) -> tuple[NDArray[np.float32], VocoderState]:
        """See `Vocoder`."""
        samples, network = self._engine.vocoder_step(mel[None], state.network)
        return samples[0] / np.float32(INPUT_SCALE), VocoderState(network, None)


def make_vocoder(kind: str, engine: Engine) -> Vocoder:
    """Vocoder of a model's kind. Raises WeightsError for one this code does not know."""
    if kind == "harmonic":
        return HarmonicRuntime(engine)
    if kind == "bigvgan":
        return BigVganRuntime(engine)
    raise WeightsError(f"vocoder '{kind}' is unknown to this code; it runs {', '.join(VOCODERS)}")
