"""The codec as users see it: load a model, code whole signals, or open streams."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voicelink.audio.resampler import resample
from voicelink.codec.engine import Engine
from voicelink.codec.model_folder import ModelInfo, find_model, verify
from voicelink.codec.stream import SEARCH_ROUNDS, Decoder, Encoder
from voicelink.codec.vlk import MAX_SECONDS, EncodedSpeech
from voicelink.codec.vocoder import make_vocoder
from voicelink.errors import AudioError, WeightsError
from voicelink.units import MAX_RATE_HZ, MIN_RATE_HZ, SAMPLE_RATE_HZ, bitrate_bps, bits_per_frame

EngineName = Literal["auto", "onnx", "int8", "torch"]
#: Widest model whose codes are searched by default.
SEARCHED_HIDDEN = 512


def load_codec(model: str | Path | None = None, engine: EngineName = "auto", threads: int = 1) -> Codec:
    """Load a model by name, by folder, or the default one.

    `engine` is "onnx" (ONNX Runtime), "int8" (the same with 8-bit weights: less than half of the time), "torch" (the
    reference), or "auto" ("onnx"). Files are checked against their SHA-256 first. Raises WeightsError where the model
    is missing, damaged or does not match this code, or where the engine's package is not installed.
    """
    info = find_model(model)
    verify(info)
    return Codec(info, _make_engine(info, "onnx" if engine == "auto" else engine, threads))


def load_call_codec(model: str | Path | None = None, engine: EngineName = "auto") -> Codec:
    """As `load_codec`, for a call: "auto" is "int8", unless the model's folder was written before there was that."""
    if engine == "auto" and find_model(model).int8:
        engine = "int8"
    return load_codec(model, engine)


class Codec:
    """A loaded model. Holds no stream state: any number of encoders and decoders share it, from any thread."""

    def __init__(self, info: ModelInfo, engine: Engine) -> None:
        self.info, self.engine = info, engine
        self.vocoder = make_vocoder(info.vocoder, engine)

    @property
    def model_id(self) -> str:
        """What both ends of a call must share."""
        return self.info.model_id

    def encoder(
        self, sample_rate: int = SAMPLE_RATE_HZ, bits: int = 32, rounds: int | None = None, *, pauses: bool = False
    ) -> Encoder:
        """A streaming encoder for samples at `sample_rate` Hz.

        `rounds` of the encoder search, 0 or more; by default 2, and none for models wider than h = 512, whose search no
        single core can do in time. With `pauses` it leaves out what is silence (`Encoder.hear`).
        """
        _check_rate(sample_rate)
        if bits < self.info.min_bits:
            raise AudioError(
                f"{bits} bits a frame: model {self.info.name} was trained for at least {self.info.min_bits}; "
                f"ask for {bitrate_bps(self.info.min_bits)} bps or more"
            )
        if rounds is None:
            rounds = SEARCH_ROUNDS if self.info.hidden <= SEARCHED_HIDDEN else 0
        return Encoder(self.engine, sample_rate, bits, rounds, pauses=pauses, compensates=self.compensates)

    @property
    def compensates(self) -> bool:
        """Whether encoders that search also ask for what the vocoder would miss (`codec.compensation`)."""
        return self.info.vocoder == "harmonic"

    def decoder(self) -> Decoder:
        """A streaming decoder; it gives 22 050 Hz."""
        return Decoder(self.engine, self.vocoder)

    def encode(self, speech: NDArray[np.float32], sample_rate: int, bitrate_bps: int = 3000) -> EncodedSpeech:
        """Code a whole signal, float32 [n] in +-1, at the nearest possible bitrate (86 bps to 5.51 kbps).

        Raises AudioError for speech that is empty, of several channels, not finite, longer than 12 hours, or at a
        sample rate outside 4..768 kHz, and for a bitrate below the model's least.
        """
        samples = np.asarray(speech, np.float32)
        if samples.ndim != 1 or not len(samples):
            raise AudioError(f"speech has shape {samples.shape}; give one channel of at least one sample")
        if not np.isfinite(samples).all():
            raise AudioError("speech holds NaN or infinite samples; repair it first")
        if len(samples) > MAX_SECONDS * sample_rate:
            raise AudioError(f"speech is longer than {MAX_SECONDS // 3600} hours; split it")
        encoder = self.encoder(sample_rate, bits_per_frame(bitrate_bps))
        frames = encoder.push(samples) + encoder.flush()
        return EncodedSpeech(self.model_id, sample_rate, len(samples), tuple(frames))

    def decode(self, encoded: EncodedSpeech, sample_rate: int | None = None) -> NDArray[np.float32]:
        """Whole signal, float32 [n], at `sample_rate` (default: that of the source, with its exact length)."""
        self.require_model(encoded)
        decoder = self.decoder()
        blocks = [decoder.play(frame) for frame in encoded.frames]
        return fit(np.concatenate(blocks) if blocks else np.zeros(0, np.float32), encoded, sample_rate)

    def require_model(self, encoded: EncodedSpeech) -> None:
        """Raise WeightsError where `encoded` was made with another model."""
        if encoded.model_id != self.model_id:
            raise WeightsError(
                f"coded with model {encoded.model_id}, loaded is {self.model_id}; choose it with --model"
            )


def fit(speech: NDArray[np.float32], encoded: EncodedSpeech, sample_rate: int | None) -> NDArray[np.float32]:
    """Decoded samples at 22 050 Hz -> `sample_rate` (default: the source's), cut or zero-padded to its length."""
    rate = sample_rate or encoded.sample_rate
    _check_rate(rate)
    length = round(encoded.samples * rate / encoded.sample_rate)
    made = resample(speech, SAMPLE_RATE_HZ, rate) if rate != SAMPLE_RATE_HZ else speech
    return np.pad(made[:length], (0, max(0, length - len(made))))


def _check_rate(rate: int) -> None:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise AudioError(f"sample rate {rate} Hz is outside {MIN_RATE_HZ}..{MAX_RATE_HZ}; resample the audio first")


def _make_engine(info: ModelInfo, engine: EngineName, threads: int) -> Engine:
    try:
        if engine in ("onnx", "int8"):
            from voicelink.codec.engine_onnx import OnnxEngine  # noqa: PLC0415

            return OnnxEngine(info, threads, int8=engine == "int8")
        if engine == "torch":
            from voicelink.codec.engine_torch import TorchEngine  # noqa: PLC0415

            return TorchEngine(info, threads)
    except ModuleNotFoundError as error:
        extra = "train" if engine == "torch" else "call"
        raise WeightsError(
            f"engine '{engine}' needs {error.name}; install it with: pip install 'voicelink[{extra}]'"
        ) from error
    raise WeightsError(f"engine '{engine}' is unknown; use 'onnx', 'int8' or 'torch'")
