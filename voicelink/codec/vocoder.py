"""Mel frames -> samples: both vocoders behind one interface, state carried by the caller."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from voicelink.codec.engine import Array, Engine
from voicelink.codec.excitation import (
    ExcitationBatch,
    ExcitationState,
    FrameSpectrum,
    SpectraBatch,
    initial_batch,
    initial_excitation,
    synthesise,
    synthesise_many,
)
from voicelink.codec.mel import INPUT_SCALE
from voicelink.codec.model_folder import VOCODERS
from voicelink.errors import WeightsError


class VocoderState(NamedTuple):
    """Network state and, for the harmonic vocoder, the excitation's."""

    network: Array
    excitation: ExcitationState | None


class VocoderBatch(NamedTuple):
    """`VocoderState` of B streams that are at the same frame."""

    network: Array
    excitation: ExcitationBatch | None

    def first(self, streams: int) -> VocoderBatch:
        """The first `streams` streams."""
        return VocoderBatch(self.network[:streams], self.excitation.first(streams) if self.excitation else None)


class Vocoder(Protocol):
    """One log-mel frame in, 256 final samples out, no look-ahead."""

    def initial_state(self) -> VocoderState:
        """State before frame 0."""

    def step(self, mel: Array, state: VocoderState) -> tuple[NDArray[np.float32], VocoderState]:
        """mel [1, 80] -> samples float32 [256] at full scale +-1, next state. Writes nothing in place."""

    def initial_batch(self, streams: int) -> VocoderBatch:
        """State of `streams` streams before frame 0."""

    def step_many(self, mel: Array, state: VocoderBatch) -> tuple[NDArray[np.float32], VocoderBatch]:
        """mel [B, T, 80] -> samples float32 [B, 256 T] and next state; as `step`, up to rounding.

        Needs an engine that `batches`, unless B and T are 1.
        """


class HarmonicRuntime:
    """Network by the engine, excitation and overlap-add in numpy."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def initial_state(self) -> VocoderState:
        """See `Vocoder`."""
        return VocoderState(self._engine.vocoder_state(), initial_excitation())

    def step(self, mel: Array, state: VocoderState) -> tuple[NDArray[np.float32], VocoderState]:
        """See `Vocoder`."""
        spectrum, network = spectrum_step(self._engine, mel, state.network)
        excitation = state.excitation or initial_excitation()
        samples, excitation = synthesise(spectrum, excitation)
        return samples / np.float32(INPUT_SCALE), VocoderState(network, excitation)

    def initial_batch(self, streams: int) -> VocoderBatch:
        """See `Vocoder`."""
        return VocoderBatch(_repeat(self._engine.vocoder_state(), streams), initial_batch(streams))

    def step_many(self, mel: Array, state: VocoderBatch) -> tuple[NDArray[np.float32], VocoderBatch]:
        """See `Vocoder`."""
        *spectra, network = self._engine.vocoder_step(mel, state.network)
        assert state.excitation is not None
        samples, excitation = synthesise_many(SpectraBatch(*spectra), state.excitation)
        return samples / np.float32(INPUT_SCALE), VocoderBatch(network, excitation)


def spectrum_step(engine: Engine, mel: Array, state: Array) -> tuple[FrameSpectrum, Array]:
    """mel [1, 80] and the harmonic network's state -> its output of one frame, next state."""
    f0, voiced, harmonic, phase, noise, following = engine.vocoder_step(mel[None], state)
    spectrum = FrameSpectrum(float(f0[0, 0]), bool(voiced[0, 0] > 0), harmonic[0, 0], phase[0, 0], noise[0, 0])
    return spectrum, following


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

    def initial_batch(self, streams: int) -> VocoderBatch:
        """See `Vocoder`."""
        return VocoderBatch(_repeat(self._engine.vocoder_state(), streams), None)

    def step_many(self, mel: Array, state: VocoderBatch) -> tuple[NDArray[np.float32], VocoderBatch]:
        """See `Vocoder`."""
        samples, network = self._engine.vocoder_step(mel, state.network)
        return samples / np.float32(INPUT_SCALE), VocoderBatch(network, None)


def make_vocoder(kind: str, engine: Engine) -> Vocoder:
    """Vocoder of a model's kind. Raises WeightsError for one this code does not know."""
    if kind == "harmonic":
        return HarmonicRuntime(engine)
    if kind == "bigvgan":
        return BigVganRuntime(engine)
    raise WeightsError(f"vocoder '{kind}' is unknown to this code; it runs {', '.join(VOCODERS)}")


def _repeat(state: Array, streams: int) -> Array:
    return np.repeat(state, streams, axis=0)
