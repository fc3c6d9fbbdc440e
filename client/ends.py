"""What --input and --output name, opened: a device, an audio file, or nothing."""

from __future__ import annotations

from pathlib import Path

from voicelink_client.devices import LATENCIES_S, Loudspeaker, Microphone, rescan
from voicelink_client.lasting import LastingSink, LastingSource
from voicelink_client.streams import PacedSink, Sink, Source, file_source, null_source

from voicelink.audio.files import AUDIO_SUFFIXES
from voicelink.errors import AudioError


def microphone(text: str) -> LastingSource:
    """A microphone for a call, that can be changed and outlives its device. Raises AudioError."""
    return LastingSource(text, open_source, rescan)


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


def is_file(text: str) -> bool:
    """Whether --input or --output means a file rather than a device."""
    return Path(text).suffix.lower() in AUDIO_SUFFIXES or Path(text).is_file() or "/" in text
