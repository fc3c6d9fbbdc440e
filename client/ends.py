"""What --input and --output name, opened: a device, an audio file, or nothing."""

from __future__ import annotations

import logging
from pathlib import Path

from voicelink_client.cleaning import RATE_HZ, Cleaner
from voicelink_client.devices import LATENCIES_S, Loudspeaker, Microphone, is_open_loudspeaker, rescan
from voicelink_client.lasting import LastingSink, LastingSource
from voicelink_client.streams import PacedSink, Sink, Source, file_source, null_source

from voicelink.audio.files import AUDIO_SUFFIXES
from voicelink.errors import AudioError
from voicelink.settings import AudioSettings
from voicelink.units import SAMPLE_RATE_HZ

_log = logging.getLogger(__name__)


def microphone(text: str, cleaner: Cleaner | None = None) -> LastingSource:
    """A microphone for a call, at the cleaner's rate; it can be changed and outlives its device. Raises AudioError."""
    return LastingSource(text, open_source, rescan, SAMPLE_RATE_HZ if cleaner is None else RATE_HZ)


def loudspeaker(text: str) -> LastingSink:
    """A loudspeaker for a call, that can be changed and outlives its device. Raises AudioError."""
    return LastingSink(text, open_sink, rescan)


def open_source(text: str, stumbled: int = 0) -> Source:
    """A device's name or number, `default`, an audio file or `null`. Raises AudioError.

    `stumbled` says how often it did, with shorter buffers each time.
    """
    if text == "null":
        return null_source()
    return file_source(Path(text)) if is_file(text) else Microphone(text, _latency_s(stumbled))


def open_sink(text: str, stumbled: int = 0) -> Sink:
    """A device's name or number, `default`, a WAV file or `null`. Raises AudioError. `stumbled`: as for a source."""
    if text == "null":
        return PacedSink()
    if not is_file(text):
        return Loudspeaker(text, _latency_s(stumbled))
    if Path(text).suffix.lower() != ".wav":
        raise AudioError(f"--output {text}: only .wav files can be written")
    return PacedSink(Path(text))


def _latency_s(stumbled: int) -> float:
    return LATENCIES_S[min(stumbled, len(LATENCIES_S) - 1)]


def cleaner_for(audio: AudioSettings) -> Cleaner | None:
    """What takes echo and noise from the microphone, as `audio` wants it.

    By default echo is taken away where the loudspeaker says that it is an open one. Raises AudioError where the package
    is missing for what was asked for.
    """
    devices = is_device(audio.input) and is_device(audio.output)
    echo = audio.echo_cancel == "on" or (audio.echo_cancel == "auto" and devices and is_open_loudspeaker(audio.output))
    if not (echo or audio.noise_suppression or audio.gain):
        return None
    try:
        return Cleaner(echo=echo, noise=audio.noise_suppression, gain=audio.gain)
    except AudioError:
        if audio.echo_cancel == "on" or audio.noise_suppression or audio.gain:
            raise
        _log.info("no echo cancellation: pywebrtc-audio is not installed")
        return None


def is_device(text: str) -> bool:
    """Whether --input or --output means a sound device."""
    return text != "null" and not is_file(text)


def is_file(text: str) -> bool:
    """Whether --input or --output means a file rather than a device."""
    return Path(text).suffix.lower() in AUDIO_SUFFIXES or Path(text).is_file() or "/" in text
